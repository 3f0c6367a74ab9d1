--- Structured concurrency: cancel scopes, scopes of tasks, all, map, race, timeout, shield.
---
--- A cancel scope is one frame of a task in which waiting may be forbidden. Scopes form a tree that follows the
--- code: a scope entered inside another, or a task spawned in it, is its child. Cancelling a scope makes every
--- wait below it raise, again and again, until the frame is left; a shield lets cleanup wait all the same.
---
--- A frame that is entered is left, and its children are waited for, also when memory is short (see the scheduler).
--- What it needs is made before it is entered, in a protected call, and its results are kept in it before that returns.
--- What leaves it goes no deeper than that call has gone, and so needs no memory.
local compat = require "luarium.compat"
local errors = require "luarium.error"
local native = require "luarium.native"
local scheduler = require "luarium.task.scheduler"

local loop = native.loop
local pack, unpack = compat.pack, compat.unpack
local handler = errors.handler

local M = {}

--- How long the cleanup of a scope may take, in seconds.
M.cleanup_budget = 60

-- ---- cancel scopes ----

local function add_child(parent, scope)
  if parent then
    parent.children = parent.children or {}
    parent.children[scope] = true
  end
end

local function drop_child(scope)
  local parent = scope.parent
  if parent then
    parent.children[scope] = nil
  end
end

local function new_scope(parent, owner)
  local scope = {
    parent = parent or false, owner = owner or false, children = false, error = false, notified = false, shield = false,
    deadline = false, timer = false, timer_id = false, results = false,
  }
  add_child(parent, scope)
  return scope
end

local function notify(scope)
  if scope.owner and scope.owner.scope == scope then
    scheduler.interrupt(scope.owner)
  end
  for child in pairs(scope.children or {}) do
    if not child.shield then
      notify(child)
    end
  end
  scope.notified = true
end

--- May be called again when an error has come in between.
local function cancel(scope, reason)
  scope.error = scope.error or reason
  if not scope.notified then
    notify(scope)
  end
end

local OTHER_FAILED = errors.new("cancelled", "another task of the scope failed")

--- The same for what must be cancelled although memory is short: then its cause is not told.
local function cancel_because(scope, message, cause)
  local made, reason = pcall(errors.new, "cancelled", message, { cause = cause })
  cancel(scope, made and reason or OTHER_FAILED)
end

local function reason_of(reason, name)
  return errors.is(reason) and reason or errors.new("cancelled", tostring(reason or (name .. " was cancelled")))
end

local function arm(scope, seconds, reason)
  local op, err = loop.sleep(seconds)
  if not op then
    error(err, 0)
  end
  scheduler.on_complete(op, function()
    scope.timer = false
    cancel(scope, reason)
  end)
  scope.deadline, scope.timer_id, scope.timer = loop.monotonic() + seconds, op:id(), op
end

--- Enters a frame, with a time limit when there is one, and calls fn in it; to be called protected, and followed by
--- leave.
local function call_in(frame, seconds, reason, fn, ...)
  frame.owner.scope = frame
  if seconds then
    arm(frame, seconds, reason)
  end
  frame.results = pack(fn(...))
end

local function leave(frame)
  frame.owner.scope = frame.parent
  drop_child(frame)
  local timer = frame.timer
  if timer then
    frame.timer = false
    scheduler.forget_id(frame.timer_id)
    timer:cancel()
  end
end

--- Ends a call of call_in: what pcall has returned, after leave.
local function results_of(frame, ok, err)
  if not ok then
    error(errors.is_out_of_memory(err) and errors.out_of_memory or err, 0)
  end
  return unpack(frame.results, 1, frame.results.n)
end

local function rethrow(results)
  if not results[1] then
    error(results[2], 0)
  end
  return unpack(results, 2, results.n)
end

local function check_function(fn, where)
  if type(fn) ~= "function" then
    require("luarium.check").argument(fn, "function", where, "the function")
  end
