local async = require "spec.support.async"
local support = require "spec.support.processes"
local native = require "luarium.native"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local await, loop, process = task.await, native.loop, native.process
local new_cookie = support.new_cookie
local slurp = support.slurp
local spawn = support.spawn
local read_all = support.read_all
local expect = support.expect
local expect_gone = support.expect_gone
local slack = support.slack

local function tmpname()
  return support.tmpname(finally)
end

describe("process.spawn", function()
  it("reads both streams as they come", async(function()
    local p = spawn { argv = { "sh", "-c", "echo one; read a; echo two >&2; read a; echo three" } }
    assert.same({ "one\n", "stdout" }, { await(p:read()) })
    assert.is_true(await(p:write("\n")))
    assert.same({ "two\n", "stderr" }, { await(p:read()) })
    assert.is_true(await(p:write("\n")))
    assert.same({ "three\n", "stdout" }, { await(p:read()) })
    local bytes, err = await(p:read())
    assert.is_nil(bytes)
    assert.is_nil(err)
    assert.equal(0, await(p:wait()).exit_code)
    p:close()
  end))

  it("reads at most as much as asked for", async(function()
    local p = spawn { argv = { "echo", "abcdefgh" } }
    assert.equal("abc", (await(p:read(3))))
    assert.equal("defgh\n", (read_all(p, 2)))
    p:close()
  end))

  it("reads both streams in turn when both have something", async(function()
    local p = spawn { argv = { "sh", "-c", "head -c 40000 /dev/zero; head -c 40000 /dev/zero >&2" } }
    await(p:wait())
    for _ = 1, 5 do
      assert.equal("stdout", select(2, await(p:read(4096))))
      assert.equal("stderr", select(2, await(p:read(4096))))
    end
    p:close()
  end))

  it("streams a lot unharmed", async(30, function()
    local p = spawn { argv = { "seq", "3000000" } }
    local bytes, last = 0, ""
    while true do
      local chunk = await(p:read())
      if not chunk then
        break
      end
      bytes, last = bytes + #chunk, chunk
    end
    assert.equal(22888896, bytes)
    assert.equal("3000000\n", last:sub(-8))
    p:close()
  end))

  it("holds the child back while nobody reads", async(function()
    local name = tmpname()
    local p = spawn { argv = { "sh", "-c", "i=0; while :; do i=$((i+1)); head -c 65536 /dev/zero; echo $i > " ..
      name .. "; done" } }
    await(p:read())
    local function count()
      return tonumber(slurp(name)) or 0
    end
    local stuck, before = 0, -1
    until_true("the child stops writing", function()
      local now = count()
      stuck, before = now == before and stuck + 1 or 0, now
      return stuck > 50
    end)
    assert.is_true(count() < 64, "it wrote " .. count() .. " blocks")
    p:close()
  end))

  it("takes one read at a time", async(function()
    local p = spawn { argv = { "cat" } }
    local op = p:read()
    local second, err = await(p:read())
    assert.is_nil(second)
    assert.equal("conflict", err.kind)
    op:cancel()
    local _, cancelled = await(op)
    assert.equal("cancelled", cancelled.kind)
    await(p:write("still there"))
    assert.equal("still there", (await(p:read())))
    p:close()
  end))

  it("ends the streams soon after the exit, even when others hold the pipes", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sh", "-c", "sleep 60 & echo hi" }, cookie = cookie }
    local from = loop.monotonic()
    assert.equal("hi\n", (read_all(p)))
    assert.is_true(loop.monotonic() - from < 0.3 + slack)
    p:close()
    assert.equal(1, await(process.sweep(cookie)))
  end))

  it("keeps output for a reader that comes late", async(function()
    local p = spawn { argv = { "sh", "-c", "echo out; echo err >&2; exit 4" }, grace = 0 }
    assert.equal(4, await(p:wait()).exit_code)
    local out, err = read_all(p)
    assert.equal("out\n", out)
    assert.equal("err\n", err)
    p:close()
  end))

  it("writes under back-pressure, in order", async(function()
    local p = spawn { argv = { "sh", "-c", "read go; exec cat" } }
    local big = ("0123456789"):rep(300000)
    local ops = { p:write("go\n"), p:write(big), p:write("-"), p:write(big), p:write("") }
    p:close_stdin()
    assert.is_true(await(ops[1]))
    local out = read_all(p)
    assert.is_true(out == big .. "-" .. big)
    for i = 2, 5 do
      assert.is_true(await(ops[i]))
    end
    p:close()
  end))

  it("waits with a write until all bytes are in the pipe, and can be cancelled", async(function()
    local p = spawn { argv = { "sleep", "60" } }
    local op = p:write(("x"):rep(4 * 1024 * 1024))
    local behind = p:write("y")
    loop.poll(20, {})
    assert.is_false(op:done())
    op:cancel()
    local ok, err = await(op)
    assert.is_nil(ok)
    assert.equal("cancelled", err.kind)
    assert.matches("of 4194304 bytes", err.message, 1, true)
    behind:cancel()
    p:close()
  end))

  it("fails a write with EPIPE when nobody reads any more", async(function()
    local p = spawn { argv = { "sh", "-c", "exec 0<&-; echo closed; sleep 60" } }
    expect(p, "closed")
    local ok, err = await(p:write("x"))
    assert.is_nil(ok)
    assert.equal("io", err.kind)
    assert.equal("EPIPE", err.name)
    p:close_stdin()
    p:close()
    p = spawn { argv = { "true" }, stdin = false }
    ok, err = await(p:write("x"))
    assert.is_nil(ok)
    assert.equal("EPIPE", err.name)
    p:close()
  end))

  it("takes its whole input at the start", async(function()
    local bytes = ("input"):rep(100000)
    local p = spawn { argv = { "cat" }, stdin = bytes }
    local out = read_all(p)
    assert.is_true(out == bytes)
    p:close()
  end))

  it("gives the status to everybody who waits", async(function()
    local p = spawn { argv = { "sh", "-c", "read a; exit 9" } }
    local ops = { p:wait(), p:wait(), p:wait() }
    ops[2]:cancel()
    p:close_stdin()
    assert.equal(9, await(ops[1]).exit_code)
    assert.equal(9, await(ops[3]).exit_code)
    assert.equal("cancelled", select(2, await(ops[2])).kind)
    assert.equal(9, await(p:wait()).exit_code)
    p:close()
  end))

  it("is killed with its group at the deadline", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sh", "-c", "echo hi; setsid sleep 60 & sleep 60" }, timeout = 0.2, cookie = cookie }
    local from = loop.monotonic()
    local status = await(p:wait())
    assert.is_true(loop.monotonic() - from < 0.3 + slack)
    assert.is_true(status.timed_out)
    assert.equal("SIGKILL", status.signal)
    assert.is_nil(status.exit_code)
    assert.equal("hi\n", (read_all(p)))
    p:close()
    await(process.sweep(cookie))
    expect_gone(cookie)
  end))

  it("sends signals to the whole group", async(function()
    local p = spawn { argv = { "sh", "-c", "trap 'echo got; exit 5' TERM; echo ready; sleep 60 & wait" } }
    expect(p, "ready")
    assert.is_true(p:kill("TERM"))
    expect(p, "got")
    assert.equal(5, await(p:wait()).exit_code)
    p:close()
    p = spawn { argv = { "sleep", "60" } }
    assert.is_true(p:kill("SIGINT"))
    assert.equal("SIGINT", await(p:wait()).signal)
    p:close()
    p = spawn { argv = { "sleep", "60" } }
    assert.is_true(p:kill(15))
    assert.equal("SIGTERM", await(p:wait()).signal)
    assert.has_error(function()
      p:kill("NOSUCH")
    end)
    p:close()
  end))

  it("has nobody to signal once all is over", async(function()
    local p = spawn { argv = { "true" } }
    read_all(p)
    await(p:wait())
    local ok, err = p:kill()
    assert.is_nil(ok)
    assert.equal("not_found", err.kind)
    p:close()
  end))

  it("kills what left the group", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sh", "-c", "setsid sleep 60 & echo on; sleep 60" }, cookie = cookie }
    expect(p, "on")
    assert.is_true(p:kill())
    assert.equal("SIGKILL", await(p:wait()).signal)
    p:close()
    await(process.sweep(cookie))
    expect_gone(cookie)
  end))

  it("has ended already when the program cannot be run", async(function()
    local p = spawn { argv = { "nope" } }
    assert.is_nil(p:pid())
    assert.same({ "luarium: nope: not found\n", "stderr" }, { await(p:read()) })
    assert.is_nil((await(p:read())))
    assert.equal(127, await(p:wait()).exit_code)
    assert.equal("not_found", select(2, p:kill()).kind)
    p:close()
  end))

  it("fails when cwd does not exist", async(function()
    local p, err = process.spawn { argv = { "true" }, cwd = "/does/not/exist" }
    assert.is_nil(p)
    assert.equal("not_found", err.kind)
  end))

  it("resizes its terminal", async(function()
    local script = "trap 'stty size' WINCH; echo ready; while :; do read line; done"
    local p = spawn { argv = { "bash", "-c", script }, pty = true }
    expect(p, "ready")
    assert.is_true(p:resize(132, 43))
    await(p:write("\n"))
    expect(p, "43 132")
    p:close()
    p = spawn { argv = { "cat" } }
    local ok, err = p:resize(1, 1)
    assert.is_nil(ok)
    assert.equal("unsupported", err.kind)
    p:close()
  end))

  it("types the end of input on a terminal", async(function()
    local p = spawn { argv = { "cat" }, pty = true }
    await(p:write("hello\n"))
    expect(p, "hello\r\nhello\r\n")
    p:close_stdin()
    assert.equal(0, await(p:wait()).exit_code)
    p:close()
  end))

  describe("close", function()
    it("kills what still runs and ends what waits", async(function()
      local cookie = new_cookie()
      local p = spawn { argv = { "sh", "-c", "setsid sleep 60 & echo; sleep 60" }, cookie = cookie }
      await(p:read())
      local read, wait, write = p:read(), p:wait(), p:write(("x"):rep(4 * 1024 * 1024))
      p:close()
      p:close()
      for _, op in ipairs { read, wait, write } do
        assert.equal("cancelled", select(2, await(op)).kind)
      end
      for _, method in ipairs { "read", "wait", "kill" } do
        local _, err = p[method](p)
        assert.equal("invalid", err.kind)
      end
      expect_gone(cookie)
    end))

    it("is what the collector does", async(function()
      local cookie = new_cookie()
      do
        local p = spawn { argv = { "sleep", "60" }, cookie = cookie }
        assert.is_truthy(p:pid())
      end
      until_true("the collected process is gone", function()
        collectgarbage()
        return #await(process.find(cookie)) == 0
      end)
    end))
  end)
end)
