--- A script that computes for ever in coroutines of its own.
local async = require "spec.support.async"
local lfs = require "lfs"
local native = require "luarium.native"
local task = require "luarium.task"

local process = native.process

describe("a script that spins in fresh coroutines", function()
  it("is stopped by the busy guard", async(30, function()
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
end)
