--- What the repl shows of values, also of those that were made to do harm.
local inspect = require("luarium.inspect").inspect
local log = require "luarium.log"
local secret = require "luarium.secret"

local function made(mt, value)
  return setmetatable(value or {}, mt)
end

local function returning(value)
  return function()
    return value
  end
end

describe("a value in the repl", function()
  it("is shown without calling anything but its __tostring", function()
    local function endless(_, key)
      return (type(key) == "number" and key or 0) + 1, {}
    end
    assert.equal("{ 1, a = 2 }", inspect(made({ __index = endless, __len = error, __pairs = function(t)
      return endless, t, nil
    end, __ipairs = error, __eq = error, __lt = error, __name = "\27[31m" }, { 1, a = 2 })))
    assert.equal("shown", inspect(made({ __tostring = returning("shown") })))
  end)

  it("has its list first, then its other keys in order", function()
    assert.equal("{ 1, 2, [1.5] = 4, [9] = 5, a = 6, [\"b c\"] = 7, [true] = 8 }",
      inspect({ 1, 2, a = 6, ["b c"] = 7, [true] = 8, [1.5] = 4, [9] = 5 }))
  end)

  it("is read by Lua as it was; a long text has its lines below each other", function()
    local listing = ("drwx------ 2 root root  4096 some folder\n"):rep(4) .. "  \\n \"quoted\"\t\27[31m\n"
    local shown = inspect({ stdout = listing, short = "a\nb" })
    assert.equal(5, select(2, shown:gsub("\\\n", "")))
    assert.truthy(shown:find("short = \"a\\nb\"", 1, true), shown)
    assert.truthy(shown:find("some folder\\\ndrwx", 1, true), shown)
    assert.same({ stdout = listing, short = "a\nb" }, load("return " .. shown)())
    assert.falsy(require("luarium.inspect").line({ listing }):find("\n", 1, true))
  end)

  it("may have a __tostring that fails, or gives no text", function()
    assert.equal("<table: its __tostring failed: broken>", inspect(made({ __tostring = function()
      error("broken\nin two lines", 0)
    end })))
    assert.equal("<table: its __tostring failed>", inspect(made({ __tostring = function()
      error({}, 0)
    end })))
    assert.equal("<table: its __tostring gave a number>", inspect(made({ __tostring = returning(5) })))
    assert.truthy(inspect(made({ __tostring = 5 })):find("^<table: its __tostring failed"))
    assert.equal("{ a = <table: its __tostring gave a nil> }", inspect({ a = made({ __tostring = returning(nil) }) }))
  end)

  it("brings no control characters to the terminal", function()
    local wild = "a\27[31m\127\194\155b\155c\7\204\nü"
    for _, value in ipairs({ wild, { wild }, { [wild] = 1 }, made({ __tostring = returning(wild) }),
      { [made({ __tostring = returning(wild) })] = 1 } }) do
      local shown = inspect(value)
      assert.falsy(shown:find("[%z\1-\9\11-\31\127]"), shown)
      assert.falsy(shown:find("\194[\128-\159]"), shown)
      assert.falsy(shown:find("b\155", 1, true), shown)
      assert.truthy(shown:find("ü", 1, true), shown)
    end
  end)

  it("is bounded in all", function()
    local wide = {}
    for i = 1, 30 do
      wide[i] = {}
      for j = 1, 30 do
        wide[i][j] = {}
        for k = 1, 30 do
          wide[i][j][k] = ("x"):rep(500)
        end
      end
    end
    local shown = inspect(wide)
    assert(#shown > 50000 and #shown < 100000, #shown)
    assert.truthy(shown:find("... (28 more)", 1, true) or shown:find("... (29 more)", 1, true))
    local chain = {}
    for _ = 1, 10000 do
      chain = { chain }
    end
    assert.equal("{ { { { {...} } } } }", inspect(chain))
    assert(#inspect(made({ __tostring = returning(("x"):rep(1e6)) })) < 5000)
    local many = {}
    for i = 1, 30000 do
      many["k" .. i] = i
    end
    assert.truthy(inspect(many):find("at least 9900 more", 1, true))
  end)

  it("has no secret, also where it would be cut or escaped", function()
    secret.register("line one of it\nline two of it", "inspected")
    local long = ("x"):rep(3990) .. "line one of it\nline two of it"
    for _, value in ipairs({ "line one of it\nline two of it", long, { long },
      made({ __tostring = returning(long) }) }) do
      assert.falsy(inspect(value):find("line one", 1, true))
    end
  end)
end)

describe("text for a terminal", function()
  it("keeps every character and no control character", function()
    for _, text in ipairs({ "plain", "äöü 世界 🙂", "\204\233", "" }) do
      assert.equal(text, log.neutral(text))
    end
    assert.equal("a b c\\x1b?\\x80\\x9fä", log.neutral("a\tb\nc\27\194\155\128\159ä"))
    assert.equal("a  b\n c", log.neutral_lines("a\tb\n\rc"))
  end)
end)
