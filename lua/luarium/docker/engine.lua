--- A Docker or Podman engine: where it listens, the version of its interface, requests, errors by what they mean.
local ascii = require "luarium.ascii"
local client = require "luarium.provider.client"
local errors = require "luarium.error"
local http = require "luarium.http"
local json = require "luarium.json"
local log = require "luarium.log"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"
local tunnels = require "luarium.docker.tunnel"
local trim_end = require("luarium.text").trim_end

local M = {}

local OURS = { 1, 41 } -- the newest interface that this was written for: Docker 20.10
local OLDEST = { 1, 25 } -- the first with exec's Env
local REQUEST_TIMEOUT = 60
local SOCKET = "/var/run/docker.sock"

---@class luarium.docker.Engine
---@field name string for messages, such as "unix:///var/run/docker.sock"
---@field is_local boolean it runs on this machine
---@field host string? where published ports are found; nil: through the tunnel
---@field tunnel luarium.docker.Tunnel? to an engine on a machine that SSH reaches
---@field ended table<string, luarium.Error> what became of containers that were taken away, by their id; and the ids
---@field burying table<string, table> events for those that are being taken away
---@field thawed table<string, integer> paused containers that run for a moment, and for how many
---@field events luarium.docker.Events?
---@field podman boolean? known after the first request
local Engine = {}
Engine.__index = Engine

-- ---- where ----

local function home()
  return os.getenv("HOME") or "/root"
end

local function tls_files(config)
  local folder = config.cert_path or home() .. "/.docker"
  local files = { ca_file = folder .. "/ca.pem", cert = folder .. "/cert.pem", key = folder .. "/key.pem" }
  for key, path in pairs(files) do
    if not native.fs.exists(path) then
      files[key] = nil
    end
  end
  return files
end

local function tcp(name, scheme, rest, config)
  local host, port = rest:match("^(%b[]):?(%d*)/*$")
  if not host then
    host, port = rest:match("^([^/:]+):?(%d*)/*$")
  end
  if not host then
    return nil, errors.new("invalid", ("docker: the host %q makes no sense: expected %s://HOST:PORT"):format(
      secret.shown_url(name), scheme))
  end
  local tls = scheme == "https" or scheme == "tcp" and (config.tls_verify or config.cert_path ~= nil)
  local options = { version = "1.1" }
  if tls then
    for key, value in pairs(tls_files(config)) do
      options[key] = value
    end
    if config.tls_verify == false then
      options.verify = false
    end
  end
  options.allow_plain = config.allow_plain
  port = port ~= "" and port or tls and "2376" or "2375"
  local loopback = host == "localhost" or host == "[::1]" or host:find("^127%.") ~= nil
  return { base = ("%s://%s:%s"):format(tls and "https" or "http", host, port), http = options, host = host,
    is_local = loopback }
end

--- What a host of the configuration or of DOCKER_HOST means.
local function address(config)
  local name = config.host or "unix://" .. SOCKET
  local scheme, rest = name:match("^(%a+)://(.+)$")
  if scheme == "unix" or name:sub(1, 1) == "/" then
    local path = scheme and rest or name
    return { base = "http://docker", http = { unix_socket = path, version = "1.1" }, host = "127.0.0.1",
      is_local = true }
  elseif scheme == "tcp" or scheme == "http" or scheme == "https" then
    return tcp(name, scheme, rest, config)
  elseif scheme == "ssh" then
    local host, socket = tunnels.parse(name, SOCKET)
    if host then
      return { base = "http://docker", http = { version = "1.1" }, is_local = false,
        tunnel = tunnels.new(name, host, socket, config.ssh) }
    end
    return nil, errors.new("invalid", "docker: the host makes no sense: expected ssh://USER@HOST:PORT, "
      .. "without a password")
  end
  return nil, errors.new("invalid", ("docker: the host %q makes no sense: expected unix:///path, tcp://HOST:PORT, "
    .. "https://HOST:PORT or ssh://USER@HOST:PORT"):format(secret.shown_url(name)))
