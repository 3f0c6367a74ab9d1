--- The scheduler: tasks are coroutines, an operation that waits yields its task, and this file is the one place
--- that resumes one. Completed operations come from the engine's poll; nothing is ever resumed inside a callback.
---
--- Memory may be short at any moment, and then any call raises, even of a function of ours. No task may be lost then:
--- what is to be done stays written down until it is done, in fields and slots that exist beforehand, and the next turn
--- goes on with it. Wake-ups are a list through the tasks, completions stay in `completed`.
local compat = require "luarium.compat"
local errors = require "luarium.error"
local native = require "luarium.native"

local loop = native.loop
local running, yield = coroutine.running, coroutine.yield
local pack, unpack = compat.pack, compat.unpack

local M = {}

local AWAIT = {} -- what our own yields carry; any other yield in a task is a mistake

---@class luarium.Task
---@field id integer
---@field name string
---@field state "ready"|"running"|"waiting"|"done"
---@field scope table the innermost cancel scope
---@field ok boolean? how it ended
---@field results table? false and the error, or true and what its function returned
local Task = {}
M.methods = Task -- luarium.task.host adds what hosts ask of a task
local task_mt = { __index = Task, __name = "luarium.Task" }

local current          -- the task that runs now
local next_id = 0
local live_count = 0
local live = {}        -- head of the ring of tasks that have not ended, the youngest last
live.before, live.after = live, live
local first, last = false, false -- the tasks that are ready
local in_turn = false  -- the task whose turn an error has broken off, while there is one
local waiters = {}     -- operation id -> task, or a function to call
local completed, completed_count, delivered = {}, 0, 0 -- what the last poll has brought
for i = 1, 256 do completed[i] = 0 end -- slots: a poll brings at most so many
local forwarded = setmetatable({}, { __mode = "k" }) -- coroutines whose waits are passed up to their task
local guard_on = false
local between = false  -- a function that we call runs outside every task: nothing may wait in it

local function wake(task)
  if not task.queued and task.state ~= "done" then
    task.queued = true
    if last then
      last.next_ready = task
    else
      first = task
    end
    last = task
  end
end
M.wake = wake

---@return luarium.Task? task the one that runs now
function M.current()
  return current
end

-- ---- cancel scopes (made by luarium.task.scope; only their meaning for waiting is known here) ----

--- Why the task must not wait any longer, or nil. The innermost reason wins; a shield hides what is outside it.
local function cancel_reason(task)
  local scope = task.scope
  while scope do
    if scope.error then
      return scope.error
    end
    if scope.shield then
      return nil
    end
    scope = scope.parent
  end
end
M.cancel_reason = cancel_reason

--- Makes a waiting task look at its scopes again.
function M.interrupt(task)
  if task.op then
    task.op:cancel()
  elseif task.state == "waiting" then
    wake(task)
  end
end

-- ---- waiting ----

local function check_coroutine(task)
  local co = running()
  if co ~= task.co and not forwarded[co] then
    errors.raise("invalid", "a call that waits was made inside a coroutine of the script's own, which its task "
      .. "does not know: make it with luarium.task.wrap or luarium.task.create instead")
  end
end

local turn
local turning = false

local function check_idle()
  loop.check_process()
  if turning then -- neither a task nor a callback of ours, or it would have been noticed before
    errors.raise("invalid", "the loop was asked to go on while it is at work, as by a debug hook or a signal handler: "
      .. "let that set a variable, and look at it in the host's own loop")
  end
end

--- Outside a task a wait drives the loop; not from a function that the loop itself calls.
local function check_may_drive(what)
  if between then
    errors.raise("invalid", ("a call that waits (%s) was made in a function that runs between tasks, such as one given "
      .. "to on_done: start a task for it with luarium.task.start"):format(what))
  end
  check_idle()
end
M.check_may_drive = check_may_drive

--- Calls fn(...) outside every task.
local function call_between(fn, ...)
  between = true
  local ok, err = pcall(fn, ...)
  between = false
  if not ok then
    error(err, 0)
  end
end

local function drive(op)
  check_may_drive(op:name())
  local function done()
    return op:done()
  end
  while not done() do
    turn(-1, done)
  end
  return op:result()
end

