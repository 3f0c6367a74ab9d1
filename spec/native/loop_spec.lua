local loop = require("luarium.native").loop

describe("native.loop", function()
  it("polls for milliseconds that are a number", function()
    for _, wrong in ipairs({ 0 / 0, math.huge, 1e300 }) do
      assert.error_matches(function() loop.poll(wrong, {}) end, "expected milliseconds")
    end
    assert.equal(0, (loop.poll(0, {})))
  end)
end)
