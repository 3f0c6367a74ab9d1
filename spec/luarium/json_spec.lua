local errors = require "luarium.error"
local json = require "luarium.json"
local utf8 = require "luarium.utf8"

describe("json", function()
  it("keeps an empty list a list, and an empty table an object", function()
    assert.equal('{"list":[]}', json.encode({ list = json.array({}) }))
    assert.equal("[1,2]", json.encode(json.array({ 1, 2 })))
    assert.equal("{}", json.encode({}))
  end)

  it("returns an error for what cannot be written or read", function()
    for _, value in ipairs({ print, { [print] = 1 }, 0 / 0, math.huge }) do
      local text, err = json.encode(value)
      assert.is_nil(text)
      assert.is_true(errors.is(err, "invalid"))
    end
    for _, text in ipairs({ "", "{", "[1,]", "nul", ("["):rep(300) .. ("]"):rep(300), "NaN" }) do
      local value, err = json.decode(text)
      assert.is_nil(value)
      assert.is_true(errors.is(err, "protocol"), text)
    end
  end)

  it("refuses a table that holds itself instead of running for ever", function()
    local loop = {}
    loop.loop = loop
    assert.is_nil((json.encode(loop)))
  end)

  it("leaves nulls out of plain values", function()
    local value = json.decode_plain('{"a":null,"b":{"c":null,"d":1},"e":[1]}')
    assert.same({ b = { d = 1 }, e = { 1 } }, value)
    assert.is_nil(json.decode_plain("null"))
    assert.equal(json.null, json.decode('{"a":null}').a)
  end)
end)

describe("json of any bytes", function()
  local function decoded(value)
    local text = assert(json.encode_bytes(value))
    assert.is_true(utf8.is_valid(text))
    return json.decode(text)
  end

  it("is UTF-8, and has the exact bytes beside what is not", function()
    local value = { text = "gr\195\188n \255\254 caf\233", fine = "gr\195\188n", list = { "a", "b\128" },
      inner = { { stdout = "\0\200" } }, ["k\255"] = 1, number = 3 }
    assert.same({ text = "gr\195\188n \239\191\189\239\191\189 caf\239\191\189", text_base64 = "Z3LDvG4g//4gY2Fm6Q==",
      fine = "gr\195\188n", list = { "a", "b\239\191\189" }, list_base64 = { "YQ==", "YoA=" },
      inner = { { stdout = "\0\239\191\189", stdout_base64 = "AMg=" } }, ["k\\xff"] = 1, number = 3 }, decoded(value))
    assert.equal("caf\233", value.text:sub(-4)) -- the value itself stays
    assert.equal("\239\191\189", decoded("\237\160\128"):sub(1, 3)) -- a surrogate is no character
    assert.same({ list = {} }, decoded({ list = json.array({}) }))
  end)

  it("refuses what the encoder refuses", function()
    local loop = { text = "\255" }
    loop.loop = { loop, loop }
    assert.is_nil((json.encode_bytes(loop)))
    assert.is_nil((json.encode_bytes({ "\255", print })))
  end)
end)

describe("utf8", function()
  it("knows the beginning of a character at the end of a text", function()
    for text, count in pairs({ [""] = 0, a = 0, ["\195\188"] = 0, ["a\195"] = 1, ["a\226\130"] = 2, ["\226\130\172"] = 0,
      ["\240\159\152"] = 3, ["\240\159\152\128"] = 0, ["\128\128\128"] = 0, ["a\255"] = 0, ["\193"] = 0,
      ["\245\128"] = 0 }) do
      assert.equal(count, utf8.unfinished(text), text)
    end
  end)
end)
