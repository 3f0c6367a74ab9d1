--- What a command says, as it comes over the engine's connection: a background task reads it into a queue, so that
--- waiting and reading may be cancelled at any moment without a byte being lost; it stops when a reader is behind.
local engines = require "luarium.docker.engine"
local native = require "luarium.native"
local run = require "luarium.docker.run"
local scheduler = require "luarium.task.scheduler"
local task = require "luarium.task"
local wrap = require "luarium.docker.wrap"

local M = {}

local READ = 262144 -- bytes of one look at the connection
local AHEAD_OF_THE_END = 67108864 -- and when it is being killed: more is dropped
local LOOK_WHILE_FULL = 0.5 -- seconds between two looks whether a command that has to wait is still there
local END = 1 -- seconds in which the engine ends a stream that nobody holds
local GRACE = 0.1 -- seconds for one of which that is not known

--- Bytes that may lie unread before the command is made to wait.
M.AHEAD = 1048576

--- Wakes whoever waits for something to change.
---@param self luarium.docker.Process
local function notify(self)
  local changed = self.changed
  self.changed = task.event("output of an exec")
  changed:set()
end

local function wait_until(self, condition)
  while not condition() do
    self.changed:wait()
  end
end
M.notify, M.wait_until = notify, wait_until

local function push(self, stream, bytes)
  if bytes == "" or self.closed or self.queued > AHEAD_OF_THE_END then
    return
  end
  local last = self.queue[self.last]
  if last and self.last >= self.first and last.stream == stream and #last.bytes < 4096 and #bytes < 4096 then
    last.bytes = last.bytes .. bytes -- many small ones would cost more than their bytes
  else
    self.last = self.last + 1
    self.queue[self.last] = { stream = stream, bytes = bytes }
  end
  self.queued = self.queued + #bytes
end

--- Takes the hello off the first bytes.
local function greet(self, stream, bytes)
  if stream == (self.pty and "stdout" or "stderr") then
    self.greeting = self.greeting .. bytes
    local state, pid, after = wrap.hello(self.greeting, self.mark)
    if state then
      self.state, self.pid = state, tonumber(pid)
      self.prey.pid = self.pid
      local rest = self.greeting:sub(after)
      self.greeting = nil
      return rest
    end
  else
    self.refusal = (self.refusal .. bytes):sub(1, 4096)
  end
  if #self.greeting > 65536 then
    self.greeting = self.greeting:sub(-32768)
  end
  return ""
end

function M.on_bytes(self, stream, bytes)
  if stream == "systemerr" then
    self.fault = self.fault or engines.error("exec", bytes, "unavailable")
    return
  end
  if self.greeting then
    bytes = greet(self, stream, bytes)
  end
  if self.echo and stream == "stdout" and bytes ~= "" then -- of the line that let it go
    bytes = (self.held_echo or "") .. bytes
    if #bytes < 2 then
      self.held_echo = bytes
      return
    end
    self.echo = nil
    bytes = bytes:sub(1, 2) == "\r\n" and bytes:sub(3) or bytes
  end
  local marked = self.marked[stream]
  push(self, stream, marked:add(bytes))
  if marked.ended then
    self.exit_code, self.oom = marked.exit_code, marked.oom
  end
end

function M.both_marked(self)
  return self.marked.stdout.ended and (self.pty or self.marked.stderr.ended)
end

--- The streams are read to their marks: what comes now is of those who hold them open.
local function linger(self)
  local is_held = self.marked.stdout.is_held
  if is_held then
    self.held_open = true
    return
  end
  local ok, err = pcall(task.timeout, is_held == false and END or GRACE, function()
    while self.connection:read(READ) do end -- luacheck: ignore 542
  end)
  if not ok and task.cancel_reason() then
    error(err, 0)
  end
  self.held_open = not ok
end

--- Waits until a reader has taken some. Docker lets all other commands in the container wait when one ends while its
--- client does not read (moby issue 53614): one that is over is read to its end, whatever the reader does.
local function wait_for_room(self)
  local function has_room()
    return self.queued < M.AHEAD or self.killed
  end
  while not has_room() do
    local in_time = pcall(task.timeout, LOOK_WHILE_FULL, wait_until, self, has_room)
    if task.cancel_reason() then
      error(task.cancel_reason(), 0)
    elseif not in_time then
      local facts, _, err = run.inspect(self.engine, self.exec)
      if facts and not facts.Running or err and err.kind == "not_found" then
        return -- of an engine that does not answer nothing is known: what comes would have to be dropped
      end
    end
  end
end

local function pump(self)
  while true do
    local bytes, err = self.connection:read(READ)
    if not bytes then
      self.broken = err
      break
    end
    self.last_byte = native.loop.monotonic()
    local ok, fault = self.parser:add(bytes, self.on_bytes)
    if not ok then
      self.fault = fault
      break
    end
    if M.both_marked(self) then
      break
    end
    notify(self)
    wait_for_room(self)
  end
end

--- Gives back all but the reader.
function M.let_go(self)
  if self.timer then
    scheduler.forget(self.timer)
    self.timer:cancel()
    self.timer = nil
  end
  if self.watcher then
    task.cancel(self.watcher, "the command has ended")
    self.watcher = nil
  end
  self.connection:close()
end

local function finish_reading(self)
  if not M.both_marked(self) then
    push(self, "stdout", self.marked.stdout:rest())
    push(self, "stderr", self.marked.stderr:rest())
    self.cut = not self.parser:is_whole()
  end
  self.at_end = true
  self.ended_at = self.ended_at or native.loop.monotonic()
  M.let_go(self)
  notify(self)
end

function M.read_all(self)
  pump(self)
  if M.both_marked(self) then
    self.ended_at = native.loop.monotonic()
    linger(self)
  end
  finish_reading(self)
end

return M
