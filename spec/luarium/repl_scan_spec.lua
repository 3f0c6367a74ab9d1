--- Statements of many lines in the repl: whoever says that one is not whole yet must be right.
local files = require "spec.support.scratch"
local scan = require "luarium.cli.repl_scan"

local function is_whole(text)
  return load(text, "=text") ~= nil
end

--- Feeds a text; returns whether it was said to be open at its end.
local function open_after(text)
  local state = scan.new()
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    state:feed(line)
  end
  return state:is_open()
end

describe("a statement of many lines", function()
  it("is never said to be open when it is whole: every beginning of our own files", function()
    local checked, unclear = 0, 0
    for path in files.sh("ls lua/luarium/*.lua spec/luarium/*.lua"):gmatch("%S+") do
      local state, lines = scan.new(), {}
      for line in io.lines(path) do
        lines[#lines + 1] = line
        state:feed(line)
        if #lines > 100 then
          break
        end
        local whole = is_whole(table.concat(lines, "\n"))
        assert.falsy(whole and state:is_open(), path .. ":" .. #lines)
        checked, unclear = checked + 1, unclear + ((whole or state:is_open()) and 0 or 1)
      end
    end
    assert(checked > 1000, checked)
    assert.equal(0, unclear)
  end)

  local whole = {
    "while f(function() do end end) do g() end", "x = [==[ ]] ]=] ]==]", "--[[ while\n]] x = 1", "x = 'do \\' end'",
    "x = 1 -- while", "::again::", "repeat local a = 1 until a", "x = a[b[1]]", "x = '[['", "x = \"a\\\nb\"",
    "x = 'a\\z\n  b'", "if a then elseif b then else end", "for i = 1, 2 do end", "x = f{...}", "x = 1e-5", "x = ...",
  }
  if not rawget(_G, "jit") then
    whole[#whole + 1] = "local x <const> = 1 local y <close>"
  end
  for _, text in ipairs(whole) do
    it("is whole: " .. text:gsub("\n", " "), function()
      assert.truthy(is_whole(text), text)
      assert.falsy(open_after(text))
    end)
  end

  for _, text in ipairs({ "x = {", "x = {\n1,", "while x", "while x do", "x = 1 +", "x = [[", "--[==[\n]]", "f(",
    "function f()", "x =", "x = a and -- no more", "local", "repeat", "if x then", "x = 'end' ..", "a.", "for i = 1," }) do
    it("is open: " .. text:gsub("\n", " "), function()
      assert.truthy(open_after(text))
    end)
  end
end)
