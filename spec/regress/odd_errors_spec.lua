--- Errors whose fields are not what they should be, raised by scripts: each is told in a few lines, whatever is in it.
local async = require "spec.support.async"
local errors = require "luarium.error"
local json = require "luarium.json"
local program = require "spec.support.program"
local secret = require "luarium.secret"

local NEW = "local function new(kind, fields) local err = luarium.error.new('io', 'a message')\n"
  .. "err.kind = kind for k, v in pairs(fields) do err[k] = v end return err end\n"

local function err_with(fields)
  return NEW .. "error(new('io', " .. fields .. "))"
end

local cases = {
  { "op is a table", err_with("{ op = {} }"), "a message" },
  { "op, provider, name and place are numbers", err_with("{ op = 0/0, provider = 1, name = 0/0, place = 3 }"), "a message" },
  { "place is a table", err_with("{ place = {} }"), "a message" },
  { "place is a control character", err_with("{ place = '\\27[31m' }"), "a message %(\\x1b%[31m%)" },
  { "the hint is a table", err_with("{ data = { hint = {} } }"), "a message" },
  { "the hint has lines", err_with("{ data = { hint = 'a\\nb\\27' } }"), "a message", "hint: try `a b\\x1b`\n" },
  { "data is a number", err_with("{ data = 5 }"), "a message" },
  { "data fails when it is asked", err_with("{ data = setmetatable({}, { __index = error, __pairs = error }) }"), "a message" },
  { "the kind is unknown", NEW .. "error(new('strange', {}))", "a message" },
  { "the kind is a table", NEW .. "error(new({}, {}))", "a message" },
  { "the message is a table", err_with("{ message = {} }"), "table: 0x%x+" },
  { "there is no message", NEW .. "local e = new('io', {}) e.message = nil error(e)", "nil" },
  { "the message fails as text", err_with("{ message = setmetatable({}, { __tostring = error }) }"), "a table" },
  { "the traceback is a table", err_with("{ traceback = {} }"), "a message" },
  { "it is its own cause", NEW .. "local e = new('io', {}) e.cause = e e.data = { e, e } e.data.d = e.data error(e)",
    "a message" },
  { "retry_after is no time", err_with("{ retry_after = 0/0, status = {}, retryable = 'x', code = 1/0 }"), "a message" },
  { "its methods are replaced", err_with("{ wrap = 5, trace = {}, is = false }"), "a message" },
  { "the cause fails as text", err_with("{ cause = setmetatable({}, { __tostring = error, __index = error }) }"), "a message" },
  { "a huge message", "error(luarium.error.new('io', ('x'):rep(1e7)))", "x+ %.%.%. %(10000000 bytes%)" },
  { "many lines", "error(('x\\n'):rep(1e6))", "[^\n]*x\n[x\n]+ %.%.%. %(%d+ bytes%)" },
  { "a table that fails as text", "error(setmetatable({}, { __tostring = error }))", "the script raised <table[^\n]*>" },
  { "a table that fails when it is asked", "error(setmetatable({}, { __index = error }))", "the script raised {}" },
  { "a table that holds itself", "local t = {} t.t, t[1] = t, t error(t)", "the script raised { {... itself}" },
  { "a huge table", "local t = {} for i = 1, 1e5 do t[i] = { i } end error(t)", "the script raised { { 1 }, [^\n]*" },
  { "a function", "error(print)", "the script raised function: [^\n]*" },
  { "the end with a table as its code", "os.exit({})", "os.exit: expected true, false or a whole number, got table" },
  { "the end without data", NEW .. "error(new('cancelled', { name = 'EXIT' }))", "a message" },
  { "the end with data that fail", NEW .. "error(new('cancelled', { name = 'EXIT', data = 5 }))", "a message" },
}

describe("an error of a script:", function()
  for _, case in ipairs(cases) do
    it(case[1], async(90, function()
      program.with(function(place)
        place:write("script.lua", case[2])
        local plain = place:run({ "run", "script.lua" })
        assert.equal(1, plain.exit_code, plain.stderr)
        assert.equal("", plain.stdout)
        assert.truthy(plain.stderr:find("^luarium: " .. case[3]) ~= nil, plain.stderr:sub(1, 1000))
        assert(#plain.stderr < 6000, #plain.stderr)
        assert.truthy(plain.stderr:find(case[4] or "", 1, true), plain.stderr)
        assert.falsy(plain.stderr:find("stack traceback", 1, true) or plain.stderr:find("lua/luarium", 1, true), plain.stderr)
        assert.equal(1, place:run({ "-v", "run", "script.lua" }).exit_code)
        local events = place:run({ "--json", "run", "script.lua", "--events", "events" })
        assert.equal(1, events.exit_code)
        local told = assert(json.decode(events.stderr:match("([^\n]+)\n$"))).error
        assert.equal("string", type(told.message))
        assert.truthy(errors.kinds[told.kind])
        for line in place:read("events"):gmatch("[^\n]+") do
          local record = assert(json.decode(line))
          assert.is_nil(record.unencodable, line)
        end
        local typed = place:run({ "repl" }, { stdin = (case[2]:gsub("\n", " ")) .. "\n" })
        assert.equal(1, typed.exit_code, typed.stderr)
        assert.falsy(typed.stderr:find("lua/luarium", 1, true), typed.stderr)
      end)
    end))
  end

  it("is normal for whoever reports it", function()
    local err = errors.normal(errors.new("io", "m", { op = 5, data = 3, status = 0 / 0, retryable = 1, mine = {} }))
    assert.same({ kind = "io", message = "m", mine = {} }, { kind = err.kind, message = err.message, op = err.op,
      data = err.data, status = err.status, retryable = err.retryable, mine = err.mine })
    assert.equal("table", type(errors.normal(setmetatable({}, { __index = error, __tostring = error }))))
  end)

  it("loses its secrets however it is linked", function()
    secret.register("linked-secret-value", "linked")
    local err = errors.new("io", "with linked-secret-value")
    err.cause = err
    assert.equal("with [redacted linked]", secret.redact_error(err).message)
    local deep = { "linked-secret-value" }
    for _ = 1, 50 do
      deep = { deep, deep, deep }
    end
    deep.itself = deep
    local copy = secret.redact_value(deep)
    assert.equal(copy, copy.itself)
    for _ = 1, 50 do
      copy = copy[3]
    end
    assert.equal("[redacted linked]", copy[1])
  end)
end)
