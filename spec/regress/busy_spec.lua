--- What counts as computing for ever.
local async = require "spec.support.async"
local lfs = require "lfs"
local native = require "luarium.native"
local program = require "spec.support.program"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local process = native.process

describe("the busy guard: a script", function()
  it("that spins in fresh coroutines is stopped", async(30, function()
    if rawget(_G, "jit") then
      return -- compiled code runs no hooks
    end
    local script = [[
      local task = require "luarium.task"
      task.guard(0.3)
      local ok, err = pcall(task.run, function()
        while true do
          coroutine.resume(coroutine.create(function() while true do end end))
        end
      end)
      print(ok, tostring(err):match("computed for"))
    ]]
    local interpreter = lfs.symlinkattributes("/proc/self/exe", "target")
    local result = assert(task.await(process.run({
      argv = { interpreter, "-e", script }, timeout = 10,
      env = { "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath, "PATH=" .. os.getenv("PATH") },
    })))
    assert.is_false(result.timed_out)
    assert.equal("false\tcomputed for\n", result.stdout)
  end))

  it("is not blamed for the time in which its process was stopped", async(30, function()
    if rawget(_G, "jit") then
      return -- compiled code runs no hooks
    end
    local script = [[
      local task = require "luarium.task"
      task.guard(0.5)
      print(pcall(task.run, function()
        print(io.popen("echo $PPID"):read("l"))
        io.stdout:flush()
        os.execute("kill -STOP $PPID")
        for _ = 1, 1e6 do end
      end))
    ]]
    local interpreter = lfs.symlinkattributes("/proc/self/exe", "target")
    local child = assert(process.spawn({ argv = { interpreter, "-e", script },
      env = { "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath, "PATH=" .. os.getenv("PATH") } }))
    local pid = program.read_until(child, "\n"):match("%d+")
    repeat
      task.sleep(0.02)
    until scratch.read(("/proc/%s/stat"):format(pid)):find(") T ", 1, true)
    task.sleep(0.6) -- more than it may compute
    assert(child:kill("CONT"))
    assert.equal("true\n", program.read_all(child))
    child:close()
  end))
end)
