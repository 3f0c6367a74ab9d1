--- Commands and live processes of a sandbox.
local check = require "luarium.check"
local errors = require "luarium.error"
local event = require "luarium.event"
local contract = require "luarium.provider.contract"
local object = require "luarium.sandbox.object"
local secret = require "luarium.secret"
local trace = require "luarium.trace"
local utf8 = require "luarium.utf8"

local Sandbox = object.methods

local M = {}

--- A command as providers take it: a text for the shell or a list of arguments.
---@param command any
---@param where string the call, for the message
---@return {argv: string[], shell: string?}
local function command_of(command, where)
  if type(command) == "string" then
    check.argument(command, "text", where, "the command")
    return { argv = { "/bin/sh", "-c", command }, shell = command }
  end
  check.argument(command, "strings", where, "the command")
  if #command == 0 or command[1] == "" then
    errors.raise("invalid", where .. ": the command is empty: expected a text for the shell or a list of arguments")
  end
  for i, argument in ipairs(command) do
    if argument:find("\0", 1, true) then
      errors.raise("invalid", ("%s: argument %d contains a NUL byte"):format(where, i))
    end
  end
  return { argv = command }
end
M.of = command_of

--- For people: one text, bounded, without secrets.
local function describe(command)
  local text = secret.redact(command.shown or command.shell or table.concat(command.argv, " "))
  return #text > 200 and text:sub(1, 197) .. "..." or text
end
M.describe = describe

local STREAMED_OUTPUT = 262144 -- kept of a stream that a callback gets whole

--- Output as it is shown: without secrets, in whole characters. The second function hands on what is still held:
--- the end may look like the beginning of a secret, or of a character.
---@param hand_on fun(text: string)
---@return fun(chunk: string) feed
---@return fun() finish
local function shown_output(hand_on)
  local redact = secret.stream_redactor()
  local held = ""
  local function tell(text, at_end)
    text = held .. text
    local count = at_end and 0 or utf8.unfinished(text)
    held = ""
    if count > 0 then -- else no copy: the text may be long
      text, held = text:sub(1, -count - 1), text:sub(-count)
    end
    if text ~= "" then
      hand_on(text)
    end
  end
  return function(chunk)
    tell(redact(chunk))
  end, function()
    tell(redact(), true)
  end
end
M.shown_output = shown_output

--- Output events for displays and logs, of a command or a job; the second function ends them.
local function tee(box, stream, callback, job)
  local tell, finish = shown_output(function(text)
    event.emit("output", { sandbox = box.id, name = box.name, job = job, stream = stream, text = text })
  end)
  return function(chunk)
    tell(chunk)
    if callback then
      callback(chunk)
    end
  end, finish
end
M.tee = tee

--- The environment of one command: the sandbox's, and what is added to it.
---@return table<string, string>
local function environment(box, added)
  local env = {}
  for key, value in pairs(box.env) do
    env[key] = value
  end
  for key, value in pairs((object.reveal_map(added))) do
    env[key] = value
  end
  return env
end
M.environment = environment

local function exec_options(box, options, where)
  options = check.options(options, contract.exec_options, where)
  local env = environment(box, options.env)
  local file = type(options.stdin) == "table" and (options.stdin.file or true)
  if file and (type(file) ~= "string" or file:find("\0", 1, true)) then
    errors.raise("invalid", where .. ": option 'stdin': expected bytes, { file = path } or a function")
  end
  local streamed = options.on_stdout or options.on_stderr
  return {
    cwd = options.cwd and box:path(options.cwd) or box.cwd, env = env, stdin = options.stdin, user = options.user,
    timeout = options.timeout, max_output = options.max_output or streamed and STREAMED_OUTPUT or nil,
    pty = options.pty, cols = options.cols, rows = options.rows, merge = options.merge,
    on_stdout = options.on_stdout, on_stderr = options.on_stderr,
  }
end

--- Inside the span of the operation: the command learns its own place in the trace.
local function start(box, operation, command, given)
  trace.extend(given.env)
  return object.call(box, operation, command, given)
end

--- The same, and whoever listens gets the output.
local function start_told(box, operation, command, given)
  if not event.wanted("output") then
    return start(box, operation, command, given)
  end
  local end_stdout, end_stderr
  given.on_stdout, end_stdout = tee(box, "stdout", given.on_stdout)
  given.on_stderr, end_stderr = tee(box, "stderr", given.on_stderr)
  local ok, result = xpcall(start, errors.handler, box, operation, command, given)
  end_stdout()
  end_stderr()
  return ok and result or error(result, 0)
end

local SEARCHED = 65536 -- bytes at the end of the output in which its last line is looked for