end

local function with(options, more)
  local result = {}
  for _, list in ipairs({ options, more or {} }) do
    for key, value in pairs(list) do
      result[key] = value
    end
  end
  return result
end

--- The engine of a configuration; nothing is sent yet.
---@param config table of the provider
---@return luarium.docker.Engine? engine
---@return luarium.Error? err
function M.open(config)
  local where, err = address(config)
  if not where then
    return nil, err
  end
  local self = setmetatable({
    name = config.host or "unix://" .. SOCKET, is_local = where.is_local, host = where.host, base = where.base,
    http = where.http, tunnel = where.tunnel, ended = {}, burying = {}, thawed = {},
  }, Engine)
  local function options()
    local result = with(where.http, { timeout = REQUEST_TIMEOUT })
    if not where.tunnel then
      return result
    end
    local socket, fault = where.tunnel:requests()
    result.unix_socket = socket
    return socket and result or nil, fault
  end
  self.client = client.new({ base_url = where.base, provider = "docker", peer = "the engine", http = options,
    concurrency = where.tunnel and where.tunnel:concurrency() or nil,
    status = { [500] = "io" }, -- it means everything, so it is not repeated; refine tells what
    retry = { max = 5, initial = 0.2, cap = 3 } })
  return self
end

-- ---- errors ----

--- What the engine's words mean where its status does not say: most of it comes as 500.
local MEANINGS = {
  { "no space left on device", "io", "ENOSPC" },
  { "unauthorized", "auth", "REGISTRY_LOGIN" }, { "no basic auth credentials", "auth", "REGISTRY_LOGIN" },
  { "authentication required", "auth", "REGISTRY_LOGIN" }, { "pull access denied", "auth", "REGISTRY_LOGIN" },
  { "incorrect username or password", "auth", "REGISTRY_LOGIN" }, { "access denied", "auth" },
  { "toomanyrequests", "rate_limited" },
  { "port is already allocated", "conflict" }, { "address already in use", "conflict" },
  { "pids limit", "quota" }, { "resource temporarily unavailable", "quota", "EAGAIN" },
  { "cannot allocate memory", "quota", "ENOMEM" },
  { "unknown or invalid runtime name", "invalid" }, { "unknown runtime specified", "invalid" },
  { "unable to find user", "not_found" }, { "unable to find group", "not_found" },
  { "cannot unmarshal", "invalid" }, { "cannot assign requested address", "invalid" },
  { "is not a directory", "invalid" }, { "seccomp profile failed", "invalid" }, { "error setting rlimit", "invalid" },
  { "invalid tmpfs option", "invalid" }, { "invalid %-%-security%-opt", "invalid" },
  { "executable file not found", "invalid" }, { "could not select device driver", "unsupported" },
  { "storage%-opt is supported only", "unsupported" }, { "is marked read%-only", "unsupported" },
  { "manifest unknown", "not_found" }, { "not found", "not_found" }, { "no such image", "not_found" },
  { "no such host", "unavailable", "REGISTRY_AWAY" }, { "connection refused", "unavailable" },
  { "i/o timeout", "timeout" }, { "tls handshake timeout", "timeout" }, { "context deadline exceeded", "timeout" },
}

--- The kind that a text of the engine stands for.
---@param text string
---@return string? kind
---@return string? name
function M.meaning(text)
  local lower = ascii.lower(text)
  for _, row in ipairs(MEANINGS) do
    if lower:find(row[1]) then
      return row[2], row[3]
    end
  end
end

local NO_CONNECTION = { CURLE_COULDNT_CONNECT = true, CURLE_COULDNT_RESOLVE_HOST = true }

