--- Waits for what a test cannot be told of: until fn() is true, which it returns; raises when that takes longer than it may.
---
---   until_true("the file is there", function() return scratch.exists(path) end)
local monotonic = require("luarium.native").loop.monotonic
local task = require "luarium.task"

---@async
---@generic T
---@param what string what it waits for, in the words of the message
---@param fn fun(): T?
---@param seconds number? default: 30; it tells what hangs, not how fast the machine is
---@return T
return function(what, fn, seconds)
  seconds = seconds or 30
  local deadline = monotonic() + seconds
  while true do
    local value = fn()
    if value then
      return value
    end
    if monotonic() >= deadline then
      error(("in vain for %g s: %s"):format(seconds, what), 2)
    end
    task.sleep(0.02)
  end
end
