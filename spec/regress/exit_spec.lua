--- os.exit where it was lost, and ends of programs that were crashes.
local program = require "spec.support.program"

local within = program.within(60)

local function run(place, text, words)
  place:write("script.lua", text)
  return place:run({ "run", "-q", "script.lua", table.unpack(words or {}) })
end

describe("os.exit", function()
  for what, text in pairs({
    ["of an event at work"] = [[
      luarium.on("sandbox.exec", function(record) if record.phase == "start" then os.exit(7) end end)
      local box <close> = luarium.create()
      box:exec("sleep 60")
      error("it went on")]],
    ["of the last event"] = [[
      luarium.on("sandbox.destroy", function(record) if record.phase == "stop" then os.exit(7) end end)
      luarium.create():destroy()]],
    ["of the event that brings a sandbox"] = [[
      luarium.on("sandbox.create", function(record) if record.phase == "stop" then os.exit(7) end end)
      local box <close> = luarium.create()
      luarium.sleep(60)]],
    ["of the end of the run"] = [[
      luarium.on("run", function(record) if record.phase == "stop" then os.exit(7) end end)]],
    ["of output, in a task"] = [[
      luarium.on("output", function() os.exit(7) end)
      luarium.all({ function() luarium.with({}, function(box) box:exec("echo x; sleep 60") end) end,
        function() luarium.sleep(60) end })]],
    ["that is caught at the end"] = [[pcall(os.exit, 7)]],
    ["that is caught more than once"] = [[pcall(os.exit, 7) pcall(os.exit, 8) luarium.sleep(60)]],
  }) do
    it("ends the program: " .. what, within(function(place)
      local result = run(place, text, { "--events", "events" })
      assert.same({ 7, "", 0 }, { result.exit_code, result.stderr, place:records() })
    end))
  end

  it("does the same in the repl, and refuses what is no code", within(function(place)
    local lines = [[
      luarium.on("sandbox.create", function(record) if record.phase == "stop" then os.exit(7) end end)
      luarium.create():destroy()
      print("went on")]]
    local result = place:run({ "repl" }, { stdin = lines })
    assert.equal(7, result.exit_code)
    assert.not_match("went on", result.stdout)
    local refused = run(place, "os.exit('x')")
    assert.equal(1, refused.exit_code)
    assert.match("os.exit: expected true, false or a whole number, got x", refused.stderr)
  end))
end)

describe("an error like that of os.exit", function()
  it("without a code is an error", within(function(place)
    for _, data in ipairs({ "nil", "7", "{}", "{ code = 'x' }" }) do
      local text = ("error(luarium.error.new('cancelled', 'made up', { name = 'EXIT', data = %s }), 0)"):format(data)
      local result = run(place, text)
      assert.equal(1, result.exit_code)
      assert.match("^luarium: made up", result.stderr)
      assert.not_match("attempt", result.stderr)
      result = place:run({ "repl" }, { stdin = text .. "\n" })
      assert.equal(1, result.exit_code)
      assert.match("luarium: made up", result.stderr)
    end
  end))
end)
