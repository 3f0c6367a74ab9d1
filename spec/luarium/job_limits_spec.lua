--- Jobs at the limits of the machine: much output, long arguments, full disks, folders that cannot be read, connections
--- that break, answers that make no sense.
local async = require "spec.support.async"
local emulated = require "spec.support.emulated"
local scratch = require "spec.support.scratch"
local state = require "spec.support.state"
local errors = require "luarium.error"
local inspect = require("luarium.inspect").inspect
local luarium = require "luarium"
local native = require "luarium.native"
local object = require "luarium.sandbox.object"
local reply = require "luarium.job.reply"

local can_mount, is_root = scratch.can_mount(), scratch.is_root()

local function local_test(seconds, fn)
  return async(seconds, function()
    state.with(function(folder)
      luarium.with({}, function(box)
        fn(box, folder)
      end)
    end)
  end)
end

local function raises(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "nothing was raised")
  assert.is_true(errors.is(err), tostring(err))
  assert.equal(kind, err.kind, tostring(err))
  return err
end

describe("jobs and much output", function()
  it("follow takes 100 MB without a newline in flat memory, byte by byte", local_test(60, function(box)
    local job = box:job("head -c 100000000 /dev/zero", { wait = 0 })
    local size, most, clean = 0, 0, true
    collectgarbage()
    local before = collectgarbage("count")
    local result = job:follow({ on_stdout = function(chunk, offset)
      assert.equal(size, offset)
      size = size + #chunk
      clean = clean and not chunk:find("[^%z]")
      collectgarbage()
      most = math.max(most, collectgarbage("count") - before)
    end })
    assert.equal(100000000, size)
    assert.is_true(clean)
    assert.equal(100000000, result.stdout_bytes)
    assert.is_true(most < 16384, most .. " KiB")
  end))

  it("the oldest is given up when it is more than max_output, and offsets stay true", local_test(40, function(box)
    -- Numbered lines of 16 bytes: an offset tells what must be there.
    local job = box:job("i=0; while [ $i -lt 20000 ]; do printf '%015d\\n' $i; i=$((i+1)); "
      .. "[ $((i % 1000)) != 0 ] || sleep 0.15; done", { wait = 0, max_output = 65536 })
    local given_up, at = 0, 0
    local result = job:follow({ on_stdout = function(chunk, offset)
      given_up, at = given_up + offset - at, offset + #chunk
      assert.equal(("%015d\n"):format(math.floor(offset / 16)):sub(offset % 16 + 1):sub(1, #chunk),
        chunk:sub(1, 16 - offset % 16))
    end })
    assert.equal(320000, result.stdout_bytes, inspect(result))
    assert.equal(320000, at)
    local kept = job:wait()
    assert.is_true(kept.truncated and kept.stdout_from > 100000, tostring(kept.stdout_from))
    assert.equal(320000 - kept.stdout_from, #kept.stdout)
    assert.equal(("%015d\n"):format(19999), kept.stdout:sub(-16))
    local bytes, after = job:read({ offset = 0, max = 16 })
    assert.equal(kept.stdout_from + 16, after)
    assert.equal(("%015d\n"):format(kept.stdout_from / 16), bytes)
  end))

  it("a job whose output cannot be shortened is ended", async(30, function()
    local world = emulated.new({})
    scratch.sh("mkdir " .. world.dir .. "/home")
    scratch.write(world.programs .. "/fallocate", "#!/bin/sh\nexit 1\n")
    scratch.sh("chmod 755 " .. world.programs .. "/fallocate")
    world.instance.state.env = { HOME = world.dir .. "/home" }
    local box = object.attach({ id = "sbx_overflow", provider = "emulated", external_id = "1", status = "running",
      cwd = world.dir, labels = {} }, world.instance, {})
    local result = box:job("while :; do printf '%0512d' 0; sleep 0.001; done", { max_output = 65536, wait = 0 }):wait()
    assert.is_true(result.overflow, inspect(result))
    assert.equal("SIGKILL", result.signal)
    assert.is_false(result.timed_out)
    assert.equal(0, result.stdout_from)
    emulated.drop(world)
  end))
end)

describe("jobs and long arguments", function()
  it("take what a command may take, and refuse more with an error", local_test(20, function(box)
    local long = ("x"):rep(100000)
    assert.equal("100000\n", box:job({ "sh", "-c", 'echo ${#1}', "sh", long }, { wait = 10 }):wait().stdout)
    assert.equal("100000\n", box:job("echo ${#LONG}", { env = { LONG = long }, wait = 10 }):wait().stdout)
    raises("invalid", box.job, box, { "echo", ("x"):rep(200000) })
    raises("invalid", box.job, box, "true", { env = { LONG = ("x"):rep(200000) } })
    local many = { "echo" }
    for i = 2, 40 do
      many[i] = ("y"):rep(100000)
    end
    raises("invalid", box.job, box, many)
    assert.equal(2, #box:jobs())
  end))

  it("take many small ones", local_test(20, function(box)
    local argv = { "sh", "-c", 'echo $#', "sh" }
    for i = 1, 20000 do
      argv[#argv + 1] = "argument " .. i
    end
    assert.equal("20000\n", box:job(argv, { wait = 10 }):wait().stdout)
  end))
end)

describe("jobs and the disk", function()
  local it_mounted = scratch.it_if(it, pending, can_mount, "root that may mount")

  --- A sandbox whose HOME is a file system of 1 MiB.
  local function small(fn)
    return async(30, function()
      local world = emulated.new({})
      local home = world.dir .. "/home"
      scratch.sh(("mkdir %s && mount -t tmpfs -o size=1M none %s"):format(home, home))
      world.instance.state.env = { HOME = home }
      local box = object.attach({ id = "sbx_small", provider = "emulated", external_id = "1", status = "running",
        cwd = world.dir, labels = {} }, world.instance, {})
      local ok, err = pcall(fn, box, home)
      scratch.sh("umount -l " .. home)
      emulated.drop(world)
      if not ok then
        error(err, 0)
      end
    end)
  end

  it_mounted("a job that fills it ends like any other, and it is told that output may be missing", small(function(box)
    local result = box:job("head -c 3000000 /dev/zero; echo code $? >&2; exit 5", { wait = 10 }):wait()
    assert.equal(5, result.exit_code)
    assert.is_true(result.disk_full)
    assert.is_true(result.stdout_bytes < 1048576)
  end))

  it_mounted("a kill and a time limit work on a full one", small(function(box, home)
    local job = box:job("trap '' TERM; while :; do sleep 1; done", { wait = 0 })
    local limited = box:job("trap '' TERM; while :; do sleep 1; done", { wait = 0, timeout = 1 })
    scratch.sh(("dd if=/dev/zero of=%s/full bs=4096 2>/dev/null || true"):format(home))
    local status = job:kill()
    assert.equal("finished", status.state)
    assert.equal("SIGKILL", status.signal)
    assert.is_true(status.disk_full)
    local result = limited:wait({ timeout = 15 })
    assert.is_true(result.timed_out)
  end))

  it_mounted("a start on a full one says so, runs nothing and leaves nothing", small(function(box, home)
    box:job("true", { key = "first", wait = 10 })
    scratch.sh(("dd if=/dev/zero of=%s/full bs=4096 2>/dev/null || true"):format(home))
    local mark = home .. "/../ran"
    local err = raises("io", box.job, box, "touch " .. mark, { key = "second" })
    assert.equal("ENOSPC", err.name)
    raises("io", box.job, box, "touch " .. mark, { key = "third", stdin = ("x"):rep(100000) })
    assert.is_false(scratch.exists(mark))
    scratch.sh("rm " .. home .. "/full")
    assert.equal(1, #box:jobs())
    assert.equal("ran\n", box:job("echo ran", { key = "second", wait = 10 }):wait().stdout)
  end))

  local it_as_root = scratch.it_if(it, pending, is_root, "root, to be somebody else")

  it_as_root("a folder that cannot be read, or is somebody else's, is not believed", async(20, function()
    local world = emulated.new({ user = true })
    scratch.sh(("mkdir -m 777 %s/home"):format(world.dir))
    world.instance.state.env = { HOME = world.dir .. "/home" }
    local box = object.attach({ id = "sbx_closed", provider = "emulated", external_id = "1", status = "running",
      cwd = world.dir, labels = {} }, world.instance, {})
    assert.equal("65534\n", box:job("id -u", { key = "k", wait = 10 }):wait().stdout)
    local folder = scratch.sh(("readlink -f %s/home/.luarium/jobs/k"):format(world.dir))
    scratch.sh("chmod 000 " .. folder)
    for _, fn in ipairs({ function() box:attach("k") end, function() box:job("id -u", { key = "k" }) end }) do
      assert.equal("EACCES", raises("io", fn).name)
    end
    scratch.sh("chmod 700 " .. folder)
    assert.equal("finished", box:attach("k"):status().state)
    scratch.sh(("chown -R 12345 %s/home/.luarium/jobs"):format(world.dir))
    raises("not_found", box.attach, box, "k")
    emulated.drop(world)
  end))
end)

describe("jobs and connections that break", function()
  --- A sandbox whose exec fails by turns: before the command, and after it, with its result lost.
  local function shaky(box, pattern)
    local instance = object.instance_of(box)
    local call, turn = instance.call, 0
    instance.call = function(self, operation, ...)
      if operation ~= "exec" then
        return call(self, operation, ...)
      end
      turn = turn + 1
      local fault = pattern:sub((turn - 1) % #pattern + 1, (turn - 1) % #pattern + 1)
      if fault == "b" then
        return nil, errors.new("unavailable", "the connection broke before")
      end
      local result, err = call(self, operation, ...)
      if fault == "a" then
        return nil, errors.new("unavailable", "the connection broke after")
      end
      return result, err
    end
    return function()
      instance.call = nil
    end
  end

  it("what was asked is asked again; a command runs once and no byte is lost", local_test(40, function(box)
    local steady = shaky(box, "abo")
    local job = box:job("echo x >>runs; i=0; while [ $i -lt 20 ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 3",
      { wait = 0 })
    assert.is_true(job.started)
    local parts = {}
    local result = job:follow({ on_stdout = function(chunk)
      parts[#parts + 1] = chunk
    end })
    job:kill()
    assert.equal(3, result.exit_code)
    assert.equal(3, job:wait().exit_code)
    steady()
    local want = {}
    for i = 0, 19 do
      want[#want + 1] = i .. "\n"
    end
    assert.equal(table.concat(want), table.concat(parts))
    assert.equal("x\n", box:read_file("runs"))
  end))
end)

describe("answers about jobs", function()
  local LINE = "luarium-job key=k state=finished why=- code=0 sig=0 late=0 full=0 over=0 until=20 start=10 now=30 at=1.5 "
    .. "idle=- ours=1 out=3 err=2 out_from=0 err_from=0 label=echo a  b"

  it("are taken apart", function()
    local answer = assert(reply.parse(LINE .. "\nluarium-data 0 3 0 2\nabc\0d\nluarium-end 0 0\n"))
    assert.equal("abc", answer.stdout.bytes)
    assert.equal("\0d", answer.stderr.bytes)
    assert.equal("echo a  b", answer.status.command)
    assert.equal(0.1, answer.status.duration)
    assert.is_true(answer.ours)
  end)

  it("bytes that were given up while they were read are no output", function()
    local answer = assert(reply.parse(LINE .. "\nluarium-data 0 3 0 2\n\0\0cde\nluarium-end 2 0\n"))
    assert.equal("c", answer.stdout.bytes)
    assert.equal(2, answer.stdout.at)
  end)

  it("that make no sense are errors", function()
    local good = LINE .. "\nluarium-data 0 3 0 2\nabc\0d\nluarium-end 0 0\n"
    for _, bad in ipairs({ "", "\n", "\n\n", "hello\nworld\n", LINE, LINE .. "\n", good:sub(1, -2), good .. "x",
      (good:gsub("data 0 3", "data 0 999999999999")), (good:gsub("code=0", "code=x")), (good:gsub("out=3", "out=-3")),
      (good:gsub("finished", "confused")), (good:gsub("until=20", "")), (good:gsub(" out_from=0", "")),
      (good:gsub("end 0 0", "end 0")), (good:gsub("key=k", "")), ("x"):rep(5000) .. "\n" .. good,
      (good:gsub("out=3", "out=99999999999999999999")) }) do
      local value, err = reply.parse(bad)
      assert.is_nil(value, bad)
      assert.equal("protocol", err.kind)
    end
  end)

  it("of noise never raise", function()
    for _ = 1, 300 do
      local bytes = native.crypto.random(200)
      reply.parse(LINE .. "\nluarium-data 0 3 0 2\n" .. bytes)
      reply.parse(bytes .. "\n" .. bytes .. "\n")
      reply.list("luarium-job " .. bytes)
    end
  end)
end)
