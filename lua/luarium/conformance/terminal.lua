--- Terminals for commands and processes.
local expect = require "luarium.conformance.expect"

local topic, check = require("luarium.conformance.topic").new("terminal")

local function spawn(c, command, options)
  local process = c.box:spawn(command, options)
  c:defer(process.close, process)
  return process
end

--- Reads until the text has come.
local function read_until(process, text)
  local seen = ""
  while not seen:find(text, 1, true) do
    local bytes = process:read()
    if not bytes then
      expect.fail("the end came before " .. expect.show(text) .. "; read " .. expect.show(seen), 2)
    end
    seen = seen .. bytes
  end
  return seen
end

check("a command with pty has a terminal on every stream", { needs = { "pty" } }, function(c)
  local command = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo yes || echo no"
  expect.prints(c.box:exec(command), "no\n", "without pty")
  expect.prints(c.box:exec(command, { pty = true, timeout = 20 }), "yes\r\n", "with pty")
end)

check("the terminal has the size that was asked for", { needs = { "pty" } }, function(c)
  expect.prints(c.box:exec("stty size", { pty = true, cols = 132, rows = 43, timeout = 20 }), "43 132\r\n")
end)

check("stderr comes in stdout's order", { needs = { "pty" } }, function(c)
  local result = c.box:exec("echo one; echo two >&2; echo three", { pty = true, timeout = 20 })
  expect.prints(result, "one\r\ntwo\r\nthree\r\n")
  expect.equal(result.stderr, "", "stderr")
end)

check("exit codes are those of the command", { needs = { "pty" } }, function(c)
  expect.equal(c.box:exec("exit 42", { pty = true, timeout = 20 }).exit_code, 42, "exit code")
end)

check("a timeout stops it", { needs = { "pty" } }, function(c)
  local result = c.box:exec("echo before; sleep 30", { pty = true, timeout = 0.5 })
  expect.fields(result, { timed_out = true, stdout = "before\r\n" }, "result")
end)

check("a process can be resized", { needs = { "spawn", "pty" } }, function(c)
  local process = spawn(c, "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done",
    { pty = true, cols = 80, rows = 24 })
  read_until(process, "ready\r\n")
  process:resize(101, 37)
  read_until(process, "37 101\r\n")
  process:kill()
  expect.equal(process:wait().signal, "SIGKILL", "signal")
end)

check("a control character interrupts", { needs = { "spawn", "pty" } }, function(c)
  local process = spawn(c, "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done",
    { pty = true })
  read_until(process, "ready\r\n")
  process:write("\3")
  read_until(process, "interrupted\r\n")
  while process:read() do end -- luacheck: ignore 542
  expect.equal(process:wait().exit_code, 9, "exit code")
end)

check("a dialogue with echo", { needs = { "spawn", "pty" } }, function(c)
  local process = spawn(c, "read -r line; echo \"got $line\"", { pty = true })
  process:write("hello\n")
  local seen = read_until(process, "got hello\r\n")
  expect.equal(seen, "hello\r\ngot hello\r\n", "what the terminal showed")
  expect.equal(process:wait().exit_code, 0, "exit code")
end)

--- `script`, without which nobody can hold the terminal of a job.
local function need_script(c)
  if c.box:exec("command -v script && command -v stty").exit_code ~= 0 then
    c:skip("the sandbox has no `script`")
  end
end

--- A job with a terminal, which is gone when the check ends.
local function start_job(c, command, options)
  options.key, options.pty, options.wait = c:unique(), true, 0
  local job = c.box:job(command, options)
  c:defer(function()
    job:kill()
    job:remove()
  end)
  return job
end

check("a job can have a terminal, which is left and come back to", { needs = { "spawn" } }, function(c)
  need_script(c)
  local job = start_job(c, "stty -echo; echo ready $(stty size); while read -r word; do echo \"<$word>\"; done; exit 5",
    { cols = 101, rows = 37 })
  local first = job:connect()
  c:defer(first.close, first)
  read_until(first, "ready 37 101\r\n")
  first:write("one\n")
  read_until(first, "<one>\r\n")
  first:close()
  local offset = job:status().stdout_bytes
  job:write("two\n")
  local again = job:connect({ offset = offset })
  c:defer(again.close, again)
  again:write("three\n")
  expect.equal(read_until(again, "<three>\r\n"), "<two>\r\n<three>\r\n", "what came since")
  again:write("\4")
  expect.equal(job:wait({ timeout = c:bound(20) }).exit_code, 5, "exit code")
end)

check("a job's terminal can be resized", { needs = { "spawn" } }, function(c)
  need_script(c)
  local job = start_job(c, "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done", {})
  local connection = job:connect()
  c:defer(connection.close, connection)
  read_until(connection, "ready\r\n")
  job:resize(101, 37)
  read_until(connection, "37 101\r\n")
  job:resize(101, 37, { redraw = true })
  read_until(connection, "37 101\r\n")
end)

return topic
