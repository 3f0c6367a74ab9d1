local async = require "spec.support.async"
local native = require "luarium.native"
local task = require "luarium.task"

local await = task.await

--- The number of a descriptor of ours that was opened last on this path.
local function descriptor_of(path)
  local lfs = require "lfs"
  for fd in lfs.dir("/proc/self/fd") do
    if lfs.symlinkattributes("/proc/self/fd/" .. fd, "target") == path then
      return assert(tonumber(fd))
    end
  end
end

local function with_fifo(fn)
  local dir = assert(await(native.fs.mkdtemp("/tmp/luarium-spec-")))
  local path = dir .. "/fifo"
  os.execute("mkfifo " .. path)
  local hold = assert(io.open(path, "r+"))
  hold:setvbuf("no")
  local fd = descriptor_of(path)
  local ok, err = pcall(fn, assert(native.input.open(fd)), hold, fd)
  hold:close()
  await(native.fs.remove(dir, { recursive = true }))
  assert(ok, err)
end

describe("native.input", function()
  it("gives bytes as they come, and one read at a time", async(function()
    with_fifo(function(input, hold)
      local op = assert(input:read())
      assert.is_false(op:done())
      local second, err = input:read()
      assert.is_nil(second)
      assert.equal("conflict", err.kind)
      hold:write("a\0b")
      assert.equal("a\0b", await(op))
      hold:write("12345")
      assert.equal("12", await(input:read(2)))
      assert.equal("345", await(input:read(10)))
      input:close()
      assert.error_matches(function()
        input:read()
      end, "the input was closed")
    end)
  end))

  it("leaves the descriptor of others blocking", async(function()
    with_fifo(function(input, hold, fd)
      hold:write("x")
      assert.equal("x", await(input:read()))
      local info = assert(io.open("/proc/self/fdinfo/" .. fd))
      local flags = info:read("*a"):match("flags:%s*(%d+)")
      info:close()
      assert.equal(0, math.floor(tonumber(flags, 8) / 2048) % 2) -- O_NONBLOCK
      input:close()
    end)
  end))

  it("ends a read in flight when it is closed or collected", async(function()
    with_fifo(function(input)
      local op = assert(input:read())
      input:close()
      input:close()
      local bytes, err = await(op)
      assert.is_nil(bytes)
      assert.equal("cancelled", err.kind)
    end)
  end))

  it("reads a file from where it stands, to its end", async(function()
    local path = os.tmpname()
    assert(await(native.fs.write_file(path, "first\nrest")))
    local file = assert(io.open(path))
    file:setvbuf("no")
    assert.equal("f", file:read(1))
    local input = assert(native.input.open(descriptor_of(path)))
    assert.equal("irst\nrest", await(input:read()))
    assert.is_nil((await(input:read())))
    input:close()
    file:close()
    os.remove(path)
  end))

  it("says so when there is no such descriptor", function()
    local input, err = native.input.open(9999)
    assert.is_nil(input)
    assert.equal("EBADF", err.name)
  end)
end)
