--- Wrong calls that came out as failures of Luarium itself.
local async = require "spec.support.async"
local state = require "spec.support.state"
local luarium = require "luarium"

local function expect_invalid(fn, ...)
  local value, err = luarium.try(fn, ...)
  assert.is_nil(value)
  assert.equal("invalid", err.kind, tostring(err))
end

describe("a wrong call is one clear error:", function()
  it("times beyond ten years", async(function()
    for _, seconds in ipairs({ math.huge, 1e308, 2 ^ 53 }) do
      expect_invalid(luarium.sleep, seconds)
      expect_invalid(luarium.timeout, seconds, function() end)
    end
  end))

  it("a scope without a function, or with a name that is no text", async(function()
    for _, wrong in ipairs({ "text", 5, {}, false }) do
      expect_invalid(luarium.scope, wrong)
    end
    expect_invalid(luarium.scope, function() end, {})
  end))

  it("NUL bytes in the file for standard input", async(function()
    state.with(function()
      local box = luarium.create()
      expect_invalid(box.exec, box, "true", { stdin = { file = "a\0b" } })
      box:destroy()
    end)
  end))

  it("options of exec that a live process has no use for", async(function()
    state.with(function()
      local box = luarium.create()
      expect_invalid(box.spawn, box, "true", { max_output = 5 })
      expect_invalid(box.spawn, box, "true", { on_stdout = print })
      expect_invalid(box.spawn, box, "true", { check = true })
      box:destroy()
    end)
  end))
end)
