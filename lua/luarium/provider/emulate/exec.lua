--- exec over spawn: a live process is fed, read to its end and bounded in time and memory.
local errors = require "luarium.error"
local log = require "luarium.log"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

local OUTPUT_LIMIT = 8388608 -- bytes kept per stream when nobody says otherwise
local CHUNK = 262144 -- bytes of stdin per write
local PIECE = 65536 -- small chunks are joined to pieces of about this size
local GRACE = 5 -- seconds that a killed process has to end its streams

-- ---- keeping the front and the back of a stream ----

---@class luarium.Capture
---@field total integer bytes that came
local Capture = {}
Capture.__index = Capture

---@param limit integer bytes to keep
---@return luarium.Capture
function M.capture(limit)
  local front = math.floor(limit / 2)
  return setmetatable({
    total = 0, front_limit = front, back_limit = limit - front, front = {}, front_size = 0,
    back = {}, first = 1, last = 0, back_size = 0, loose = {}, loose_size = 0,
  }, Capture)
end

local function settle_loose(self)
  if self.loose_size == 0 then
    return
  end
  self.last = self.last + 1
  self.back[self.last] = #self.loose == 1 and self.loose[1] or table.concat(self.loose)
  self.back_size = self.back_size + self.loose_size
  self.loose, self.loose_size = {}, 0
  while self.back_size - #self.back[self.first] >= self.back_limit do
    self.back_size = self.back_size - #self.back[self.first]
    self.back[self.first] = nil
    self.first = self.first + 1
  end
end

--- Counts bytes that go elsewhere.
function Capture:skip(count)
  self.total = self.total + count
end