local function refine(self, err)
  if not errors.is(err) then
    return err
  elseif NO_CONNECTION[err.name] then
    local text = "cannot connect to the engine at %s: is it running, and may you use it? (%s)"
    return err:wrap("docker", { message = text:format(self.name, err.message) })
  elseif err.status and err.status >= 500 then
    local kind, name = M.meaning(err.message)
    return err:wrap("docker", { kind = kind or "unavailable", name = name or err.name, retryable = kind == nil })
  end
  return err
end

--- An error in the words of the engine, which may contain anything.
---@param what string
---@param words string
---@param default string kind when the words say nothing
---@return luarium.Error
function M.error(what, words, default)
  local kind, name = M.meaning(words)
  return errors.new(kind or default, what .. ": " .. trim_end(log.neutral(secret.excerpt(words, 400))), { name = name })
end

-- ---- version ----

local function parse_version(text)
  local major, minor = tostring(text):match("^(%d+)%.(%d+)$")
  return major and { tonumber(major), tonumber(minor) }
end

local function older(a, b)
  return a[1] < b[1] or a[1] == b[1] and a[2] < b[2]
end

--- The version to speak with an engine that is newer than we are: it may have given up what we would speak.
local function with_newer(self)
  local answer, err = self.client:request({ method = "GET", path = "/version", timeout = 10 })
  if not answer then
    return nil, refine(self, err)
  end
  local oldest = type(answer.body) == "table" and parse_version(answer.body.MinAPIVersion)
  return oldest and older(OURS, oldest) and oldest or OURS
end

--- Asks once which interface the engine speaks, and agrees on the newest that both know.
local function negotiate(self)
  if self.prefix then
    return true
  end
  local answer, err = self.client:request({ method = "GET", path = "/_ping", raw = true, timeout = 10 })
  if not answer then
    return nil, self.tunnel and self.tunnel:explain(err) or refine(self, err)
  end
  local theirs = parse_version(answer.headers["api-version"])
  if not theirs then
    return nil, errors.new("protocol", ("docker: what listens at %s is no Docker engine"):format(self.name))
  elseif older(theirs, OLDEST) then
    return nil, errors.new("unsupported", ("docker: the engine at %s speaks version %d.%d, which is too old: at least "
      .. "%d.%d is needed (Docker 1.13)"):format(self.name, theirs[1], theirs[2], OLDEST[1], OLDEST[2]))
  end
  local agreed = theirs
  if older(OURS, theirs) then
    agreed, err = with_newer(self)
    if not agreed then
      return nil, err
    end
  end
  self.podman = answer.headers["libpod-api-version"] ~= nil
  self.version = agreed
  self.prefix = ("/v%d.%d"):format(agreed[1], agreed[2])
  return true
end
Engine.negotiate = negotiate

--- Whether the agreed version is at least this one.
---@param major integer
---@param minor integer
---@return boolean
function Engine:speaks(major, minor)
  return self.version ~= nil and not older(self.version, { major, minor })
end

-- ---- requests ----

local function no_sense(method, path)
  return errors.new("protocol", ("docker: the engine's answer to %s %s makes no sense"):format(method,
    path:match("^[^?]*")), { provider = "docker" })
end

--- Whether a value has the shape that was asked for: "list" of tables, or a table with an Id.
local function fits(value, shape)
  if type(value) ~= "table" or shape == "made" and type(value.Id) ~= "string" then
    return false
  end
  for _, item in ipairs(shape == "list" and value or {}) do
    if type(item) ~= "table" then
      return false
    end
  end
  return true
end

--- Sends a request and gives the decoded answer.
---@async
---@param method string
---@param path string without the version
---@param options {query: table?, json: any, timeout: number?, safe: boolean?, headers: table?, raw: boolean?,
---  shape: "list"|"made"|"table"|nil}? shape: what the answer must be; "made": a table with an Id
---@return any body `true` when there is none
---@return luarium.Error? err
function Engine:request(method, path, options)
  local ok, err = negotiate(self)
  if not ok then
    return nil, err
  end
  local request = { method = method, path = self.prefix .. path }
  for key, value in pairs(options or {}) do
    request[key] = key ~= "shape" and value or nil
  end
  local answer
  answer, err = self.client:request(request)
  if not answer then
    return nil, refine(self, err)
  end
  local shape = options and options.shape
  if shape and not fits(answer.body, shape) then
    return nil, no_sense(method, path)
  end
  return answer.body == nil and true or answer.body
