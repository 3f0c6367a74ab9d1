--- What is remembered of a program's output, so that its terminal can be left and come back to.
local modes = require "luarium.cli.terminal_modes"

--- What is not remembered and always undone: insertion, sets of characters, colours.
local USUAL = "\27[4l\27(B\27)B\15\27[0m"

local function fed(...)
  local seen = modes.new()
  for _, text in ipairs({ ... }) do
    seen:feed(text)
  end
  return seen
end

describe("the modes of a terminal", function()
  it("are entered as the program had them, and left as they were before", function()
    local seen = fed("\27[?1049h\27[?25l\27[?1000;1006h\27[?2004h\27[?7l text \27[?1000l\27=")
    assert.equal("\27[?1049h\27[H\27[2J\27[?7l\27[?25l\27[?1006h\27[?2004h\27=", seen:enter())
    assert.equal("\27\\\27>\27[?7h\27[?25h\27[?1006l\27[?2004l\27[?1049l" .. USUAL, seen:leave())
  end)

  it("are none when all was undone", function()
    for _, text in ipairs({ "", "\27[?1049h\27[?25l\27[?25h\27[?1049l", "\27[?1h\27=\27>\27[?1l", "\27[?1049h\27c",
      "\27[>1u\27[<u", "\27[>4;2m\27[>4;0m", "\27[2;5r\27[r", "\27[?99999h\27[?3h\27[?1234567890123h", "\27[?h" }) do
      assert.equal("", fed(text):enter(), text)
      assert.equal("\27\\" .. USUAL, fed(text):leave(), text)
    end
  end)

  it("are seen wherever the output is cut", function()
    local text = "one\27[?1049h\27[?25l\27[>1u\27[?1002;1006htwo\27[1;10r"
    local want = fed(text)
    assert.equal("\27[?1049h\27[H\27[2J\27[?25l\27[?1002h\27[?1006h\27[>1u", want:enter())
    assert.truthy(want:leave():find("\27[<9u", 1, true))
    for at = 1, #text do
      local cut = fed(text:sub(1, at), text:sub(at + 1))
      assert.equal(want:enter(), cut:enter())
      assert.equal(want:leave(), cut:leave())
    end
    local seen = modes.new()
    for byte in text:gmatch(".") do
      seen:feed(byte)
    end
    assert.equal(want:leave(), seen:leave())
  end)

  it("cost little and keep little, whatever comes", function()
    local seen = modes.new()
    for _, text in ipairs({ "\27[" .. ("1;"):rep(100000), ("\27[?"):rep(100000), ("\27"):rep(100000),
      "\27[?" .. ("9"):rep(1000000) .. "h" }) do
      seen:feed(text)
      assert.is_true(#seen.held < 100)
    end
    assert.equal("", seen:enter())
  end)
end)

describe("the last screenful", function()
  it("is the last lines", function()
    assert.equal("c\r\nd", modes.screenful("a\r\nb\r\nc\r\nd", 2))
    assert.equal("a\r\nb\r\nc\r\nd", modes.screenful("a\r\nb\r\nc\r\nd", 20))
    assert.equal("d\r\n", modes.screenful("c\r\nd\r\n", 2))
    assert.equal("", modes.screenful("", 2))
    assert.is_true(#modes.screenful(("x"):rep(300000), 24) <= 16384)
    assert.truthy(modes.screenful(("ä"):rep(10000), 24):find("^ä"))
  end)

  it("begins where the screen was cleared or changed last", function()
    assert.equal("\27[2Jnew", modes.screenful("old\r\n\27[H\27[2Jnew", 20))
    assert.equal("\r\nback", modes.screenful("\27[?1049hfull\27[?1049l\r\nback", 20))
    assert.equal("\27[Hfull", modes.screenful("shell\27[?1049h\27[Hfull", 20))
  end)

  it("draws and asks nothing", function()
    local drawn = "\27[1;31mred\27[0m\27[5;3Hthere\27[K\27(Bä\27" .. "7\27" .. "8\b \tx"
    assert.equal(drawn, modes.screenful(drawn, 20))
    for _, text in ipairs({ "\27[6n", "\27[c", "\27[>c", "\27[0c", "\27[>q", "\27[?u", "\27[?2026$p", "\27[18t", "\27]11;?\7",
      "\27]11;?\27\\", "\27P+q544e\27\\", "\27_Gi=1;AAAA\27\\", "\27Z", "\5", "\7", "\27[?1000h", "\27[20h", "\0", "\27]52;c;?\7",
      "\27c", "\27[5i", "\127", "\14" }) do
      assert.equal("ab", modes.screenful("a" .. text .. "b", 20), (text:gsub("\27", "ESC ")))
    end
    assert.equal("a", modes.screenful("a\27", 20))
    assert.falsy(modes.screenful("a\27[12", 20):find("\27", 1, true))
    assert.equal("a", modes.screenful("a\27]0;title without end", 20))
  end)

  it("is quick for whatever comes", function()
    for _, text in ipairs({ ("\27["):rep(200000), ("\27]"):rep(200000), ("\27P"):rep(100000), "\27[" .. (";"):rep(262144) }) do
      assert.is_true(#modes.screenful(text, 24) <= 16384)
    end
  end)
end)
