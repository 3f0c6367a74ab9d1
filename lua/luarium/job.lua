--- Jobs: commands that are detached in a sandbox, survive us, and are found again by their key. Built on nothing but
--- exec; luarium.job.script is what runs inside. docs/jobs.md is the user's guide.
local ascii = require "luarium.ascii"
local check = require "luarium.check"
local command = require "luarium.sandbox.command"
local contract = require "luarium.provider.contract"
local errors = require "luarium.error"
local event = require "luarium.event"
local native = require "luarium.native"
local object = require "luarium.sandbox.object"
local reply = require "luarium.job.reply"
local retry = require "luarium.retry"
local script = require "luarium.job.script"
local shell = require "luarium.provider.emulate.shell"
local task = require "luarium.task"
local terminal = require "luarium.job.terminal"
local trace = require "luarium.trace"

local M = {}

local monotonic = native.loop.monotonic

local CHUNK = 1048576         -- bytes of a stream in one answer
local MOST = 4194304          -- the same where that takes no time
local FIRST = 262144          -- the same in the answer to a start
local LONG_POLL = 20          -- seconds that one exec waits in the sandbox for something to happen
local SLACK = 60              -- seconds that an exec may take beyond what it waits
local KEPT = 8388608          -- bytes of a stream that wait keeps
local LISTED = 4194304        -- bytes of a list of jobs
local DEFAULT_WAIT = 0.5      -- seconds that a start waits for a quick command
local SAFE_WAIT = 0.1         -- the same where a start that is cut off would end the job
local DEFAULT_OUTPUT = 1073741824
local TERM = "xterm-256color" -- what a terminal is, when nobody says otherwise

--- Everything that is asked of a job may be asked again.
local patience = { max = 7, initial = 0.25, cap = 10, on = function(err)
  return err.retryable == true or err.kind == "unavailable"
end }

---@class luarium.Job
---@field key string finds it again: `box:attach(key)`
---@field box luarium.Sandbox
---@field started boolean this object's call started it; false: it was there
---@field result luarium.JobResult? when it had ended by the time the start returned
local Job = {}
local mt = { __index = Job, __name = "luarium.Job" }
M.methods = Job

function mt.__tostring(self)
  return ("job %s of %s"):format(self.key, self.box.id)
end

-- ---- asking ----

local function complaint(box, key, result, cwd)
  local what = key and ("'%s'"):format(key) or "list"
  local code = result.exit_code
  if code == script.codes.missing then
    return errors.new("not_found", ("there is no job %s in %s (box:jobs() lists those there are)"):format(what,
      box.id))
  elseif code == script.codes.other then
    return errors.new("conflict", ("%s was started with another command, working directory or input: choose another "
      .. "key, or remove it first"):format(what), { name = "JOB_DIFFERS" })
  elseif code == script.codes.busy then
    return errors.new("conflict", ("%s still runs: kill it first"):format(what), { name = "EBUSY" })
  elseif code == script.codes.gone then
    return errors.new("conflict", what .. ": its folder in the sandbox is gone: remove it, then start it again",
      { name = "ENOENT" })
  elseif code == script.codes.no_terminal then
    return errors.new("conflict", what .. " has no terminal: start it with { pty = true }", { name = "ENOTTY" })
  elseif code == script.codes.ended then
    return errors.new("conflict", what .. " has ended", { name = "EPIPE" })
  elseif code == script.codes.nowhere then
    return errors.new("not_found", ("%s: the working directory %s does not exist, or cannot be entered"):format(what,
      shell.show(cwd)), { name = "ENOENT" })
  elseif code == script.codes.short then
    return errors.new("io", what .. ": its input ended too early", { name = "EPIPE", retryable = true })
  end
  return shell.failure(what, result)
end

