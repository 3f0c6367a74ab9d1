--- A filter of provider test that is no pattern was an internal error.
local program = require "spec.support.program"

local within = program.within(60)

describe("provider test", function()
  it("says what is wrong with a filter", within(function(place)
    for _, pattern in ipairs({ "[", "%", "(", "%f" }) do
      local result = place:run({ "provider", "test", "local", "-f", pattern })
      assert.equal(1, result.exit_code)
      assert.is_true(result.stderr:find(("luarium: the filter '%s' is no Lua pattern: "):format(pattern), 1, true) == 1,
        result.stderr)
    end
    assert.match("no check fits the filter", place:run({ "provider", "test", "local", "-f", "zzz[" }).stderr)
  end))
end)
