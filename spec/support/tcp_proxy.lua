--- A TCP proxy with faults, in front of a port of this machine; see tcp_proxy.c for what it can do.
---
---   local proxy = tcp_proxy.start(server.port)
---   proxy:say("after 5000 cut")   proxy.port   proxy:count()   proxy:stop()
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
  scratch.sh(("flock %s/build.lock cmake --build %s --target tcp_proxy"):format(dir, dir)) -- other files build there, too
  program = dir .. "/bench/tcp_proxy"
  return program
end

local Proxy = {}
Proxy.__index = Proxy

--- Gives it a command.
function Proxy:say(line)
  assert(await(self.process:write(line .. "\n")))
end

--- Bytes that came from the server so far, and connections that are open.
function Proxy:count()
  self:say("count")
  local bytes, open = self:read():match("(%d+) (%d+)")
  return tonumber(bytes), tonumber(open)
end

function Proxy:read()
  local text = ""
  while not text:find("\n", 1, true) do
    text = text .. assert(await(self.process:read()))
  end
  return text
end

--- Ends it; its connections are closed.
function Proxy:stop()
  self.process:close()
end

--- Starts one; it ends with the test, at the latest when its stdin does.
---@param port integer
---@return table proxy {port}
function M.start(port)
  local process = assert(native.process.spawn({ argv = { build(), tostring(port) } }))
  local self = setmetatable({ process = process }, Proxy)
  self.port = tonumber(self:read())
  return self
end

return M
