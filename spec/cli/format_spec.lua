local format = require "luarium.cli.format"

describe("cli.format", function()
  it("counts columns, not bytes", function()
    assert.equal(4, format.width("äöü!"))
    assert.equal(4, format.width("日本"))
    assert.equal(1, format.width("e\204\129")) -- e and a combining accent
    assert.equal(3, format.width("a\255b"))
    assert.equal(2, format.width("\240\159\154\128")) -- a rocket
    assert.equal(8, format.width("🪐🈁🀄𛀀")) -- wide as well: newer pictures, enclosed characters, tiles, old kana
  end)

  it("cuts between characters", function()
    assert.equal("äö~", format.cut("äöüß", 3))
    assert.equal("日~", format.cut("日本語", 4))
    assert.equal("abc", format.cut("abc", 3))
    assert.equal("~", format.cut("abc", 1))
    assert.equal("", format.cut("abc", 0))
  end)

  it("aligns tables, without control characters", function()
    assert.equal("A      B\nx?y?z  1\n", format.table({ { "A", "B" }, { "x\226\128\174y\226\129\166z", 1 } }))
    assert.equal("NAME      X\näö        1\nab\\x1b[m  22\n", format.table({ { "NAME", "X" }, { "äö", 1 },
      { "ab\27[m", 22 } }))
  end)

  it("is not held up by a run of blanks", function() -- minutes, when each blank of it is looked at again and again
    local blanks = (" "):rep(300000)
    assert.equal("A" .. blanks .. "  B\n" .. blanks .. "x  y\n", format.table({ { "A", "B" }, { blanks .. "x", "y" } }))
  end)

  it("shows times and sizes", function()
    local times = {}
    for i, seconds in ipairs({ 0.04, 9.94, 10, 99, 185, 3600, 7805, 200000 }) do
      times[i] = format.duration(seconds)
    end
    assert.same({ "0.0s", "9.9s", "10s", "99s", "3m05s", "1h00m", "2h10m", "2d" }, times)
    assert.same({ "0 B", "1023 B", "1.0 KiB", "1.5 MiB" },
      { format.size(0), format.size(1023), format.size(1024), format.size(1572864) })
  end)
end)
