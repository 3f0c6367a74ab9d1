--- What tasks use to wait for each other: events, semaphores, locks by name, bounded queues.
local scheduler = require "luarium.task.scheduler"

local M = {}

local function wake_all(waiting)
  for task in pairs(waiting) do
    scheduler.wake(task)
  end
end

local function wait_until(self, what, condition)
  if condition() then
    return
  end
  local task = scheduler.current()
  if not task then
    return scheduler.park(what, condition)
  end
  self.waiting[task] = true
  local ok, err = pcall(scheduler.park, what, condition)
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
  self.is_set, self.value = true, value
  wake_all(self.waiting)
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

--- Takes a place, first come first served.
---@async
function Semaphore:acquire()
  local ticket = {}
  table.insert(self.line, ticket)
  local ok, err = pcall(wait_until, self, self.what, function()
    return self.free > 0 and self.line[1] == ticket
  end)
  for i, other in ipairs(self.line) do
    if other == ticket then
      table.remove(self.line, i)
      break
    end
  end
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

--- Runs fn(...) with a place taken; it is given back however fn ends.
---@async
function Semaphore:with(fn, ...)
  self:acquire()
  local function give_back(ok, ...)
    self:release()
    if not ok then
      error((...), 0)
    end
    return ...
  end
  return give_back(pcall(fn, ...))
end

---@param places integer
---@param what string? shown by dumps
---@return luarium.Semaphore
function M.semaphore(places, what)
  return setmetatable({ free = places, line = {}, waiting = {}, what = what or "a semaphore" }, Semaphore)
end

--- One lock per key, for instance per repository; unused ones cost nothing.
---@param what string
---@return {with: fun(self, key: string, fn: function, ...): ...}
function M.keyed_lock(what)
  local locks = {}
  return {
    with = function(_, key, fn, ...)
      local entry = locks[key] or { users = 0, semaphore = M.semaphore(1, what .. " " .. key) }
      locks[key] = entry
      entry.users = entry.users + 1
      local function done(ok, ...)
        entry.users = entry.users - 1
        if entry.users == 0 then
          locks[key] = nil
        end
        if not ok then
          error((...), 0)
        end
        return ...
      end
      return done(pcall(entry.semaphore.with, entry.semaphore, fn, ...))
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
  self.tail, self.count = self.tail + 1, self.count + 1
  self.items[self.tail] = item
  wake_all(self.waiting)
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
  self.head = self.head + 1
  local item = self.items[self.head]
  self.items[self.head] = nil
  self.count = self.count - 1
  wake_all(self.waiting)
  return item
end

--- No more items will come.
function Queue:close()
  self.closed = true
  wake_all(self.waiting)
end

---@param limit integer items it may hold
---@param what string?
---@return luarium.Queue
function M.queue(limit, what)
  return setmetatable({
    items = {}, head = 0, tail = 0, count = 0, limit = limit, waiting = {}, what = what or "a queue",
  }, Queue)
end

return M
