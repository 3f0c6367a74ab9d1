--- Live processes.
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local task = require "luarium.task"

local topic, define = require("luarium.conformance.topic").new("process")

local function check(name, fn)
  define(name, { needs = { "spawn" } }, fn)
end

local function spawn(c, command, options)
  local process = c.box:spawn(command, options)
  c:defer(process.close, process)
  return process
end

--- Everything up to the end, by stream.
local function drain(process)
  local parts = { stdout = {}, stderr = {} }
  while true do
    local bytes, stream = process:read()
    if not bytes then
      break
    end
    expect.yes(#bytes > 0, "a read without bytes")
    expect.yes(parts[stream], "the stream's name", stream)
    table.insert(parts[stream], bytes)
  end
  return table.concat(parts.stdout), table.concat(parts.stderr)
end

--- Reads until that many bytes are there.
local function read_exactly(process, count)
  local text = ""
  while #text < count do
    local bytes = process:read(count - #text)
    if not bytes then
      break
    end
    text = text .. bytes
  end
  return text
end

check("reads both streams, then the end, then the exit code", function(c)
  local process = spawn(c, "echo out; echo err >&2; exit 3")
  local out, err = drain(process)
  expect.equal(out, "out\n", "stdout")
  expect.equal(err, "err\n", "stderr")
  expect.equal(process:read(), nil, "a read after the end")
  local result = process:wait()
  expect.fields(result, { exit_code = 3, timed_out = false }, "result")
  expect.equal(result.signal, nil, "signal")
  expect.between(result.duration, 0, c:bound(5), "duration")
end)

check("a dialogue over stdin and stdout", function(c)
  local process = spawn(c, "while read -r line; do echo \"got $line\"; done; echo bye")
  for i = 1, 5 do
    local want = "got line " .. i .. "\n"
    process:write("line " .. i .. "\n")
    expect.equal(read_exactly(process, #want), want, "answer " .. i)
  end
  process:close_stdin()
  expect.equal((drain(process)), "bye\n", "after the end of stdin")
  expect.equal(process:wait().exit_code, 0, "exit code")
end)

check("a list runs without a shell, with env and cwd", function(c)
  local dir = c:dir()
  local process = spawn(c, { "sh", "-c", 'printf "%s|%s" "$A" "$1"; pwd >&2', "sh", "$x 'y'" },
    { env = { A = "a b" }, cwd = dir })
  local out, err = drain(process)
  expect.equal(out, "a b|$x 'y'", "stdout")
  expect.equal(err:match("[^/\n]+\n$"), dir:match("[^/]+$") .. "\n", "the working directory's name")
end)

check("binary bytes both ways, 4 MiB at once", function(c)
  local bytes = native.crypto.random(1048576):rep(4)
  local process = spawn(c, { "cat" })
  local got
  task.all({
    function()
      for at = 1, #bytes, 100000 do
        process:write(bytes:sub(at, at + 99999))
      end
      process:close_stdin()
    end,
    function()
      got = drain(process)
    end,
  })
  expect.equal(got, bytes, "what came back")
  expect.equal(process:wait().exit_code, 0, "exit code")
end)

check("read(max) gives no more than asked", function(c)
  local process = spawn(c, "printf 0123456789")
  local text = ""
  while true do
    local bytes = process:read(3)
    if not bytes then
      break
    end
    expect.between(#bytes, 1, 3, "bytes of one read")
    text = text .. bytes
  end
  expect.equal(text, "0123456789", "all reads")
end)

check("kill ends it, and everything it started", function(c)
  local beat = c:beat()
  local process = spawn(c, beat.code .. " & echo ready; wait")
  expect.equal(read_exactly(process, 6), "ready\n", "its first line")
  beat:await_start()
  process:kill()
  local result = process:wait()
  expect.equal(result.exit_code, nil, "exit code")
  expect.equal(result.signal, "SIGKILL", "signal")
  beat:expect_dead("the child")
end)

check("kill with a name sends that signal", function(c)
  local process = spawn(c, "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
  expect.equal(read_exactly(process, 6), "ready\n", "its first line")
  process:kill("TERM")
  expect.equal((drain(process)), "caught\n", "stdout after the signal")
  expect.equal(process:wait().exit_code, 7, "exit code")
end)

check("wait may come twice, and without reading", function(c)
  local process = spawn(c, "echo unread; exit 4")
  expect.equal(process:wait().exit_code, 4, "exit code")
  expect.equal(process:wait().exit_code, 4, "exit code, again")
  expect.equal((drain(process)), "unread\n", "stdout after the wait")
end)

check("a timeout ends it, with everything it started", function(c)
  local beat = c:beat()
  local process = spawn(c, beat.code .. " & echo ready; sleep 30", { timeout = 1 })
  expect.equal((drain(process)), "ready\n", "stdout")
  local result = process:wait()
  expect.equal(result.timed_out, true, "timed_out")
  expect.equal(result.exit_code, nil, "exit code")
  beat:expect_dead("the child")
end)

check("close kills what still runs", function(c)
  local beat = c:beat()
  local process = spawn(c, beat.code .. " & echo ready; wait")
  expect.equal(read_exactly(process, 6), "ready\n", "its first line")
  beat:await_start()
  process:close()
  process:close()
  beat:expect_dead("the process")
  expect.raises("invalid", function()
    process:read()
  end, "closed")
end)

check("writing to one that has ended fails with EPIPE", function(c)
  local process = spawn(c, "exit 0")
  process:wait()
  local err = expect.raises("io", function()
    for _ = 1, 100 do
      process:write(("x"):rep(65536))
    end
  end)
  expect.equal(err.name, "EPIPE", "the error's name")
end)

check("a reader that is slow holds the writer back and loses nothing", function(c)
  local process = spawn(c, "head -c 8388608 /dev/zero; echo end")
  task.sleep(0.2)
  local bytes, last = 0, ""
  while true do
    local chunk = process:read(65536)
    if not chunk then
      break
    end
    bytes, last = bytes + #chunk, (last .. chunk:sub(-4)):sub(-4)
  end
  expect.equal(bytes, 8388612, "bytes")
  expect.equal(last, "end\n", "the end")
end)

check("a program that does not exist ends with 127", function(c)
  local process = spawn(c, { "luarium-no-such-program" })
  local _, err = drain(process)
  expect.contains(err, "luarium-no-such-program", "stderr")
  expect.equal(process:wait().exit_code, 127, "exit code")
end)

check("a read that is cancelled loses nothing", function(c)
  local process = spawn(c, "read -r x; echo \"got $x\"")
  expect.raises("timeout", function()
    task.timeout(0.1, process.read, process)
  end)
  process:write("later\n")
  expect.equal((drain(process)), "got later\n", "stdout")
  expect.equal(process:wait().exit_code, 0, "exit code")
end)

check("a write that nobody reads can be cancelled", function(c)
  local process = spawn(c, "sleep 30")
  expect.raises("timeout", function()
    task.timeout(0.2, function()
      while true do
        process:write(("x"):rep(1048576))
      end
    end)
  end)
  process:kill()
  expect.equal(process:wait().signal, "SIGKILL", "signal")
end)

check("several at once keep their streams apart", function(c)
  local processes = {}
  for i = 1, 8 do
    processes[i] = spawn(c, ("for n in 1 2 3; do echo %d-$n; done; exit %d"):format(i, i))
  end
  for i, process in ipairs(processes) do
    expect.equal((drain(process)), ("%d-1\n%d-2\n%d-3\n"):format(i, i, i), "stdout of " .. i)
    expect.equal(process:wait().exit_code, i, "exit code of " .. i)
  end
end)

return topic
