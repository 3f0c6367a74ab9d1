--- A live command in a container: an exec of the engine over its hijacked connection, with the shell of
--- luarium.docker.wrap around it. A background task reads the connection, so that waiting and reading may be cancelled
--- at any moment without a byte being lost; it stops when a reader is behind.
local compat = require "luarium.compat"
local engines = require "luarium.docker.engine"
local errors = require "luarium.error"
local frames = require "luarium.docker.frames"
local native = require "luarium.native"
local run = require "luarium.docker.run"
local scheduler = require "luarium.task.scheduler"
local task = require "luarium.task"
local wrap = require "luarium.docker.wrap"

local M = {}

local READ = 262144 -- bytes of one look at the connection
local AHEAD = 1048576 -- bytes that may lie unread before the command is made to wait
local AHEAD_OF_THE_END = 67108864 -- and when it is being killed: more is dropped
local LOOK_WHILE_FULL = 0.5 -- seconds between two looks whether a command that has to wait is still there
local START = 60 -- seconds that the engine may take to begin a command
local END = 1 -- seconds in which the engine ends a stream that nobody holds
local GRACE = 0.1 -- seconds for one of which that is not known
local CLEANUP = 30 -- seconds for ending what is left
local LOOK_AFTER = { 10, 30 } -- seconds of silence, at first and at most, until the engine is asked what is going on
-- Keys that detach from a terminal cannot be switched off: a sequence that nobody types.
local NO_DETACH = ("ctrl-_,ctrl-^,"):rep(8):sub(1, -2)

---@class luarium.docker.Process
local Process = {}
Process.__index = Process

--- Wakes whoever waits for something to change.
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

local function lost(self, text, cause)
  return errors.new("unavailable", ("exec: %s"):format(text), { cause = cause, provider = self.provider })
end

-- ---- reading the connection ----

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

local function on_bytes(self, stream, bytes)
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

local function both_marked(self)
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
    return self.queued < AHEAD or self.killed
  end
  while not has_room() do
    local in_time = pcall(task.timeout, LOOK_WHILE_FULL, wait_until, self, has_room)
    if task.cancel_reason() then
      error(task.cancel_reason(), 0)
    elseif not in_time then
      local facts = self.engine:request("GET", "/exec/" .. self.exec .. "/json", { timeout = 10 })
      if not facts or not facts.Running then
        return
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
    if both_marked(self) then
      break
    end
    notify(self)
    wait_for_room(self)
  end
end

--- Gives back all but the reader.
local function let_go(self)
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
  if not both_marked(self) then
    push(self, "stdout", self.marked.stdout:rest())
    push(self, "stderr", self.marked.stderr:rest())
    self.cut = not self.parser:is_whole()
  end
  self.at_end = true
  self.ended_at = self.ended_at or native.loop.monotonic()
  let_go(self)
  notify(self)
end

local function read_all(self)
  pump(self)
  if both_marked(self) then
    self.ended_at = native.loop.monotonic()
    linger(self)
  end
  finish_reading(self)
end

-- ---- how it ended ----

--- What the engine knows of the exec, when its streams have ended without marks.
local function inspect(self)
  for attempt = 1, 8 do
    local facts, err = self.engine:request("GET", "/exec/" .. self.exec .. "/json", { timeout = 10 })
    if not facts then
      return nil, err
    elseif not facts.Running and facts.ExitCode then
      return facts
    end
    task.sleep(0.02 * attempt)
  end
  return nil
end

--- Whether the container has ended. Its end may be noticed a little later than that of what ran in it.
local function container_is_over(self)
  for attempt = 1, 6 do
    local facts, err = self.engine:request("GET", "/containers/" .. self.container .. "/json", { timeout = 10 })
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
local function gone(self)
  return self.explain() or lost(self, "the engine was restarted while the command ran")
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
    return nil, lost(self, "the connection to the engine was lost while the command ran: " .. err.message, err)
  end
  if not facts or facts.ExitCode ~= 0 or err then
    local over, fault = container_is_over(self)
    if over then
      return nil, gone(self)
    elseif fault then
      return nil, lost(self, "the connection to the engine was lost while the command ran: " .. fault.message, fault)
    end
  end
  if not facts or self.cut or self.broken then
    return nil, lost(self, facts and "a part of the command's output was lost: the connection was cut"
      or "the connection was cut while the command ran; it is ended", self.broken)
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
  if not both_marked(self) then
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

