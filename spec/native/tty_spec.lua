local tty = require("luarium.native").tty
local scratch = require "spec.support.scratch"

--- Runs Lua code in a terminal of its own (util-linux script); returns what the terminal showed.
local function in_terminal(code)
  local dir = scratch.make()
  scratch.write(dir .. "/run.lua", 'local tty = require("luarium.native").tty\n' .. code)
  local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
  local out = scratch.sh(("cd %s; LUA_CPATH=%s script -qec 'stty cols 91 rows 33; %s run.lua' /dev/null < /dev/null"):format(
    dir, scratch.quote(package.cpath), lua))
  scratch.drop(dir)
  return (out:gsub("\r", ""))
end

describe("native.tty", function()
  it("knows what is no terminal", function()
    local file = assert(io.open("/dev/null"))
    assert.is_false(tty.isatty(1000))
    assert.is_nil((tty.size(1000)))
    local value, err = tty.raw(1000)
    assert.is_nil(value)
    assert.equal("EBADF", err.name)
    assert.error_matches(function() tty.isatty(-1) end, "descriptor")
    assert.error_matches(function() tty.isatty(1.5) end, "descriptor")
    file:close()
  end)

  it("knows a terminal and its size", function()
    assert.equal("true\t91\t33", in_terminal "print(tty.isatty(1), tty.size(1))")
  end)

  it("switches to raw mode and back, also when it is forgotten", function()
    local out = in_terminal [[
      local function mode()
        local pipe = io.popen("stty -a < /dev/tty")
        local text = pipe:read("*a")
        pipe:close()
        return text:match("[-]?icanon"), text:match("[-]?opost")
      end
      local first = { mode() }
      local saved = tty.raw(1)
      local raw = { mode() }
      assert(saved:restore() and saved:restore())
      local back = { mode() }
      tty.raw(1)
      collectgarbage()
      collectgarbage()
      local again = { mode() }
      for _, m in ipairs { first, raw, back, again } do print(m[1], m[2]) end]]
    assert.equal("icanon\topost\n-icanon\t-opost\nicanon\topost\nicanon\topost", out)
  end)
end)
