--- Jobs: commands that are detached in the sandbox and found again by their key.
local elsewhere = require "luarium.conformance.elsewhere"
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local monotonic = native.loop.monotonic
local topic, check = require("luarium.conformance.topic").new("jobs")

--- Starts a job under a key of its own, which is ended and removed after the check.
local function start(c, command, options)
  options = options or {}
  options.key = options.key or c:unique()
  local job = (options.box or c.box):job(command, {
    key = options.key, wait = options.wait or 0, timeout = options.timeout, cwd = options.cwd, env = options.env,
    stdin = options.stdin, max_output = options.max_output,
  })
  c:defer(function()
    if options.box then
      return -- it goes with its sandbox
    end
    job:kill()
    job:remove()
  end)
  return job
end

local function finish(c, job, seconds)
  local result = job:wait({ timeout = 30 + c:bound(seconds or 0) })
  expect.yes(result, "the job has ended", job:status())
  return result
end

-- ---- start and result ----

check("a quick command comes back with the start", function(c)
  local key = c:unique()
  local job = c.box:job("echo out; echo err >&2; exit 3", { key = key, wait = 20 })
  expect.equal(job.started, true, "started")
  expect.fields(job.result, { state = "finished", exit_code = 3, ok = false, lost = false, timed_out = false,
    stdout = "out\n", stderr = "err\n", stdout_bytes = 4, stderr_bytes = 4, truncated = false }, "result")
  expect.equal(job.result.signal, nil, "signal")
  expect.between(job.result.duration, 0, c:bound(5), "duration")
  expect.equal(job:wait(), job.result, "what wait returns")
end)

check("a start does not wait longer than it may", function(c)
  local began = monotonic()
  local job = start(c, "sleep 30", { wait = 0.3 })
  expect.between(monotonic() - began, 0.3, c:bound(0.3), "seconds")
  expect.equal(job.result, nil, "result")
  expect.equal(job:status().state, "running", "state")
  expect.equal(job:wait({ timeout = 0.1 }), nil, "wait with a limit")
end)