local function settled(self)
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

-- ---- for the holder ----

--- The next bytes and the name of their stream; nil at the end.
---@async
---@param max integer? default: what has come
---@return string? bytes
---@return string|luarium.Error|nil stream
function Process:read(max)
  wait_until(self, function()
    return self.first <= self.last or self.at_end
  end)
  local item = self.queue[self.first]
  if self.first > self.last or not item then
    if not both_marked(self) and not self.killed then -- an end that is none must not look like one
      local status, err = settled(self)
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
  local was_full = self.queued >= AHEAD
  self.queued = self.queued - #bytes
  if was_full and self.queued < AHEAD then
    notify(self)
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
    notify(self)
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
  wait_until(self, idle)
  if self.at_end or self.input_ended or self.write_error or both_marked(self) then
    return no_reader()
  end
  send(self, bytes)
  wait_until(self, idle)
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
  wait_until(self, function()
    return self.at_end or self.exit_code ~= nil and both_marked(self)
  end)
  return settled(self)
end

--- Ends everything that it has started. Seen through to its end in a task of its own: the command's streams may well
--- end, and whoever waits for them go on, while there is still somebody left.
local function sweep(self)
  if not self.sweeping then
    self.sweeping = task.event("the end of a process tree")
    self.killed = true
    notify(self) -- what it says must be read while it ends
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
  local name = tostring(signal or "KILL"):upper():gsub("^SIG", "")
  if both_marked(self) or self.settled then
    return nil, errors.new("not_found", "process.kill: it has ended", { name = "ESRCH" })
  elseif name == "KILL" or name == "9" then
    return sweep(self)
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

local function release(self)
  if self.reader then
    task.cancel(self.reader, "closed")
    self.reader = nil
  end
  let_go(self)
end

local function end_it(self)
  if not (self.at_end or both_marked(self)) then
    pcall(task.shield, CLEANUP, sweep, self)
  end
  release(self)
end

--- Kills what still runs and gives everything back. Waits where that can be done, else it is done in the background.
function Process:close()
  if self.closed then
    return
  end
  self.closed = true
  if self.at_end or both_marked(self) then
    release(self)
  elseif scheduler.current() and compat.may_yield() then
    end_it(self)
  else -- from a collector, or outside of every task
    task.spawn_detached("end of an exec", end_it, self)
  end
end

-- ---- starting ----

--- Kills it at its deadline.
local function arm(self, seconds)
  local op = native.loop.sleep(seconds)
  if not op then
    return
  end
  self.timer = op
  scheduler.on_complete(op, function()
    if self.timer == op and not (self.at_end or both_marked(self)) then
      self.timer = nil
      self.timed_out = true
      task.spawn_background("the deadline of an exec", function()
        pcall(sweep, self)
        if not self.at_end then
          task.sleep(2)
          self.connection:close() -- the engine keeps the stream open although nobody is left
        end
      end)
    end
  end)
end

--- Asks the engine after a long silence: the connection may hang.
local function watch(self)
  local wait = LOOK_AFTER[1]
  while not self.at_end do
    task.sleep(wait)
    if native.loop.monotonic() - self.last_byte >= wait and self.queued < AHEAD then
      local facts, err = self.engine:request("GET", "/exec/" .. self.exec .. "/json", { timeout = 10 })
      if not facts and (err.status == 404 or err.kind == "unavailable" or err.kind == "timeout")
        or facts and not facts.Running and facts.ExitCode and native.loop.monotonic() - self.last_byte >= wait then
        self.connection:close()
        return
      end
      wait = math.min(wait * 1.5, LOOK_AFTER[2])
    end
  end
end

