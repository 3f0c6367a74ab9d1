--- A terminal of a sandbox on ours: raw mode, keys in, output out, size changes, a key to leave.
local errors = require "luarium.error"
local modes = require "luarium.cli.terminal_modes"
local native = require "luarium.native"
local options = require "luarium.cli.options"
local signals = require "luarium.cli.signals"
local task = require "luarium.task"
local writer = require "luarium.cli.writer"

local tty = native.tty
local await = task.await

local M = {}

local DETACH = "\29" -- Ctrl-], which shells and editors have no use for

--- What a crash leaves behind on the terminal is undone: a sequence without an end, other screen, scrolling of some
--- lines, cursor, bracketed paste, mouse, keys, colours, characters. The cursor goes to the last line.
local LEAVE = "\27\\\27[?1049l\27[?6l\27[r\27[999;1H\27[?7h\27[?25h\27[?2004l\27[?1000l\27[?1002l\27[?1003l"
  .. "\27[?1004l\27[?1006l\27[?1l\27>\27[4l\27(B\27)B\15\27[0m\r\n"

--- Ends the program with advice unless both ends are a terminal.
---@param command string the command's name
---@param hint string what to call instead
function M.require(command, hint)
  if not (tty.isatty(0) and tty.isatty(1)) then
    options.usage_error(command .. ": this needs a terminal, and "
      .. (tty.isatty(0) and "standard output" or "standard input") .. " is none", hint)
  end
end

--- Keys go to the process until the detach key, or until one of both ends.
local function pass_keys(process, input, key, detached)
  while true do
    local bytes, err = await(input:read())
    if err then
      error(err, 0)
    elseif not bytes then
      return process:close_stdin()
    end
    local at = key ~= "" and bytes:find(key, 1, true)
    if at ~= 1 then
      process:write(at and bytes:sub(1, at - 1) or bytes)
    end
    if at then
      return detached()
    end
  end
end

local function follow_size(resize)
  signals.each(function()
    local cols, rows = tty.size(1)
    if cols then
      resize(cols, rows)
    end
  end, "WINCH")
end

--- A write to a process that has just ended is no failure: its end is what counts.
local function until_ended(fn, ...)
  local ok, err = pcall(fn, ...)
  if not ok and (task.cancel_reason() == err or err.kind ~= "io" and err.kind ~= "conflict") then
    error(err, 0)
  end
end

--- Shows what the process writes; is_all(chunk) sees it too, and may tell that there is no more.
local function show_output(process, is_all)
  local write = writer.to(1)
  while true do
    local chunk = process:read()
    if not chunk then
      return
    end
    write(chunk)
    if is_all(chunk) then
      return
    end
  end
end

---@class luarium.cli.Talk
---@field resize fun(cols: integer, rows: integer)
---@field is_all fun(chunk: string): boolean? sees the output that was shown, and tells whether that is all
---@field beside (fun(close: fun()))? runs beside it, and may end it

--- Keys in, output out. True when the user left.
---@param with luarium.cli.Talk
local function talk(process, input, key, with)
  return task.scope(function(scope)
    local left, over = false, false
    local function close()
      over = true
      process:close() -- the reader below sees its end
    end
    scope:spawn(until_ended, pass_keys, process, input, key, function()
      left = true
      close()
    end)
    scope:spawn(follow_size, with.resize)
    if with.beside then
      scope:spawn(with.beside, close)
    end
    local ok, err = pcall(show_output, process, with.is_all)
    if not ok and not over then
      error(err, 0)
    end
    return left, scope:cancel()
  end, "terminal")
end

--- Calls fn(input, key) with our terminal in raw mode.
local function in_raw_mode(context, key, fn)
  local input, err = native.input.open(0)
  local saved
  if input then
    saved, err = tty.raw(0, LEAVE)
  end
  if not saved then
    error(err, 0)
  end
  local function restore()
    saved:restore()
  end
  context.close_display = restore
  local ok, result = pcall(fn, input, key or DETACH)
  restore()
  input:close()
  if not ok then
    error(result, 0)
  end
  return result
end

--- The size of our terminal and what it is, for what runs on it.
local function describe(given)
  local cols, rows = tty.size(1)
  given.pty, given.cols, given.rows = true, cols or 80, rows or 24
  given.env = given.env or {}
  given.env.TERM = given.env.TERM or os.getenv("TERM") or "xterm"
  return given
end
M.describe = describe

--- Undoes what a program has switched on. One that was not left may have been killed.
local function put_back(seen, has_ended)
  if not has_ended or seen:enter() ~= "" then
    writer.of(1):push(seen:leave() .. "\r\n") -- the cursor is wherever the sandbox left it
  end
