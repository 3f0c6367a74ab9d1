local check = require "luarium.check"
local errors = require "luarium.error"

local function message_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(errors.is(err, "invalid"))
  return err.message
end

describe("check", function()
  local template = {
    name = { type = "text", required = true }, size = { type = "integer", min = 1, max = 9 }, mode = { type = "text",
      one_of = { "fast", "safe" } }, wait = "seconds", list = "strings", env = "map", any = "text|table",
    key = { type = "secret", secret = true }, call = "function",
  }

  it("accepts what fits", function()
    local options = { name = "x", size = 3, mode = "fast", wait = 0.5, list = { "a" }, env = { A = 1, B = "b" }, any = {} }
    assert.equal(options, check.options(options, template, "here"))
    assert.same({}, check.options(nil, { name = "text" }, "here"))
  end)

  it("lists every fault at once", function()
    local text = message_of(check.options, { nam = 1, size = 10, mode = "slow", wait = -1, list = { 1 } }, template, "here")
    for _, part in ipairs({
      "here: ", "unknown option 'nam': did you mean 'name'?", "option 'name' is missing", "'size': expected a value from 1 to 9",
      "'mode': expected one of fast, safe, got \"slow\"", "'wait': expected seconds", "'list': expected a list of strings",
    }) do
      assert.truthy(text:find(part, 1, true), part .. " is missing in: " .. text)
    end
  end)

  it("refuses NaN, infinite whole numbers and NUL bytes", function()
    message_of(check.options, { name = "x", wait = 0 / 0 }, template, "here")
    message_of(check.options, { name = "x", size = math.huge }, template, "here")
    message_of(check.options, { name = "a\0b" }, template, "here")
    message_of(check.options, "no table", template, "here")
  end)

  it("does not show what may be secret, nor long values", function()
    local text = message_of(check.options, { name = "x", key = { "hunter2" } }, template, "here")
    assert.falsy(text:find("hunter2", 1, true))
    text = message_of(check.options, { name = "x", mode = ("z"):rep(500) }, template, "here")
    assert.is_true(#text < 200)
  end)

  it("finds the nearest word only when one is near", function()
    assert.equal("docker", check.nearest("dokcer", { "docker", "local" }))
    assert.equal("timeout", check.nearest("timout", { "timeout", "cwd" }))
    assert.is_nil(check.nearest("banana", { "docker", "local" }))
  end)

  it("validates positional arguments", function()
    assert.equal("x", check.argument("x", "text", "f", "the name"))
    local text = message_of(check.argument, 5, "text|list", "f", "the name")
    assert.equal("f: the name: expected text without NUL bytes or a list, got 5", text)
  end)
end)