local function last_line(text)
  local stop = #text
  while text:byte(stop) == 10 do
    stop = stop - 1
  end
  text = text:sub(1, stop)
  return text:match("^.*\n(.*)$") or text
end

local function check_result(command, result)
  if result.timed_out then
    errors.raise("timeout", ("exec: `%s` was stopped after %.1f s"):format(describe(command), result.duration or 0),
      { data = result })
  elseif result.exit_code ~= 0 then
    local how = result.signal and "was killed by " .. result.signal or "exited with " .. tostring(result.exit_code)
    local text = result.stderr ~= "" and result.stderr or result.stdout or ""
    local last = last_line(secret.redact(text:sub(-SEARCHED))) -- a secret may have several lines
    errors.raise("io", ("exec: `%s` %s%s"):format(describe(command), how,
      last ~= "" and ": " .. last:sub(1, 300) or ""), { name = "EXIT", data = result })
  end
  return result
end

event.summaries["sandbox.exec"] = function(result)
  return { exit_code = result.exit_code, signal = result.signal, timed_out = result.timed_out,
    stdout_bytes = result.stdout_bytes, stderr_bytes = result.stderr_bytes }
end

---@class luarium.ExecResult
---@field exit_code integer? nil when a signal or the timeout ended it
---@field ok boolean exit_code is 0
---@field signal string? such as "SIGKILL"
---@field stdout string the bytes kept; front and back when there were more than max_output
---@field stderr string
---@field stdout_bytes integer how many there were
---@field stderr_bytes integer
---@field truncated boolean some were dropped
---@field timed_out boolean
---@field held_open boolean? a background process still held the output, where the provider can tell
---@field oom boolean? killed for want of memory, where the provider can tell
---@field duration number seconds

--- As Sandbox:exec.
---@async
---@param box luarium.Sandbox
---@param command string|string[]
---@param options table?
---@param shown string? what people are told of it, where most of the words are Luarium's own
---@return luarium.ExecResult
function M.exec(box, command, options, shown)
  local given = command_of(command, "exec")
  given.shown = shown
  local checked = exec_options(box, options, "exec")
  local result = object.span_with(start_told, box, "exec", { command = describe(given) }, given, checked)
  result.ok = result.exit_code == 0 and not result.timed_out
  if options and options.check then
    check_result(given, result)
  end
  return result
end

--- Runs a command to its end. A text goes through the shell, a list is an argv without one. A command that fails is a
--- result, not an error, unless `check` is set.
---@async
---@param command string|string[]
---@param options {cwd?: string, env?: table, stdin?: string|table|function, user?: string, timeout?: number,
---  max_output?: integer, pty?: boolean, cols?: integer, rows?: integer, on_stdout?: fun(chunk: string),
---  on_stderr?: fun(chunk: string), check?: boolean, merge?: boolean}? timeout in seconds, max_output in bytes a stream
---@return luarium.ExecResult
function Sandbox:exec(command, options)
  return M.exec(self, command, options)
end

---@class luarium.Process
local Process = {}
local process_mt = { __index = Process, __name = "luarium.Process" }
object.process_methods = Process

for _, name in ipairs({ "read", "write", "close_stdin", "wait", "kill", "resize" }) do
  Process[name] = function(self, ...)
    local handle = self.handle
    if not handle then
      errors.raise("invalid", "process:" .. name .. ": the process was closed")
    end
    local value, second = handle[name](handle, ...)
    if value == nil and errors.is(second) then
      object.raise(second, "process." .. name)
    end
    return value, second
  end
end

--- Kills what is left of it and gives back its streams. May be called again.
function Process:close()
  local handle = self.handle
  self.handle = nil
  if handle then
    handle:close()
  end
end

process_mt.__close = Process.close
process_mt.__gc = Process.close

--- What scripts get of a live process of the provider.
---@return luarium.Process
function M.live(handle)
  return setmetatable({ handle = handle, pid = handle.pid }, process_mt)
end

--- Starts a live process: read() -> bytes, "stdout"|"stderr" or nil at the end; write, close_stdin, wait, kill, resize,
--- close.
---@async
---@param command string|string[]
---@param options table? as for exec, without callbacks
---@return luarium.Process
function Sandbox:spawn(command, options)
  command = command_of(command, "spawn")
  local given = exec_options(self, options, "spawn")
  for _, key in ipairs({ "check", "max_output", "on_stderr", "on_stdout" }) do
    if options and options[key] ~= nil then
      errors.raise("invalid", ("spawn: `%s` is an option of exec; a live process is read with process:read")
        :format(key))
    end
  end
  local handle = object.span_with(start, self, "spawn", { command = describe(command) }, command, given)
  return M.live(handle)
end

return M