end

--- Calls make(options) for a connection of its own, and sees to it that its place in a tunnel goes back with it.
local function connect(self, method, path, options, make)
  local result = with(self.http, options)
  result.method, result.url = method, self.base .. self.prefix .. path
  if not self.tunnel then
    return make(result)
  end
  local socket, done = self.tunnel:lease()
  if not socket then
    return nil, done
  end
  result.unix_socket = socket
  local ok, made, err, answer = pcall(make, result)
  if not ok or not made then
    done()
  end
  if not ok then
    error(made, 0)
  elseif made then
    local close = made.close
    made.close = function(...)
      done()
      return close(...)
    end
  end
  return made, err, answer
end

--- The error for an answer with a status of at least 400 and a body.
local function answer_error(self, method, path, status, body)
  local value = json.decode_plain(body)
  local words = type(value) == "table" and type(value.message) == "string" and value.message or body
  local kinds = { [400] = "invalid", [401] = "auth", [403] = "auth", [404] = "not_found", [409] = "conflict" }
  local kind = kinds[status] or status < 400 and "protocol" or "unavailable"
  local err = errors.new(kind, ("%s %s: the engine answered %d: %s"):format(method, path, status,
    trim_end(log.neutral(secret.excerpt(words, 300)))), { status = status, provider = "docker" })
  return refine(self, err)
end

--- Opens a request whose answer, or body, is a stream. A status of at least 400 is an error, its body read.
---@async
---@param options table for luarium.http.open
---@return luarium.http.Stream? stream close it
---@return luarium.Error? err
function Engine:open(method, path, options)
  local ok, err = negotiate(self)
  if not ok then
    return nil, err
  end
  local stream
  stream, err = connect(self, method, path, options, function(given)
    given.own_connection = self.tunnel ~= nil -- one that is kept would keep a place, too
    return http.open(given)
  end)
  if not stream then
    return nil, refine(self, err)
  elseif stream.status and stream.status >= 400 then
    return nil, self:refusal(stream, method, path)
  end
  return stream
end

--- The error that a stream's answer is; closes the stream.
---@async
---@return luarium.Error
function Engine:refusal(stream, method, path)
  local body = ""
  while #body < 65536 do
    local bytes = stream:read()
    if not bytes then
      break
    end
    body = body .. bytes
  end
  local status = stream.status
  stream:close()
  return answer_error(self, method, path, status, body)
end

--- Sends a request that takes over its connection.
---@async
---@param path string
---@param value table sent as JSON
---@param seconds number until the engine agrees
---@return luarium.http.Upgraded? connection
---@return luarium.Error? err
function Engine:hijack(path, value, seconds)
  local ok, err = negotiate(self)
  if not ok then
    return nil, err
  end
  local connection, answer
  connection, err, answer = connect(self, "POST", path, { json = value, timeout = seconds }, function(options)
    return http.upgrade("tcp", options)
  end)
  if not connection then
    return nil, answer and answer_error(self, "POST", path, answer.status, answer.body) or refine(self, err)
  end
  return connection
end

--- Closes what leads to it.
function Engine:close()
  if self.events then
    self.events:close()
  end
  if self.tunnel then
    self.tunnel:close()
  end
end

--- A header whose value is kept out of everything that is shown.
---@param value string
---@return luarium.Secret
function M.hidden(value)
  return secret.new(value, "registry credentials")
end

--- Looks again and again; see luarium.provider.client.
M.poll = client.poll
M.sleep = task.sleep

return M
