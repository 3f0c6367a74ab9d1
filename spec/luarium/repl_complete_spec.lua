local complete = require("luarium.cli.repl_complete")

local function hostile()
  error("a metamethod was called")
end

local function env()
  local object = setmetatable({ own = 1 }, { __index = setmetatable({ method = print, other = print, value = 3 },
    { __index = { inherited = print } }) })
  return setmetatable({
    print = print, string = string, alpha_one = 1, alpha_two = 2,
    object = object,
    tree = { branch = { leaf_a = 1, leaf_b = 2 }, ["not a name"] = 1, ["\27[31mred"] = 2, ["end\n"] = 3,
      [1] = { first = 1 }, ["quoted"] = { inside = 1 }, [("long"):rep(50)] = 1 },
    text = "text",
    trap = setmetatable({ visible = 1 }, { __index = hostile, __pairs = hostile, __len = hostile, __tostring = hostile,
      __eq = hostile, __call = hostile }),
  }, { __index = function(_, key)
    error("the environment was asked for " .. tostring(key))
  end })
end

--- What Tab makes of a text: the text with what it inserts, or the list.
local function tab(text, given)
  local insert, list, more = complete.complete(given or env(), text)
  if #list > 0 then
    assert.equal("", insert)
    return table.concat(list, " ") .. (more > 0 and " +" .. more or "")
  end
  return text .. insert
end

describe("completion in the repl", function()
  it("knows globals, keywords and the library", function()
    assert.equal("alpha_", tab("al"))
    assert.equal("alpha_one alpha_two", tab("alpha_"))
    assert.equal("x = alpha_two", tab("x = alpha_tw"))
    assert.equal("repeat", tab("repe"))
    assert.equal("luarium", tab("luar"))
    assert.equal("luarium.task.sleep", tab("luarium.task.sle"))
    assert.equal("nothing_like_it", tab("nothing_like_it"))
    assert.equal("collectgarbage", tab("collectg")) -- of _G alone
  end)

  it("ends with values and texts of any size", function()
    local chain, wide = { last = 1 }, {}
    for i = 1, 100000 do
      chain = setmetatable({ ["link_" .. i] = 1 }, { __index = chain })
      wide["key_" .. i] = 1
    end
    chain = setmetatable(wide, { __index = chain })
    assert.truthy(tab("chain.k", { chain = chain }):find("key_", 1, true))
    local line = ("x"):rep(2000000)
    assert.equal("", tab(line .. "\n" .. line):sub(#line * 2 + 2))
    assert.equal(("\n"):rep(200000) .. "  ", tab(("\n"):rep(200000)))
  end)

  it("indents where a line is still empty", function()
    assert.equal("  ", tab(""))
    assert.equal("for i = 1, 2 do\n    ", tab("for i = 1, 2 do\n  "))
  end)

  it("knows fields, also behind plain indexes", function()
    assert.equal("tree.branch", tab("tree.b"))
    assert.equal("leaf_a leaf_b", tab("tree.branch.leaf_"))
    assert.equal("print(tree . branch.leaf_", tab("print(tree . branch.l"))
    assert.equal("tree[1].first", tab("tree[1]."))
    assert.equal("tree['quoted'].inside", tab("tree['quoted'].i"))
    assert.equal("tree [\"branch\"].leaf_", tab("tree [\"branch\"]."))
    assert.equal("tree.none.x", tab("tree.none.x"))
    assert.equal("tree[{}].", tab("tree[{}]."))
    assert.equal("a..al", tab("a..al"):sub(1, 5))
    assert.equal("a..alpha_", tab("a..al"))
  end)

  it("follows tables of __index, and after a colon takes what can be called", function()
    assert.equal("inherited method other", tab("object:"))
    assert.equal("inherited method other own value", tab("object."))
    assert.equal("text:upper", tab("text:up"))
    assert.equal("io.stdout:setvbuf", tab("io.stdout:setv"))
    assert.equal("object:method", tab("object:m"))
    assert.equal("object:method.", tab("object:method."))
  end)

  it("offers the library's methods for what a call returns", function()
    require "luarium"
    assert.equal("luarium.create {}:read_file", tab("luarium.create {}:read_f"))
    assert.equal("luarium.create {}.read_f", tab("luarium.create {}.read_f"))
  end)

  it("calls nothing", function()
    assert.equal("trap.visible", tab("trap."))
    assert.equal("trap:", tab("trap:"))
    assert.equal("trap.visible.x", tab("trap.visible.x"))
  end)

  it("offers names only, and so no control characters", function()
    assert.equal("branch quoted", tab("tree."))
  end)

  it("knows the names that the statement has so far", function()
    assert.equal("local function f(parameter)\n  return parameter", tab("local function f(parameter)\n  return para"))
    assert.equal("local value_one = 1\nvalue_one", tab("local value_one = 1\nvalue_"))
  end)

  it("leaves strings and comments alone", function()
    for _, text in ipairs({ "'al", "\"it's al", "'a\\'al", "-- al", "--[[\nal", "[==[ ]] al", "x = [[al" }) do
      assert.equal(text, tab(text))
    end
    for _, text in ipairs({ "'x' .. al", "--[[ c ]] al", "-- c\nal", "[==[ ]] ]==] .. al", "'\\\\' .. al", "'open\nal" }) do
      assert.equal(text .. "pha_", tab(text))
    end
  end)

  it("is bounded", function()
    local many = {}
    for i = 1, 50000 do
      many[("key%05d"):format(i)] = i
    end
    local insert, list, more = complete.complete({ many = many }, "many.")
    assert.is_true(insert == "key" or #list == 200 and more <= 20000)
    local three = { a1 = 1, b2 = 1 }
    for i = 1, 500 do
      three["c" .. i] = 1
    end
    insert, list, more = complete.complete({ three = three }, "three.")
    assert.same({ "", 200, 302 }, { insert, #list, more })
    assert.equal("", (complete.complete({}, ("x "):rep(40000) .. "al")))
    local loop = setmetatable({}, {})
    getmetatable(loop).__index = loop
    assert.equal("loop.x", tab("loop.x", { loop = loop }))
    for _, text in ipairs({ ("("):rep(60000), ("a"):rep(60000), ("."):rep(60000), ("[="):rep(30000), ("a."):rep(30000) }) do
      assert.equal("", (complete.complete({}, text)))
    end
  end)

  it("shows names in columns, read downwards", function()
    assert.equal("", complete.columns({}, 80))
    assert.equal("a    ccc\nbbb", complete.columns({ "a", "bbb", "ccc" }, 9))
    assert.equal("a\nbbb\nccc", complete.columns({ "a", "bbb", "ccc" }, 7))
    assert.equal("a\nbbb\nccc", complete.columns({ "a", "bbb", "ccc" }, 1))
    assert.equal("a  b  c", complete.columns({ "a", "b", "c" }, 80))
  end)
end)
