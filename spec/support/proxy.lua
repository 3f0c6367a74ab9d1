--- A proxy with faults, in front of a port of this machine or a unix socket; proxy.c says what it can do.
---
---   local proxy = proxies.start(server.port)      proxy.port
---   local proxy = proxies.start(engine.socket)    proxy.socket   proxy.host
---   proxy:say("after 5000 cut")   proxy:say("drop POST /exec")   proxy:count()   proxy:stop()
local native = require "luarium.native"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local await = task.await
local M = {}

local program

local function build()
  if program then
    return program
  end
  local module = package.searchpath and package.searchpath("luarium.native", package.cpath)
    or scratch.sh("ls -d build/*/luarium/native.so | head -n 1")
  local dir = module:match("^(.*)/[^/]+/luarium/native%.so$")
  scratch.sh(("flock %s/build.lock cmake --build %s --target proxy"):format(dir, dir)) -- other files build there, too
  program = dir .. "/bench/proxy"
  return program
end

local Proxy = {}
Proxy.__index = Proxy

local function read_line(self)
  local text = ""
  while not text:find("\n", 1, true) do
    text = text .. assert(await(self.process:read()))
  end
  return text
end

--- Gives it an order or a rule; it counts when this returns.
---@return string answer
function Proxy:say(line)
  assert(await(self.process:write(line .. "\n")))
  return read_line(self)
end

--- Bytes that came from the server so far, and connections that are open.
function Proxy:count()
  local bytes, open = self:say("count"):match("(%d+) (%d+)")
  return tonumber(bytes), tonumber(open)
end

--- Ends it; its connections are closed.
function Proxy:stop()
  self.process:close()
  if self.dir then
    scratch.drop(self.dir)
  end
end

--- Starts one; it ends with the test, at the latest when its stdin does.
---@param target integer|string a port, or the path of a unix socket
---@return table proxy
function M.start(target)
  local self = setmetatable({}, Proxy)
  local argv = { build(), tostring(target) }
  if type(target) == "string" then
    self.dir = scratch.make()
    self.socket = self.dir .. "/socket"
    self.host = "unix://" .. self.socket
    argv[3] = self.socket
  end
  self.process = assert(native.process.spawn({ argv = argv }))
  local port = tonumber(read_line(self))
  self.port = port > 0 and port or nil
  return self
end

return M
