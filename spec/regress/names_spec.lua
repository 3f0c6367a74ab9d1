--- Names of sandboxes that the command line refused and the API took.
local async = require "spec.support.async"
local program = require "spec.support.program"

local RULE = "expected a name of 1 to 100 bytes of UTF-8 without control characters, ':' and '/', that does not begin "
  .. "with '-', 'sbx_' or 'run_'"

local wrong = { "", "a/b", "a:b", "-n", "sbx_1", "run_1", "a\nb", "a\27[31m", "\127", ("x"):rep(101), "\255", "a\194\155b" }

describe("the name of a sandbox", function()
  it("has one rule, for create, fork and the command line", async(60, function()
    program.with(function(place)
      local quoted = {}
      for i, name in ipairs(wrong) do
        quoted[i] = ("%q"):format(name)
      end
      place:write("script.lua", ([[
        for _, name in ipairs({ %s }) do
          for _, make in ipairs({ luarium.create, function(options) luarium.with({}, function(box)
            box:fork(options)
          end) end }) do
            local box, err = luarium.try(make, { name = name })
            assert(not box and err.kind == "invalid", name)
            print(err.message)
          end
        end
        assert(#luarium.list() == 0)
        luarium.create({ name = "Gr\195\188n \226\130\172 1.2_x" }):destroy()]]):format(table.concat(quoted, ", ")))
      local lines = 0
      for line in place:ok({ "run", "-q", "script.lua" }):gmatch("[^\n]+") do
        lines = lines + 1
        assert.is_true(line:find("option 'name': " .. RULE .. ", got ", 1, true) ~= nil, line)
      end
      assert.equal(2 * #wrong, lines)
      for _, name in ipairs(wrong) do
        local result = place:run({ "create", "--name", name })
        assert.equal(2, result.exit_code)
        assert.is_true(result.stderr:find("option --name: " .. RULE .. ", got ", 1, true) ~= nil, result.stderr)
        assert.not_match("[\27\155]", result.stderr)
      end
      assert.equal(0, place:records())
    end)
  end))
end)