local function settle(task, value, ...)
  if value == nil then
    local err = ...
    if errors.is(err, "cancelled") then
      local why = cancel_reason(task)
      if why then
        error(why, 0)
      end
    end
  end
  return value, ...
end

--- Waits for an operation and returns its results, or nil and an error. Raises when the task is cancelled
--- meanwhile. `await(nil, err)` returns nil, err, so that a failed start passes through.
---@async
---@param op userdata? an operation that a native started
---@param err luarium.Error?
---@return any ...
function M.await(op, err)
  if op == nil then
    return nil, err
  end
  local task = current
  if not task then
    return drive(op)
  end
  if not op:done() then
    check_coroutine(task)
    if cancel_reason(task) then
      op:cancel()
    end
    if not op:done() then
      local now = loop.monotonic()
      waiters[op:id()] = task
      task.op, task.state, task.since = op, "waiting", now
      repeat
        yield(AWAIT)
      until op:done()
      task.op = false
    end
  end
  return settle(task, op:result())
end

--- Yields once, until somebody wakes the task. Asks for no memory.
---@async
---@param task luarium.Task the one that runs
---@param what string for dumps
function M.wait_for_wake(task, what, now)
  task.op, task.what, task.state, task.since = false, what, "waiting", now
  return yield(AWAIT)
end

--- Waits until ready() is true, looking again whenever somebody wakes the task.
---@async
---@param what string for dumps
---@param condition fun(): boolean
function M.park(what, condition)
  local task = current
  if not task then
    check_may_drive(what)
    while not condition() do
      local n, state = turn(-1, condition)
      if n == 0 and state == "idle" and not first and not condition() then
        errors.raise("internal", "deadlock: nothing is left that could end the wait for " .. what)
      end
    end
    return
  end
  while not condition() do
    check_coroutine(task)
    local why = cancel_reason(task)
    if why then
      error(why, 0)
    end
    M.wait_for_wake(task, what, loop.monotonic())
    task.what = false
  end
end

--- Lets other tasks run.
---@async
function M.yield()
  local task = current
  if task then
    wake(task)
    task.state = "ready"
    check_coroutine(task)
    yield(AWAIT)
  else
    turn(0)
  end
end

--- Calls fn, in the scheduler and not in a task, when the operation has completed. fn must not wait.
function M.on_complete(op, fn)
  waiters[op:id()] = fn
end

function M.forget_id(id)
  waiters[id] = nil
end

function M.forget(op)
  M.forget_id(op:id())
end

-- ---- coroutines inside a task ----

local function forward(co, ...)
  local results = pack(coroutine.resume(co, ...))
  while results[1] and results[2] == AWAIT do
    yield(AWAIT)
    results = pack(coroutine.resume(co))
  end
  return unpack(results, 1, results.n)
end

--- coroutine.create for generators whose body may wait; resume it with luarium.task.resume.
function M.create(fn)
  local co = coroutine.create(fn)
  forwarded[co] = true
  return co
end

--- coroutine.resume that passes the waits of the inner coroutine up to the task.
function M.resume(co, ...)
  forwarded[co] = true
  return forward(co, ...)
end

--- coroutine.wrap for generators whose body may wait.
function M.wrap(fn)
  local co = M.create(fn)
  local function check(ok, ...)
    if not ok then
      error((...), 0)
    end
    return ...
  end
  return function(...)
    return check(forward(co, ...))
  end
end

-- ---- running ----

local function body(task)
  task.results = pack(xpcall(task.fn, errors.handler, unpack(task.args, 1, task.args.n)))
  task.ok = task.results[1]
end

local OUT_OF_MEMORY = { false, errors.out_of_memory, n = 2 }

local function failed(err)
  return { false, errors.from(err or "the task ended in an unknown way"), n = 2 }
end

--- What a task leaves behind: its coroutine itself may have broken, by an error in our body or for want of memory.
local function settle_results(task)
  if not task.results then
    local made, results = pcall(failed, task.broken)
    task.results = made and results or OUT_OF_MEMORY
  end
  if not task.ok then
    task.error = errors.is_out_of_memory(task.results[2]) and errors.out_of_memory or task.results[2]
    task.results[2] = task.error
  end
end

