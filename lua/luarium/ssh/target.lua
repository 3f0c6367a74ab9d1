--- Where to connect to and how: options first, then ~/.ssh/config, then what is usual.
local ascii = require "luarium.ascii"
local errors = require "luarium.error"
local secret = require "luarium.secret"
local settings = require "luarium.ssh.settings"

local M = {}

local USUAL_KEYS = { "id_ed25519", "id_ecdsa", "id_rsa" }
local JUMPS_MAX = 8

--- The options that say how to reach a host, as rows of a provider's `config`.
M.options = {
  host = { env = "LUARIUM_SSH_HOST", about = "a name, an address, or a Host of ~/.ssh/config" },
  port = { type = "integer", min = 1, max = 65535, about = "default: 22" },
  user = { about = "default: your own name" },
  key = { type = "string|table", about = "the path of a private key, several paths, or a secret that is the key" },
  passphrase = { secret = true, env = "LUARIUM_SSH_PASSPHRASE", about = "of the key" },
  password = { secret = true, env = "LUARIUM_SSH_PASSWORD", about = "where the host takes one" },
  agent = { type = "boolean|text", default = true, about = "use ssh-agent; or the path of its socket" },
  host_key = { type = "string|table", about = "the host's fingerprint SHA256:..., instead of known_hosts" },
  accept_new = { type = "boolean", default = false, about = "trust and remember hosts that are not known yet" },
  known_hosts = { about = "default: ~/.ssh/known_hosts" },
  ssh_config = { type = "boolean|text", default = true, about = "read ~/.ssh/config; or another file" },
  jump = { about = "user@host:port to go through; several with commas" },
  connect_timeout = { type = "seconds", default = 15, about = "seconds for connecting, keys and login" },
  keepalive = { type = "seconds", default = 15, about = "seconds between signs of life; 0: none" },
  idle = { type = "seconds", default = 300, about = "seconds that a connection stays open without a command" },
  max_sessions = { type = "integer", min = 1, default = 10, about = "commands at a time over one connection" },
  connections = { type = "integer", min = 1, default = 8, about = "connections at a time" },
  transfers = { type = "integer", min = 1, max = 16, default = 2,
    about = "connections that the parts of a large file go through; 1: none of their own" },
}

local function own_name()
  return os.getenv("USER") or os.getenv("LOGNAME") or "root"
end

local function as_list(value)
  if value == nil then
    return {}
  elseif type(value) == "table" and not secret.is(value) then
    return value
  end
  return { value }
end

