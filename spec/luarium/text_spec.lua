local text = require "luarium.text"

describe("text", function()
  it("has no blanks behind it", function()
    local results = {}
    for i, given in ipairs({ "", " \n\t", "a", " a b \r\n", "a\n\nb\n", "\0 \255 \n" }) do
      results[i] = text.trim_end(given)
    end
    assert.same({ "", "", "a", " a b", "a\n\nb", "\0 \255" }, results)
    assert.equal(1000001, #text.trim_end((" "):rep(1000000) .. "x" .. (" "):rep(1000000)))
  end)
end)