--- Ends a task. May be called again when an error has come in between.
local function finish(task)
  if task.state ~= "done" then
    settle_results(task)
    task.state, task.fn, task.args = "done", false, false
    task.before.after, task.after.before = task.after, task.before
    live_count = live_count - (task.background and 0 or 1)
  end
  if task.on_finish then
    call_between(task.on_finish, task)
    task.on_finish = false
  end
  for i = 1, task.joiners and #task.joiners or 0 do
    wake(task.joiners[i])
  end
end

local function stray_yield(task)
  local err = errors.new("invalid", "a task may not call coroutine.yield itself: use luarium.task.yield() to let "
    .. "others run, or luarium.task.wrap for a generator")
  if not compat.is_luajit then
    -- Raised inside the coroutine, so that its own cleanup runs.
    debug.sethook(task.co, function()
      debug.sethook(task.co)
      error(err, 0)
    end, "", 1)
    wake(task)
  else
    task.broken = err
    finish(task)
  end
end

local function resume(task)
  current, task.state = task, "running"
  if guard_on then
    loop.mark(task.co)
  end
  local ok, tag = coroutine.resume(task.co, task)
  current = nil
  if not ok then
    task.broken = tag
  end
  if coroutine.status(task.co) == "dead" then
    finish(task)
  elseif tag ~= AWAIT then
    stray_yield(task)
  elseif task.state == "running" then
    task.state = "waiting"
  end
end

--- Goes on with a turn that an error has broken off: a task that was not resumed, or waits, looks again.
local function repair()
  local task = in_turn
  if coroutine.status(task.co) == "dead" or task.state == "done" then
    finish(task)
  else
    wake(task)
  end
  in_turn = false
end

---@param finish_at number? on the monotonic clock: those who are left then stay ready
local function run_ready(finish_at)
  if in_turn then
    repair()
  end
  local final = last -- those woken meanwhile get their turn after the next poll: nobody starves the loop
  while first do
    local task = first
    first, task.next_ready, task.queued = task.next_ready, false, false
    if not first then
      last = false
    end
    if task.state ~= "done" then
      in_turn = task
      resume(task)
      in_turn = false
    end
    if task == final or finish_at and loop.monotonic() >= finish_at then
      break
    end
  end
end

--- Tells those who wait for what has completed.
local function deliver()
  while delivered < completed_count do
    local id = completed[delivered + 1]
    local waiter = waiters[id]
    if type(waiter) == "function" then
      call_between(waiter)
    elseif waiter then
      wake(waiter)
    end
    waiters[id] = nil
    delivered = delivered + 1
  end
end

--- One round: run what is ready, then let the engine wait up to timeout_ms (-1: until something happens). It does not
--- wait when what the caller drives the loop for has come true meanwhile.
---@param timeout_ms number
---@param done (fun(): boolean)?
---@param finish_at number? on the monotonic clock: when tasks should stop getting their turns
---@return integer n completed operations
---@return string state "done", "timeout", "woken" or "idle"
local function one_turn(timeout_ms, done, finish_at)
  turning = true
  deliver() -- what the turn before may have left
  run_ready(finish_at)
  if first or done and done() then
    timeout_ms = 0
  end
  local n, state = loop.poll(timeout_ms, completed)
  completed_count, delivered = n, 0
  deliver()
  return n, state
end

local function end_turn(ok, n, state)
  turning = false
  if not ok then
    current, between = nil, false
    error(n, 0)
  end
  return n, state
end

function turn(...)
  check_idle()
  return end_turn(pcall(one_turn, ...))
end

---@class luarium.SpawnOptions
---@field name string?
---@field scope table? the cancel scope around it
---@field on_finish function?
---@field background boolean? not counted as live: it keeps no host waiting

--- Makes a task; it first runs in the next round.
---@param fn function
---@param args table packed arguments
---@param options luarium.SpawnOptions
---@return luarium.Task
function M.spawn(fn, args, options)
  next_id = next_id + 1
  local task = setmetatable({
    id = next_id, name = options.name or "task " .. next_id, fn = fn, args = args, state = "ready",
    scope = options.scope, base = options.scope, on_finish = options.on_finish or false,
    background = options.background or false, co = coroutine.create(body),
    ok = false, results = false, error = false, broken = false,
    op = false, what = false, since = false, joiners = false, observers = false,
    queued = false, next_ready = false, before = live.before, after = live,
  }, task_mt)
  if guard_on then
    loop.arm(task.co)
  end
  wake(task)
  task.before.after, live.before = task, task
  live_count = live_count + (task.background and 0 or 1)
  return task
