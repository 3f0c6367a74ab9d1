--- Records of the state folder that were not written by us.
local json = require "luarium.json"
local program = require "spec.support.program"
local tmux = require "spec.support.tmux"

local RECORDS = ".state/sandboxes/"

local within = program.within(60)

--- Texts of records that are none, by what is said of them.
local function damage(id)
  local function record(field, value)
    local fields = { id = '"' .. id .. '"', provider = '"local"', status = '"running"', created_at = "1",
      external_id = '"x"' }
    fields[field] = value
    local parts = {}
    for key, text in pairs(fields) do
      parts[#parts + 1] = ('"%s":%s'):format(key, text)
    end
    return "{" .. table.concat(parts, ",") .. "}"
  end
  return {
    ["'created_at' is a string"] = record("created_at", '"yesterday"'),
    ["'created_at' is out of range"] = record("created_at", "1e300"),
    ["'expires_at' is a table"] = record("expires_at", "[]"), ["'name' is a number"] = record("name", "7"),
    ["'labels' is a table"] = record("labels", '{"a":{"b":1}}'), ["'status' is a boolean"] = record("status", "true"),
    ["'provider' is missing"] = record("provider", "null"), ["'env' is a table"] = record("env", "[[1]]"),
    ["'data' is a string"] = record("data", '"x"'), ["no record of that sandbox"] = "null", ["json: "] = "\0\255{",
    ["no record of that"] = "7",
  }
end

describe("records in numbers", function()
  it("are found by id and by name, in whatever notation", within(function(place)
    local function record(id, name)
      place:write(RECORDS .. id .. ".json", ('{"id":"%s","provider":"local","status":"running","name":"%s"}')
        :format(id, name))
    end
    for i = 1, 300 do
      record(("sbx_%04d"):format(i), "n" .. i)
    end
    for i, name in ipairs({ "escap\\u0065d", "a\\/b", "a/b", 'quo\\"te', "gr\195\188n", "twice", "twice" }) do
      record("sbx_x" .. i, name)
    end
    place:write("script.lua", [[
      local function ids(filter)
        local list = {}
        for i, record in ipairs(luarium.list(filter)) do list[i] = record.id end
        return table.concat(list, " ")
      end
      for _, name in ipairs({ "escaped", "a/b", 'quo"te', "gr\195\188n", "twice", "n7", "sbx_x1", "none" }) do
        print(name, ids({ name = name }))
      end
      print("id", ids({ id = "sbx_0300" }), ids({ id = "sbx_none" }), ids({ id = "../x" }), #luarium.list())]])
    assert.equal("escaped\tsbx_x1\na/b\tsbx_x2 sbx_x3\nquo\"te\tsbx_x4\ngr\195\188n\tsbx_x5\ntwice\tsbx_x6 sbx_x7\n"
      .. "n7\tsbx_0007\nsbx_x1\t\nnone\t\nid\tsbx_0300\t\t\t307\n", place:ok({ "run", "-q", "script.lua" }))
    assert.match("2 sandboxes are called 'twice' already", place:run({ "create", "--name", "twice" }).stderr)
    assert.match("'twice' fits 2 sandboxes by name", place:run({ "exec", "twice", "true" }).stderr)
    assert.match("never finished.-sbx_0007", place:run({ "exec", "n7", "true" }).stderr)
    assert.match("never finished.-sbx_x1", place:run({ "exec", "sbx_x1", "true" }).stderr)
    assert.match("there is no sandbox 'n3000': did you mean 'n300'%?", place:run({ "exec", "n3000", "true" }).stderr)
  end))
end)

describe("a record with a fault", function()
  it("is named, and the others are shown", within(function(place)
    local good = place:ok({ "create", "--name", "good" }):match("sbx_%w+")
    local id = "sbx_0000000000"
    local path = place.dir .. "/" .. RECORDS .. id .. ".json"
    for what, text in pairs(damage(id)) do
      place:write(RECORDS .. id .. ".json", text)
      for _, words in ipairs({ { "ls" }, { "top", "--once" } }) do
        local result = place:run(words)
        assert.equal(0, result.exit_code, result.stderr)
        assert.match(good .. "%s+good%s+local%s+running", result.stdout)
        assert.match(id .. "%s+%-%s+%?%s+broken%s+%-[%s-]+" .. path:gsub("%p", "%%%0"), result.stdout)
        assert.is_true(result.stderr:find(path .. " is broken: ", 1, true) ~= nil, result.stderr)
        assert.is_true(result.stderr:find(what, 1, true) ~= nil, what .. ": " .. result.stderr)
        words[#words + 1] = "--json"
        local facts = json.decode(place:ok(words))
        assert.same({ id, "broken", path }, { facts[1].id, facts[1].status, facts[1].path })
        assert.is_true(facts[1].fault:find(what, 1, true) ~= nil)
        assert.equal(good, facts[2].id)
      end
      local err = place:run({ "exec", id, "true" }).stderr
      assert.is_true(err:find(path, 1, true) ~= nil, err)
    end
    assert.match("warn%s+sandboxes%s+the record %S+ is broken", place:run({ "doctor" }).stdout)
    place:ok({ "destroy", id })
    assert.equal("", place:run({ "ls" }).stderr)
  end))

  it("is named when it is no file at all", within(function(place)
    place:ok({ "create", "--name", "good" })
    for _, command in ipairs({ "mkdir %s", "mkfifo %s", "truncate -s 9M %s", "ln -s /dev/zero %s" }) do
      local path = RECORDS .. "sbx_1.json"
      place:run({}, { argv = { "sh", "-c", command:format(path) } })
      local result = place:run({ "ls" })
      assert.equal(0, result.exit_code, result.stderr)
      assert.match("good%s+local%s+running", result.stdout)
      assert.match("sbx_1.json is broken: ", result.stderr)
      place:run({}, { argv = { "rm", "-rf", path } })
    end
  end))

  it("has its row in the live table, and no text that a terminal would obey", within(function(place)
    place:write(RECORDS .. "sbx_1.json", "{")
    place:write(RECORDS .. "sbx_2.json", '{"id":"sbx_2","provider":"local","status":"running","name":"a\\u001b[31mb"}')
    tmux.with(place, 160, 10, function(screen)
      screen:enter("luarium top")
      screen:see("sbx_1%s+%-%s+%?%s+broken.*sbx_1.json\nsbx_2%s+a\\x1b%[31mb")
      screen:keys("q")
    end)
    assert.match("a\\x1b%[31mb", place:ok({ "ls" }))
  end))
end)
