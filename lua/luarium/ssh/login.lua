--- From a target to a session that may run commands: connect, check the host, prove who the user is.
local errors = require "luarium.error"
local hosts = require "luarium.ssh.hosts"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local await = task.await
local fs = native.fs

local M = {}

local KEY_MAX = 262144 -- bytes of a private key's file
local TRIES = 6 -- keys that are shown; sshd gives up after so many
local GIVEN = "the key given"
local NO_CERTIFICATES = "certificates cannot be used (libssh2 knows none): put the key itself into the host's "
  .. "authorized_keys"

---@class luarium.ssh.Target
---@field name string user@host:port, for messages
---@field host string what is connected to
---@field alias string what known_hosts calls it
---@field port integer
---@field user string
---@field keys (string|luarium.Secret)[] paths of private keys, or keys themselves
---@field given boolean the keys were asked for, rather than the usual ones
---@field passphrase luarium.Secret|string|nil
---@field password luarium.Secret|string|nil
---@field agent string? its socket
---@field only_keys boolean the agent may only use keys that are also in `keys`
---@field known_hosts string[] files; the first one is written to
---@field pins string[] fingerprints
---@field accept_new boolean
---@field jump luarium.ssh.Target?
---@field proxy string? a line of sh whose stdin and stdout lead to the host
---@field connect_timeout number seconds
---@field keepalive number seconds; 0: none
---@field idle number seconds
---@field max_sessions integer
---@field connections integer

-- ---- keys ----

--- The text of a private key, and how to call it.
local function read_key(key)
  local text = secret.reveal(key)
  if text:find("-----BEGIN", 1, true) then
    secret.register(text, "ssh key")
    return text, GIVEN
  end
  local content, err = await(fs.read_file(text, { max = KEY_MAX }))
  return content, text, err
end

local function from_agent(target)
  if not target.agent then
    return {}
  end
  local list, err = await(native.ssh.agent_keys(target.agent))
  return list or {}, err
end

--- The public keys beside the private ones, by their bytes.
local function public_keys(target)
  local found = {}
  for _, key in ipairs(target.keys) do
    local path = type(key) == "string" and key
    local text = path and await(fs.read_file(path .. ".pub", { max = KEY_MAX }))
    local encoded = text and text:match("^%S+%s+(%S+)")
    local ok, bytes = pcall(native.crypto.base64_decode, encoded or "")
    if encoded and ok and bytes then
      found[bytes] = path
    end
  end
  return found
end

-- ---- attempts ----