local function start_failure(self, cwd)
  if self.state == "missing" then
    return errors.new("not_found", ("exec: the working directory %s does not exist"):format(cwd), { name = "ENOENT" })
  elseif self.state == "file" then
    return errors.new("not_found", ("exec: the working directory %s is no folder"):format(cwd), { name = "ENOTDIR" })
  elseif self.state == "closed" then
    return errors.new("io", ("exec: the working directory %s may not be entered"):format(cwd), { name = "EACCES" })
  end
  local words = self.refusal ~= "" and self.refusal or self.greeting or ""
  if words:find("argument list too long", 1, true) or words:find("message larger than max", 1, true) then
    return errors.new("invalid", "exec: the arguments and variables together are too large for Linux: hand them over "
      .. "by stdin or a file", { name = "E2BIG" })
  elseif words:find("/bin/sh", 1, true) then
    return errors.new("unsupported", "exec: the image has no /bin/sh, which is needed to run commands in it")
  elseif words:find("unable to find user", 1, true) or words:find("no matching entries in passwd", 1, true) then
    return errors.new("not_found", "exec: " .. engines.error("the engine says", words, "not_found").message)
  elseif self.fault then
    return self.fault
  elseif words ~= "" then
    return engines.error("exec: the engine could not start it", words, "unavailable")
  end
  local over, err = container_is_over(self)
  if over then
    return gone(self)
  end
  return lost(self, "the connection was lost before the command began", err or self.broken)
end

--- The connection is there: waits for the hello, then lets the command begin.
local function begin(self, options)
  self.reader = task.spawn_background("output of an exec", read_all, self)
  local in_time = pcall(task.timeout, START, wait_until, self, function()
    return self.state ~= nil or self.at_end
  end)
  if task.cancel_reason() then
    error(task.cancel_reason(), 0)
  elseif not in_time then
    return nil, errors.new("timeout", ("exec: the command did not begin within %d s"):format(START),
      { retryable = true })
  elseif self.state ~= "running" then
    return nil, start_failure(self, options.cwd)
  end
  if self.pty then
    local ok, err = self:resize(options.cols or 80, options.rows or 24)
    if not ok then
      return nil, err
    end
    self.echo = true
  end
  self.began = native.loop.monotonic()
  local ok, err = self.connection:write("\n")
  if not ok then
    return nil, lost(self, "the connection was lost before the command began", err)
  end
  return true
end

---@class luarium.docker.SpawnOptions
---@field engine luarium.docker.Engine
---@field provider string the provider's configured name
---@field container string
---@field explain fun(): luarium.Error? what to say when nothing runs in the container any more
---@field argv string[]
---@field cwd string
---@field env table<string, string>
---@field cookie string NAME=value, also in env
---@field user string?
---@field merge boolean?
---@field pty boolean?
---@field cols integer?
---@field rows integer?
---@field timeout number? seconds
---@field pids_limit integer? the container's

local function new(options, wrapped)
  local self = setmetatable({
    engine = options.engine, provider = options.provider, explain = options.explain, container = options.container,
    prey = { container = options.container, cookie = options.cookie, user = options.user,
      pids_limit = options.pids_limit }, pty = options.pty, mark = wrapped.mark, parser = frames.new(options.pty),
    marked = { stdout = frames.marked(wrapped.mark), stderr = frames.marked(wrapped.mark) },
    greeting = "", refusal = "", queue = {}, first = 1, last = 0, queued = 0, changed = task.event("output of an exec"),
    began = native.loop.monotonic(), last_byte = native.loop.monotonic(),
  }, Process)
  self.on_bytes = function(stream, bytes)
    on_bytes(self, stream, bytes)
  end
  return self
end

--- Starts a command.
---@async
---@param options luarium.docker.SpawnOptions
---@return luarium.docker.Process? process
---@return luarium.Error? err
function M.spawn(options)
  local wrapped, err = wrap.wrap(options.argv, options.cwd, options.env, options.merge)
  if not wrapped then
    return nil, err
  end
  local self = new(options, wrapped)
  self.exec, err = run.create(options.engine, options.container, {
    AttachStdin = true, AttachStdout = true, AttachStderr = true, Tty = options.pty or false, Cmd = wrapped.argv,
    Env = wrapped.env, User = options.user, WorkingDir = "/", DetachKeys = options.pty and NO_DETACH or nil,
  })
  if not self.exec then
    return nil, err
  end
  self.connection, err = options.engine:hijack("/exec/" .. self.exec .. "/start",
    { Detach = false, Tty = options.pty or false }, START)
  if not self.connection then
    return nil, err
  end
  local ok, begun, fault = pcall(begin, self, options)
  if ok and begun then
    if options.timeout then
      arm(self, options.timeout)
    end
    self.watcher = task.spawn_background("watch over an exec", watch, self)
    return self
  end
  release(self) -- without its line the command never begins; should that line be on its way, it is found
  if self.state == "running" then
    pcall(task.shield, CLEANUP, sweep, self)
  end
  if not ok then
    error(begun, 0)
  end
  return nil, fault
end

return M
