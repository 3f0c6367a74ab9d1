--- Tasks: everything that waits suspends its coroutine, and one scheduler resumes it. Scripts read straight down.
---
--- Outside a task the same calls drive the loop until they are done. Times are seconds.
local host = require "luarium.task.host"
local scheduler = require "luarium.task.scheduler"
local scope = require "luarium.task.scope"
local sync = require "luarium.task.sync"

local M = {
  await = scheduler.await,
  current = scheduler.current,
  yield = scheduler.yield,
  start = host.start,
  shutdown = host.shutdown,
  step = scheduler.step,
  fd = scheduler.fd,
  next_wakeup = scheduler.next_wakeup,
  guard = scheduler.guard,
  live = scheduler.live,
  dump = scheduler.dump,
  create = scheduler.create,
  resume = scheduler.resume,
  wrap = scheduler.wrap,
  cancel_reason = function()
    local task = scheduler.current()
    return task and scheduler.cancel_reason(task)
  end,

  run = scope.run,
  scope = scope.scope,
  spawn_detached = scope.spawn_detached,
  spawn_background = scope.spawn_background,
  cancel = scope.cancel_task,
  timeout = scope.timeout,
  shield = scope.shield,
  deadline = scope.deadline,
  all = scope.all,
  map = scope.map,
  race = scope.race,
  sleep = scope.sleep,

  event = sync.event,
  semaphore = sync.semaphore,
  keyed_lock = sync.keyed_lock,
  queue = sync.queue,
}

return M