end

--- Waits for a task to end.
---@async
---@return any ... what its function returned; its error is raised
function Task:wait()
  if self.state ~= "done" then
    if current then
      self.joiners = self.joiners or {}
      self.joiners[#self.joiners + 1] = current
    end
    M.park("task " .. self.name, function()
      return self.state == "done"
    end)
  end
  if not self.ok then
    error(self.error, 0)
  end
  return unpack(self.results, 2, self.results.n)
end

function task_mt.__tostring(self)
  return (self.name:find("^task ") and "%s (%s)" or "task %s (%s)"):format(self.name, self.state)
end

--- Runs the loop until the task has ended. `on_deadlock(task)` is asked once when nothing can ever end it.
function M.run_until_done(task, on_deadlock)
  local told = false
  local function done()
    return task.state == "done"
  end
  while not done() do
    local n, state = turn(-1, done)
    if n == 0 and state == "idle" and not first and task.state ~= "done" then
      if told then
        errors.raise("internal", "deadlock: tasks wait for each other:\n" .. M.dump())
      end
      told = true
      on_deadlock(task)
    end
  end
end

--- Drives the loop from outside a task until the condition holds or nothing is left that could make it so.
---@param condition fun(): boolean
function M.drive_until(condition)
  check_may_drive("the loop")
  while not condition() do
    local n, state = turn(-1, condition)
    if n == 0 and state == "idle" and not first then
      return
    end
  end
end

--- One non-blocking step for hosts with a loop of their own. A task is never interrupted: what takes longer than the
--- budget is only what a single task does between two waits.
---@param budget number seconds it may take at most; 0 or nil: one round
---@return integer live tasks that are still there
function M.step(budget)
  if budget ~= nil and (type(budget) ~= "number" or budget ~= budget or budget < 0) then
    errors.raise("invalid", "step: expected a budget in seconds, got " .. tostring(budget))
  elseif current or between then
    errors.raise("invalid", "step: it is for the host's own loop; a task waits with luarium.sleep instead")
  end
  local finish_at = loop.monotonic() + (budget or 0)
  repeat
    local n = turn(0, nil, finish_at)
  until n == 0 and not first or loop.monotonic() >= finish_at
  return live_count
end

--- The descriptor that is readable when `step` would find something, for a host that sleeps in a poll of its own. It
--- stays the same as long as the state lives. Only ask whether it is readable: never read it, never close it.
---@return integer fd
function M.fd()
  return loop.fd()
end

--- Seconds until `step` is due although the descriptor is silent: 0 now, nil when only the descriptor can tell. Ask
--- anew after each step and after starting a task.
---@return number? seconds
function M.next_wakeup()
  if first or not turning and (in_turn or delivered < completed_count) then
    return 0
  end
  return loop.next()
end

--- The tasks that have not ended.
---@return luarium.Task[]
function M.tasks()
  local list, task = {}, live.after
  while task ~= live do
    list[#list + 1], task = task, task.after
  end
  return list
end

--- Limits how long a task may compute without waiting. 0 switches the guard off.
---@param seconds number
function M.guard(seconds)
  guard_on = seconds > 0 and not compat.is_luajit -- LuaJIT's compiled code runs no count hooks
  loop.guard(guard_on and seconds or 0)
end

---@return integer count tasks that have not ended
function M.live()
  return live_count
end

--- Who waits for what, one line a task, oldest first, with the place in the script when verbose.
---@param verbose boolean?
---@return string
function M.dump(verbose)
  local lines, now = {}, loop.monotonic()
  for _, task in ipairs(M.tasks()) do
    local what = task.op and task.op:name() or task.what or ""
    local since = task.state == "waiting" and (" for %.1f s"):format(now - (task.since or now)) or ""
    lines[#lines + 1] = ("%s: %s%s%s"):format(task.name, task.state, what ~= "" and " on " .. what or "", since)
    if verbose then
      lines[#lines + 1] = debug.traceback(task.co)
    end
  end
  return table.concat(lines, "\n")
end

return M
