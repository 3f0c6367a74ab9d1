--- Starting a command: an exec is made, its connection taken over, its shell's hello waited for; then it may begin.
local engines = require "luarium.docker.engine"
local errors = require "luarium.error"
local frames = require "luarium.docker.frames"
local gate = require "luarium.docker.gate"
local native = require "luarium.native"
local outcome = require "luarium.docker.outcome"
local output = require "luarium.docker.output"
local process = require "luarium.docker.process"
local run = require "luarium.docker.run"
local scheduler = require "luarium.task.scheduler"
local task = require "luarium.task"
local wrap = require "luarium.docker.wrap"

local M = {}

local CLEANUP = 30 -- seconds for ending what is left
local START = 60 -- seconds that the engine may take to begin a command
local LOOK_AFTER = { 10, 30 } -- seconds of silence, at first and at most, until the engine is asked what is going on
-- Keys that detach from a terminal cannot be switched off: a sequence that nobody types.
local NO_DETACH = ("ctrl-_,ctrl-^,"):rep(8):sub(1, -2)

--- Kills it at its deadline.
local function arm(self, seconds)
  local op = native.loop.sleep(seconds)
  if not op then
    return
  end
  self.timer = op
  scheduler.on_complete(op, function()
    if self.timer == op and not (self.at_end or output.both_marked(self)) then
      self.timer = nil
      self.timed_out = true
      task.spawn_background("the deadline of an exec", function()
        pcall(process.sweep, self)
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
    if native.loop.monotonic() - self.last_byte >= wait and self.queued < output.AHEAD then
      local facts, ended, err = run.inspect(self.engine, self.exec)
      if not facts and (err.status == 404 or err.kind == "unavailable" or err.kind == "timeout")
        or ended and native.loop.monotonic() - self.last_byte >= wait then
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
  -- what there is of a hello is no word of the engine
  local words = self.refusal ~= "" and self.refusal or (self.greeting or ""):match("^[^\30]*")
  if words:find("argument list too long", 1, true) or words:find("message larger than max", 1, true) then
    return errors.new("invalid", "exec: the arguments and variables together are too large for Linux: hand them over "
      .. "by stdin or a file", { name = "E2BIG" })
  elseif words:find("/bin/sh", 1, true) then
    return errors.new("unsupported", "exec: the image has no /bin/sh, which is needed to run commands in it")
  elseif words:find("unable to find user", 1, true) or words:find("no matching entries in passwd", 1, true) then
    return errors.new("not_found", "exec: " .. engines.error("the engine says", words, "not_found").message)
  end
  local over, err = outcome.container_is_over(self)
  if over then
    return outcome.gone(self)
  elseif self.fault then
    return self.fault
  elseif words ~= "" then
    return engines.error("exec: the engine could not start it", words, "unavailable")
  end
  return outcome.lost(self, "the connection was lost before the command began", err or self.broken)
end

--- Ends a terminal's shell that was never heard of: it does not see that we are gone, and may begin after a sweep.
local function end_unheard(self)
  for attempt = 1, 10 do
    run.sweep(self.engine, self.prey)
    local facts, ended, err = run.inspect(self.engine, self.exec)
    if not facts and err.status == 404 or ended then
      return
    end
    task.sleep(0.05 * attempt)
  end
end

--- The connection is there: waits for the hello, then lets the command begin.
local function begin(self, options)
  self.reader = task.spawn_background("output of an exec", output.read_all, self)
  local in_time = pcall(task.timeout, START, output.wait_until, self, function()
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
  if not self.at_end then -- else it ended right after the hello, or meanwhile
    local ok, err = self.connection:write("\n")
    if ok then
      return true
    end
    self.broken = self.broken or err
  end
  return nil, start_failure(self, options.cwd)
end

local function open(self, options)
  local connection, err = options.engine:hijack("/exec/" .. self.exec .. "/start",
    { Detach = false, Tty = options.pty or false }, START)
  self.connection = connection
  if not connection then
    return nil, err
  end
  return begin(self, options)
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
  local self = process.new({
    engine = options.engine, provider = options.provider, explain = options.explain, container = options.container,
    prey = { container = options.container, cookie = options.cookie, user = options.user,
      pids_limit = options.pids_limit }, pty = options.pty, mark = wrapped.mark, parser = frames.new(options.pty),
    marked = { stdout = frames.marked(wrapped.mark), stderr = frames.marked(wrapped.mark) },
    greeting = "", refusal = "", queue = {}, first = 1, last = 0, queued = 0, changed = task.event("output of an exec"),
    began = native.loop.monotonic(), last_byte = native.loop.monotonic(),
  })
  self.on_bytes = function(stream, bytes)
    output.on_bytes(self, stream, bytes)
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
  local ok, begun, fault = pcall(gate.start, options.engine, options.container, function()
    return open(self, options)
  end)
  if ok and begun then
    if options.timeout then
      arm(self, options.timeout)
    end
    self.watcher = task.spawn_background("watch over an exec", watch, self)
    return self
  end
  if self.connection then
    process.release(self) -- without its line the command never begins; should that line be on its way, it is found
  end
  if self.state == "running" then
    pcall(task.shield, CLEANUP, process.sweep, self)
  elseif self.pty and not self.state and not (ok and not self.connection and fault.status) then
    pcall(task.shield, CLEANUP, end_unheard, self) -- it may have begun all the same
  end
  if not ok then
    error(begun, 0)
  end
  return nil, fault
end

return M
