--- How a command ended: by its marks, or by what the engine knows of it when its streams have ended without them.
local errors = require "luarium.error"
local native = require "luarium.native"
local output = require "luarium.docker.output"
local run = require "luarium.docker.run"
local task = require "luarium.task"
local wrap = require "luarium.docker.wrap"

local M = {}

local CLEANUP = 30 -- seconds for ending what is left
local SIGNALLED = 128 -- exit codes from here on: the shell around the command was killed

function M.lost(self, text, cause)
  return errors.new("unavailable", ("exec: %s"):format(text), { cause = cause, provider = self.provider })
end

--- What the engine knows of the exec, when its streams have ended without marks.
local function inspect(self)
  for attempt = 1, 8 do
    local facts, ended, err = run.inspect(self.engine, self.exec)
    if not facts then
      return nil, err
    elseif ended then
      return facts
    end
    task.sleep(0.02 * attempt)
  end
  return nil
end

--- Whether the container has ended. Its end may be noticed a little later than that of what ran in it.
function M.container_is_over(self)
  for attempt = 1, 6 do
    local facts, err = self.engine:request("GET", "/containers/" .. self.container .. "/json",
      { timeout = 10, shape = "table" })
    if not facts then
      return err.status == 404, err.status ~= 404 and err or nil
    elseif not (facts.State and facts.State.Running) then
      return true
    end
    task.sleep(0.03 * attempt)
  end
  return false
end

--- The container has ended: the provider knows what to say, and takes away what is left of it.
function M.gone(self)
  return self.explain() or M.lost(self, "the engine was restarted while the command ran")
end

--- The stream ended without a mark: the shell was killed, the container has ended, or the connection was cut.
local function investigate(self)
  if self.killed then
    return { exit_code = nil }
  elseif self.fault then
    return nil, self.fault
  end
  local facts, err = inspect(self)
  if err and err.status ~= 404 then
    return nil, M.lost(self, "the connection to the engine was lost while the command ran: " .. err.message, err)
  end
  if not facts or facts.ExitCode ~= 0 or err then
    local over, fault = M.container_is_over(self)
    if over then
      return nil, M.gone(self)
    elseif fault then
      return nil, M.lost(self, "the connection to the engine was lost while the command ran: " .. fault.message, fault)
    end
  end
  if not facts then
    return nil, M.lost(self, "the connection was cut while the command ran; it is ended", self.broken)
  elseif facts.ExitCode == wrap.UNBEGUN then
    return nil, M.lost(self, "the connection was lost before the command began", self.broken)
  elseif self.cut or self.broken or facts.ExitCode < SIGNALLED then -- it would have written its marks
    return nil, M.lost(self, "a part of the command's output was lost: the connection was cut", self.broken)
  end
  self.exit_code = facts.ExitCode
  return { exit_code = facts.ExitCode }
end

local function status_of(self)
  local result = { exit_code = self.exit_code, timed_out = self.timed_out or false, oom = self.oom or false,
    held_open = self.held_open or false, duration = (self.ended_at or native.loop.monotonic()) - self.began }
  if self.killed and (not self.exit_code or self.exit_code == 137) then
    result.exit_code, result.signal = nil, "SIGKILL"
  end
  if self.timed_out then
    result.exit_code = nil
  end
  return result
end

--- Learns how it ended, once.
local function settle(self)
  if self.settling then
    self.settling:wait()
    return
  end
  self.settling = task.event("the end of an exec")
  local err
  if not output.both_marked(self) then
    local ok, facts, fault = pcall(investigate, self)
    err = fault
    if not ok then
      local settling = self.settling
      self.settling = nil -- cancelled: the next one asks again
      settling:set()
      error(facts, 0)
    end
  end
  self.error, self.settled = err, true
  if err and err.kind ~= "sandbox_gone" and not self.killed then -- it may run on: nobody would read what it says
    pcall(task.shield, CLEANUP, run.sweep, self.engine, self.prey)
  end
  self.settling:set()
end

function M.settled(self)
  while not self.settled do
    settle(self)
  end
  if self.sweeping then
    self.sweeping:wait()
    if not self.swept then
      return nil, self.sweep_error
    end
  end
  if self.error and not self.killed then
    return nil, self.error
  end
  return status_of(self)
end
return M
