local async = require "spec.support.async"
local native = require "luarium.native"
local task = require "luarium.task"

local await = task.await

--- Sends a signal to this process.
local function raise(name)
  assert(await(native.process.run({ argv = { "sh", "-c", "kill -" .. name .. " $PPID" } })))
end

describe("native.signal", function()
  it("tells which signal came, and waits for the next one already", async(function()
    local op = assert(native.signal.wait("USR1", "WINCH"))
    raise("USR1")
    local name, next_op = await(op)
    assert.equal("USR1", name)
    raise("WINCH") -- nobody waits at this moment
    name, op = await(next_op)
    assert.equal("WINCH", name)
    op:cancel()
    local _, err = await(op)
    assert.equal("cancelled", err.kind)
  end))

  it("is seen when it came while nobody looked and nothing else is under way", function()
    assert.equal("USR1", task.run(function()
      local op = assert(native.signal.wait("USR1"))
      os.execute("kill -USR1 $PPID")
      local name, next_op = await(op)
      next_op:cancel()
      await(next_op)
      return name
    end))
  end)

  it("does not keep the loop from being idle", async(function()
    local op = assert(native.signal.wait("USR1"))
    assert.is_false(op:done())
    local inflight = native.loop.counts()
    local other = native.loop.sleep(0.001)
    await(other)
    assert.equal(inflight, (native.loop.counts()))
    op:cancel()
    await(op)
  end))

  it("leaves nothing behind when it is collected, also with signals nobody asked for", async(function()
    local op = assert(native.signal.wait("USR1"))
    raise("USR1")
    raise("USR1")
    assert.equal("USR1", (await(op)))
    op = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
  end))

  it("refuses what cannot be waited for", function()
    assert.error_matches(function()
      native.signal.wait("KILL")
    end, "expected INT, TERM, HUP, WINCH, CONT or USR1")
    assert.error_matches(function()
      native.signal.wait()
    end, "expected one to eight signal names")
  end)
end)
