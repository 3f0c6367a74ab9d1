--- Scripts that do harm when the program looks at what they declare, for --help or at Tab.
local program = require "spec.support.program"

local within = program.within(90)

local function help(place, script)
  place:write("script.lua", script)
  return place:ok({ "run", "script.lua", "--help" })
end

local function offered(place)
  return place:ok({ "__complete", "--", "run", "script.lua", "" })
end

describe("looking at a script", function()
  local endless = {
    { "catches the error of its budget", "while true do pcall(function() while true do end end) end" },
    { "is in a pattern for ever", "return { inputs = {}, ('a'):rep(1e5):find('.-.-.-b') }" },
    { "takes all memory", "local t = {} while true do t[#t + 1] = ('x'):rep(1e8) end" },
    { "has a declaration without an end", "return { inputs = setmetatable({}, { __pairs = function()"
      .. " return function(_, key) return (key or '') .. 'x', 'text' end end }) }" },
  }
  for _, case in ipairs(endless) do
    it("ends when it " .. case[1], within(function(place)
      assert.truthy(help(place, case[2]):find("not known: looking at it [^\n]+%.\n$"))
      assert.equal(":files\n", offered(place))
    end))
  end

  it("leaves Lua's tables as they are for the program", within(function(place)
    local text = help(place, [[
      string.format = function() return "changed" end
      string.match, math.max, table.concat, getmetatable("").__index.sub = nil, nil, nil, nil
      return { inputs = { name = { about = "whose" } } } ]])
    assert.equal("Usage: luarium run script.lua [NAME=VALUE ...] [OPTIONS]\n\nInputs:\n  name  text  whose\n\n"
      .. "They may also come from a JSON file: --input FILE. `luarium help run` shows the options.\n", text)
  end))

  it("shows what it says without control characters, and not all of it", within(function(place)
    local text = help(place, [[
      return { description = "one\27[31m\194\155", inputs = { ["a\27[1m"] = "text", b = { about = "x\27]0;y\7" },
        c = { default = ("z"):rep(5000) } } } ]])
    assert.falsy(text:find("[%z\1-\9\11-\31\127]") or text:find("\194\155", 1, true), text)
    assert.truthy(text:find("(default: " .. ("z"):rep(200) .. "...)", 1, true), text)
    local candidates = offered(place)
    assert.falsy(candidates:find("[%z\1-\8\11-\31\127]") or candidates:find("a\27", 1, true), candidates)
    assert.truthy(candidates:find("\nc=\t", 1, true), candidates)
    text = help(place, "return { inputs = { a = { about = ('y'):rep(3e6) } } }")
    assert.truthy(text:find("not known: it says more than 1048576 bytes", 1, true), text)
  end))
end)
