--- A proxy in front of a unix socket that goes wrong on demand; proxy.c says how. Compiled by the test that uses it.
---
---   local proxy = proxies.start(socket)   proxy.socket   proxy:rule("drop POST /exec")   proxy:stop()
local scratch = require "spec.support.scratch"

local M = {}

--- Why none can be had here, or nil.
function M.missing()
  if scratch.sh("command -v cc || command -v gcc || true") == "" then
    return "there is no C compiler"
  end
end

local Proxy = {}
Proxy.__index = Proxy

--- Adds a rule, or gives an order; it counts when this returns.
function Proxy:rule(line)
  local before = #scratch.read(self.log)
  self.keeper:write(line, "\n")
  self.keeper:flush()
  scratch.sh(("i=0; while [ $(wc -c <%s) -le %d ] && [ $i -lt 500 ]; do i=$((i + 1)); sleep 0.01; done"):format(self.log,
    before))
end

--- Forgets the rules that are left.
function Proxy:clear()
  self:rule("clear")
end

function Proxy:stop()
  self.keeper:close()
  scratch.drop(self.dir)
end

--- Starts one in front of a socket.
---@param target string path
---@return table proxy
function M.start(target)
  local dir = scratch.make()
  scratch.sh(("$(command -v cc || command -v gcc) -std=c11 -D_GNU_SOURCE -O1 -Wall -Wextra -Werror -o %s/proxy "
    .. "spec/support/proxy.c"):format(dir))
  local self = setmetatable({ dir = dir, socket = dir .. "/socket", host = "unix://" .. dir .. "/socket",
    log = dir .. "/log" }, Proxy)
  self.keeper = assert(io.popen(("%s/proxy %s %s >%s"):format(dir, self.socket, scratch.quote(target), self.log), "w"))
  scratch.sh(("i=0; while ! [ -s %s ] && [ $i -lt 500 ]; do i=$((i + 1)); sleep 0.01; done"):format(self.log))
  return self
end

return M