end

--- The same bound as check's `seconds`.
local MAX_SECONDS = 315360000

local function check_seconds(seconds, where)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= MAX_SECONDS) then
    errors.raise("invalid", where .. ": expected seconds (a number from 0 to ten years), got " .. tostring(seconds))
  end
end

-- ---- running outside a task ----

local ABANDONED = errors.new("cancelled", "whoever drove the loop for this task has met an error")

local function on_deadlock(task)
  cancel(task.scope, errors.new("internal", "deadlock: nothing is left that could end these waits:\n"
    .. scheduler.dump()))
end

local function spawn_with(options, parent, on_finish, fn, ...)
  local scope = new_scope(parent, nil)
  local task = scheduler.spawn(fn, pack(...), {
    name = options.name,
    background = options.background,
    scope = scope,
    on_finish = function(done)
      drop_child(scope)
      if on_finish then
        on_finish(done)
      end
    end,
  })
  scope.owner = task
  return task
end

local function spawn(name, ...)
  return spawn_with({ name = name }, ...)
end

--- Runs fn as a task and drives the loop until it has ended. Inside a task it is a plain call.
---@param fn function
---@return any ... what fn returned; its error is raised
function M.run(fn, ...)
  check_function(fn, "run")
  if scheduler.current() then
    return fn(...)
  end
  local task = spawn("main", nil, nil, fn, ...)
  local ok, err = pcall(scheduler.run_until_done, task, on_deadlock)
  if not ok then
    cancel(task.base, ABANDONED) -- it ends in the turns to come
    error(err, 0)
  end
  return task:wait()
end

--- Starts a task that belongs to no scope: whoever starts it must see to its end. Prefer a scope.
---@param name string
---@param fn function
---@return luarium.Task
function M.spawn_detached(name, fn, ...)
  return spawn(name, nil, nil, fn, ...)
end

--- The same for what nobody should have to wait for: it is not counted among the live tasks.
---@param name string
---@param fn function
---@return luarium.Task
function M.spawn_background(name, fn, ...)
  return spawn_with({ name = name, background = true }, nil, nil, fn, ...)
end

--- The same for hosts: on_finish(task) is called when it has ended.
---@param on_finish fun(task: luarium.Task)
---@param fn function
---@return luarium.Task
function M.spawn_watched(on_finish, fn, ...)
  return spawn(nil, nil, on_finish, fn, ...)
end

--- Asks a task to stop: its next wait, or the one it is in, raises `cancelled`.
---@param task luarium.Task
---@param reason string|luarium.Error|nil
function M.cancel_task(task, reason)
  if task.state ~= "done" then
    cancel(task.base, reason_of(reason, task.name))
  end
end

-- ---- scopes of tasks ----

---@class luarium.Scope
---@field name string
local Scope = {}
local scope_mt = { __index = Scope, __name = "luarium.Scope" }
M.methods = Scope

--- Starts fn(...) as a child task of this scope.
---@param fn function
---@return luarium.Task
function Scope:spawn(fn, ...)
  check_function(fn, "scope:spawn")
  if self.closed then
    errors.raise("invalid", "scope:spawn: the scope has ended; spawn only while its function runs")
  end
  self.count = self.count + 1
  local task = spawn(("%s/%d"):format(self.name, self.count), self.cancel_scope, function(task)
    if not task.ok then
      local foreign = task.error == scheduler.cancel_reason({ scope = self.cancel_scope })
      if foreign then
        self.interrupted = true
      elseif task.error ~= task.base.error then
        self.failure = self.failure or task.error
        cancel_because(self.cancel_scope, "another task of the scope failed", task.error)
      end
    end
    scheduler.wake(self.owner)
    self.pending = self.pending - 1 -- last: this function is called again when an error comes before
  end, fn, ...)
  self.pending = self.pending + 1
  return task
end