--- Runs the script in a mode; returns what it printed. What must not be done twice is not tried again: `once`.
local function ask(box, key, argv, options)
  local given = {
    cwd = "/", env = options.env, stdin = options.stdin, user = options.user,
    timeout = (options.wait or 0) + SLACK, max_output = options.max_output or 65536,
  }
  local function attempt()
    local ok, value = pcall(object.call, box, "exec", { argv = argv }, given)
    if ok then
      local fault = complaint(box, key, value, options.cwd)
      return not fault and value or nil, fault
    elseif value == task.cancel_reason() or not errors.is(value) then
      error(value, 0)
    end
    return nil, value
  end
  local result, err
  if options.once then
    result, err = attempt()
  else
    result, err = retry.call(patience, attempt)
  end
  if err then
    object.raise(err, "job")
  elseif result.truncated then
    errors.raise("protocol", ("job: the answer is too long: %d bytes"):format(result.stdout_bytes))
  end
  return result.stdout
end

local function parsed(value, err)
  if not value then
    object.raise(err, "job")
  end
  return value
end

local function check_key(key, where)
  check.argument(key, "text", where, "the key")
  if not key:find("^[%w_][%w_.:-]*$") or #key > 100 then
    errors.raise("invalid", ("%s: the key %q: expected up to 100 letters, digits and _ . : -, first no . : or -")
      :format(where, key:sub(1, 120)))
  end
  return key
end

-- ---- starting ----

local start_options = {
  key = "text", cwd = "text", env = "map", stdin = "string|table", user = "text", timeout = "seconds",
  wait = "seconds", max_output = { type = "size", min = 65536 }, pty = "boolean",
  cols = contract.exec_options.cols, rows = contract.exec_options.rows,
}

local SHIELDED = { PATH = true, HOME = true, TMPDIR = true } -- our own script needs them as they are

--- The command's environment as the script takes it.
local function environment(box, added)
  local env = {}
  for name, value in pairs(command.environment(box, added)) do
    if not name:find("^[%a_][%w_]*$") then
      errors.raise("invalid", ("job: env: a shell cannot hand on the variable %q"):format(name))
    elseif name:find("^LUARIUM_JOB") then
      errors.raise("invalid", ("job: env: the name %s is Luarium's own"):format(name))
    end
    env[SHIELDED[name] and "LUARIUM_JOB_" .. name or name] = value
  end
  trace.extend(env)
  return env
end