local function keys_of(options, values, words)
  local keys = {}
  for _, key in ipairs(as_list(options.key)) do
    keys[#keys + 1] = type(key) == "string" and not key:find("-----BEGIN", 1, true) and settings.expand(key, words)
      or key
  end
  if #keys > 0 then
    return keys, true
  end
  for _, path in ipairs(values.identityfile or {}) do
    keys[#keys + 1] = settings.expand(path, words)
  end
  if #keys > 0 then
    return keys, true
  end
  for _, name in ipairs(USUAL_KEYS) do
    keys[#keys + 1] = settings.expand("~/.ssh/" .. name, {})
  end
  return keys, false
end

local function agent_of(options, values)
  local socket = options.agent
  if socket == false then
    return nil
  elseif type(socket) == "string" then
    return settings.expand(socket, {})
  end
  local given = values.identityagent
  if given == "none" then
    return nil
  elseif given and given ~= "SSH_AUTH_SOCK" then
    return settings.expand(given, {})
  end
  local variable = os.getenv("SSH_AUTH_SOCK")
  return variable ~= "" and variable or nil
end

--- user@host:port, each part but the host optional; an address with colons stands in brackets.
---@param text string
---@return {host: string, user: string?, port: integer?}? parts
function M.parse(text)
  text = text:gsub("^ssh://", ""):gsub("/$", "")
  local user, rest = text:match("^(.*)@(.*)$")
  rest = rest or text
  if user and user:find(":", 1, true) then
    return nil -- a password
  end
  local host, port = rest:match("^%[(.+)%]:?(%d*)$")
  if not host then
    host, port = rest:match("^([^:]+):?(%d*)$")
  end
  if not host then
    host, port = rest, ""
  end
  if host == "" then
    return nil
  end
  return { host = host, user = user ~= "" and user or nil, port = tonumber(port) }
end

local resolve

--- The last host of the list is the one next to the target.
local function jump_of(list, options, depth)
  local first, last = list:match("^(.*),%s*([^,]+)$")
  local parts = M.parse(last or list)
  if not parts then
    return nil, errors.new("invalid", "ssh: jump: expected user@host:port without a password, got "
      .. secret.shown_url(list))
  end
  return resolve({
    host = parts.host, user = parts.user, port = parts.port, jump = first, key = options.key,
    passphrase = options.passphrase, agent = options.agent, known_hosts = options.known_hosts,
    accept_new = options.accept_new, ssh_config = options.ssh_config, connect_timeout = options.connect_timeout,
    keepalive = options.keepalive, idle = options.idle, max_sessions = options.max_sessions,
    connections = options.connections,
  }, depth + 1)
end

local function known_hosts_of(options, values, words)
  if options.known_hosts then
    return { settings.expand(options.known_hosts, words) }
  end
  local files = {}
  for word in (values.userknownhostsfile or "~/.ssh/known_hosts"):gmatch("%S+") do
    files[#files + 1] = settings.expand(word, words)
  end
  files[#files + 1] = "/etc/ssh/ssh_known_hosts"
  return files
end

--- The line of sh that leads to the host, when ~/.ssh/config has one and nobody says otherwise.
local function proxy_of(options, values, words)
  local command = values.proxycommand
  if not command or ascii.lower(command) == "none" or options.jump then
    return nil
  end
  local fault
  if ascii.lower(values.proxyusefdpass or "") == "yes" then
    fault = values.places.proxyusefdpass .. ": a ProxyCommand that passes a descriptor (ProxyUseFdpass) cannot be used"
  end
  for letter in command:gmatch("%%(.)") do
    if letter ~= "%" and not words[letter] then
      fault = ("%s: ProxyCommand has %%%s, which is not known here: %%h, %%n, %%p, %%r, %%u and %%%% are"):format(
        values.places.proxycommand, letter)
    end
  end
  if fault then
    return nil, errors.new("unsupported", "ssh: " .. fault)
  end
  return settings.expand(command, words)
end

function resolve(options, depth)
  if depth > JUMPS_MAX then
    return nil, errors.new("invalid", "ssh: too many hosts to go through: ProxyJump leads in a circle?")
  end
  local name, values = options.host, {}
  local err
  if options.ssh_config ~= false then
    local path = type(options.ssh_config) == "string" and options.ssh_config or "~/.ssh/config"
    values, err = settings.read(settings.expand(path, {}), name, options.user, own_name())
    if not values then
      return nil, err
    end
  end
  local host = settings.expand(values.hostname or name, { h = name })
  local target = {
    host = host, alias = values.hostkeyalias or host, port = options.port or tonumber(values.port) or 22,
    user = options.user or values.user or own_name(), passphrase = options.passphrase, password = options.password,
    agent = agent_of(options, values), only_keys = ascii.lower(values.identitiesonly or "") == "yes",
    pins = as_list(options.host_key),
    accept_new = options.accept_new or values.stricthostkeychecking == "accept-new",
    connect_timeout = options.connect_timeout or 15, keepalive = options.keepalive or 15, idle = options.idle or 300,
    max_sessions = options.max_sessions or 10, connections = options.connections or 8,
    transfers = options.transfers or 2,
  }
  local words = { h = host, n = name, r = target.user, p = tostring(target.port), u = own_name() }
  target.keys, target.given = keys_of(options, values, words)
  target.known_hosts = known_hosts_of(options, values, words)
  target.name = ("%s@%s:%d"):format(target.user, target.host, target.port)
  target.proxy, err = proxy_of(options, values, words)
  if err then
    return nil, err
  end
  local jump = options.jump or values.proxyjump
  if jump and jump ~= "none" then
    target.jump, err = jump_of(jump, options, depth)
    if not target.jump then
      return nil, err
    end
  end
  return target
end

--- Options to a target that can be connected to.
---@async
---@param options table<string, any> as M.options describes them, with a host
---@return luarium.ssh.Target? target
---@return luarium.Error? err
function M.resolve(options)
  if not options.host then
    return nil, errors.new("invalid", "ssh: which host? Set `host` of the provider in luarium.lua, or the variable "
      .. "LUARIUM_SSH_HOST")
  end
  local parts = M.parse(options.host)
  if not parts then
    return nil, errors.new("invalid", "ssh: host: expected a name, an address or user@host:port (a password is the "
      .. "option password), got " .. secret.shown_url(options.host))
  end
  local given = {}
  for key, value in pairs(options) do
    given[key] = value
  end
  given.host, given.user, given.port = parts.host, options.user or parts.user, options.port or parts.port
  return resolve(given, 0)
end

return M
