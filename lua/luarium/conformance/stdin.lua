--- What a command reads.
local errors = require "luarium.error"
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local task = require "luarium.task"

local fs = native.fs
local topic, check = require("luarium.conformance.topic").new("stdin")

local all_bytes = {}
for i = 0, 255 do
  all_bytes[i + 1] = string.char(i)
end
all_bytes = table.concat(all_bytes)

check("without stdin a command reads the end at once", function(c)
  expect.prints(c.box:exec("wc -c | tr -d ' '", { timeout = 10 }), "0\n")
  expect.prints(c.box:exec("cat", { stdin = "", timeout = 10 }), "", "empty bytes")
end)

check("bytes, every one of them", function(c)
  local bytes = all_bytes:rep(16)
  expect.prints(c.box:exec({ "cat" }, { stdin = bytes }), bytes)
  expect.prints(c.box:exec("head -c 300 | tail -c 2", { stdin = bytes }), "\42\43", "through a pipe")
end)

check("text without a newline at its end", function(c)
  expect.prints(c.box:exec('read -r a; read -r b; printf "[%s][%s]" "$a" "$b"', { stdin = "one\ntwo" }), "[one][two]")
end)

check("10 MiB", function(c)
  local bytes = native.crypto.random(1048576):rep(10)
  local result = c.box:exec("wc -c | tr -d ' '", { stdin = bytes, timeout = 60 })
  expect.prints(result, "10485760\n", "the count")
  result = c.box:exec("tail -c 5", { stdin = bytes, timeout = 60 })
  expect.prints(result, bytes:sub(-5), "its end")
end)

check("a local file", function(c)
  local path = c:host_dir() .. "/input"
  local bytes = all_bytes:rep(4096)
  c:host(fs.write_file(path, bytes))
  expect.prints(c.box:exec({ "cat" }, { stdin = { file = path } }), bytes)
end)

check("a local file that does not exist", function(c)
  local path = c:host_dir() .. "/missing"
  expect.raises("not_found", function()
    c.box:exec("cat", { stdin = { file = path } })
  end, "missing")
end)

check("an iterator", function(c)
  local chunks = { "one ", "", "two\0", all_bytes, ("x"):rep(200000), "end" }
  local i = 0
  local result = c.box:exec({ "cat" }, { stdin = function()
    i = i + 1
    return chunks[i]
  end })
  expect.prints(result, table.concat(chunks))
end)

check("an iterator that waits", function(c)
  local i = 0
  local result = c.box:exec({ "cat" }, { timeout = 20, stdin = function()
    task.sleep(0.01)
    i = i + 1
    return i <= 3 and "line " .. i .. "\n" or nil
  end })
  expect.prints(result, "line 1\nline 2\nline 3\n")
end)

check("an iterator that fails ends the command with its error", function(c)
  local beat = c:beat()
  local calls = 0
  local err = expect.raises("conflict", function()
    c.box:exec(beat.code .. " & cat >/dev/null; wait", { timeout = 20, stdin = function()
      calls = calls + 1
      if calls == 1 then
        return "some"
      end
      beat:await_start()
      errors.raise("conflict", "the source broke")
    end })
  end, "the source broke")
  expect.equal(err.kind, "conflict", "kind")
  beat:expect_dead("the command")
end)

check("a command that does not read", function(c)
  local result = c.box:exec("echo done", { stdin = ("x"):rep(10485760), timeout = 20 })
  expect.prints(result, "done\n")
  result = c.box:exec("head -c 3", { stdin = ("abcdef"):rep(1000000), timeout = 20 })
  expect.prints(result, "abc", "one that reads a little")
  result = c.box:exec("exit 5", { timeout = 20, stdin = function()
    return ("y"):rep(65536)
  end })
  expect.equal(result.exit_code, 5, "exit code with an endless iterator")
end)

check("what is no stdin is refused", function(c)
  for _, value in ipairs({ { path = "x" }, 42, true }) do
    expect.raises("invalid", function()
      c.box:exec("cat", { stdin = value })
    end, "stdin")
  end
end)

return topic