--- Runs fn when the scope ends, however it ends: last one first, shielded, so that it may wait.
---@param fn function
function Scope:defer(fn, ...)
  check_function(fn, "scope:defer")
  self.deferred[self.left + 1] = { fn = fn, args = pack(...) }
  self.left = self.left + 1
end

--- Ends the scope early: every wait in it raises `cancelled`.
---@param reason string|luarium.Error|nil
function Scope:cancel(reason)
  cancel(self.cancel_scope, reason_of(reason, self.name))
end

--- Runs what was deferred; each function once, also when this is called again after an error.
local function run_deferred(self)
  while self.left > 0 do
    local item = self.deferred[self.left]
    self.left = self.left - 1
    local ok, err = xpcall(M.shield, handler, M.cleanup_budget, item.fn, unpack(item.args, 1, item.args.n))
    if not ok then
      self.cleanup_failure = self.cleanup_failure or err
    end
  end
end

--- Waits for the children. Asks for no memory.
local function join(self, what)
  local task, frame = self.owner, self.cancel_scope
  while self.pending > 0 do
    if frame.error and not frame.notified and not pcall(notify, frame) then
      scheduler.wake(task)
    end
    scheduler.wait_for_wake(task, what, false)
  end
  task.what = false
end

--- Runs fn(scope) and returns its results once every child task has ended. When the body or a child fails, the others
--- are cancelled and the first failure is raised after all have ended and the deferred functions have run.
---@async
---@param fn fun(scope: luarium.Scope): ...
---@param name string?
---@return any ...
function M.scope(fn, name)
  check_function(fn, "scope")
  if name ~= nil and type(name) ~= "string" then
    errors.raise("invalid", "scope: expected a text as its name, got a " .. type(name))
  end
  local task = scheduler.current()
  if not task then
    return M.run(M.scope, fn, name)
  end
  local frame = new_scope(task.scope, task)
  local self = setmetatable({
    name = name or "scope", cancel_scope = frame, owner = task, pending = 0, count = 0, deferred = {}, left = 0,
    closed = false, interrupted = false, failure = false, cleanup_failure = false,
  }, scope_mt)
  local what = "children of " .. self.name
  local ok, err = xpcall(call_in, handler, frame, nil, nil, fn, self)
  if not ok and not pcall(cancel_because, frame, "the scope's own function failed", err) then
    frame.error = frame.error or OTHER_FAILED -- join tells the children
  end
  join(self, what)
  self.closed = true
  repeat
    local ran, failure = pcall(run_deferred, self)
    self.cleanup_failure = self.cleanup_failure or not ran and failure
  until self.left == 0
  leave(frame)
  local failure = self.failure or self.interrupted and scheduler.cancel_reason(task)
    or ok and self.cleanup_failure
  if failure then
    error(failure, 0)
  end
  return results_of(frame, ok, err)
end

--- Runs fn(...) with at most so many seconds for its waits; then they raise `timeout`. An outer deadline that comes
--- earlier wins. The time of fn's own cleanup under a shield comes on top.
---@async
---@param seconds number
---@param fn function
---@return any ... what fn returned
function M.timeout(seconds, fn, ...)
  check_seconds(seconds, "timeout")
  check_function(fn, "timeout")
  local task = scheduler.current()
  if not task then
    return M.run(M.timeout, seconds, fn, ...)
  end
  local reason = errors.new("timeout", ("no result within %g s"):format(seconds), { retryable = true })
  local frame = new_scope(task.scope, task)
  local ok, err = xpcall(call_in, handler, frame, seconds, reason, fn, ...)
  leave(frame)
  return results_of(frame, ok, err)
end

