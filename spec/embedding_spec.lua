local async = require "spec.support.async"
local lfs = require "lfs"
local state = require "spec.support.state"
local luarium = require "luarium"
local native = require "luarium.native"
local task = require "luarium.task"

local process = native.process
local build = lfs.currentdir() .. "/build"

describe("the embeddable library", function()
  it("lives in a foreign host: several states, a frame loop, a close with work in flight", async(120, function()
    local made = assert(task.await(process.run({ argv = { "cmake", "--build", build, "--target", "embedding_host" },
      env = { "PATH=" .. os.getenv("PATH") }, merge = true })))
    assert(made.exit_code == 0, made.stdout)
    state.with(function(folder)
      local result = assert(task.await(process.run({
        argv = { build .. "/tools/embedding_host" }, timeout = 30,
        env = { "PATH=" .. os.getenv("PATH"), "LUARIUM_STATE_DIR=" .. folder .. "/state", "LD_LIBRARY_PATH=" .. build },
      })))
      assert.equal("", result.stderr)
      assert.equal(0, result.exit_code)
      local id = result.stdout:match("^one\n\ntwo\n\nmany frames\n(sbx_%w+)\nclosed\n$")
      assert(id, result.stdout)
      assert.same({}, (task.await(process.find("LUARIUM_SANDBOX=" .. id))))
      assert.is_true(luarium.destroy(id))
    end)
  end))
end)
