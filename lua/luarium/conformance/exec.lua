--- Running commands to their end: forms, quoting, how they end.
local compat = require "luarium.compat"
local expect = require "luarium.conformance.expect"
local task = require "luarium.task"

local topic, check = require("luarium.conformance.topic").new("exec")

check("a text runs through a shell", function(c)
  local result = c.box:exec("printf '%s\\n' \"$((40 + 2))\" | tr 2 3")
  expect.fields(result, {
    exit_code = 0, ok = true, stdout = "43\n", stderr = "", stdout_bytes = 3, stderr_bytes = 0,
    truncated = false, timed_out = false,
  }, "result")
  expect.equal(result.signal, nil, "signal")
end)

check("a list runs without a shell", function(c)
  local arguments = { "a b", "$HOME", "*", "'", '"', "\\", "; exit 3", "`id`", "#", "~", "$(id)", "a\\nb" }
  local result = c.box:exec({ "printf", "%s|", compat.unpack(arguments) })
  expect.prints(result, table.concat(arguments, "|") .. "|")
end)

check("arguments keep every byte", function(c)
  local arguments = { "", "-n", "two\nlines", "trailing\n", "\t", "gr\195\188n", "\255\254\128", "\1\27[31m", "" }
  local result = c.box:exec({ "printf", "[%s]", compat.unpack(arguments) })
  expect.prints(result, "[" .. table.concat(arguments, "][") .. "]")
end)

check("a script of several lines with a here-document", function(c)
  local result = c.box:exec("while read -r a b; do\n  echo \"$b $a\" # swapped\ndone <<'E'\n1 $x\n2 \"y\"\nE\n")
  expect.prints(result, "$x 1\n\"y\" 2\n")
end)

check("a pipe ends with the status of its last command", function(c)
  expect.equal(c.box:exec("exit 3 | true").exit_code, 0, "exit 3 | true")
  expect.equal(c.box:exec("true | exit 3").exit_code, 3, "true | exit 3")
end)

check("an empty command is refused", function(c)
  for _, command in ipairs({ {}, { "" } }) do
    expect.raises("invalid", function()
      c.box:exec(command)
    end, "exec", "empty")
  end
end)

check("a command with a NUL byte is refused", function(c)
  for _, command in ipairs({ "echo a\0b", { "echo", "a\0b" } }) do
    expect.raises("invalid", function()
      c.box:exec(command)
    end, "exec", "NUL")
  end
end)

check("exit codes come back exactly", function(c)
  for _, code in ipairs({ 0, 1, 2, 42, 124, 126, 127, 128, 137, 143, 255 }) do
    local result = c.box:exec("exit " .. code)
    expect.fields(result, { exit_code = code, ok = code == 0, timed_out = false }, "exit " .. code)
    expect.equal(result.signal, nil, "signal of exit " .. code)
  end
end)

check("a program that does not exist is a result with 127", function(c)
  for _, command in ipairs({ { "luarium-no-such-program", "x" }, "luarium-no-such-program x", { "/no/such/file" } }) do
    local result = c.box:exec(command)
    expect.fields(result, { exit_code = 127, ok = false, stdout = "", timed_out = false }, "result")
    expect.contains(result.stderr, type(command) == "table" and command[1] or "luarium-no-such-program", "stderr")
  end
end)

check("a file that is not executable is a result with 126", function(c)
  local dir = c:dir()
  c.box:write_file(dir .. "/plain", "echo hello\n", { mode = 420 })
  local result = c.box:exec({ dir .. "/plain" })
  expect.fields(result, { exit_code = 126, stdout = "" }, "result")
  expect.contains(result.stderr, "plain", "stderr")
end)

check("a signal is told apart from an exit code", function(c)
  for _, name in ipairs({ "TERM", "KILL", "HUP", "USR1" }) do
    local result = c.box:exec("kill -" .. name .. " $$; sleep 5")
    c:expect_signal(result, name, "after kill -" .. name)
    expect.fields(result, { timed_out = false, ok = false }, "result")
  end
end)

check("a shell that cannot read its script is a result", function(c)
  local result = c.box:exec("if then fi (")
  expect.yes(type(result.exit_code) == "number" and result.exit_code ~= 0, "exit code", result.exit_code)
  expect.yes(#result.stderr > 0, "the shell says why on stderr", result.stderr)
end)

check("a text of 1 MiB runs or is refused clearly", function(c)
  local command = "printf %s " .. ("x"):rep(1048576) .. " | wc -c"
  local ok, result = pcall(c.box.exec, c.box, command)
  if ok then
    expect.equal(tonumber(result.stdout), 1048576, "bytes that arrived")
  else
    expect.raises("invalid", function()
      error(result, 0)
    end, "argument", "131071")
  end
  expect.prints(c.box:exec("echo usable"), "usable\n", "the next command")
end)

check("arguments of 1 MiB in all arrive", function(c)
  local command = { "/bin/sh", "-c", 'n=0; for a; do n=$((n + ${#a})); done; echo "$# $n"', "sh" }
  for _ = 1, 64 do
    command[#command + 1] = ("y"):rep(16384)
  end
  expect.prints(c.box:exec(command), "64 1048576\n")
end)

check("arguments that are too many run or are refused clearly", function(c)
  local command = { "/bin/sh", "-c", 'echo "$#"', "sh" }
  for _ = 1, 256 do
    command[#command + 1] = ("z"):rep(65536)
  end
  local ok, result = pcall(c.box.exec, c.box, command)
  if ok then
    expect.prints(result, "256\n")
  else
    expect.raises("invalid", function()
      error(result, 0)
    end, "too large")
  end
  expect.prints(c.box:exec("echo usable"), "usable\n", "the next command")
end)

check("check = true raises what the command left", function(c)
  expect.prints(c.box:exec("echo fine", { check = true }), "fine\n")
  local err = expect.raises("io", function()
    c.box:exec("echo partial; echo the reason >&2; exit 7", { check = true })
  end, "exited with 7", "the reason")
  expect.equal(err.name, "EXIT", "the error's name")
  expect.fields(err.data, { exit_code = 7, stdout = "partial\n", stderr = "the reason\n" }, "data")
  err = expect.raises("io", function()
    c.box:exec("kill -9 $$", { check = true })
  end, c.instance.definition.folds_signals and "137" or "SIGKILL")
  c:expect_signal(err.data, "KILL", "data")
  err = expect.raises("timeout", function()
    c.box:exec("echo before; exec sleep 30", { check = true, timeout = 0.5 })
  end)
  expect.fields(err.data, { timed_out = true, stdout = "before\n" }, "data")
end)

check("the duration is that of the command", function(c)
  local result = c.box:exec("sleep 0.3")
  expect.between(result.duration, 0.29, c:bound(0.3), "duration")
end)

check("another user, or a clear refusal", function(c)
  local ok, result = pcall(c.box.exec, c.box, "id -un", { user = "nobody", cwd = "/" })
  if ok then
    expect.prints(result, "nobody\n")
  else
    expect.raises("unsupported", function()
      error(result, 0)
    end, "user")
  end
end)

check("two commands at once do not mix", function(c)
  local results = task.all({
    a = function()
      return c.box:exec("for i in 1 2 3 4 5; do echo a$i; sleep 0.02; done")
    end,
    b = function()
      return c.box:exec("for i in 1 2 3 4 5; do echo b$i; sleep 0.02; done; exit 9")
    end,
  })
  expect.prints(results.a, "a1\na2\na3\na4\na5\n", "a")
  expect.fields(results.b, { stdout = "b1\nb2\nb3\nb4\nb5\n", exit_code = 9 }, "b")
end)

return topic