--- The bytes or file on standard input: what to send, how much it is, and a hash of it.
local function input_of(stdin)
  if stdin == nil then
    return nil, "", ""
  elseif type(stdin) == "string" then
    return stdin, shell.number(#stdin), native.crypto.sha256(stdin)
  elseif type(stdin.file) ~= "string" or stdin.file:find("\0", 1, true) then
    errors.raise("invalid", "job: option 'stdin': expected bytes or { file = path }")
  end
  local facts, err = task.await(native.fs.stat(stdin.file))
  local hash
  if facts then
    hash, err = task.await(native.crypto.hash_file(stdin.file))
  end
  if not hash then
    object.raise(err, "job")
  end
  return stdin, shell.number(facts.size), hash
end

--- What must be the same when a job is started again. The environment is not: tokens change.
local function fingerprint(argv, cwd, hash, pty)
  local parts = { #cwd .. ":" .. cwd, #hash .. ":" .. hash, pty and "pty" or nil }
  for _, word in ipairs(argv) do
    parts[#parts + 1] = #word .. ":" .. word
  end
  return native.crypto.sha256(table.concat(parts))
end

local function hundredths(seconds)
  return shell.number(math.ceil(seconds * 100))
end

local function one_line(text)
  return (text:gsub("[%c\127]", " "))
end

local function ask_start(box, given, options, key, wait)
  local stdin, size, hash = input_of(options.stdin)
  local cwd = options.cwd and box:path(options.cwd) or box.cwd
  local env = environment(box, options.env)
  if options.pty then
    env.TERM = env.TERM or TERM
    env.LUARIUM_JOB_TERMINAL = ("%d %d"):format(options.cols or 80, options.rows or 24)
  end
  local argv = script.argv("start", key, native.crypto.hex_encode(native.crypto.random(16)),
    options.timeout and hundredths(math.max(options.timeout, 0.01)) or "0",
    fingerprint(given.argv, cwd, hash, options.pty), one_line(command.describe(given)),
    require("luarium.text").number(native.loop.realtime(), "%.3f"), shell.number(options.max_output or DEFAULT_OUTPUT),
    hundredths(wait), size, cwd, shell.number(FIRST))
  for _, word in ipairs(options.pty and script.on_terminal(given.argv) or given.argv) do
    argv[#argv + 1] = word
  end
  return parsed(reply.parse(ask(box, key, argv, {
    env = env, stdin = stdin, user = options.user, wait = wait, cwd = cwd,
    max_output = 4 * FIRST + 65536,
  })))
end

--- Where a start that is cut off would end the job, it is short and not cut off; the rest of the time waits another.
local function start(box, _, given, options, job)
  local wait = options.wait or DEFAULT_WAIT
  if not object.instance_of(box).definition.ends_all then
    return ask_start(box, given, options, job.key, wait)
  end
  local deadline = monotonic() + wait
  local answer = task.shield(SLACK, ask_start, box, given, options, job.key, math.min(wait, SAFE_WAIT))
  local ours = answer.ours
  while answer.status.state == "running" and monotonic() < deadline do
    answer = job:look(deadline - monotonic(), nil, nil, FIRST, FIRST)
  end
  answer.ours = ours
  return answer
end

local function new(box, key, user)
  return setmetatable({ box = box, key = key, user = user, started = false }, mt)
end

event.summaries["sandbox.job"] = function(answer)
  local status = answer.status
  return { state = status.state, started = answer.ours, exit_code = status.exit_code, signal = status.signal }
end

--- Starts a command as a job, or finds the one that was started under this key before.
---@async
---@param box luarium.Sandbox
---@param given string|string[]
---@param options table?
---@return luarium.Job
function M.start(box, given, options)
  given = command.of(given, "job")
  options = check.options(options, start_options, "job")
  if options.pty and options.stdin then
    errors.raise("invalid", "job: option 'stdin': with a terminal, what is typed comes with job:write")
  elseif not options.pty and (options.cols or options.rows) then
    errors.raise("invalid", "job: options 'cols' and 'rows' are the size of a terminal: they go with pty = true")
  end
  local key = check_key(options.key or "job-" .. native.crypto.ulid():lower(), "job")
  local job = new(box, key, options.user)
  local answer = object.span_with(start, box, "job", { command = command.describe(given), job = key }, given, options,
    job)
  job.started = answer.ours
  job:settle(answer)
  return job
end

--- Finds a job that was started before, from any process.
---@async
---@param box luarium.Sandbox
---@param key string
---@param options {user?: string}?
---@return luarium.Job
function M.attach(box, key, options)
  options = check.options(options, { user = "text" }, "attach")
  local job = new(box, check_key(key, "attach"), options.user)
  job:status()
  return job
end

--- The jobs of a sandbox, oldest first.
---@async
---@param box luarium.Sandbox
---@param options {user?: string}?
---@return luarium.JobStatus[]
function M.list(box, options)
  options = check.options(options, { user = "text" }, "jobs")
  local list = parsed(reply.list(ask(box, nil, script.argv("list"), { user = options.user, max_output = LISTED })))
  table.sort(list, function(a, b)
    if a.started_at ~= b.started_at then
      return a.started_at < b.started_at
    end
    return a.key < b.key
  end)
  return list
end

-- ---- reading ----

--- One look: waits up to so many seconds for output after the offsets, or for the end when there are none.
---@return luarium.JobReply
function Job:look(wait, out, err, most_out, most_err)
  wait = math.min(wait, LONG_POLL)
  local argv = script.argv("read", self.key, hundredths(wait), out and shell.number(out) or "",
    err and shell.number(err) or "", shell.number(most_out), shell.number(most_err))
  return parsed(reply.parse(ask(self.box, self.key, argv, {
    user = self.user, wait = wait, max_output = 2 * (most_out + most_err) + 65536,
  })))
end

--- How the job is, without its output.
---@async
---@param options {quiet?: number}? seconds without output after which a job that runs is called quiet
---@return luarium.JobStatus
function Job:status(options)
  options = check.options(options, { quiet = "seconds" }, "job:status")
  local status = parsed(reply.status((ask(self.box, self.key, script.argv("status", self.key), { user = self.user })
    :gsub("\n$", ""))))
  if options.quiet and status.state == "running" and (status.idle or 0) >= options.quiet then
    status.state = "quiet"
  end
  return status
end

local read_options = {
  stream = { type = "text", one_of = { "stdout", "stderr" } }, offset = "size", max = { type = "size", min = 1,
  max = 67108864 }, wait = "seconds",
}

--- Bytes of a stream from an offset; "" when there are none yet, nil when the job has ended and there are no more.
--- When bytes at the offset were given up for max_output, those after them are returned: the second value tells.
---@async
---@param options {stream?: "stdout"|"stderr", offset?: integer, max?: integer, wait?: number}? max: bytes
---  (default 1 MiB); wait: seconds to wait for the first byte (default 0)
---@return string? bytes
---@return integer next the offset after them
function Job:read(options)
  options = check.options(options, read_options, "job:read")
  local is_out, offset, most = options.stream ~= "stderr", options.offset or 0, options.max or CHUNK
  local deadline = monotonic() + (options.wait or 0)
  while true do
    local left = math.max(0, deadline - monotonic())
    local beyond = 9e15 -- an offset that nothing comes after: that stream is not waited for
    local answer = self:look(left, is_out and offset or beyond, is_out and beyond or offset, is_out and most or 0,
      is_out and 0 or most)
    local got = is_out and answer.stdout or answer.stderr
    local ended = answer.status.state ~= "running"
    if got.bytes ~= "" or ended or monotonic() >= deadline then
      if got.bytes == "" and ended then
        return nil, offset
      end
      return got.bytes, got.bytes ~= "" and got.at + #got.bytes or offset
    end
  end
end

---@class luarium.JobResult: luarium.JobStatus
---@field ok boolean it ended by itself with exit code 0
---@field lost boolean nobody knows how it ended
---@field stdout string? the bytes kept: front and back when there are more than max_output
---@field stderr string?
---@field truncated boolean some bytes are not in it

local function result_of(status)
  local result = { lost = status.state == "lost", ok = status.state == "finished" and status.exit_code == 0 }
  for key, value in pairs(status) do
    result[key] = value
  end
  result.truncated = status.stdout_from > 0 or status.stderr_from > 0
  return result
end

--- Follows the output until the job ends, and hands every byte on once. A callback gets the chunk and its offset. The
--- job does not notice who reads, and goes on when nobody does.
---@async
---@param options {on_stdout?: fun(chunk: string, offset: integer), on_stderr?: fun(chunk: string, offset: integer),
---  stdout_offset?: integer, stderr_offset?: integer, timeout?: number}? where to go on; seconds to follow
---@return luarium.JobResult? result without output; nil when the time was over and it still ran
function Job:follow(options)
  options = check.options(options, { on_stdout = "function", on_stderr = "function", stdout_offset = "size",
    stderr_offset = "size", timeout = "seconds" }, "job:follow")
  local deadline = options.timeout and monotonic() + options.timeout
  local streams = {}
  for _, name in ipairs({ "stdout", "stderr" }) do
    streams[name] = { offset = options[name .. "_offset"] or 0, callback = options["on_" .. name] }
  end
  local told = {}
  if event.wanted("output") then
    for name, stream in pairs(streams) do
      stream.tell, told[#told + 1] = command.tee(self.box, name, nil, self.key)
    end
  end
  local ok, result = xpcall(self.pump, errors.handler, self, streams, deadline)
  for _, finish in ipairs(told) do
    finish()
  end
  if not ok then
    error(result, 0)
  end
  return result
end

local function deliver(stream, got)
  if got.bytes == "" then
    return
  end
  stream.offset = got.at + #got.bytes
  if stream.tell then
    stream.tell(got.bytes)
  end
  if stream.callback then
    stream.callback(got.bytes, got.at)
  end
end

function Job:pump(streams, deadline)
  local out, err = streams.stdout, streams.stderr
  local most = CHUNK
  while true do
    local began = monotonic()
    local left = deadline and math.max(0, deadline - began) or LONG_POLL
    local answer = self:look(left, out.offset, err.offset, most, most)
    if math.max(#answer.stdout.bytes, #answer.stderr.bytes) == most then
      most = monotonic() - began < 1 and math.min(2 * most, MOST) or CHUNK
    end
    deliver(out, answer.stdout)
    deliver(err, answer.stderr)
    local status = answer.status
    if status.state ~= "running" and out.offset >= status.stdout_bytes and err.offset >= status.stderr_bytes then
      return result_of(status)
    elseif left == 0 and status.state == "running" then
      return nil
    end
  end
end

terminal.add(Job, ask)

-- ---- its end ----

--- Reads [from, to) of a stream.
local function range(job, stream, from, to)
  local parts, at = {}, from
  while at < to do
    local bytes, after = job:read({ stream = stream, offset = at, max = math.min(CHUNK, to - at) })
    if not bytes or bytes == "" then
      break
    end
    parts[#parts + 1] = bytes
    at = after
  end
  return table.concat(parts)
end

--- What is kept of a stream: all, or its front and its back.
local function kept(job, stream, result, limit, got)
  local from, to = result[stream .. "_from"], result[stream .. "_bytes"]
  if to - from <= limit then
    if got and got.at <= from and got.at + #got.bytes >= to then
      return got.bytes, false
    end
    return range(job, stream, from, to), false
  end
  local front = math.floor(limit / 2)
  return range(job, stream, from, from + front) .. range(job, stream, to - (limit - front), to), true
end

--- Remembers how it ended when an answer tells, with the output when that is all there.
---@param answer luarium.JobReply
function Job:settle(answer)
  local status = answer.status
  if status.state == "running" then
    return
  end
  local result = result_of(status)
  if #answer.stdout.bytes == status.stdout_bytes and #answer.stderr.bytes == status.stderr_bytes then
    result.stdout, result.stderr = answer.stdout.bytes, answer.stderr.bytes
    self.result = result
  end
end

--- Waits for the end of the job.
---@async
---@param options {timeout?: number, max_output?: integer}? seconds to wait; bytes of each stream to keep (8 MiB when
---  nobody says)
---@return luarium.JobResult? result nil when the time was over and it still ran
function Job:wait(options)
  options = check.options(options, { timeout = "seconds", max_output = "size" }, "job:wait")
  local limit = options.max_output or KEPT
  if self.result and math.max(#self.result.stdout, #self.result.stderr) <= limit then
    return self.result
  end
  local deadline = options.timeout and monotonic() + options.timeout
  while true do
    local left = deadline and math.max(0, deadline - monotonic()) or LONG_POLL
    local most = math.min(limit, FIRST)
    local answer = self:look(left, nil, nil, most, most)
    if answer.status.state ~= "running" then
      local result = result_of(answer.status)
      local cut_out, cut_err
      result.stdout, cut_out = kept(self, "stdout", result, limit, answer.stdout)
      result.stderr, cut_err = kept(self, "stderr", result, limit, answer.stderr)
      result.truncated = result.truncated or cut_out or cut_err
      return result
    elseif left == 0 then
      return nil
    end
  end
end

local function kill(box, _, job, signal)
  return parsed(reply.status((ask(box, job.key, script.argv("kill", job.key, signal), { user = job.user })
    :gsub("\n$", ""))))
end

--- Sends a signal to everything that the job started, also to what left its process group and session. SIGKILL, the
--- default, returns when all of it is dead.
---@async
---@param signal string? such as "TERM"
---@return luarium.JobStatus
function Job:kill(signal)
  local name = ascii.upper(tostring(signal or "KILL")):gsub("^SIG", "")
  if not reply.signals[name] then
    local near = check.nearest(name, check.keys(reply.signals))
    errors.raise("invalid", ("job:kill: there is no signal %s%s"):format(tostring(signal),
      near and (": did you mean %s?"):format(near) or ""))
  end
  return object.span_with(kill, self.box, "job_kill", { job = self.key, signal = "SIG" .. name }, self, name)
end

--- Deletes what the sandbox keeps of a job that has ended. Its key can be used again.
---@async
function Job:remove()
  object.span_with(function(box)
    return ask(box, self.key, script.argv("remove", self.key), { user = self.user })
  end, self.box, "job_remove", { job = self.key })
end

return M