check("a list runs without a shell, and every argument arrives", function(c)
  local words = { "a b", "quote'\"`", "new\nline", "-rf", "--", "$(id)", "\\", "\255\254", "", "*", "=x",
    ("y"):rep(5000) }
  local argv = { "printf", "<%s>" }
  for _, word in ipairs(words) do
    argv[#argv + 1] = word
  end
  local result = finish(c, start(c, argv, { wait = 10 }))
  expect.equal(result.stdout, "<" .. table.concat(words, "><") .. ">", "stdout")
  expect.equal(finish(c, start(c, { "exit", "7" }, { wait = 10 })).exit_code, 127, "exit is no program")
end)

check("a text goes through the shell", function(c)
  local result = finish(c, start(c, "x='a  b'\nprintf '%s|' \"$x\" -n \"$0\" # comment\nexit 4", { wait = 10 }))
  expect.equal(result.stdout, "a  b|-n|/bin/sh|", "stdout")
  expect.equal(result.exit_code, 4, "exit code")
end)

check("a program that does not exist ends with 127", function(c)
  local result = finish(c, start(c, { "luarium-no-such-program", "x" }, { wait = 10 }))
  expect.equal(result.exit_code, 127, "exit code")
  expect.contains(result.stderr, "luarium-no-such-program", "stderr")
end)

check("the working directory, and one that is missing", function(c)
  local dir = c:dir()
  expect.equal(finish(c, start(c, "pwd", { cwd = dir, wait = 10 })).stdout, dir .. "\n", "an absolute one")
  expect.equal(finish(c, start(c, "pwd", { wait = 10 })).stdout, c.box:exec("pwd").stdout, "the sandbox's own")
  local key = c:unique()
  expect.raises("not_found", function()
    c.box:job("true", { key = key, cwd = dir .. "/missing" })
  end, "missing")
  expect.raises("not_found", function()
    c.box:attach(key)
  end, key)
end)

check("its environment, also PATH and HOME", function(c)
  local result = finish(c, start(c, { "/bin/sh", "-c", 'echo "$A|$PATH|$HOME|$TMPDIR|${LUARIUM_JOB_PATH-none}"' },
    { env = { A = "a 'b'\nc", PATH = "/nowhere", HOME = "/home of", TMPDIR = "/t" }, wait = 10 }))
  expect.equal(result.stdout, "a 'b'\nc|/nowhere|/home of|/t|none\n", "stdout")
  expect.equal(finish(c, start(c, "umask; ulimit -n", { wait = 10 })).stdout, c.box:exec("umask; ulimit -n").stdout,
    "umask and limits")
  expect.raises("invalid", function()
    c.box:job("true", { env = { ["a-b"] = "x" } })
  end, "a-b")
end)

check("a secret reaches the command only", function(c)
  local value = "s3cret-" .. native.crypto.hex_encode(native.crypto.random(12))
  local job = start(c, 'echo "${#TOKEN}"; sleep 30', { env = { TOKEN = secret.new(value, "TOKEN") } })
  expect.equal(job:read({ wait = 10 }), #value .. "\n", "what it saw")
  local seen = c.box:exec([[for f in /proc/[0-9]*/cmdline; do tr '\0' ' ' <"$f" 2>/dev/null; echo; done
    for d in "$HOME" "${TMPDIR:-/tmp}"; do find "$d" -type f -exec cat {} + 2>/dev/null; done]])
  expect.yes(#seen.stdout > 20, "there is something to look at", seen.stdout)
  expect.lacks(seen.stdout, value, "arguments of processes, and files")
end)

check("standard input, and none", function(c)
  local bytes = native.crypto.random(300000)
  local result = finish(c, start(c, { "cat" }, { stdin = bytes, wait = 10 }))
  expect.equal(result.stdout, bytes, "what came back")
  expect.equal(finish(c, start(c, "cat; echo end", { wait = 10 })).stdout, "end\n", "without input")
  local path = c:host_dir() .. "/in"
  c:host(native.fs.write_file(path, "from a file"))
  expect.equal(finish(c, start(c, { "cat" }, { stdin = { file = path }, wait = 10 })).stdout, "from a file", "a file")
end)

check("exit codes and signals are told apart", function(c)
  for command, want in pairs({
    ["exit 0"] = { exit_code = 0, ok = true }, ["exit 137"] = { exit_code = 137 }, ["exit 255"] = { exit_code = 255 },
    ["kill -KILL $$"] = { signal = "SIGKILL" }, ["kill -TERM $$"] = { signal = "SIGTERM" },
    ["kill -HUP $$"] = { signal = "SIGHUP" }, ["kill -INT $$"] = { signal = "SIGINT" },
  }) do
    local result = finish(c, start(c, command, { wait = 10 }))
    expect.equal(result.exit_code, want.exit_code, command .. ": exit code")
    expect.equal(result.signal, want.signal, command .. ": signal")
    expect.equal(result.ok, want.ok or false, command .. ": ok")
  end
end)

-- ---- one key, one run ----

check("a second start attaches", function(c)
  local key, mark = c:unique(), c:dir() .. "/mark"
  local command = "echo x >>'" .. mark .. "'; echo done"
  local first = c.box:job(command, { key = key, wait = 20, env = { A = "1" } })
  local second = c.box:job(command, { key = key, wait = 20, env = { A = "another token" } })
  expect.equal(first.started, true, "the first: started")
  expect.equal(second.started, false, "the second: started")
  expect.equal(second.result.stdout, "done\n", "what the second gets")
  expect.equal(c.box:read_file(mark), "x\n", "runs")
end)

check("the same key with another command, directory or input is a conflict", function(c)
  local key = c:unique()
  start(c, { "sleep", "30" }, { key = key })
  for _, other in ipairs({ { { "sleep", "31" } }, { { "sleep 30" } }, { { "sleep", "30" }, { cwd = "/" } },
    { { "sleep", "30" }, { stdin = "x" } } }) do
    local options = other[2] or {}
    options.key = key
    expect.raises("conflict", function()
      c.box:job(other[1], options)
    end, key)
  end
end)

check("many starts at once are one run", function(c)
  local key, mark = c:unique(), c:dir() .. "/mark"
  local starts = {}
  for i = 1, 6 do
    starts[i] = function()
      return c.box:job("echo x >>'" .. mark .. "'; echo done", { key = key, wait = 20, stdin = "input" })
    end
  end
  local started = 0
  for _, job in ipairs(task.all(starts)) do
    started = started + (job.started and 1 or 0)
    expect.equal(finish(c, job).stdout, "done\n", "stdout")
  end
  expect.equal(started, 1, "starts that started it")
  expect.equal(c.box:read_file(mark), "x\n", "runs")
end)

check("keys are checked, unknown ones not found", function(c)
  for _, key in ipairs({ "", ".", "..", "a/b", "-x", "a b", "a\nb", ("x"):rep(101) }) do
    expect.raises("invalid", function()
      c.box:job("true", { key = key })
    end, "the key")
  end
  local err = expect.raises("not_found", function()
    c.box:attach("never-started")
  end, "never-started")
  expect.contains(tostring(err), "jobs()", "the message")
  expect.raises("invalid", function()
    c.box:job("true", { kee = "x" })
  end, "key")
  expect.raises("invalid", function()
    c.box:job("true"):kill("TREM")
  end, "TERM")
end)

check("another process finds it, and its output from any offset", { own = true }, function(c)
  local box = c:create()
  local job = start(c, "echo one; echo two; sleep 0.5; echo three", { box = box, key = "shared" })
  expect.equal(job:read({ wait = 10, max = 4 }), "one\n", "the first line here")
  local output = elsewhere(c, box, [[
    local job = box:attach("shared")
    local parts = {}
    local result = job:follow { stdout_offset = 4, on_stdout = function(chunk) table.insert(parts, chunk) end }
    io.write(table.concat(parts), "|", tostring(result.exit_code), "|", tostring(box:job(
      "echo one; echo two; sleep 0.5; echo three", { key = "shared" }).started))
  ]])
  expect.equal(output, "two\nthree\n|0|false", "what the other process saw")
  expect.equal(job:wait().stdout, "one\ntwo\nthree\n", "all of it here")
end)

check("what another process started goes on after its end", { own = true }, function(c)
  local box = c:create()
  elsewhere(c, box, [[box:job("echo begun; sleep 0.5; echo done", { key = "left", wait = 0 })]])
  local result = finish(c, box:attach("left"))
  expect.fields(result, { exit_code = 0, stdout = "begun\ndone\n" }, "result")
end)

check("a start whose wait is cut off leaves the job to itself", function(c)
  local key, dir = c:unique(), c:dir()
  local command = ("echo x >>'%s/runs'; until [ -e '%s/go' ]; do sleep 0.05; done; echo done"):format(dir, dir)
  local ended = pcall(task.timeout, 1 + 4 * c.session.latency, c.box.job, c.box, command, { key = key, wait = 30 })
  expect.equal(ended, false, "the start came back")
  c.box:write_file(dir .. "/go", "")
  local job = start(c, command, { key = key })
  expect.fields(finish(c, job), { state = "finished", exit_code = 0, stdout = "done\n" }, "result")
  expect.equal(c.box:read_file(dir .. "/runs"), "x\n", "runs")
end)

-- ---- output ----

check("output is read by offset, whatever bytes it has", function(c)
  local bytes = native.crypto.random(200000) .. "\0\n\0" .. ("no newline"):rep(1000)
  local path = c:dir() .. "/bytes"
  c.box:write_file(path, bytes)
  local job = start(c, { "cat", path }, { wait = 10 })
  expect.equal(finish(c, job).stdout, bytes, "all")
  local at, parts = 0, {}
  while true do
    local piece, after = job:read({ offset = at, max = 65537 })
    if not piece then
      break
    end
    expect.equal(after, at + #piece, "the offset after it")
    parts[#parts + 1], at = piece, after
  end
  expect.equal(table.concat(parts), bytes, "in pieces")
  expect.equal(job:read({ offset = #bytes - 1 }), "e", "the last byte")
  expect.equal(job:read({ offset = #bytes }), nil, "at the end")
  expect.equal(job:read({ offset = #bytes + 100 }), nil, "beyond the end")
  expect.equal(job:read({ stream = "stderr" }), nil, "the other stream")
end)

check("follow gives every byte once, as it comes", function(c)
  local job = start(c, "i=0; while [ $i -lt 8 ]; do echo out$i; echo err$i >&2; i=$((i+1)); sleep 0.1; done; exit 5")
  local out, err, chunks = {}, {}, 0
  local result = job:follow({
    on_stdout = function(chunk, offset)
      expect.equal(offset, #table.concat(out), "offset")
      table.insert(out, chunk)
      chunks = chunks + 1
    end,
    on_stderr = function(chunk)
      table.insert(err, chunk)
    end,
  })
  expect.equal(table.concat(out), "out0\nout1\nout2\nout3\nout4\nout5\nout6\nout7\n", "stdout")
  expect.equal(table.concat(err), "err0\nerr1\nerr2\nerr3\nerr4\nerr5\nerr6\nerr7\n", "stderr")
  expect.equal(result.exit_code, 5, "exit code")
  expect.yes(chunks > 1, "it came while it was written: chunks", chunks)
end)

check("follow may stop early and go on elsewhere", function(c)
  local job = start(c, "echo a; sleep 1.5; echo b")
  local seen = {}
  local function note(chunk)
    table.insert(seen, chunk)
  end
  expect.equal(job:follow({ on_stdout = note, timeout = 0.5 }), nil, "the first follow")
  expect.equal(job:follow({ on_stdout = note, stdout_offset = #table.concat(seen) }).exit_code, 0, "the second")
  expect.equal(table.concat(seen), "a\nb\n", "stdout")
end)

check("much output arrives whole, and wait keeps front and back", { heavy = true }, function(c)
  local job = start(c, "i=0; while [ $i -lt 20 ]; do head -c 1048576 /dev/zero | tr '\\0' x; i=$((i+1)); done; "
    .. "echo end")
  local size, hasher = 0, native.crypto.hasher()
  local result = job:follow({ on_stdout = function(chunk)
    size = size + #chunk
    hasher:update(chunk)
  end })
  expect.equal(size, 20971524, "bytes")
  expect.equal(hasher:hex(), native.crypto.hasher():update(("x"):rep(20971520)):update("end\n"):hex(), "hash")
  expect.equal(result.stdout_bytes, 20971524, "stdout_bytes")
  local kept = job:wait({ max_output = 100000 })
  expect.fields(kept, { truncated = true, stdout_bytes = 20971524 }, "result")
  expect.equal(kept.stdout, ("x"):rep(99996) .. "end\n", "front and back")
end)

check("its background processes with open streams delay no end", function(c)
  local beat = c:beat()
  c:defer(beat.stop, beat)
  local began = monotonic()
  local result = finish(c, start(c, beat.code .. " & echo done", { wait = 20 }))
  expect.between(monotonic() - began, 0, c:bound(2), "seconds until it came back")
  expect.fields(result, { exit_code = 0, stdout = "done\n" }, "result")
  beat:await_start()
  beat:expect_alive("the background process")
end)

-- ---- its end ----

check("kill ends everything that it started", function(c)
  local child, session = c:beat(), c:beat({ detached = true, quiet = true })
  if c.box:exec("command -v setsid").exit_code ~= 0 then
    session = c:beat({ quiet = true })
  end
  local job = start(c, "trap '' TERM INT HUP; " .. child.code .. " & (" .. session.code .. " &); sleep 60")
  child:await_start()
  session:await_start()
  local began = monotonic()
  local status = job:kill()
  expect.between(monotonic() - began, 0, c:bound(5), "seconds")
  expect.fields(status, { state = "finished", signal = "SIGKILL", timed_out = false }, "status")
  child:expect_dead("the child")
  session:expect_dead("the one in its own session")
  expect.equal(job:kill().state, "finished", "a second kill")
end)

check("kill with a name sends that signal to all of it", function(c)
  local job = start(c, "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
  expect.equal(job:read({ wait = 10 }), "ready\n", "its first line")
  job:kill("TERM")
  local result = finish(c, job)
  expect.equal(result.exit_code, 7, "exit code")
  expect.equal(result.stdout, "ready\ncaught\n", "stdout")
  job = start(c, { "sleep", "60" })
  job:kill("SIGINT")
  expect.equal(finish(c, job).signal, "SIGINT", "a program that does not catch it")
end)

check("a time limit is held in the sandbox", function(c)
  local beat = c:beat({ detached = c.box:exec("command -v setsid").exit_code == 0 })
  local job = start(c, "trap '' TERM INT HUP; echo before; " .. beat.code .. " & while :; do sleep 1; done",
    { timeout = 1 })
  local result = finish(c, job, 1)
  expect.fields(result, { state = "finished", timed_out = true, ok = false, signal = "SIGKILL", stdout = "before\n" },
    "result")
  expect.equal(result.exit_code, nil, "exit code")
  expect.between(result.duration, 0.9, c:bound(10), "seconds that it ran")
  beat:expect_dead("the child")
  for _, code in ipairs({ 124, 137 }) do
    expect.fields(finish(c, start(c, "exit " .. code, { timeout = 20, wait = 10 })), { exit_code = code,
      timed_out = false }, "result")
  end
end)

check("a supervisor that was killed leaves a lost job", function(c)
  local beat = c:beat({ quiet = true })
  local job = start(c, beat.code .. " & kill -KILL $PPID; sleep 60")
  beat:await_start()
  c:poll("the job is lost", 10 + 10 * c.session.latency, function()
    return job:status().state == "lost"
  end)
  local result = job:wait()
  expect.fields(result, { state = "lost", lost = true, ok = false }, "result")
  expect.contains(result.reason, "supervisor", "the reason")
  c:poll("the rest of it is ended", 10, function()
    local before = beat:size()
    task.sleep(0.3)
    return beat:size() == before
  end)
  beat:expect_dead("the command")
  expect.equal(c.box:job(beat.code .. " & kill -KILL $PPID; sleep 60", { key = job.key }).started, false,
    "a start of a lost job: started")
end)

check("quiet is told apart from running", function(c)
  local job = start(c, "echo a; sleep 60")
  job:read({ wait = 10 })
  expect.equal(job:status().state, "running", "state when nobody asks")
  expect.equal(job:status({ quiet = 1000 }).state, "running", "state below the limit")
  c:poll("it is called quiet", 10, function()
    return job:status({ quiet = 1 }).state == "quiet"
  end)
end)

check("jobs lists them, remove forgets those that have ended", { own = true }, function(c)
  local box = c:create()
  expect.equal(#box:jobs(), 0, "jobs of a new sandbox")
  box:job("echo 'a  b'\nexit 2", { key = "first", wait = 20 })
  local second = start(c, { "sleep", "60" }, { box = box, key = "second" })
  local list = box:jobs()
  expect.equal(#list, 2, "jobs")
  expect.fields(list[1], { key = "first", state = "finished", exit_code = 2, stdout_bytes = 5 }, "the first")
  expect.fields(list[2], { key = "second", state = "running", command = "sleep 60" }, "the second")
  expect.between(list[2].started_at, native.loop.realtime() - 60, native.loop.realtime() + 1, "started_at")
  expect.raises("conflict", function()
    second:remove()
  end, "second")
  second:kill()
  second:remove()
  box:attach("first"):remove()
  expect.equal(#box:jobs(), 0, "jobs after their removal")
  expect.equal(box:job("echo again", { key = "first", wait = 20 }).result.stdout, "again\n", "the key again")
end)

check("destroying the sandbox ends its jobs", { own = true }, function(c)
  local box = c:create()
  local beat = c:beat({ box = box, quiet = true, stubborn = true })
  local job = start(c, beat.code, { box = box })
  beat:await_start()
  box:destroy()
  beat:expect_gone("the job")
  expect.raises("sandbox_gone", function()
    job:status()
  end)
end)

return topic
