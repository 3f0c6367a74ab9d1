--- What a command writes.
local errors = require "luarium.error"
local expect = require "luarium.conformance.expect"
local task = require "luarium.task"

local topic, check = require("luarium.conformance.topic").new("output")

check("every byte comes back", function(c)
  local octal, bytes = {}, {}
  for i = 0, 255 do
    octal[#octal + 1] = ("\\%03o"):format(i)
    bytes[#bytes + 1] = string.char(i)
  end
  expect.prints(c.box:exec({ "printf", table.concat(octal) }), table.concat(bytes))
end)

check("nothing is added, nothing trimmed", function(c)
  for _, text in ipairs({ "", "x", "\n", "\n\n", "a\r\nb\r\n", " lead and trail \n ", "\0", "gr\195\188n" }) do
    expect.prints(c.box:exec({ "cat" }, { stdin = text }), text, expect.show(text))
  end
end)

check("stdout and stderr are apart", function(c)
  local result = c.box:exec("i=0; while [ $i -lt 200 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done")
  local out, err = {}, {}
  for i = 0, 199 do
    out[#out + 1], err[#err + 1] = "out" .. i .. "\n", "err" .. i .. "\n"
  end
  expect.prints(result, table.concat(out))
  expect.equal(result.stderr, table.concat(err), "stderr")
  expect.equal(result.stderr_bytes, #table.concat(err), "stderr_bytes")
end)

check("merge keeps both in the order of writing", function(c)
  local result = c.box:exec("i=0; while [ $i -lt 50 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done",
    { merge = true })
  local all = {}
  for i = 0, 49 do
    all[#all + 1] = "out" .. i .. "\nerr" .. i .. "\n"
  end
  expect.prints(result, table.concat(all))
  expect.equal(result.stderr, "", "stderr")
end)

check("4 MiB come back whole", function(c)
  local result = c.box:exec("i=0; while [ $i -lt 65536 ]; do printf '%063d\\n' $i; i=$((i+1)); done", { timeout = 60 })
  expect.equal(result.exit_code, 0, "exit code")
  expect.equal(#result.stdout, 4194304, "bytes")
  expect.equal(result.stdout:sub(-64), ("%063d\n"):format(65535), "the last line")
  expect.equal(result.truncated, false, "truncated")
  local i = 0
  for line in result.stdout:gmatch("[^\n]+") do
    if tonumber(line) ~= i then
      expect.equal(line, ("%063d"):format(i), "a line")
    end
    i = i + 1
  end
end)

check("max_output keeps front and back and counts all", function(c)
  local command = "head -c 50000 /dev/zero | tr '\\0' a; head -c 50000 /dev/zero | tr '\\0' b; echo short >&2"
  local result = c.box:exec(command, { max_output = 1000 })
  expect.fields(result, {
    exit_code = 0, truncated = true, stdout_bytes = 100000, stderr = "short\n", stderr_bytes = 6,
  }, "result")
  expect.between(#result.stdout, 500, 1000, "bytes kept")
  expect.matches(result.stdout, "^a+b+$", "what was kept")
  expect.matches(result.stdout, "^" .. ("a"):rep(200), "the front")
  expect.matches(result.stdout, ("b"):rep(200) .. "$", "the back")
end)

check("max_output that suffices cuts nothing", function(c)
  local result = c.box:exec("head -c 1000 /dev/zero | tr '\\0' a", { max_output = 1000 })
  expect.prints(result, ("a"):rep(1000))
  expect.fields(result, { truncated = false, stdout_bytes = 1000 }, "result")
end)

check("callbacks get everything, in order", function(c)
  local out, err = {}, {}
  local command = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo oops >&2; printf end"
  local result = c.box:exec(command, {
    on_stdout = function(chunk)
      out[#out + 1] = chunk
    end,
    on_stderr = function(chunk)
      err[#err + 1] = chunk
    end,
  })
  local want = {}
  for i = 0, 2999 do
    want[#want + 1] = "line " .. i .. "\n"
  end
  want = table.concat(want) .. "end"
  expect.equal(table.concat(out), want, "stdout by callback")
  expect.equal(table.concat(err), "oops\n", "stderr by callback")
  expect.equal(result.stdout_bytes, #want, "stdout_bytes")
  expect.fields(result, { stdout = want, stderr = "oops\n", exit_code = 0, truncated = false }, "result")
end)

check("callbacks come while the command runs", function(c)
  local ready = task.event("the command's first line")
  local asked = false
  local result = c.box:exec("echo ready; read -r answer; echo got $answer", {
    timeout = 20,
    on_stdout = function(chunk)
      if chunk:find("ready", 1, true) then
        ready:set()
      end
    end,
    stdin = function()
      if not asked then
        asked = true
        ready:wait()
        return "an answer\n"
      end
    end,
  })
  expect.prints(result, "ready\ngot an answer\n")
end)

check("a callback that fails ends the command with its error", function(c)
  local beat = c:beat()
  local err = expect.raises("conflict", function()
    c.box:exec(beat.code .. " & until [ -s '" .. beat.file .. "' ]; do sleep 0.02; done; echo go; wait", {
      timeout = 20,
      on_stdout = function()
        errors.raise("conflict", "enough of it")
      end,
    })
  end, "enough of it")
  expect.equal(err.kind, "conflict", "kind")
  beat:expect_dead("the command")
  expect.prints(c.box:exec("echo usable"), "usable\n", "the next command")
end)

check("a callback may wait", function(c)
  local seen = {}
  local result = c.box:exec("echo one; sleep 0.1; echo two", { timeout = 20, on_stdout = function(chunk)
    task.sleep(0.05)
    seen[#seen + 1] = chunk
  end })
  expect.equal(table.concat(seen), "one\ntwo\n", "stdout by callback")
  expect.equal(result.exit_code, 0, "exit code")
end)

check("a program that writes nothing", function(c)
  local called = false
  local result = c.box:exec({ "true" }, { on_stdout = function()
    called = true
  end })
  expect.prints(result, "")
  expect.fields(result, { stdout_bytes = 0, stderr_bytes = 0, stderr = "", truncated = false }, "result")
  expect.equal(called, false, "the callback was called")
end)

check("64 MiB through a callback, counted and in order", { heavy = true }, function(c)
  local bytes, bad, kept = 0, false, ""
  local result = c.box:exec("head -c 67108864 /dev/zero | tr '\\0' z; echo the end", {
    timeout = 240,
    on_stdout = function(chunk)
      bytes = bytes + #chunk
      kept = (kept .. chunk:sub(-8)):sub(-8)
      bad = bad or bytes <= 67108864 and chunk:find("[^z]") ~= nil
    end,
  })
  expect.equal(bytes, 67108872, "bytes by callback")
  expect.equal(kept, "the end\n", "the last bytes by callback")
  expect.equal(bad, false, "a byte is wrong")
  expect.fields(result, { exit_code = 0, stdout_bytes = 67108872, truncated = true }, "result")
  expect.matches(result.stdout, "zthe end\n$", "the end that was kept")
  expect.yes(#result.stdout < 16777216, "the result stays small", #result.stdout)
end)

return topic
