--- A time limit for those who have an answer of their own when it is over.
local errors = require "luarium.error"
local task = require "luarium.task"

--- Calls fn() as task.timeout does. What fn raises, and the end of the caller itself, are raised.
---@async
---@param seconds number
---@param fn fun()
---@return boolean in_time false: the time was over, and fn was ended
return function(seconds, fn)
  local ok, failure = pcall(task.timeout, seconds, fn)
  if not ok and (task.cancel_reason() or not errors.is(failure, "timeout")) then
    error(failure, 0)
  end
  return ok
end
