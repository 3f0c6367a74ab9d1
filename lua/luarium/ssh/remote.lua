--- Commands on the host: started so that they can be found and killed there, with streams as a local process has.
local compat = require "luarium.compat"
local errors = require "luarium.error"
local in_time = require "luarium.task.in_time"
local emulate = require "luarium.provider.emulate.exec"
local native = require "luarium.native"
local scheduler = require "luarium.task.scheduler"
local scripts = require "luarium.ssh.scripts"
local task = require "luarium.task"
local text = require "luarium.ssh.text"
local trim_end = require("luarium.text").trim_end

local await = task.await
local monotonic = native.loop.monotonic

local M = {}

local ARGUMENT_MAX = 131071 -- bytes of one argument or variable: Linux takes no more
local TOTAL_MAX = 2000000 -- bytes of all of them
local OUTPUT_MAX = 8388608 -- bytes kept of a stream when nobody says otherwise
local KILL_BUDGET = 5 -- seconds that killing may take, connecting again included
local MARKER_WAIT = 10 -- seconds that a command which is to be killed has to tell its process id

local count = 0
local prefix = native.crypto.hex_encode(native.crypto.random(8))

--- The value ends in a dot, so that none is the beginning of another one.
local function new_cookie()
  count = count + 1
  return ("LUARIUM_EXEC=%s-%d."):format(prefix, count)
end

-- ---- killing ----

local function sweep(pool, cookie, pid)
  local result, err = M.script(pool, scripts.kill, { cookie, pid or "" }, { urgent = true })
  if not result then
    return nil, err
  elseif result.exit_code ~= 0 then
    return nil, errors.new("io", "ssh: what the command had started could not be killed: " .. result.stderr)
  end
  return true
end

--- Kills what could not be killed when its connection was lost.
local function sweep_orphans(pool)
  local cookies = pool.orphans
  pool.orphans = {}
  for _, cookie in ipairs(cookies) do
    local ok, done = pcall(sweep, pool, cookie)
    if not (ok and done) then
      table.insert(pool.orphans, cookie)
    end
  end
end

--- Kills a command within a bound, also while the task is being cancelled. What cannot be reached now is killed when
--- the host is reached again.
local function put_down(pool, cookie, pid)
  local ok, done, err = pcall(task.shield, KILL_BUDGET, sweep, pool, cookie, pid)
  if not (ok and done) then
    table.insert(pool.orphans, cookie)
    return nil, errors.from(ok and err or done)
  end
  return true
end

-- ---- processes ----

---@class luarium.ssh.Process
---@field pid integer? on the host
---@field cookie string
---@field own boolean? a script of ours, which ends by itself
---@field given_up boolean? it is among the orphans
local Process = {}
Process.__index = Process

local function ended(self)
  return self.channel:status() ~= nil
end

function Process:read(max)
  return await(self.channel:read(max))
end

--- A read whose bytes go into a file of this machine.
---@param writer userdata of native.fs
---@return integer? count bytes
---@return boolean|luarium.Error more_or_err false: a read tells what comes next, bytes of stderr or the end
function Process:pour(writer)
  return await(self.channel:pour(writer))
end

--- Moves bytes between a file of this machine and the process, on a thread. Its connection must be borrowed.
---@param file userdata of native.fs: a reader for its stdin, a writer for its stdout
---@param up boolean
---@param offset number
---@param length number
---@return number? count bytes; may be fewer
---@return boolean|luarium.Error more_or_err false: no more can be moved; a read tells what has happened
function Process:haul(file, up, offset, length)
  local channel = self.channel
  return await((up and channel.haul_from or channel.haul_into)(channel, file, offset, length))
end

function Process:write(bytes)
  return await(self.channel:write(bytes))
end

--- On a terminal the end of input is a character.
function Process:close_stdin()
  if self.closed or self.input_ended then
    return
  end
  self.input_ended = true
  if not self.pty then
    self.channel:close_stdin()
    return
  end
  self.channel:send("\4")
