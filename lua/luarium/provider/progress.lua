--- Waiting for a long operation while telling how far it is.
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

--- Seconds between two reports.
M.interval = 0.2

--- Like task.await, but calls on_progress(done, total) now and then and once at the end. total is 0 while unknown.
---@async
---@param on_progress fun(done: integer, total: integer)?
---@param op userdata?
---@param err luarium.Error?
---@return any ...
function M.await(on_progress, op, err)
  if not op or not on_progress then
    return task.await(op, err)
  end
  local failure
  local function watch()
    while not op:done() do
      local timer = native.loop.sleep(M.interval)
      task.await(timer)
      on_progress(op:progress())
    end
  end
  local value, fault
  task.scope(function(scope)
    local watcher = scope:spawn(function()
      local ok, problem = pcall(watch)
      if not ok and not task.cancel_reason() then
        failure = problem
        op:cancel()
      end
    end)
    value, fault = task.await(op)
    task.cancel(watcher)
  end, "progress")
  if failure then
    error(failure, 0)
  end
  on_progress(op:progress())
  return value, fault
end

return M
