--- An engine on another machine, through SSH: its socket forwarded to unix sockets here. sshd bounds the sessions of a
--- connection, and each use of a forwarded socket is one. So requests share one connection, and streams, which may last
--- for hours, get their places on others, of which there are as many as are needed.
local check = require "luarium.check"
local errors = require "luarium.error"
local task = require "luarium.task"

local M = {}

local SPARE = 2 -- sessions of a connection that are not used: sshd counts one for a moment after its end

local function ssh()
  return require "luarium.ssh" -- only where an engine is reached this way
end

local function template()
  local rows = {}
  for name, row in pairs(ssh().options) do
    rows[name] = name ~= "host" and { type = row.type or row.secret and "secret" or "text", min = row.min,
      max = row.max, secret = row.secret, env = row.env } or nil
  end
  return rows
end

--- What of ssh://USER@HOST:PORT/PATH is the host, and the path of the engine's socket there.
---@param name string
---@param default string path of the socket
---@return string? host
---@return string? path
function M.parse(name, default)
  local host, path = name:match("^ssh://([^/%s]+)(/?%S*)$")
  if not host or host:find("^[^@]*:[^@]*@") then -- a password in it would be shown everywhere
    return nil
  end
  return host, #path > 1 and path or default
end

--- Checks the table `ssh` of the configuration.
---@param options table?
function M.check(options)
  if options then
    check.options(options, template(), "docker: ssh")
  end
end

---@class luarium.docker.Tunnel
---@field name string for messages
local Tunnel = {}
Tunnel.__index = Tunnel

--- Nothing is connected yet.
---@param name string
---@param host string
---@param path string of the socket there
---@param options table? how the host is reached, as docs/ssh.md says
---@return luarium.docker.Tunnel
function M.new(name, host, path, options)
  local given = { host = host }
  for key, row in pairs(template()) do
    local variable = row.env and os.getenv(row.env)
    given[key] = variable ~= "" and variable or nil
  end
  for key, value in pairs(options or {}) do
    given[key] = value
  end
  return setmetatable({ name = name, options = given, path = path, streams = {},
    lock = task.semaphore(1, "a connection to " .. name),
    places = math.max(1, (given.max_sessions or 10) - SPARE) }, Tunnel)
end

--- Requests that may be under way at a time.
---@return integer
function Tunnel:concurrency()
  return self.places
end

local function machine_of(self)
  if not self.machine then
    local machine, err = ssh().open(self.options)
    if not machine then
      return nil, err
    end
    self.machine = machine
  end
  return self.machine
end

local function forward(self)
  local machine, err = machine_of(self)
  if not machine then
    return nil, err
  end
  return machine:forward({ socket = self.path })
end

--- The socket for requests; made again when its connection was lost.
---@async
---@return string? path
---@return luarium.Error? err
function Tunnel:requests()
  return self.lock:with(function()
    if self.shared and not self.shared:alive() then
      self.shared:close()
      self.shared = nil
    end
    local err
    if not self.shared then
      self.shared, err = forward(self)
    end
    return self.shared and self.shared.path, err
  end)
end

--- One with a free place; those whose connection was lost are closed.
local function free_stream(self)
  local found
  for i = #self.streams, 1, -1 do
    local entry = self.streams[i]
    if not entry.socket:alive() then
      entry.socket:close()
      table.remove(self.streams, i)
    elseif entry.used < self.places and (not found or entry.used > found.used) then
      found = entry
    end
  end
  return found
end

--- One that nobody uses is closed when there is another with room.
local function give_back(self, entry)
  entry.used = entry.used - 1
  local mine, room
  for i, other in ipairs(self.streams) do
    mine = other == entry and i or mine
    room = room or other ~= entry and other.used < self.places
  end
  if mine and room and entry.used == 0 then
    table.remove(self.streams, mine)
    entry.socket:close()
  end
end

--- A place for a stream.
---@async
---@return string? path of a socket
---@return fun()|luarium.Error|nil done gives the place back; may be called again
function Tunnel:lease()
  return self.lock:with(function()
    local entry = free_stream(self)
    if not entry then
      local socket, err = forward(self)
      if not socket then
        return nil, err
      end
      entry = { socket = socket, used = 0 }
      self.streams[#self.streams + 1] = entry
    end
    entry.used = entry.used + 1
    local held = true
    return entry.socket.path, function()
      if held then
        held = false
        give_back(self, entry)
      end
    end
  end)
end

--- The address here of a port of the engine's machine.
---@async
---@param port integer
---@return {url: string}? result
---@return luarium.Error? err
function Tunnel:url(port)
  local machine, err = machine_of(self)
  if not machine then
    return nil, err
  end
  return machine:url(nil, port)
end

--- A connection that ended without a word may be one that the machine could not make: says why.
---@async
---@param err luarium.Error
---@return luarium.Error
function Tunnel:explain(err)
  if err.kind ~= "unavailable" or err.status or not self.machine then
    return err
  end
  local words = self.machine:dial_failure({ socket = self.path })
  if not words then
    return err
  end
  local text = "cannot connect to the engine at %s: its machine says of %s: %s"
  return errors.new("unavailable", text:format(self.name, self.path, words), { cause = err, retryable = true })
end

--- Closes all connections and the sockets here.
function Tunnel:close()
  self.shared, self.streams = nil, {}
  if self.machine then
    self.machine:close()
    self.machine = nil
  end
end

return M