--- Runs fn(...) so that it may wait although its task is being cancelled, for at most so many seconds.
---@async
---@param seconds number
---@param fn function
---@return any ...
function M.shield(seconds, fn, ...)
  check_function(fn, "shield")
  local task = scheduler.current()
  if not task then
    return M.run(M.shield, seconds, fn, ...)
  end
  local reason = errors.new("timeout", ("cleanup did not end within %g s"):format(seconds))
  local frame = new_scope(task.scope, task)
  frame.shield = true
  local ok, err = xpcall(call_in, handler, frame, seconds, reason, fn, ...)
  leave(frame)
  return results_of(frame, ok, err)
end

--- The monotonic time at which the current task must have ended, or nil.
---@return number?
function M.deadline()
  local task, earliest = scheduler.current(), nil
  local scope = task and task.scope
  while scope do
    if scope.deadline and (not earliest or scope.deadline < earliest) then
      earliest = scope.deadline
    end
    scope = not scope.shield and scope.parent or nil
  end
  return earliest
end

-- ---- combinators ----

--- Runs all functions at once; returns their first results under the same keys.
---@async
---@param functions table<any, function>
---@return table results
function M.all(functions)
  if type(functions) ~= "table" then
    errors.raise("invalid", "all: expected a table of functions, got " .. type(functions))
  end
  for key, fn in pairs(functions) do
    if type(fn) ~= "function" then
      errors.raise("invalid", ("all: entry %s: expected a function, got %s"):format(tostring(key), type(fn)))
    end
  end
  local results = {}
  M.scope(function(scope)
    for key, fn in pairs(functions) do
      scope:spawn(function()
        results[key] = fn()
      end)
    end
  end, "all")
  return results
end

local function settled(fn, item, index)
  local results = pack(xpcall(fn, handler, item, index))
  if results[1] then
    return { ok = true, value = results[2] }
  end
  local why = scheduler.cancel_reason(scheduler.current())
  if why then
    error(why, 0)
  end
  return { ok = false, error = errors.from(results[2]) }
end

---@class luarium.MapOptions
---@field concurrency integer? how many at a time; default 16
---@field settle boolean? go on when one fails: each result is then {ok=true, value=} or {ok=false, error=}

--- Calls fn(item, index) for every item of a list, several at a time; results keep the order of the list.
---@async
---@param list any[]
---@param fn fun(item: any, index: integer): any
---@param options luarium.MapOptions?
---@return any[] results
function M.map(list, fn, options)
  local check = require "luarium.check"
  check.argument(list, "table", "map", "the list")
  check.argument(fn, "function", "map", "the function")
  options = check.options(options, {
    concurrency = { type = "integer", min = 1 },
    settle = "boolean",
  }, "map")
  local results, next_index, n = {}, 1, #list
  local call = options.settle and function(item, index)
    return settled(fn, item, index)
  end or fn
  M.scope(function(scope)
    for _ = 1, math.min(options.concurrency or 16, n) do
      scope:spawn(function()
        while next_index <= n do
          local index = next_index
          next_index = index + 1
          results[index] = call(list[index], index)
        end
      end)
    end
  end, "map")
  return results
end

--- Runs all functions at once; the first to end decides the result, the others are cancelled and waited for.
---@async
---@param functions function[]
---@return any ... the winner's results; its error is raised
function M.race(functions)
  local winner
  if type(functions) ~= "table" or #functions == 0 then
    errors.raise("invalid", "race: expected a list of at least one function")
  end
  M.scope(function(scope)
    for _, fn in ipairs(functions) do
      scope:spawn(function()
        local results = pack(xpcall(fn, handler))
        if not winner then
          local why = scheduler.cancel_reason(scheduler.current())
          if not results[1] and why and results[2] == why then
            error(why, 0)
          end
          winner = results
          scope:cancel("another one won the race")
        end
      end)
    end
  end, "race")
  return rethrow(winner)
end

--- Waits.
---@async
---@param seconds number
function M.sleep(seconds)
  check_seconds(seconds, "sleep")
  local ok, err = scheduler.await(loop.sleep(seconds))
  if not ok then
    error(err, 0)
  end
end

return M
