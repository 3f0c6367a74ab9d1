--- For hosts with a loop of their own: tasks that are started from anywhere and asked later, and a clean end.
---
--- The rule for hosts: inside a Luarium task a call that waits suspends the task. Anywhere else, in the host's main
--- program or in coroutines of its own, the same call drives the loop until it is done, so it blocks the host. A host
--- that must not block starts a task and steps.
local compat = require "luarium.compat"
local errors = require "luarium.error"
local native = require "luarium.native"
local scheduler = require "luarium.task.scheduler"
local scope = require "luarium.task.scope"

local unpack = compat.unpack
local Task = scheduler.methods

local M = {}

--- A failure that nobody has asked for yet is told as a log event: it must not pass unseen.
local function tell(task, message, err)
  require("luarium.event").emit("log", { level = "error",
    message = ("%s of %s: %s"):format(message, task.name, tostring(err)) })
end

local function finished(task)
  local observers = task.observers
  while observers and observers.called < #observers do
    observers.called = observers.called + 1 -- each is called once, also when this function is called again
    local ok, err = pcall(observers[observers.called], task)
    if not ok then
      tell(task, "a function given to on_done failed at the end", err)
    end
  end
  if not task.ok and not task.joiners and not observers and not errors.is(task.error, "cancelled") then
    tell(task, "nobody was waiting at the failed end", task.error)
  end
end

--- Starts fn(...) as a task of its own, from anywhere; it first runs in the next step. Whoever starts it asks it for
--- its end: `task:done()`, `task:result()`, `task:on_done(fn)`, `task:wait()`. Inside a task prefer a scope, which ends
--- what it has begun.
---@param fn function
---@return luarium.Task task
function M.start(fn, ...)
  require("luarium.check").argument(fn, "function", "start", "the function")
  native.loop.fd() -- raises when the state was closed: nothing would ever run the task
  return scope.spawn_watched(finished, fn, ...)
end

--- Whether the task has ended.
---@return boolean
function Task:done()
  return self.state == "done"
end

--- How the task ended, without raising: true and what its function returned, or false and its error.
---@return boolean? ok nil while it has not ended
---@return any ...
function Task:result()
  if self.state ~= "done" then
    return nil
  end
  return self.ok, unpack(self.results, 2, self.results.n)
end

--- Calls fn(task) when the task has ended, at once when it has already. fn runs between tasks and must not wait.
---@param fn fun(task: luarium.Task)
function Task:on_done(fn)
  require("luarium.check").argument(fn, "function", "on_done", "the function")
  if self.state == "done" then
    fn(self)
  else
    self.observers = self.observers or { called = 0 }
    table.insert(self.observers, fn)
  end
end

--- Asks the task to stop: its next wait, or the one it is in, raises `cancelled`; its cleanup still runs.
---@param reason string?
function Task:cancel(reason)
  scope.cancel_task(self, reason)
end

local LONGEST = 315360000 -- seconds that a timer of the engine takes
local finishers = {}

--- Calls fn(seconds) at the end of a shutdown, outside every task, with the time that is left for it.
---@param fn fun(seconds: number)
function M.at_shutdown(fn)
  finishers[#finishers + 1] = fn
end

--- Ends everything cleanly: cancels every task and drives the loop until their cleanup is done (sandboxes of `with`,
--- `<close>` and `defer` are destroyed), for at most so many seconds. To be called outside a task, before the state is
--- closed.
---@param seconds number?  default 10; math.huge: as long as it takes
---@return integer left tasks that had not ended in time
function M.shutdown(seconds)
  seconds = seconds or 10
  if seconds ~= math.huge then
    require("luarium.check").argument(seconds, "seconds", "shutdown", "the time it may take")
  end
  if scheduler.current() then
    errors.raise("invalid", "shutdown: it ends every task, so no task may call it: call it in the host itself")
  end
  scheduler.check_may_drive("shutdown") -- before anything is cancelled
  for _, task in ipairs(scheduler.tasks()) do
    scope.cancel_task(task, "the host is closing")
  end
  local finish_at = native.loop.monotonic() + seconds
  if scheduler.live() > 0 then -- else there may not even be an engine
    local timer = native.loop.sleep(math.min(seconds, LONGEST), true)
    scheduler.drive_until(function()
      return scheduler.live() == 0 or timer:done()
    end)
    timer:cancel()
  end
  for _, fn in ipairs(finishers) do
    fn(math.max(0, finish_at - native.loop.monotonic()))
  end
  return scheduler.live()
end

return M