end

function Process:wait()
  if not ended(self) then
    local ok, err = await(self.channel:wait())
    if not ok then
      return nil, err
    end
  end
  self.finished = self.finished or monotonic()
  local status = self.channel:status()
  return {
    exit_code = not self.timed_out and status.exit_code or nil,
    signal = self.timed_out and "SIGKILL" or status.signal, timed_out = self.timed_out or false,
    held_open = status.held_open, duration = self.finished - self.started,
  }
end

---@param signal string|integer|nil
function Process:kill(signal)
  if self.closed then
    return nil, errors.new("invalid", "process.kill: the process is closed")
  elseif ended(self) then
    return nil, errors.new("not_found", "process.kill: it has ended")
  end
  signal = tostring(signal or "KILL"):gsub("^SIG", "")
  if not signal:match("^%w+$") then
    return nil, errors.new("invalid", "process.kill: there is no signal " .. signal)
  end
  if signal == "KILL" or signal == "9" then
    local ok, err = put_down(self.pool, self.cookie, self.pid)
    self.given_up = not ok
    return ok, err
  end
  local result, err = M.script(self.pool, scripts.signal, { signal, self.pid }, { urgent = true })
  if not result then
    return nil, err
  elseif result.exit_code ~= 0 then
    return nil, errors.new("invalid", "process.kill: " .. trim_end(result.stderr))
  end
  return true
end

function Process:resize(cols, rows)
  return self.channel:resize(cols, rows)
end

local function release(self)
  if self.timer then
    scheduler.forget(self.timer)
    self.timer:cancel()
    self.timer = nil
  end
  self.channel:close()
  self.pool:give_back(self.connection)
end

--- Kills what still runs. Where it may wait, it does so until that is dead.
function Process:close()
  if self.closed then
    return
  end
  self.closed = true
  if ended(self) or self.own or self.given_up then
    return release(self)
  end
  local function finish()
    put_down(self.pool, self.cookie, self.pid)
    release(self)
  end
  if task.current() and compat.may_yield() then
    finish()
  else
    task.spawn_detached("the end of a command on " .. self.pool.target.name, finish)
  end
end

--- Kills it at its deadline. Should that not be possible, its streams are given up, so that nobody waits for ever;
--- those of a script of ours always, which may be where no signal reaches it, as on a disk that does not answer.
local function end_in_time(self)
  local ok = put_down(self.pool, self.cookie, self.pid)
  self.given_up = not ok
  if not (ok and not self.own) and not self.closed then
    self.channel:close()
  end
end

local function arm(self, seconds)
  local op = native.loop.sleep(seconds)
  self.timer = op
  scheduler.on_complete(op, function()
    if self.timer == op then
      self.timer = nil
      self.timed_out = not ended(self)
      if self.timed_out then
        task.spawn_detached("the timeout of a command on " .. self.pool.target.name, end_in_time, self)
      end
    end
  end)
end

-- ---- starting ----

---@class luarium.ssh.Command
---@field argv string[]
---@field env table<string, string>? added to the environment; never an argument of anything
---@field cookie string? "NAME=value" of a sandbox, in the environment from the very beginning
---@field root string? of the sandbox, which must exist; HOME and TMPDIR are in it
---@field cwd string?
---@field merge boolean?
---@field pty boolean?
---@field cols integer?
---@field rows integer?
---@field window integer? bytes that may be under way
---@field file string? where its first line waits for it
---@field own boolean? a script of ours: it ends by itself, and nothing of it has to be found again
---@field urgent boolean? without waiting for other commands to end
---@field over luarium.ssh.Connection? borrowed, for this command
---@field timeout number? seconds