--- What was tried and why it did not help.
local function note(attempts, format, ...)
  attempts[#attempts + 1] = format:format(...)
end

--- What a refusal says without the name of the operation.
local function plain(fault)
  return (fault.message:gsub("^ssh%.auth: ", ""))
end

local function lost(err)
  return err.name == "SSH_LOST"
end

local function try_agent(session, target, attempts)
  local list, err = from_agent(target)
  if err then
    note(attempts, "%s", err.message)
  end
  local wanted = target.only_keys and public_keys(target)
  local shown = 0
  for _, entry in ipairs(list) do
    if hosts.kind(entry.key):find("-cert-v01@", 1, true) then
      note(attempts, "the agent's certificate %s: %s", entry.comment, NO_CERTIFICATES)
    elseif shown < TRIES - 1 and (not wanted or wanted[entry.key]) then
      shown = shown + 1
      local ok, fault = await(session:agent(target.user, target.agent, entry.key))
      if ok then
        return true
      elseif lost(fault) then
        return nil, fault
      end
      local rsa = hosts.kind(entry.key) == "ssh-rsa"
      note(attempts, "the agent's key %s was %s", entry.comment, rsa and plain(fault) or "refused")
    end
  end
  return false
end

local function try_keys(session, target, attempts)
  local passphrase = secret.reveal(target.passphrase)
  if passphrase then
    secret.register(passphrase, "ssh passphrase")
  end
  for i = 1, math.min(#target.keys, TRIES) do
    local text, name, err = read_key(target.keys[i])
    if not text then
      if target.given or err.kind ~= "not_found" then
        note(attempts, "%s cannot be read: %s", name, err.message)
      end
    else
      local ok, fault = await(session:key(target.user, text, passphrase))
      if ok then
        return true
      elseif lost(fault) then
        return nil, fault
      end
      local locked = not passphrase and (text:find("ENCRYPTED", 1, true) or fault.message:find("passphrase", 1, true))
      note(attempts, "%s: %s", name, locked and "it needs a passphrase (option passphrase), or the agent"
        or plain(fault))
      if name ~= GIVEN and await(fs.stat(name .. "-cert.pub")) then
        note(attempts, "%s-cert.pub: %s", name, NO_CERTIFICATES)
      end
    end
  end
  return false
end

local function try_password(session, target, offered, attempts)
  local password = secret.reveal(target.password)
  if not password then
    return false
  end
  secret.register(password, "ssh password")
  local refused
  for _, way in ipairs({ { "password", false }, { "keyboard%-interactive", true } }) do
    if offered:find(way[1]) then
      local ok, fault = await(session:password(target.user, password, way[2]))
      if ok then
        return true
      elseif lost(fault) then
        return nil, fault
      end
      refused = true
    end
  end
  if refused then
    note(attempts, "the password was refused")
  end
  return false
end

local function authenticate(session, target)
  local offered, err = await(session:methods(target.user))
  if not offered then
    return nil, err
  elseif offered == "" then
    return true -- nothing was asked for
  end
  local attempts, done = {}, false
  if offered:find("publickey", 1, true) then
    local first, second = try_agent, try_keys
    if target.given then
      first, second = try_keys, try_agent
    end
    done, err = first(session, target, attempts)
    if done == false then
      done, err = second(session, target, attempts)
    end
  end
  if done == false then
    done, err = try_password(session, target, offered, attempts)
  end
  if done then
    return true
  elseif err then
    return nil, err
  end
  local tried = #attempts > 0 and table.concat(attempts, "; ") or "there was no key, agent or password to try"
  return nil, errors.new("auth", ("ssh: %s does not let us in: %s; it accepts %s"):format(target.name, tried, offered),
    { name = "SSH_LOGIN" })
end

-- ---- the whole way ----

local function open(target, sessions)
  local via
  if target.jump then
    local ok, err = open(target.jump, sessions)
    if not ok then
      return nil, err
    end
    via = sessions[1]
  end
  local known, err = hosts.look_up(target)
  if not known then
    return nil, err
  end
  local session
  session, err = native.ssh.session({
    host = target.host, port = target.port, via = via, proxy = target.proxy, hostkeys = known.kinds,
    keepalive = target.keepalive,
  })
  if not session then
    return nil, err
  end
  table.insert(sessions, 1, session)
  local ok
  ok, err = await(session:connect())
  if ok then
    ok, err = hosts.verify(target, known, session:hostkey())
  end
  if ok then
    ok, err = authenticate(session, target)
  end
  return ok, err
end

--- Connects. The first session is the target's, the others are those that it goes through.
---@async
---@param target luarium.ssh.Target
---@return userdata[]? sessions
---@return luarium.Error? err
function M.connect(target)
  local sessions, done, err = {}, nil, nil
  local ok, failure = pcall(task.timeout, target.connect_timeout, function()
    done, err = open(target, sessions)
  end)
  if ok and done then
    return sessions
  end
  for _, session in ipairs(sessions) do
    session:close()
  end
  if ok then
    return nil, err
  elseif task.cancel_reason() or not errors.is(failure, "timeout") then
    error(failure, 0)
  end
  return nil, errors.new("unavailable", ("ssh: %s was not ready within %g s: is it an SSH server, and can it be "
    .. "reached from here?"):format(target.name, target.connect_timeout), { name = "SSH_LOST", retryable = true })
end

return M
