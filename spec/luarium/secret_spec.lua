local errors = require "luarium.error"
local json = require "luarium.json"
local native = require "luarium.native"
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

  local PEM = { "-----BEGIN PRIVATE KEY-----" }
  for i = 1, 12 do
    PEM[#PEM + 1] = (("line%02d+/"):format(i)):rep(8)
  end
  PEM[#PEM + 1] = "-----END PRIVATE KEY-----"
  local key = table.concat(PEM, "\n") .. "\n"

  --- Fails when a text still has a line of the key.
  local function has_no_line(text)
    for i = 2, #PEM - 1 do
      assert.falsy(text:find(PEM[i], 1, true), text)
    end
  end

  it("redacts keys of several lines, whole, in other line ends, with something in front, and one line alone", function()
    secret.new(key, "PEM")
    assert.equal("a [redacted PEM] b", secret.redact("a " .. key .. " b"))
    has_no_line(secret.redact((key:gsub("\n", "\r\n"))))
    has_no_line(secret.redact((key:gsub("[^\n]+", "    + %0"))))
    for i = 2, #PEM - 1 do
      assert.equal("x [redacted PEM] y", secret.redact("x " .. PEM[i] .. " y"))
    end
    assert.equal(PEM[1], secret.redact(PEM[1])) -- the marks are no secret
    assert.equal("[redacted PEM]", secret.redact(json.encode(key):sub(2, -2)))
    has_no_line(secret.redact(json.encode({ a = { key } })))
    assert.equal("[redacted PEM]", secret.redact((key:gsub("\n", "\\n"))))
  end)

  it("redacts a key in a stream at every cut as in the whole text", function()
    local text = "before\n" .. key .. key .. "after " .. PEM[1] .. "\n" .. PEM[2] .. " and " .. PEM[3]:sub(1, 20)
    local wanted = secret.redact(text)
    for _, size in ipairs({ 1, 2, 7, 63, 64, 65, 100, 1000 }) do
      local feed, parts = secret.stream_redactor(), {}
      for at = 1, #text, size do
        parts[#parts + 1] = feed(text:sub(at, at + size - 1))
        has_no_line(parts[#parts])
      end
      parts[#parts + 1] = feed(nil)
      assert.equal(wanted, table.concat(parts))
    end
    for cut = 1, #text do
      local feed = secret.stream_redactor()
      assert.equal(wanted, feed(text:sub(1, cut)) .. feed(text:sub(cut + 1)) .. feed(nil))
    end
  end)

  it("redacts base64 at any place of a longer text, in both alphabets", function()
    local value = "b64-\255\254\253secret?>~value"
    secret.new(value, "B64")
    for before = 0, 4 do
      for after = 0, 4 do
        local encoded = native.crypto.base64_encode(("u"):rep(before) .. value .. (":"):rep(after))
        for _, text in ipairs({ encoded, (encoded:gsub("+", "-"):gsub("/", "_")) }) do
          local clean = secret.redact(text)
          assert.truthy(clean:find("[redacted B64]", 1, true), clean)
          assert(#clean:gsub("%[redacted B64%]", "") <= 4 * 4, clean)
        end
      end
    end
  end)

  it("redacts what a URL or JSON makes of it", function()
    local value = "esc/a \"b\\c\td\1é"
    secret.new(value, "ESC")
    assert.equal("[redacted ESC]", secret.redact(json.encode(value):sub(2, -2)))
    assert.equal("[redacted ESC]", secret.redact((json.encode(value):sub(2, -2):gsub("\\/", "/"))))
    for _, format in ipairs({ "%%%02X", "%%%02x" }) do
      assert.equal("[redacted ESC]", secret.redact((value:gsub("[^%w]", function(c)
        return format:format(c:byte())
      end))))
    end
    secret.new("with-its-line-end\n", "LINE")
    assert.equal("<[redacted LINE]>", secret.redact("<with-its-line-end>"))
  end)

  it("takes linear time for a text that is like the secret everywhere", function()
    secret.new(("q"):rep(40), "SAME")
    local text, feed = ("q"):rep(39) .. "p", secret.stream_redactor()
    local long = text:rep(20000)
    assert.equal(long, feed(long) .. feed(nil))
    assert.equal(("[redacted SAME]"):rep(1000), secret.redact(("q"):rep(40000)))
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
