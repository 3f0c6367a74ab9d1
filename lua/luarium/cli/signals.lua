--- Signals of the program, one after the other.
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

--- Calls fn with the name of each signal that comes, until its task ends. None is missed while fn runs.
---@async
---@param fn fun(name: string)
---@param ... string "INT", "WINCH" ...
function M.each(fn, ...)
  local op, err = native.signal.wait(...)
  if not op then
    error(err, 0)
  end
  while op do
    local name, next_op = task.await(op)
    if not name then
      return
    end
    fn(name)
    op = next_op
  end
end

return M
