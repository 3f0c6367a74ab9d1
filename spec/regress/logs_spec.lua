--- Logs that were not written by us: records that are none, and what is no file.
local json = require "luarium.json"
local program = require "spec.support.program"

local LOGS = ".state/logs/"

local within = program.within(60)

local function make(place)
  return (place:ok({ "create", "--name", "demo" }):match("sbx_%w+"))
end

--- A record of output.
local function output(text, length)
  return ('{"time":1,"stream":"stdout","bytes":%s}\n%s\n'):format(length or #text, text)
end

describe("a log that was written by others", function()
  local wrong = {
    "\0\1\2\255\n", "\n", "[1,2]\n", "null\n", '"text"\n', "{}\n", '{"time":"now","event":"sandbox.exec"}\n',
    '{"time":1e300,"event":"sandbox.exec","phase":"stop"}\n', '{"time":-5,"event":"sandbox.exec"}\n',
    '{"time":1,"event":"sandbox.exec","phase":"stop","exit_code":1.5}\n',
    '{"time":1,"event":"sandbox.exec","phase":"stop","exit_code":"x"}\n',
    '{"time":1,"event":"sandbox.exec","phase":"stop","signal":{}}\n',
    '{"time":1,"event":"sandbox.exec","phase":"stop","duration":"long"}\n',
    '{"time":1,"event":"sandbox.exec","phase":"stop","duration":-1}\n',
    '{"time":1,"event":"sandbox.exec","phase":"start","command":{"a":1}}\n',
    '{"time":1,"event":"sandbox.exec","phase":["stop"]}\n', '{"time":1,"event":"sandbox.exec","phase":"error","error":7}\n',
    '{"time":1,"event":7}\n', '{"time":1,"stream":"stdin","bytes":1}\nx\n', '{"time":1,"stream":"stdout","bytes":-1}\n',
    '{"time":1,"stream":"stdout","bytes":1e300}\n', '{"time":1,"stream":"stdout","bytes":"3"}\nabc\n',
    output("too long", 4), output("too short", 12), ("["):rep(100000) .. "\n",
  }

  it("is shown without what is no record, and says so", within(function(place)
    local id = make(place)
    local parts = {}
    for i, text in ipairs(wrong) do
      parts[i] = text .. output("good " .. i .. "\n")
    end
    place:write(LOGS .. id .. ".log", table.concat(parts) .. output("cut", 60000))
    local result = place:run({ "logs", "demo" })
    assert.equal(0, result.exit_code, result.stderr)
    local line = 0
    for text in result.stdout:gmatch("[^\n]+") do
      line = line + 1
      assert.equal("good " .. line, text)
    end
    assert.equal(#wrong, line)
    assert.match(("^luarium: %d places of the log had no record and were passed over: %%S+%s.log\n$")
      :format(#wrong + 1, id), result.stderr)
    local records = 0
    for text in place:ok({ "logs", "demo", "--json" }):gmatch("[^\n]+") do
      records = records + 1
      assert.equal("good " .. records .. "\n", json.decode(text).text)
    end
    assert.equal(#wrong, records)
    assert.equal("good " .. #wrong .. "\n", place:ok({ "logs", "demo", "-n", "1" }))
    assert.equal("good " .. #wrong .. "\n", json.decode(place:ok({ "logs", "demo", "-n", "1", "--json" })).text)
  end))

  it("of which nothing is left is no crash", within(function(place)
    local id = make(place)
    for _, text in ipairs({ "", "\0", ("x"):rep(100000), ("\255\n"):rep(1000) }) do
      place:write(LOGS .. id .. ".log", text)
      local result = place:run({ "logs", "demo" })
      assert.same({ 0, "" }, { result.exit_code, result.stdout })
      assert.equal(text ~= "", result.stderr:find("1 place of the log had no record") ~= nil)
    end
  end))
end)

describe("what is no log", function()
  it("is named, holds up nobody, and commands work without", within(function(place)
    local id = make(place)
    for kind, make_it in pairs({ FIFO = "mkfifo", folder = "mkdir" }) do
      for _, name in ipairs({ id .. ".log", id .. ".log.1" }) do
        place:run({}, { argv = { "sh", "-c", 'rm -rf "$0"*', LOGS .. id .. ".log" } })
        place:run({}, { argv = { make_it, LOGS .. name } })
        assert.equal("fine\n", place:ok({ "exec", "demo", "echo fine" }))
        local result = place:run({ "logs", "demo" })
        assert.equal(1, result.exit_code)
        assert.match(("the log %%S+%s is no file but a %s"):format(name:gsub("%.", "%%."), kind), result.stderr)
        place:ok({ "logs" })
        place:ok({ "top", "--once" })
      end
    end
    place:run({}, { argv = { "sh", "-c", 'rm -rf "$0"*; truncate -s 1T "$0"', LOGS .. id .. ".log" } })
    local result = place:run({ "logs", "demo" })
    assert.equal(1, result.exit_code)
    assert.match("is larger than any that is written here", result.stderr)
    place:ok({ "logs" })
  end))
end)

describe("a number of lines", function()
  it("is whole and not negative", within(function(place)
    make(place)
    for _, text in ipairs({ "-1", "1e300", "1.5", "nan", "inf", "0x10", "", "9999999999999999" }) do
      local result = place:run({ "logs", "demo", "-n", text })
      assert.equal(2, result.exit_code, text)
      assert.match("option %-n: expected a whole number, got '" .. text:gsub("%p", "%%%0") .. "'", result.stderr)
    end
    assert.equal("", place:ok({ "logs", "demo", "-n", "0" }))
    assert.match("done", place:ok({ "logs", "demo", "-n", "999999999999999" }))
    assert.match("at least 1, got '0'", place:run({ "provider", "test", "local", "--jobs", "0" }).stderr)
    assert.match("a whole number, got '%-5'", place:run({ "attach", "demo", "x", "--offset", "-5" }).stderr)
  end))
end)
