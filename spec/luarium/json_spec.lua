local errors = require "luarium.error"
local json = require "luarium.json"

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
