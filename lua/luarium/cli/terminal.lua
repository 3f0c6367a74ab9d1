--- A terminal of a sandbox on ours: raw mode, keys in, output out, size changes, a key to leave.
local native = require "luarium.native"
local options = require "luarium.cli.options"
local signals = require "luarium.cli.signals"
local task = require "luarium.task"
local writer = require "luarium.cli.writer"

local tty = native.tty
local await = task.await

local M = {}

local DETACH = "\29" -- Ctrl-], which shells and editors have no use for

--- What a crash leaves behind on the terminal is undone: cursor, colours, alternate screen, bracketed paste.
local LEAVE = "\27[?1049l\27[?25h\27[?2004l\27[0m\r\n"

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

local function follow_size(process)
  signals.each(function()
    local cols, rows = tty.size(1)
    if cols then
      process:resize(cols, rows)
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

local function show_output(process)
  local write = writer.to(1)
  while true do
    local chunk = process:read()
    if not chunk then
      return
    end
    write(chunk)
  end
end

local function talk(process, input, key)
  return task.scope(function(scope)
    local left = false
    scope:spawn(until_ended, pass_keys, process, input, key, function()
      left = true
      process:close() -- the reader below sees its end
    end)
    scope:spawn(follow_size, process)
    local ok, err = pcall(show_output, process)
    if not ok and not left then
      error(err, 0)
    end
    local result = not left and process:wait() or nil
    return result, scope:cancel()
  end, "terminal")
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
  local cols, rows = tty.size(1)
  given.pty, given.cols, given.rows = true, cols or 80, rows or 24
  given.env = given.env or {}
  given.env.TERM = given.env.TERM or os.getenv("TERM") or "xterm"
  local process = box:spawn(command, given)
  local input, err = native.input.open(0)
  local saved
  if input then
    saved, err = tty.raw(0, LEAVE)
  end
  if not saved then
    process:close()
    error(err, 0)
  end
  local function restore()
    saved:restore()
  end
  context.close_display = restore
  local ok, result = pcall(talk, process, input, key or DETACH)
  restore()
  input:close()
  process:close()
  if not ok then
    error(result, 0)
  elseif not result then
    writer.of(1):push("\r\n") -- the cursor is wherever the sandbox left it
  end
  return result
end

return M
