local compat = require "luarium.compat"
local progress = require "luarium.git.progress"

describe("git's progress", function()
  local function told(...)
    local list = {}
    local read = progress.reader(function(done, total, what)
      list[#list + 1] = ("%s %d/%d"):format(what, done, total)
    end)
    for _, chunk in ipairs({ ... }) do
      read(chunk)
    end
    return list
  end

  it("is read in whatever pieces it comes", function()
    local expected = { "counting objects 5/5", "receiving objects 1/10", "receiving objects 10/10" }
    local text = "remote: Counting objects: 100% (5/5), done.        \nReceiving objects:  10% (1/10)\r"
      .. "Receiving objects: 100% (10/10), 1.20 MiB | 2.00 MiB/s, done.\n"
    assert.same(expected, told(text))
    local pieces = {}
    for i = 1, #text do
      pieces[i] = text:sub(i, i)
    end
    assert.same(expected, told(compat.unpack(pieces)))
  end)

  it("is taken out of complaints, which stay whole", function()
    assert.equal("Cloning into 'x'...\nfatal: broken\nremote: no", progress.strip("Cloning into 'x'...\nReceiving objects:"
      .. "  10% (1/10)\rReceiving objects: 100% (10/10), done.\nfatal: broken\nremote: no"))
    assert.equal("fatal: after it", progress.strip("Receiving objects:  10% (1/10)\rfatal: after it"))
  end)

  it("takes linear time for lines of a server without an end", function()
    local clock, size = os.clock(), 2000000 -- with a pattern that starts anew at each byte: hours
    for _, text in ipairs({ ("A"):rep(size), ("9"):rep(size), ("A b: "):rep(size / 5), ("\r"):rep(size) }) do
      assert.same({}, told(text, text, "\n"))
      progress.strip(text)
    end
    assert.truthy(os.clock() - clock < 60)
  end)
end)
