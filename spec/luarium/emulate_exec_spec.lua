local async = require "spec.support.async"
local emulated = require "spec.support.emulated"
local errors = require "luarium.error"
local native = require "luarium.native"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local capture = require("luarium.provider.emulate.exec").capture

describe("a capture", function()
  local function keep(limit, chunks)
    local c = capture(limit)
    local all = {}
    for _, chunk in ipairs(chunks) do
      c:add(chunk)
      all[#all + 1] = chunk
    end
    local kept, cut = c:finish()
    return kept, cut, c.total, table.concat(all)
  end

  it("keeps everything up to the limit", function()
    for _, chunks in ipairs({ {}, { "" }, { "0123456789" }, { "01234", "56789" }, { "012345678", "9" } }) do
      local kept, cut, total, all = keep(10, chunks)
      assert.same({ all, #all }, { kept, total })
      assert.is_nil(cut)
    end
  end)

  it("keeps the front and the back of more", function()
    for _, size in ipairs({ 1, 2, 3, 7, 100, 70000, 200000 }) do
      local chunks = {}
      for i = 1, math.ceil(300000 / size) do
        chunks[i] = ("%d,"):format(i):rep(math.ceil(size / 2)):sub(1, size)
      end
      local kept, cut, total, all = keep(1001, chunks)
      assert.equal(500, cut)
      assert.equal(#all, total)
      assert.equal(all:sub(1, 500) .. all:sub(-501), kept)
    end
    local kept, cut = keep(0, { "abc" })
    assert.same({ "", 0 }, { kept, cut })
  end)

  it("holds no more than about the limit", function()
    collectgarbage()
    local before, c = collectgarbage("count"), capture(1048576)
    for i = 1, 2000000 do
      c:add(i % 2 == 0 and "0123456789abcdef" or "x")
    end
    collectgarbage()
    assert.is_true(collectgarbage("count") - before < 4096)
    assert.equal(17000000, c.total)
  end)
end)

describe("exec over spawn", function()
  local world, dir

  before_each(function()
    world = emulated.new({ adapter = "emulated_spawn" })
    dir = world.dir
  end)

  after_each(function()
    emulated.drop(world)
  end)

  local function exec(script, options)
    return world.call("exec", { argv = { "sh", "-c", script } }, options or {})
  end

  it("gives the results of a command", async(function()
    local result = assert(exec("printf out; printf err >&2; exit 42"))
    assert.same({ 42, "out", "err", 3, 3 }, { result.exit_code, result.stdout, result.stderr, result.stdout_bytes,
      result.stderr_bytes })
    assert.same({ false, false }, { result.truncated, result.timed_out })
    assert.is_nil(result.signal)
    assert.is_true(result.duration > 0)
    result = assert(exec("kill -9 $$"))
    assert.equal("SIGKILL", result.signal)
    assert.is_nil(result.exit_code)
    assert.is_false(result.timed_out)
    assert.equal(127, assert(world.call("exec", { argv = { "no-such-program" } }, {})).exit_code)
    assert.equal(dir, assert(exec("pwd")).stdout:gsub("\n", ""))
    assert.equal("v 1", assert(exec("printf %s \"$A\"", { env = { A = "v 1" } })).stdout)
  end))

  it("merges the streams in order", async(function()
    local result = assert(exec("for i in 1 2 3; do printf o$i; printf e$i >&2; done", { merge = true }))
    assert.equal("o1e1o2e2o3e3", result.stdout)
    assert.equal("", result.stderr)
  end))

  it("feeds stdin from bytes, a file and an iterator, and nothing otherwise", async(function()
    local bytes = ("0123456789"):rep(300000)
    assert.equal(bytes, assert(exec("cat", { stdin = bytes })).stdout)
    scratch.write(dir .. "/in", bytes)
    assert.equal(bytes, assert(exec("cat", { stdin = { file = dir .. "/in" } })).stdout)
    local i = 0
    local result = assert(exec("cat", { stdin = function()
      i = i + 1
      task.sleep(0.001) -- an iterator may wait
      return i <= 10 and ("%d;"):format(i) or nil
    end }))
    assert.equal("1;2;3;4;5;6;7;8;9;10;", result.stdout)
    assert.equal("", assert(exec("cat")).stdout)
  end))

  it("does not mind a command that does not read", async(function()
    local endless = function()
      return ("x"):rep(65536)
    end
    assert.equal(3, assert(exec("exit 3", { stdin = endless })).exit_code)
    assert.equal(4, assert(exec("head -c 10 >/dev/null; exit 4", { stdin = ("x"):rep(10000000) })).exit_code)
  end))

  it("streams to callbacks that may wait", async(function()
    local out, err = {}, {}
    local result = assert(exec("seq 100000; seq 10 >&2", {
      max_output = 100,
      on_stdout = function(chunk)
        task.sleep(0.001)
        out[#out + 1] = chunk
      end,
      on_stderr = function(chunk)
        err[#err + 1] = chunk
      end,
    }))
    assert.equal(scratch.sh("seq 100000") .. "\n", table.concat(out))
    assert.equal(scratch.sh("seq 10") .. "\n", table.concat(err))
    assert.same({ 588895, true, 100 }, { result.stdout_bytes, result.truncated, #result.stdout })
  end))

  local own = scratch.read("/proc/self/stat"):match("^%d+") -- other runs of this file have sleeps of their own

  local function survivors(seconds, tenths)
    return scratch.sh(("pgrep -f -c 'sleep %s[.]%s%s' || :"):format(seconds, tenths, own))
  end

  it("kills the command when a callback or an iterator raises", async(function()
    local started = native.loop.monotonic()
    local function boom()
      errors.raise("conflict", "boom")
    end
    local ok, err = pcall(exec, "echo hello; sleep 41.7" .. own, { on_stdout = boom })
    assert.is_false(ok)
    assert.same({ "conflict", "boom" }, { err.kind, err.message })
    ok, err = pcall(exec, "sleep 41.7" .. own, { stdin = boom })
    assert.is_false(ok)
    assert.equal("boom", err.message)
    ok, err = pcall(exec, "sleep 41.7" .. own, { stdin = function() return 12 end })
    assert.is_false(ok)
    assert.matches("must return strings", err.message)
    ok, err = pcall(exec, "sleep 41.7" .. own, { stdin = { file = dir .. "/none" } })
    assert.is_false(ok)
    assert.equal("not_found", err.kind)
    emulated.settle()
    assert.equal("0", survivors("41", "7"))
    assert.is_true(native.loop.monotonic() - started < 30)
  end))

  it("is bounded in time, and keeps what came", async(function()
    local started = native.loop.monotonic()
    local result = assert(exec("echo before; sleep 41.8" .. own .. "; echo after", { timeout = 0.3 }))
    local took = native.loop.monotonic() - started
    assert.same({ true, "before\n", "SIGKILL" }, { result.timed_out, result.stdout, result.signal })
    assert.is_nil(result.exit_code)
    assert.is_true(took >= 0.29 and took < 30, tostring(took))
    emulated.settle()
    assert.equal("0", survivors("41", "8"))
    assert.is_false(assert(exec("echo quick", { timeout = 5 })).timed_out)
  end))

  it("is bounded where the provider's own spawn knows no timeout and kill does not help", async(20, function()
    local real = world.instance.definition.spawn
    finally(function()
      world.instance.definition.spawn = real
    end)
    local function wrapped(kill)
      return function(self, box, command, options)
        options.timeout = nil
        local process = assert(real(self, box, command, options))
        return setmetatable({ kill = kill }, { __index = function(_, name)
          return function(_, ...)
            return process[name](process, ...)
          end
        end })
      end
    end
    world.instance.definition.spawn = wrapped(nil)
    local started = native.loop.monotonic()
    local result = assert(exec("echo before; sleep 41.9" .. own, { timeout = 0.2 }))
    assert.same({ true, "before\n" }, { result.timed_out, result.stdout })
    assert.is_true(native.loop.monotonic() - started < 30)
    world.instance.definition.spawn = wrapped(function() end)
    result = assert(exec("echo before; sleep 41.9" .. own, { timeout = 0.2 }))
    assert.same({ true, "before\n" }, { result.timed_out, result.stdout })
    assert.is_true(native.loop.monotonic() - started < 30)
    emulated.settle()
    assert.equal("0", survivors("41", "9"))
  end))

  it("leaves nothing when it is cancelled", async(function()
    local ok, err = pcall(task.timeout, 0.2, exec, "echo x; sleep 42.1" .. own, { stdin = function()
      task.sleep(30)
    end })
    assert.is_false(ok)
    assert.equal("timeout", err.kind)
    emulated.settle()
    assert.equal("0", survivors("42", "1"))
  end))

  it("runs many at once", async(30, function()
    local list = {}
    for i = 1, 60 do
      list[i] = i
    end
    local results = task.map(list, function(i)
      return assert(exec("cat; exit " .. i, { stdin = ("%d\n"):format(i):rep(1000) }))
    end, { concurrency = 60 })
    for i, result in ipairs(results) do
      assert.equal(i, result.exit_code)
      assert.equal(("%d\n"):format(i):rep(1000), result.stdout)
    end
  end))

  it("carries the emulated files", async(function()
    assert(world.call("write_file", dir .. "/f", "over spawn"))
    assert.equal("over spawn", world.call("read_file", dir .. "/f"))
    local entries = assert(world.call("ls", dir))
    assert.same({ "f", 10 }, { entries[1].name, entries[1].size })
  end))
end)