end

--- Runs a command of the sandbox on our terminal until it ends or the detach key is pressed.
---@async
---@param context luarium.cli.Context
---@param box luarium.Sandbox
---@param command string|string[]
---@param given table options of spawn: cwd, env, user, timeout
---@param key string? the byte of the key that leaves, "" for none
---@return luarium.ExecResult? result nil when the user left
function M.run(context, box, command, given, key)
  local process = box:spawn(command, describe(given))
  local seen = modes.new()
  local ok, result = pcall(in_raw_mode, context, key, function(input, leave)
    local left = talk(process, input, leave, {
      resize = function(cols, rows)
        process:resize(cols, rows)
      end,
      is_all = function(chunk)
        seen:feed(chunk)
      end,
    })
    return not left and process:wait() or nil
  end)
  process:close()
  put_back(seen, ok and result ~= nil)
  if not ok then
    error(result, 0)
  end
  return result
end

-- ---- a job's terminal ----

local SEEN_AGAIN = 262144 -- bytes at the end of the output in which modes and the last screenful are looked for
local REST = 5            -- seconds that the rest of the output may take when the job has ended

--- The output so far, as far as it is worth looking at: what was switched on, and the last screenful.
local function look_back(job, rows, seen)
  local status = job:status()
  local from = math.max(status.stdout_from, status.stdout_bytes - SEEN_AGAIN)
  local bytes, offset = job:read({ offset = from, max = SEEN_AGAIN })
  bytes = bytes or ""
  seen:feed(bytes)
  return modes.screenful(bytes, rows), offset, status
end

--- Keys and output until the job ends, the connection does, or the detach key is pressed. How far the output was shown
--- is at.offset.
local function converse(job, process, input, key, at)
  local result
  local function is_all()
    return result ~= nil and at.offset >= result.stdout_bytes
  end
  local left = talk(process, input, key, {
    resize = function(cols, rows)
      job:resize(cols, rows)
    end,
    is_all = function(chunk)
      at.offset = at.offset + #chunk
      at.seen:feed(chunk)
      return is_all()
    end,
    beside = function(close)
      result = job:wait({ max_output = 0 })
      local shown
      while not is_all() and shown ~= at.offset do
        shown = at.offset
        task.sleep(REST)
      end
      close()
    end,
  })
  return left, result
end

--- What a stream still has; for a time, as nobody can leave meanwhile.
local function show_rest(job, stream, offset)
  local deadline = native.loop.monotonic() + 4 * REST
  local show = writer.to(1)
  repeat
    local bytes, next_offset = job:read({ stream = stream, offset = offset })
    offset = next_offset
    show(bytes or "")
  until (bytes or "") == "" or native.loop.monotonic() > deadline
end

--- The terminal of a job on ours, until it ends or the detach key is pressed.
---@async
---@param context luarium.cli.Context
---@param job luarium.Job
---@param key string? the byte of the key that leaves, "" for none
---@param again boolean whether to show the last screenful, and to have the program draw anew
---@return luarium.JobResult? result nil when the user left
---@return boolean? was_over it had ended before
function M.attach(context, job, key, again)
  local cols, rows = tty.size(1)
  local at, before = { seen = modes.new(), offset = 0 }, ""
  local show = writer.to(1)
  if again then
    local text, offset, status = look_back(job, rows or 24, at.seen)
    if status.state ~= "running" then
      show(text .. (text:find("[^\n]$") and "\r\n" or ""))
      return job:wait({ max_output = 0 }), true
    end
    at.offset, before = offset, at.seen:enter() .. text
    if cols then
      job:resize(cols, rows, { redraw = true })
    end
  end
  local result
  local ok, left = pcall(function()
    local process = job:connect({ offset = at.offset })
    local ok, left = pcall(in_raw_mode, context, key, function(input, leave)
      local left
      show(before) -- not earlier: who sees it may type
      left, result = converse(job, process, input, leave, at)
      return left
    end)
    process:close()
    return ok and left or not ok and error(left, 0)
  end)
  put_back(at.seen, ok and not left)
  if not ok then
    error(left, 0)
  elseif left then
    return nil
  end
  result = result or job:wait({ max_output = 0, timeout = 0 })
  if not result then
    errors.raise("unavailable", "the connection to " .. job.key .. " was cut")
  end
  show_rest(job, "stdout", at.offset)
  if result.stderr_bytes > 0 then -- what kept it from having a terminal
    show_rest(job, "stderr", 0)
  end
  return result
end

return M
