--- What tasks use to wait for each other: events, semaphores, locks by name, bounded queues.
---
--- Any call may raise when memory is short (see the scheduler). So the others are woken before something changes, which
--- comes to the same because they run later; and what has to be given back is taken in a protected call.
local compat = require "luarium.compat"
local errors = require "luarium.error"
local scheduler = require "luarium.task.scheduler"

local M = {}

local function wake_all(waiting)
  for task in pairs(waiting) do
    scheduler.wake(task)
  end
end

local pack, unpack = compat.pack, compat.unpack

local function park_among(waiting, task, what, condition)
  waiting[task] = true
  scheduler.park(what, condition)
end

--- The results that a protected call has kept in `out`, or its error.
local function results_of(out, ok, err)
  if not ok then
    error(errors.is_out_of_memory(err) and errors.out_of_memory or err, 0)
  end
  return unpack(out.results, 1, out.results.n)
end

local function wait_until(self, what, condition)
  if condition() then
    return
  end
  local task = scheduler.current()
  if not task then
    return scheduler.park(what, condition)
  end
  local ok, err = pcall(park_among, self.waiting, task, what, condition)
  self.waiting[task] = nil
  if not ok then
    error(err, 0)
  end
end

---@class luarium.Event
local Event = {}
Event.__index = Event

--- Lets all who wait, and all who come later, go on.
function Event:set(value)
  wake_all(self.waiting)
  self.value = value
  self.is_set = true
end

---@async
---@return any value what set was given
function Event:wait()
  wait_until(self, self.what, function()
    return self.is_set
  end)
  return self.value
end

---@param what string? shown by dumps
---@return luarium.Event
function M.event(what)
  return setmetatable({ waiting = {}, what = what or "an event", is_set = false }, Event)
end

---@class luarium.Semaphore
local Semaphore = {}
Semaphore.__index = Semaphore

local function leave_line(self, ticket)
  for i = 1, #self.line do
    if self.line[i] == ticket then
      table.remove(self.line, i)
      return
    end
  end
end

local function line_up(self, ticket)
  self.line[#self.line + 1] = ticket
  wait_until(self, self.what, function()
    return self.free > 0 and self.line[1] == ticket
  end)
end

--- Takes a place, first come first served.
---@async
function Semaphore:acquire()
  local ticket = {}
  local ok, err = pcall(line_up, self, ticket)
  leave_line(self, ticket)
  if not ok then
    wake_all(self.waiting)
    error(err, 0)
  end
  self.free = self.free - 1
  if self.free > 0 then
    wake_all(self.waiting)
  end
end

function Semaphore:release()
  self.free = self.free + 1
  wake_all(self.waiting)
end

local function call_with_place(out, semaphore, fn, ...)
  semaphore:acquire()
  out.held = true
  out.results = pack(fn(...))
end

--- Runs fn(...) with a place taken; it is given back however fn ends.
---@async
function Semaphore:with(fn, ...)
  local out = { held = false, results = false }
  local ok, err = pcall(call_with_place, out, self, fn, ...)
  if out.held then
    self:release()
  end
  return results_of(out, ok, err)
end

---@param places integer
---@param what string? shown by dumps
---@return luarium.Semaphore
function M.semaphore(places, what)
  return setmetatable({ free = places, line = {}, waiting = {}, what = what or "a semaphore" }, Semaphore)
end

local function call_locked(out, entry, fn, ...)
  entry.users = entry.users + 1
  out.counted = true
  out.results = pack(entry.semaphore:with(fn, ...))
end

--- One lock per key, for instance per repository; unused ones cost nothing.
---@param what string
---@return {with: fun(self, key: string, fn: function, ...): ...}
function M.keyed_lock(what)
  local locks = {}
  return {
    with = function(_, key, fn, ...)
      local out = { counted = false, results = false }
      local entry = locks[key] or { users = 0, semaphore = M.semaphore(1, what .. " " .. key) }
      locks[key] = entry
      local ok, err = pcall(call_locked, out, entry, fn, ...)
      if out.counted then
        entry.users = entry.users - 1
      end
      if entry.users == 0 then
        locks[key] = nil
      end
      return results_of(out, ok, err)
    end,
  }
end

---@class luarium.Queue
local Queue = {}
Queue.__index = Queue

--- Adds an item; waits while the queue is full.
---@async
---@return boolean ok false when the queue is closed
function Queue:put(item)
  wait_until(self, self.what, function()
    return self.closed or self.count < self.limit
  end)
  if self.closed then
    return false
  end
  self.items[self.tail + 1] = item
  wake_all(self.waiting)
  self.tail, self.count = self.tail + 1, self.count + 1
  return true
end

--- The next item, or nil when the queue is closed and empty.
---@async
function Queue:get()
  wait_until(self, self.what, function()
    return self.count > 0 or self.closed
  end)
  if self.count == 0 then
    return nil
  end
  wake_all(self.waiting)
  self.head, self.count = self.head + 1, self.count - 1
  local item = self.items[self.head]
  self.items[self.head] = nil
  return item
end

--- No more items will come.
function Queue:close()
  wake_all(self.waiting)
  self.closed = true
end

---@param limit integer items it may hold
---@param what string?
---@return luarium.Queue
function M.queue(limit, what)
  return setmetatable({
    items = {}, head = 0, tail = 0, count = 0, limit = limit, waiting = {}, what = what or "a queue", closed = false,
  }, Queue)
end

return M
