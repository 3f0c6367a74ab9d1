local async = require "spec.support.async"
local fifo = require "spec.support.fifo"
local native = require "luarium.native"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local await = task.await
local PIPE = 65536

--- Calls fn with an output into a pipe and with the file that reads from it.
local function with_fifo(fn)
  fifo.with(function(reader, fd)
    local output = assert(native.output.open(fd))
    local ok, err = pcall(fn, output, reader, fd)
    output:close()
    assert(ok, err)
  end)
end

describe("native.output", function()
  it("writes all as the reader makes room, and lets others go on meanwhile", async(function()
    with_fifo(function(output, reader)
      local text = ("0123456789abcdef"):rep(20 * PIPE / 16)
      local op = assert(output:write(text))
      assert.is_false(op:done())
      task.sleep(0.01) -- the loop is free
      local second, err = output:write("x")
      assert.is_nil(second)
      assert.equal("conflict", err.kind)
      local parts = {}
      for i = 1, 20 do
        parts[i] = reader:read(PIPE)
      end
      assert.is_true(await(op))
      assert.is_true(table.concat(parts) == text)
      assert.is_true(await(output:write("end")))
      assert.equal("end", reader:read(3))
    end)
  end))

  it("takes only what there is room for when nobody may wait", async(function()
    with_fifo(function(output, reader)
      assert.equal(3, output:offer("abc"))
      assert.equal(PIPE - 4096, output:offer(("x"):rep(2 * PIPE))) -- a page of the pipe has "abc"
      assert.equal(0, output:offer("y"))
      assert.equal("abcx", reader:read(4))
    end)
  end))

  it("ends a write in flight when it is cancelled or closed", async(function()
    with_fifo(function(output)
      for _, stop in ipairs({ function(op) op:cancel() end, function() output:close() end }) do
        local op = assert(output:write(("x"):rep(2 * PIPE)))
        stop(op)
        local done, err = await(op)
        assert.is_nil(done)
        assert.equal("cancelled", err.kind)
      end
      output:close()
      assert.error_matches(function() output:write("x") end, "the output was closed")
      assert.error_matches(function() output:offer("x") end, "the output was closed")
    end)
  end))

  it("leaves the descriptor of others blocking", async(function()
    with_fifo(function(output, _, fd)
      assert.equal(1, output:offer("x"))
      local info = assert(io.open("/proc/self/fdinfo/" .. fd))
      local flags = info:read("*a"):match("flags:%s*(%d+)")
      info:close()
      assert.equal(0, math.floor(tonumber(flags, 8) / 2048) % 2) -- O_NONBLOCK
    end)
  end))

  it("writes a file from where it stands, and keeps the place for others", async(function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:setvbuf("no")
    file:write("first ")
    local output = assert(native.output.open(fifo.descriptor_of(path)))
    local large = ("x"):rep(3 * 1048576)
    assert.is_true(await(output:write(large)))
    file:write(" last")
    output:close()
    file:close()
    assert.is_true(assert(await(native.fs.read_file(path))) == "first " .. large .. " last")
    os.remove(path)
  end))

  local as_other = "setpriv --reuid 65534 --clear-groups "
  local other_may = scratch.is_root() and pcall(scratch.sh, as_other .. "test -r " ..
    scratch.quote(assert(package.searchpath("luarium.native", package.cpath))))
  scratch.it_if(it, pending, other_may, "root, and a build that others may read")(
    "writes in small pieces where it may not open the pipe again", function()
      local dir = scratch.make()
      scratch.write(dir .. "/run.lua", [[
        local native, task = require "luarium.native", require "luarium.task"
        local output = assert(native.output.open(1))
        assert(output:offer("0123456789") == 10)
        assert(task.await(output:write(("0123456789"):rep(99999))))
        output:close()]])
      local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
      local out = scratch.sh(("cd %s; chmod -R a+rX .; LUA_PATH=%s LUA_CPATH=%s %s %s run.lua | sha256sum"):format(dir,
        scratch.quote(package.path), scratch.quote(package.cpath), as_other, lua))
      local want = scratch.sh("i=0; while [ $i -lt 1000 ]; do printf %s " .. ("0123456789"):rep(100)
        .. "; i=$((i+1)); done | sha256sum")
      assert.equal(want, out)
      scratch.drop(dir)
    end)

  it("tells that nobody reads any more, and of a descriptor that is not there", async(function()
    with_fifo(function(output, reader)
      local op = assert(output:write(("x"):rep(2 * PIPE)))
      reader:close()
      local done, err = await(op)
      assert.is_nil(done)
      assert.equal("EPIPE", err.name)
      done, err = output:offer("x")
      assert.is_nil(done)
      assert.equal("EPIPE", err.name)
    end)
    local output, err = native.output.open(9999)
    assert.is_nil(output)
    assert.equal("EBADF", err.name)
  end))
end)
