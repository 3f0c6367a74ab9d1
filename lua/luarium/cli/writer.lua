--- Writing to our standard output and standard error, in order and without holding up the loop when the reader is slow:
--- what does not fit is kept, and whoever writes much waits until it is gone.
local errors = require "luarium.error"
local native = require "luarium.native"
local scheduler = require "luarium.task.scheduler"

local M = {}

local streams = { { file = io.stdout, name = "standard output" }, { file = io.stderr, name = "standard error" } }

---@class luarium.cli.Writer
---@field size integer bytes that are not written yet
---@field failure luarium.Error? why nothing more can be written
local Writer = {}
Writer.__index = Writer

local function fail(self, err)
  self.failure = errors.new("io", ("%s cannot be written: %s"):format(self.name, err.message), { name = err.name })
  self.parts, self.size = {}, 0
end

--- Ends waits whose condition may be true now.
local function wake(self)
  local waiting = self.waiting
  self.waiting = {}
  for task in pairs(waiting) do
    scheduler.wake(task)
  end
end

--- Writes what is kept, one operation after the other.
local function go_on(self)
  while self.size > 0 and not self.op do
    local bytes = self.parts[2] and table.concat(self.parts) or self.parts[1]
    self.parts = {}
    local op, err = self.output:write(bytes)
    local function ended()
      self.op = nil
      local ok, failure = op:result()
      if ok then
        self.size = self.size - #bytes
      else
        fail(self, failure)
      end
    end
    if not op then
      fail(self, err)
    elseif op:done() then
      ended()
    else
      self.op = op
      scheduler.on_complete(op, function()
        ended()
        go_on(self)
        wake(self)
      end)
    end
  end
end

--- Writes what there is room for and keeps the rest. Never waits; see settle.
---@param bytes string
function Writer:push(bytes)
  if self.failure or bytes == "" then
    return
  elseif self.size == 0 then
    self.file:flush()
    local count, err = self.output:offer(bytes)
    if not count then
      return fail(self, err)
    end
    bytes = bytes:sub(count + 1)
  end
  self.parts[#self.parts + 1], self.size = bytes, self.size + #bytes
  go_on(self)
end

--- Waits until at most so many bytes are left. Raises when they cannot be written.
---@async
---@param limit integer
function Writer:settle(limit)
  if self.size > limit then
    scheduler.park(self.name, function()
      local task = scheduler.current()
      if task and self.size > limit then
        self.waiting[task] = true
      end
      return self.size <= limit
    end)
  end
  if self.failure then
    error(self.failure, 0)
  end
end

--- Writes all of it.
---@async
---@param bytes string
function Writer:write(bytes)
  self:push(bytes)
  self:settle(0)
end

--- Writes from where nothing may fail, such as a handler of events; it waits only while much is left.
---@param bytes string
function Writer:tell(bytes)
  self:push(bytes)
  if self.size > M.KEPT then
    pcall(self.settle, self, M.KEPT) -- a task that is cancelled has little more to tell
  end
end

M.KEPT = 1048576 -- bytes that may be left before who tells something has to wait

local writers = {}

--- The writer of standard output (1) or standard error (2).
---@param fd integer
---@return luarium.cli.Writer
function M.of(fd)
  local self = writers[fd]
  if not self then
    local output, err = native.output.open(fd)
    self = setmetatable({ output = output, file = streams[fd].file, name = streams[fd].name, parts = {}, size = 0,
      waiting = {} }, Writer)
    if not output then
      fail(self, err)
    end
    writers[fd] = self
  end
  return self
end

--- A function that writes chunks to a descriptor of ours, each to its end. It raises when the reader went away.
---@param fd integer
---@return fun(chunk: string)
function M.to(fd)
  local self = M.of(fd)
  return function(chunk)
    self:write(chunk)
  end
end

--- Waits at the end of the program until all is written, or so many seconds.
---@param seconds number?
---@return boolean ok nothing was lost
function M.finish(seconds)
  local task, whole = require "luarium.task", true
  for _, self in pairs(writers) do
    if seconds and self.size > 0 then
      pcall(task.timeout, seconds, self.settle, self, 0)
    else
      pcall(self.settle, self, 0)
    end
    whole = whole and self.size == 0 and not self.failure
  end
  return whole
end

--- Gives up what is not written yet: the program ends at once, and a thread at work on it would be waited for.
function M.abandon()
  for _, self in pairs(writers) do
    if self.output then
      self.output:close()
    end
    fail(self, errors.new("cancelled", "the program ends"))
  end
end

return M
