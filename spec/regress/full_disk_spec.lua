--- A disk that is full: what frees it again must work.
local async = require "spec.support.async"
local state = require "spec.support.state"
local errors = require "luarium.error"
local luarium = require "luarium"
local registry = require "luarium.registry"

describe("on a full disk", function()
  it("a sandbox can be destroyed although its record cannot be written", async(function()
    state.with(function()
      local box = luarium.create()
      local put = registry.put
      registry.put = function()
        errors.raise("quota", "No space left on device", { name = "ENOSPC" })
      end
      local ok, err = pcall(box.destroy, box)
      registry.put = put
      assert.is_true(ok, tostring(err))
      assert.same({}, luarium.list())
    end)
  end))
end)