local function check_size(command)
  local total = 0
  local function add(value)
    total = total + #value + 1
    return #value <= ARGUMENT_MAX
  end
  for i, argument in ipairs(command.argv) do
    if not add(argument) then
      return nil, errors.new("invalid", ("argument %d has %d bytes: expected at most %d: hand it over through stdin or "
        .. "a file"):format(i, #argument, ARGUMENT_MAX))
    end
  end
  for name, value in pairs(command.env or {}) do
    if not add(name .. "=" .. value) then
      return nil, errors.new("invalid", ("env: %s has %d bytes: expected at most %d with its name"):format(name, #value,
        ARGUMENT_MAX))
    end
  end
  if total > TOTAL_MAX then
    return nil, errors.new("invalid", ("the arguments and the environment are too large: %d bytes, expected at most %d")
      :format(total, TOTAL_MAX))
  end
  return true
end

--- Variables of every command in a sandbox, unless the user sets them.
local USUAL = { { "HOME", "$lum_r/home" }, { "TMPDIR", "$lum_r/tmp" }, { "LANG", "C.UTF-8" } }

local function usual(command)
  local words = {}
  for _, row in ipairs(USUAL) do
    if not (command.env and command.env[row[1]]) then
      words[#words + 1] = ('%s="%s"'):format(row[1], row[2])
    end
  end
  return table.concat(words, " ")
end

--- The sh code that goes before the command. It tells its process id and that the command will run, in a line with the
--- marker; what came before is the login shell's own. The sandbox must be there: who finds it is found by destroy.
local function code_of(command, marker, marks_stderr)
  return function(quote, shell)
    local bash = shell == "bash"
    local code, own = {}, bash and "builtin " or ""
    local function add(format, ...)
      code[#code + 1] = format:format(...)
    end
    local function refuse(word)
      return ("{ %secho %s $$ %s; %sexit 1; }"):format(own, marker, word, own)
    end
    if command.root then
      local there = bash and '{ exec 9<"$lum_r/state.json"; } 2>/dev/null' or '[ -e "$lum_r/state.json" ]'
      add("lum_r=%s; %s || %s;", quote(command.root), there, refuse("gone"))
    end
    if command.cwd then
      add("%scd -P %s 2>/dev/null || %s;", own, quote(command.cwd), refuse("cwd"))
    end
    if command.root then
      add("%sexport %s;", own, usual(command))
    end
    if marks_stderr then
      add("%secho %s >&2;", own, marker)
    end
    if command.merge then
      add("exec 2>&1;") -- `builtin exec` would not last
    end
    add("%secho %s $$ ok%s;", own, marker, shell == "ask" and ' "$7"' or "")
    return table.concat(code, " ")
  end
end

local function parts_of(pool, command, cookie, marker, marks_stderr)
  return {
    env = command.own and {} or { command.cookie, cookie }, secret = command.env, argv = command.argv,
    careful = pool.careful, bash = pool.bash, code = code_of(command, marker, marks_stderr),
  }
end

--- A terminal would show the first line and cut it: it goes through a file there.
local function put_line(pool, command, line)
  local path = command.root .. "/run." .. native.crypto.ulid()
  local result, err = M.script(pool, scripts.put, { path, command.root }, { stdin = line, urgent = command.urgent })
  if not result then
    return nil, err
  elseif result.exit_code == 3 then
    return nil, errors.new("sandbox_gone", "the sandbox no longer exists")
  elseif result.exit_code ~= 0 then
    return nil, errors.new("io", "ssh: cannot write " .. path .. ": " .. trim_end(result.stderr))
  end
  return path
end

--- It may run, or be about to: it is told apart by its marker, and killed.
local function abandon(pool, cookie, failed, own)
  pcall(task.shield, MARKER_WAIT, function()
    local silent = failed.err and failed.err.name == "SSH_SILENT" -- it was waited for
    if not own and not silent and not failed.connection.session:error() then
      await(failed.channel:start())
    end
  end)
  if failed.channel:asked() and not own then
    put_down(pool, cookie, failed.channel:note():match("%d+"))
  end
  failed.channel:close()
  pool:give_back(failed.connection)
end

local function interpret(pool, command, note)
  local pid, word, bash = note:match("^ (%d+) (%a+) ?(.*)$")
  if word == "gone" then
    return nil, errors.new("sandbox_gone", "the sandbox no longer exists")
  elseif word == "cwd" then
    return nil, errors.new("not_found", ("the working directory %s does not exist"):format(command.cwd),
      { name = "ENOENT" })
  elseif word ~= "ok" then
    return nil, errors.new("protocol", "ssh: the host gave an answer that makes no sense")
  end
  pool.bash = pool.bash or bash ~= ""
  return tonumber(pid)
end

--- A command of its own channel, where no shell waits or none can be used.
local function ask_cold(pool, connection, command, cookie)
  local marker = "lum" .. cookie:match("=(.*)%.$")
  local marks_stderr = not (pool.quiet or command.merge or command.pty)
  local parts = parts_of(pool, command, cookie, marker, marks_stderr)
  local made = text.build(parts)
  if made.line and command.pty then
    local path, err = put_line(pool, command, made.line)
    if not path then
      return nil, err
    end
    made, command.file = text.from_file(parts, path), path
  end
  return connection.session:exec({
    command = made.command, input = made.line, marker = marker, marks_stderr = marks_stderr,
    mutes_stderr = command.merge, pty = command.pty, cols = command.cols, rows = command.rows, window = command.window,
  })
end

local function ask_warm(pool, shell, command, cookie)
  shell.channel:send(text.line(parts_of(pool, command, cookie, shell.marker, shell.marks_stderr)))
  return shell.channel
end

--- Asks for a command. What a login shell writes to stderr by itself is looked for until a first command has shown
--- that there is none.
local function ask(pool, command, cookie)
  local asked
  local channel, connection = pool:open(function(connection)
    local shell = not (command.pty or command.window or command.over) and pool:take_shell(connection)
    asked = not shell and monotonic()
    if shell then
      return ask_warm(pool, shell, command, cookie)
    end
    return ask_cold(pool, connection, command, cookie)
  end, command.urgent, command.over)
  if channel and asked then
    pool:note_start(monotonic() - asked)
  end
  if channel and pool.quiet == nil and not (command.merge or command.pty) then
    pool.quiet = channel:noise() == 0
  end
  return channel, connection
end

--- Starts a command; it runs when this returns.
---@async
---@param pool luarium.ssh.Pool
---@param command luarium.ssh.Command
---@return luarium.ssh.Process? process
---@return luarium.Error? err
function M.start(pool, command)
  local ok, err = check_size(command)
  if not ok then
    return nil, err
  end
  if #pool.orphans > 0 and not command.own then
    sweep_orphans(pool)
  end
  local started, cookie = monotonic(), new_cookie()
  local channel, connection = ask(pool, command, cookie)
  if not channel and connection.name == "SSH_SHELL" then
    pool.careful = true -- nothing has run: perhaps the shell wants another form
    channel, connection = ask(pool, command, cookie)
  end
  if not channel then
    if command.file then -- the command did not come to remove it
      pcall(task.shield, KILL_BUDGET, M.script, pool, 'rm -f "$1"', { command.file }, { urgent = true })
    end
    if connection.channel then
      abandon(pool, cookie, connection, command.own)
      if connection.raised then
        error(connection.raised, 0)
      end
      return nil, connection.err
    end
    return nil, connection
  end
  local self = setmetatable({
    channel = channel, connection = connection, pool = pool, cookie = cookie, pty = command.pty, started = started,
    own = command.own,
  }, Process)
  self.pid, err = interpret(pool, command, channel:note())
  if not self.pid then
    self.closed = true
    release(self)
    return nil, err
  end
  if command.timeout then
    arm(self, math.max(0, command.timeout - (monotonic() - started)))
  end
  return self
end

local function copy(options)
  local result = {}
  for key, value in pairs(options) do
    result[key] = value
  end
  return result
end

local function streams(options)
  return options.on_stdout or options.on_stderr or options.pty
    or options.stdin ~= nil and type(options.stdin) ~= "string"
end

--- Everything that a process writes, up to its end.
local function collect(process, options, out, err_out)
  if options.stdin and options.stdin ~= "" then
    process.channel:send(options.stdin)
  end
  process:close_stdin()
  while true do
    local bytes, stream = process:read()
    if bytes == nil then
      if stream == nil or process.timed_out then
        return true
      end
      return nil, stream
    end
    (stream == "stderr" and err_out or out):add(bytes)
  end
end

--- A command whose output nobody waits for: quicker than emulate.exec_over_spawn, which serves callbacks.
local function run_plainly(process, options)
  local limit = options.max_output or OUTPUT_MAX
  local out, err_out = emulate.capture(limit), emulate.capture(limit)
  if options.timeout then
    arm(process, options.timeout)
  end
  local exit
  local ok, done, err = pcall(collect, process, options, out, err_out)
  if ok and done then
    exit, err = process:wait()
    done = exit or process.timed_out
  end
  process:close()
  if not ok then
    error(done, 0)
  elseif not done then
    return nil, err
  end
  return emulate.result_of(exit or {}, process, out, err_out, process.started)
end

--- Runs a command to its end. Its time counts from the call.
---@async
---@param pool luarium.ssh.Pool
---@param command luarium.ssh.Command
---@param options table of exec
---@return table? result
---@return luarium.Error? err
function M.run(pool, command, options)
  local limit, started = options.timeout, monotonic()
  local process, err
  if limit then
    if not in_time(limit, function()
      process, err = M.start(pool, command)
    end) then
      return {
        signal = "SIGKILL", stdout = "", stderr = "", stdout_bytes = 0, stderr_bytes = 0, truncated = false,
        timed_out = true, oom = false, duration = monotonic() - started,
      }
    end
    options = copy(options)
    options.timeout = math.max(0, limit - (monotonic() - started))
  else
    process, err = M.start(pool, command)
  end
  if not process then
    return nil, err
  end
  if not streams(options) then
    return run_plainly(process, options)
  end
  local inner = { call = function()
    return process
  end }
  return emulate.exec_over_spawn(inner, nil, command, options)
end

--- The text of a script of ours for an exec request, with what its marker is.
---@param pool luarium.ssh.Pool
---@param script string
---@param args string[]
---@return {command: string, marker: string}? request
function M.request(pool, script, args)
  local marker = "lum" .. new_cookie():match("=(.*)%.$")
  local argv = { "sh", "-c", script, "luarium" }
  for _, arg in ipairs(args) do
    argv[#argv + 1] = arg
  end
  local command = { argv = argv, own = true }
  local made = text.build(parts_of(pool, command, "", marker, false))
  return not made.line and { command = made.command, marker = marker } or nil
end

--- Runs a script of ours with arguments, outside of any sandbox.
---@async
---@param pool luarium.ssh.Pool
---@param script string
---@param args (string|integer)[]
---@param options {stdin: string?, urgent: boolean?, max_output: integer?, limit: number?}? limit: seconds
---  from its begin
---@return table? result
---@return luarium.Error? err
function M.script(pool, script, args, options)
  options = options or {}
  local argv = { "sh", "-c", script, "luarium" }
  for _, arg in ipairs(args) do
    argv[#argv + 1] = tostring(arg)
  end
  local process, err = M.start(pool, { argv = argv, urgent = options.urgent, own = true })
  if not process then
    return nil, err
  end
  return run_plainly(process, {
    stdin = options.stdin, max_output = options.max_output or 1048576, timeout = options.limit,
  })
end

return M
