--- Time limits of commands: a bound that holds, for everything that the command has started.
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local task = require "luarium.task"

local monotonic = native.loop.monotonic
local topic, check = require("luarium.conformance.topic").new("time")

--- Runs a command with a limit and checks that it came back in time.
local function limited(c, limit, command, options)
  options = options or {}
  options.timeout = limit
  local began = monotonic()
  local result = c.box:exec(command, options)
  expect.between(monotonic() - began, limit * 0.95, c:bound(limit), "seconds until it came back")
  return result
end

check("a command that takes too long is stopped, its output kept", function(c)
  local result = limited(c, 0.5, "echo before; echo reason >&2; sleep 30; echo after")
  expect.fields(result, { timed_out = true, ok = false, stdout = "before\n", stderr = "reason\n" }, "result")
  expect.equal(result.exit_code, nil, "exit code")
  expect.between(result.duration, 0.45, c:bound(0.5), "duration")
end)

check("a command that ends in time is not touched", function(c)
  local result = c.box:exec("echo quick", { timeout = 20 })
  expect.prints(result, "quick\n")
  expect.equal(result.timed_out, false, "timed_out")
end)

check("an exit code of 124 or 137 is no timeout", function(c)
  for _, code in ipairs({ 124, 137 }) do
    expect.fields(c.box:exec("exit " .. code, { timeout = 20 }), { exit_code = code, timed_out = false }, "result")
  end
end)

check("children and grandchildren die with it", function(c)
  local child, grandchild = c:beat(), c:beat()
  local result = limited(c, 1, child.code .. " & (" .. grandchild.code .. " & wait) & echo started; wait")
  expect.fields(result, { timed_out = true, stdout = "started\n" }, "result")
  child:expect_dead("the child")
  grandchild:expect_dead("the grandchild")
end)

check("one that left its session dies too", function(c)
  if c.box:exec("command -v setsid").exit_code ~= 0 then
    c:skip("the sandbox has no setsid")
  end
  local detached, quiet = c:beat({ detached = true }), c:beat({ detached = true, quiet = true })
  -- The second one is nobody's child any more either.
  local result = limited(c, 1, detached.code .. " & (" .. quiet.code .. " &); echo started; sleep 30")
  expect.fields(result, { timed_out = true, stdout = "started\n" }, "result")
  detached:expect_dead("the detached process")
  quiet:expect_dead("the detached process without streams")
end)

check("one that ignores signals dies too", function(c)
  local result = limited(c, 0.5, "trap '' TERM INT HUP QUIT; echo deaf; while :; do sleep 1; done")
  expect.fields(result, { timed_out = true, stdout = "deaf\n" }, "result")
end)

check("a flood of output does not delay it", function(c)
  local result = limited(c, 0.5, "yes", { max_output = 65536 })
  expect.fields(result, { timed_out = true, truncated = true }, "result")
  expect.matches(result.stdout, "^y\ny\n", "the front")
  expect.between(#result.stdout, 32768, 65536, "bytes kept")
end)

check("input that nobody reads does not delay it", function(c)
  local result = limited(c, 0.5, "sleep 30", { stdin = ("x"):rep(4194304) })
  expect.equal(result.timed_out, true, "timed_out")
end)

check("callbacks have seen what came before", function(c)
  local seen = {}
  local result = limited(c, 0.5, "echo one; echo two; sleep 30", { on_stdout = function(chunk)
    seen[#seen + 1] = chunk
  end })
  expect.equal(table.concat(seen), "one\ntwo\n", "stdout by callback")
  expect.equal(result.timed_out, true, "timed_out")
end)

check("a background process that holds the output does not delay the result", function(c)
  local beat = c:beat()
  c:defer(beat.stop, beat)
  local began = monotonic()
  local result = c.box:exec(beat.code .. " & echo done", { timeout = 30 })
  expect.between(monotonic() - began, 0, c:bound(1), "seconds until it came back")
  expect.fields(result, { exit_code = 0, stdout = "done\n", timed_out = false }, "result")
  expect.equal(result.held_open ~= false, true, "held_open, where the provider can tell,")
  beat:await_start()
  beat:expect_alive("the background process")
end)

check("a background process without streams lives on after its command", function(c)
  local beat = c:beat({ quiet = true })
  c:defer(beat.stop, beat)
  local result = c.box:exec(beat.code .. " & echo done", { timeout = 30 })
  expect.prints(result, "done\n")
  beat:await_start()
  beat:expect_alive("the background process")
end)

check("the limit of a scope stops the command as well", function(c)
  local beat = c:beat()
  local began = monotonic()
  expect.raises("timeout", function()
    task.timeout(1, c.box.exec, c.box, beat.code .. " & sleep 30")
  end)
  expect.between(monotonic() - began, 0.95, c:bound(1), "seconds until it came back")
  beat:expect_dead("the command")
end)

check("the sandbox is as usable as before", function(c)
  for _ = 1, 3 do
    expect.equal(c.box:exec("sleep 30", { timeout = 0.1 }).timed_out, true, "timed_out")
    expect.prints(c.box:exec("echo usable"), "usable\n", "the next command")
  end
end)

return topic