function Capture:add(chunk)
  self.total = self.total + #chunk
  local room = self.front_limit - self.front_size
  if room > 0 then
    local head = #chunk <= room and chunk or chunk:sub(1, room)
    self.front[#self.front + 1] = head
    self.front_size = self.front_size + #head
    chunk = #head < #chunk and chunk:sub(#head + 1) or ""
  end
  if chunk ~= "" and self.back_limit > 0 then
    self.loose[#self.loose + 1] = chunk
    self.loose_size = self.loose_size + #chunk
    if self.loose_size >= PIECE or #self.loose >= 1024 then
      settle_loose(self)
    end
  end
end

---@return string bytes what was kept
---@return integer? cut offset at which bytes were dropped, nil when all is there
function Capture:finish()
  settle_loose(self)
  local front = table.concat(self.front)
  local back = table.concat(self.back, "", self.first, self.last)
  if #back > self.back_limit then
    back = self.back_limit > 0 and back:sub(-self.back_limit) or ""
  end
  return front .. back, #front + #back < self.total and #front or nil
end

-- ---- feeding ----

local function write_all(process, bytes)
  for at = 1, #bytes, CHUNK do
    local part = #bytes <= CHUNK and bytes or bytes:sub(at, at + CHUNK - 1)
    local ok, err = process:write(part)
    if not ok then
      return nil, err
    end
  end
  return true
end

local function file_source(path)
  local reader, err = task.await(native.fs.reader(path))
  if not reader then
    error(err, 0)
  end
  return function()
    local bytes, failure = task.await(reader:read())
    if failure then
      error(failure, 0)
    end
    return bytes
  end, reader
end

local function feed_from(process, source)
  while true do
    local bytes, err = source()
    if bytes == nil then
      if err then
        error(err, 0)
      end
      return
    elseif type(bytes) ~= "string" then
      errors.raise("invalid", "stdin: the iterator must return strings, and nil at the end; it returned a "
        .. type(bytes))
    end
    if not write_all(process, bytes) then
      return -- the child reads no more: its exit code tells whether that matters
    end
  end
end

local function feed(process, stdin)
  if type(stdin) == "string" then
    write_all(process, stdin)
  elseif type(stdin) == "function" then
    feed_from(process, stdin)
  elseif type(stdin) == "table" then
    local source, reader = file_source(stdin.file)
    local ok, err = pcall(feed_from, process, source)
    reader:close()
    if not ok then
      error(err, 0)
    end
  end
  process:close_stdin()
end

-- ---- running ----

--- Lets the process write its stdout to a file itself, where it can and somebody has one for it.
local function pour(process, sink, out)
  local writer = process.pour and sink.writer()
  if not writer then
    return true
  end
  while true do
    local count, more = process:pour(writer)
    if not count then
      return nil, more
    end
    out:skip(count)
    sink.poured(count)
    if not more then
      return true
    end
  end
end

local function read_all(process, options, out, err_out)
  while true do
    if options.sink then
      local ok, err = pour(process, options.sink, out)
      if not ok then
        return nil, err
      end
    end
    local bytes, stream = process:read()
    if bytes == nil then
      return stream == nil, stream
    end
    if stream == "stderr" and not options.merge then
      err_out:add(bytes)
      if options.on_stderr then
        options.on_stderr(bytes)
      end
    else
      out:add(bytes)
      if options.on_stdout then
        options.on_stdout(bytes)
      end
    end
  end
end

--- Kills the process at its deadline, also where the provider does not; should even that not end it, its streams are
--- given up, so that the call returns.
local function watch(process, seconds, state)
  task.sleep(seconds)
  state.timed_out = true
  local killed, err = process:kill("KILL")
  if not killed and err and err.name ~= "ESRCH" then
    log.warn("exec: its time is over, and what it has started could not be ended: " .. err.message)
  end
  task.sleep(GRACE)
  process:close()
end

local function converse(process, options, state, out, err_out)
  return task.scope(function(scope)
    if options.stdin ~= nil then
      scope:spawn(feed, process, options.stdin)
    else
      process:close_stdin()
    end
    if options.timeout then
      scope:spawn(watch, process, options.timeout, state)
    end
    local ok, err = read_all(process, options, out, err_out)
    local exit
    if ok then
      exit, err = process:wait()
    end
    scope:cancel("the command has ended")
    if not exit and not state.timed_out then
      return nil, err
    end
    return exit or {}
  end, "exec")
end

--- The result of exec from what is known at the end.
---@param exit table as process:wait() gives it; empty after a timeout
---@param state {timed_out: boolean?}
---@param out luarium.Capture
---@param err_out luarium.Capture
---@param started number
---@return table result
function M.result_of(exit, state, out, err_out, started)
  local timed_out = state.timed_out or exit.timed_out or false
  local stdout, stdout_cut = out:finish()
  local stderr, stderr_cut = err_out:finish()
  return {
    exit_code = not timed_out and exit.exit_code or nil,
    signal = exit.signal or timed_out and "SIGKILL" or nil,
    stdout = stdout, stderr = stderr, stdout_bytes = out.total, stderr_bytes = err_out.total,
    stdout_cut = stdout_cut, stderr_cut = stderr_cut, truncated = stdout_cut ~= nil or stderr_cut ~= nil,
    timed_out = timed_out, held_open = exit.held_open, oom = exit.oom or false,
    duration = native.loop.monotonic() - started,
  }
end

--- Serves a live process until it has ended, and closes it.
---@async
---@param process table as spawn of a provider gives it
---@param options table of exec
---@param started number by native.loop.monotonic
---@return table? result
---@return luarium.Error? err
function M.to_end(process, options, started)
  local limit = options.max_output or OUTPUT_LIMIT
  local out, err_out, state = M.capture(limit), M.capture(limit), { timed_out = false }
  local ok, exit, failure = pcall(converse, process, options, state, out, err_out)
  if not ok then
    pcall(task.shield, GRACE, process.close, process) -- kills what still runs; may have to ask the provider
    error(exit, 0)
  end
  process:close()
  if not exit then
    return nil, failure
  end
  return M.result_of(exit, state, out, err_out, started)
end

--- exec for a provider that has spawn: streams to callbacks, takes stdin from strings, files and iterators. Callbacks
--- and iterators may wait: the process is not read, or not fed, meanwhile. When one raises, the process is killed and
--- the error goes on.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param command {argv: string[], shell: string?}
---@param options table? of exec
---@return table? result
---@return luarium.Error? err
function M.exec_over_spawn(self, box, command, options)
  options = options or {}
  local started = native.loop.monotonic()
  local process, err = self:call("spawn", box, command, {
    cwd = options.cwd, env = options.env, user = options.user, timeout = options.timeout, merge = options.merge,
    pty = options.pty, cols = options.cols, rows = options.rows,
  })
  if not process then
    return nil, err
  end
  return M.to_end(process, options, started)
end

return M
