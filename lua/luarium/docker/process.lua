--- A live command in a container, for its holder: an exec of the engine over its hijacked connection, with the shell of
--- luarium.docker.wrap around it. luarium.docker.spawn starts it, output reads it, outcome knows how it ended.
local ascii = require "luarium.ascii"
local compat = require "luarium.compat"
local errors = require "luarium.error"
local outcome = require "luarium.docker.outcome"
local output = require "luarium.docker.output"
local run = require "luarium.docker.run"
local scheduler = require "luarium.task.scheduler"
local task = require "luarium.task"

local M = {}

local CLEANUP = 30 -- seconds for ending what is left

---@class luarium.docker.Process
local Process = {}
Process.__index = Process

---@param fields table what luarium.docker.spawn knows of it
---@return luarium.docker.Process
function M.new(fields)
  return setmetatable(fields, Process)
end

--- The next bytes and the name of their stream; nil at the end.
---@async
---@param max integer? default: what has come
---@return string? bytes
---@return string|luarium.Error|nil stream
function Process:read(max)
  output.wait_until(self, function()
    return self.first <= self.last or self.at_end
  end)
  local item = self.queue[self.first]
  if self.first > self.last or not item then
    if not output.both_marked(self) and not self.killed then -- an end that is none must not look like one
      local status, err = outcome.settled(self)
      if not status then
        return nil, err
      end
    end
    return nil
  end
  local bytes = item.bytes
  if max and #bytes > max then
    item.bytes = bytes:sub(max + 1)
    bytes = bytes:sub(1, max)
  else
    self.queue[self.first] = nil
    self.first = self.first + 1
  end
  local was_full = self.queued >= output.AHEAD
  self.queued = self.queued - #bytes
  if was_full and self.queued < output.AHEAD then
    output.notify(self)
  end
  return bytes, item.stream
end

local function no_reader()
  return nil, errors.new("io", "process.write: nobody reads any more", { name = "EPIPE" })
end

--- Ends our direction, when nothing is on the way any more.
local function end_input(self)
  if self.input_ended and not self.writing and not self.at_end then
    return self.connection:finish_write()
  end
  return true
end

--- Bytes on their way to it are not stopped when their writer is: a torn write would end the connection.
local function send(self, bytes)
  self.writing = true
  task.spawn_background("input of an exec", function()
    local ok, sent, err = pcall(self.connection.write, self.connection, bytes)
    self.writing, self.write_error = false, not (ok and sent) and (ok and err or sent) or nil
    end_input(self)
    output.notify(self)
  end)
end

---@async
---@param bytes string
---@return boolean? ok
---@return luarium.Error? err io with name EPIPE when it has ended
function Process:write(bytes)
  local function idle()
    return not self.writing
  end
  output.wait_until(self, idle)
  if self.at_end or self.input_ended or self.write_error or output.both_marked(self) then
    return no_reader()
  end
  send(self, bytes)
  output.wait_until(self, idle)
  if self.write_error then
    return no_reader()
  end
  return true
end

--- Ends its input; on a terminal this types the end-of-file character.
function Process:close_stdin()
  if self.input_ended or self.at_end then
    return true
  elseif self.pty then
    task.spawn_background("end of input", self.write, self, "\4")
    return true
  end
  self.input_ended = true
  return end_input(self)
end

--- Waits for the command itself, not for its streams.
---@async
---@return {exit_code: integer?, signal: string?, timed_out: boolean, oom: boolean, duration: number}? status
---@return luarium.Error? err
function Process:wait()
  output.wait_until(self, function()
    return self.at_end or self.exit_code ~= nil and output.both_marked(self)
  end)
  return outcome.settled(self)
end

--- Ends everything that it has started. Seen through to its end in a task of its own: the command's streams may well
--- end, and whoever waits for them go on, while there is still somebody left.
function M.sweep(self)
  if not self.sweeping then
    self.sweeping = task.event("the end of a process tree")
    self.killed = true
    output.notify(self) -- what it says must be read while it ends
    task.spawn_detached("end of a process tree", function()
      local ok, done, err = pcall(run.sweep, self.engine, self.prey)
      self.swept, self.sweep_error = ok and done or nil, not ok and errors.from(done) or err
      self.sweeping:set()
    end)
  end
  self.sweeping:wait()
  return self.swept, self.sweep_error
end

--- Sends a signal to the command's group; KILL ends everything it has started.
---@async
---@param signal string|integer|nil default KILL
---@return boolean? ok
---@return luarium.Error? err
function Process:kill(signal)
  local name = ascii.upper(tostring(signal or "KILL")):gsub("^SIG", "")
  if output.both_marked(self) or self.settled then
    return nil, errors.new("not_found", "process.kill: it has ended", { name = "ESRCH" })
  elseif name == "KILL" or name == "9" then
    return M.sweep(self)
  end
  return run.signal(self.engine, self.container, ("%d"):format(self.pid), name)
end

---@async
---@param cols integer
---@param rows integer
---@return boolean? ok
---@return luarium.Error? err
function Process:resize(cols, rows)
  if not self.pty then
    return nil, errors.new("unsupported", "process.resize: the process has no terminal (pty = true gives it one)")
  end
  return self.engine:request("POST", ("/exec/%s/resize?h=%d&w=%d"):format(self.exec, rows, cols), { safe = true })
end

--- Gives all of it back.
function M.release(self)
  if self.reader then
    task.cancel(self.reader, "closed")
    self.reader = nil
  end
  output.let_go(self)
end

local function end_it(self)
  if not (self.at_end or output.both_marked(self)) then
    pcall(task.shield, CLEANUP, M.sweep, self)
  end
  M.release(self)
end

--- Kills what still runs and gives everything back. Waits where that can be done, else it is done in the background.
function Process:close()
  if self.closed then
    return
  end
  self.closed = true
  if self.at_end or output.both_marked(self) then
    M.release(self)
  elseif scheduler.current() and compat.may_yield() then
    end_it(self)
  else -- from a collector, or outside of every task
    task.spawn_detached("end of an exec", end_it, self)
  end
end

return M
