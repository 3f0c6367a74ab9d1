local errors = require "luarium.error"
local json = require "luarium.json"
local secret = require "luarium.secret"

describe("secret", function()
  it("never shows its value by itself", function()
    local key = secret.new("correct-horse-battery", "KEY")
    assert.equal("[secret KEY]", tostring(key))
    assert.equal("correct-horse-battery", secret.reveal(key))
    for _, item in pairs(key) do
      assert.not_equal("correct-horse-battery", item)
    end
    assert.is_false(getmetatable(key))
    local ok, err = pcall(function()
      return "Bearer " .. key
    end)
    assert.is_false(ok)
    assert.equal("invalid", err.kind)
    local encoded = json.encode({ key })
    assert.falsy(encoded and encoded:find("horse", 1, true))
  end)

  it("reads the environment when used, and names the variable when it is missing", function()
    local key = secret.env("LUARIUM_SPEC_NO_SUCH_VARIABLE")
    assert.is_false(key:available())
    local ok, err = pcall(secret.reveal, key)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "auth"))
    assert.truthy(err.message:find("LUARIUM_SPEC_NO_SUCH_VARIABLE", 1, true))
    assert.equal(os.getenv("HOME"), secret.reveal(secret.env("HOME")))
    assert.equal("fallback", secret.reveal(secret.env("LUARIUM_SPEC_NO_SUCH_VARIABLE", "fallback")))
  end)

  it("redacts by value, everywhere in a text and in encoded forms", function()
    secret.new("s3cr3t/with+odd=chars", "ODD")
    local text = secret.redact("a s3cr3t/with+odd=chars b s3cr3t/with+odd=chars c s3cr3t%2Fwith%2Bodd%3Dchars")
    assert.equal("a [redacted ODD] b [redacted ODD] c [redacted ODD]", text)
  end)

  it("leaves short values alone: they would match ordinary text", function()
    secret.new("abc", "SHORT")
    assert.equal("abc", secret.redact("abc"))
  end)

  it("redacts nested tables, keys and errors without touching the original", function()
    secret.new("nested-secret-value", "NESTED")
    local original = { list = { "x nested-secret-value" }, ["nested-secret-value"] = 1,
      err = errors.new("io", "failed with nested-secret-value") }
    local copy = secret.redact_value(original)
    assert.equal("x [redacted NESTED]", copy.list[1])
    assert.equal(1, copy["[redacted NESTED]"])
    assert.equal("failed with [redacted NESTED]", copy.err.message)
    assert.is_true(errors.is(copy.err))
    assert.equal("x nested-secret-value", original.list[1])
  end)

  it("redacts a stream at every possible cut", function()
    local value = "stream-secret-0123456789"
    secret.new(value, "STREAM")
    local text = "before " .. value .. " between " .. value .. " after stream-sec"
    for cut = 1, #text do
      for second = cut, math.min(#text, cut + 30) do
        local feed = secret.stream_redactor()
        local got = feed(text:sub(1, cut)) .. feed(text:sub(cut + 1, second)) .. feed(text:sub(second + 1)) .. feed(nil)
        assert.equal("before [redacted STREAM] between [redacted STREAM] after stream-sec", got)
      end
    end
  end)
end)
