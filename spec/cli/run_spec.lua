local json = require "luarium.json"
local marked = require "spec.support.marked"
local program = require "spec.support.program"
local task = require "luarium.task"

local within = program.within(30)

--- Runs a script of this text.
local function script(place, text, words, more)
  place:write("script.lua", text)
  local all = { "run", "script.lua" }
  for _, word in ipairs(words or {}) do
    all[#all + 1] = word
  end
  return place:run(all, more)
end

local declared = [[
return {
  description = "Does something.",
  inputs = {
    name = { type = "text", required = true, about = "whose" },
    count = { type = "integer", default = 3 },
    ratio = "number", on = "boolean", list = "list", map = "table", token = "secret",
    pair = { type = "list", default = { "x", "y" } },
  },
  run = function(input, run)
    print(input.name, input.count, math.type(input.count), input.ratio, input.on,
      input.list and table.concat(input.list, "+"), input.map and input.map.a, input.token, run.out)
  end,
}]]

describe("luarium run", function()
  it("runs plain statements, with NAME=VALUE as input and results on standard output", within(function(place)
    local result = script(place, 'print(input.a, (...).b, select("#", ...))', { "a=1", "b=x=y" })
    assert.same({ 0, "1\tx=y\t2\n", "" }, { result.exit_code, result.stdout, result.stderr })
  end))

  it("gives a declared script its inputs with their types", within(function(place)
    place.env.TOKEN = "t0ken-t0ken"
    local result = script(place, declared, { "name=n", "count=5", "ratio=0.5", "on=yes", "list=a", "list=b,c",
      'map={"a":"m"}', "token=env:TOKEN", "--out", "there" })
    assert.equal("n\t5\tinteger\t0.5\ttrue\ta+b,c\tm\t[secret TOKEN]\tthere\n", result.stdout)
    place:write("in.json", '{"name": "from file", "list": ["x", "y"], "count": 7}')
    result = script(place, declared, { "--input", "in.json", "name=n" })
    assert.equal("n\t7\tinteger\tnil\tnil\tx+y\tnil\tnil\tluarium-out\n", result.stdout)
  end))

  it("takes times and secrets in a file as they are written on the command line", within(function(place)
    place.env.TOKEN = "t0ken-t0ken"
    local text = [[return { inputs = { limit = "seconds", token = "secret" }, run = function(input)
      print(input.limit, input.token)
    end }]]
    place:write("in.json", '{"limit": "1.5h", "token": "env:TOKEN"}')
    assert.equal("5400.0\t[secret TOKEN]\n", script(place, text, { "-i", "in.json" }).stdout)
    place:write("in.json", '{"limit": 90}')
    assert.equal("90\tnil\n", script(place, text, { "-i", "in.json" }).stdout)
    place:write("in.json", '{"limit": "soon", "token": "t0ken-t0ken"}')
    local said = script(place, text, { "-i", "in.json" }).stderr
    assert.matches("'limit': expected seconds, or such as 90s, 30m, 1.5h, 2d, got 'soon'", said, 1, true)
    assert.matches("'token': expected env:VARIABLE, and the variable set, got something else", said, 1, true)
    assert.falsy(said:find("t0ken", 1, true), said)
  end))

  it("lists every fault of the inputs at once", within(function(place)
    local result = script(place, declared, { "nmae=x", "count=1.5", "ratio=much", "on=maybe", "map=[", "token=s3cret" })
    assert.equal(2, result.exit_code)
    for _, fault in ipairs({ "unknown input 'nmae': did you mean 'name'?", "'name' is missing: expected text (whose)",
      "'count': expected a whole number, got '1.5'", "'ratio': expected a number, got 'much'",
      "'on': expected true or false, got 'maybe'", "'map': expected a JSON object, got '['",
      "'token': expected env:VARIABLE, and the variable set, got something else" }) do
      assert.truthy(result.stderr:find(fault, 1, true), fault .. "\n" .. result.stderr)
    end
    assert.falsy(result.stderr:find("s3cret", 1, true))
    assert.matches("'token': expected env:VARIABLE, and the variable set, got NO_SUCH_VARIABLE, which is not set",
      script(place, declared, { "name=n", "token=env:NO_SUCH_VARIABLE" }).stderr, 1, true)
    place:write("in.json", '["name", 3]')
    assert.truthy(script(place, declared, { "-i", "in.json" }).stderr:find("in.json: expected a JSON object\n", 1, true))
    place:write("in.json", '{"name": 3}')
    assert.truthy(script(place, declared, { "-i", "in.json" }).stderr:find("'name': expected text, got 3\n", 1, true))
    result = script(place, declared, { "nmae=x", "token=s3cret" })
    assert.truthy(result.stderr:find("hint: try `luarium run script.lua --help`", 1, true))
  end))

  it("shows what a script declares without running it", within(function(place)
    local text = script(place, declared, { "--help" }).stdout
    assert.truthy(text:find("Does something.", 1, true) and text:find("\n  name +text +whose %(required%)\n")
      and text:find("\n  count +integer +%(default: 3%)\n")
      and text:find('\n  pair +list +%(default: %["x","y"%]%)\n')
      and text:find("\n  token +secret +%(as env:VARIABLE%)\n"), text)
    text = script(place, [[
      local luarium = require "luarium"
      io.open("touched", "w"):close()
      os.execute("touch touched")
      luarium.configure { providers = { x = { "local", key = luarium.env "KEY" } } }
      local box = luarium.create()
      for _, name in ipairs(box:ls(".")) do box:remove(name) end
      return { inputs = { a = "text" }, run = function() end }
    ]], { "--help" }).stdout
    assert.truthy(text:find("\n  a  text\n", 1, true), text)
    assert.is_nil((place:read("touched")))
    assert.equal(0, place:records())
    assert.truthy(script(place, "while true do end", { "--help" }).stdout:find("not known: its statements compute", 1, true))
  end))

  it("names script and line of errors of every type, in one line", within(function(place)
    local cases = {
      { "local t\nprint(t.x)", "script.lua:2: attempt to index a nil value (local 't')" },
      { "x = = 1", "script.lua:1: unexpected symbol near '='" },
      { "\nerror('plain', 0)", "plain (script.lua:2)" },
      { "error({ code = 3, why = 'so' })", "the script raised { code = 3, why = \"so\" } (script.lua:1)" },
      { "error({ message = 'a message' })", "a message (script.lua:1)" },
      { "error(setmetatable({}, { __tostring = function() return 'special' end }))", "the script raised special" },
      { "error()", "the script raised nil (script.lua:1)" },
      { "\n\nluarium.create { imge = 'x' }", "create: unknown option 'imge': did you mean 'image'? (script.lua:3)" },
      { "luarium.scope(function(s)\ns:spawn(function()\nluarium.sleep(0) error('in a task')\nend)\nend)",
        "script.lua:3: in a task" },
      { "return { inputs = { x = 'strnig' }, run = print }", "script.lua: inputs.x: expected a type" },
    }
    for _, case in ipairs(cases) do
      local result = script(place, case[1])
      assert.equal(1, result.exit_code, case[1])
      assert.truthy(result.stderr:find("luarium: " .. case[2], 1, true), result.stderr)
      assert.falsy(result.stderr:find("[C]", 1, true), result.stderr)
    end
    local in_task = "luarium.map({ 1 }, function() error('deep') end)"
    assert.truthy(script(place, in_task).stderr:find("hint: run it again with -v", 1, true))
    assert.falsy(script(place, in_task, { "-v" }).stderr:find("hint:", 1, true))
    assert.falsy(script(place, "return { inputs = { x = 'strnig' }, run = print }").stderr:find("hint:", 1, true))
    local missing = script(place, "local box <close> = luarium.create() box:download('no', 'here')").stderr
    assert.truthy(missing:find("hint: check the name and the path\n", 1, true), missing)
    local result = script(place, "local function f() error('deep') end\nf()", { "-v" })
    assert.truthy(result.stderr:find("stack traceback:\n", 1, true) and result.stderr:find("script.lua:2:", 1, true),
      result.stderr)
    result = script(place, string.dump(function() end))
    assert.truthy(result.stderr:find("expected Lua text", 1, true), result.stderr)
    result = place:run({ "run", "missing.lua" })
    assert.truthy(result.stderr:find("the script missing.lua cannot be read: No such file", 1, true), result.stderr)
    result = place:run({ "run", "." })
    assert.truthy(result.stderr:find("the script . cannot be read: Is a directory", 1, true), result.stderr)
    place:write("script.lua", "")
    for words, fault in pairs({
      [{ "run", "script.lua", "-i", "." }] = "the input file . cannot be read: Is a directory\n",
      [{ "run", "script.lua", "-i", "none" }] = "the input file none cannot be read: No such file or directory\n",
      [{ "--config", ".", "ls" }] = "the configuration file . cannot be read: Is a directory\n",
      [{ "--config", "none", "ls" }] = "the configuration file none cannot be read: No such file or directory\n",
      [{ "--state-dir", "script.lua", "create" }] = "\nhint: something else of that name is in the way\n",
    }) do
      result = place:run(words)
      assert.truthy(result.stderr:find(fault, 1, true), result.stderr)
    end
  end))

  it("takes a script from standard input, with a #! line", within(function(place)
    assert.equal("3\n", place:ok({ "run", "-" }, { stdin = "#!/usr/bin/env luarium\nprint(1 + 2)" }))
  end))

  it("finds modules beside the script, whose generators may wait too", within(function(place)
    place:write("sub/helper.lua", [[
      local M = {}
      function M.numbers(n)
        return coroutine.wrap(function()
          for i = 1, n do luarium.sleep(0.001) coroutine.yield(i) end
        end)
      end
      return M]])
    place:write("sub/main.lua", "for i in require('helper').numbers(3) do print(i) end")
    assert.equal("1\n2\n3\n", place:ok({ "run", "sub/main.lua" }))
  end))

  it("keeps the script's globals to itself", within(function(place)
    local result = script(place, "string_ = string; print = nil; x = 1; luarium.sleep(0); return { run = 1 }")
    assert.equal(0, result.exit_code, result.stderr)
  end))

  it("runs cleanup on os.exit and takes its code", within(function(place)
    local result = script(place, [[
      local box <close> = luarium.create { name = "b" }
      pcall(os.exit, 7)
      luarium.sleep(60)]], { "-q" })
    assert.same({ 7, "", 0 }, { result.exit_code, result.stderr, place:records() })
  end))

  it("stops a script that computes for ever, and destroys its sandboxes", within(function(place)
    local result = script(place, "local box <close> = luarium.create()\nwhile true do\n  pcall(function() while true do end"
      .. " end)\nend", { "--busy-limit", "0.2" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("script.lua:%d: the script computed for 0.2"), result.stderr)
    assert.equal(0, place:records())
  end))

  it("runs its cleanup although nobody reads its output any more", within(function(place)
    place:write("script.lua", "local box <close> = luarium.create()\nfor i = 1, 200000 do print(i) end")
    local shell = { "sh", "-c", '"$0" run -q script.lua | head -n 1', place.program }
    local result = assert(task.await(require("luarium.native").process.run(place:options({}, { argv = shell }))))
    assert.same({ "1\n", 0 }, { result.stdout, place:records() })
  end))

  it("reports a deadlock instead of hanging", within(function(place)
    local result = script(place, "luarium.task.event('what never comes'):wait()")
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("deadlock", 1, true) and result.stderr:find("what never comes", 1, true),
      result.stderr)
  end))

  it("shows one plain line per operation without a terminal, nothing with -q", within(function(place)
    local text = [[
      local box <close> = luarium.create { name = "b" }
      box:exec("echo a\27[31mb; exit 3\nsecond line")
      pcall(box.read_file, box, "missing")]]
    local result = script(place, text)
    assert.equal("", result.stdout)
    local lines = {}
    for line in result.stderr:gmatch("[^\n]+") do
      lines[#lines + 1] = line:gsub("^%d%d:%d%d:%d%d ", ""):gsub("%d+%.%d+s$", "T")
    end
    assert.same({ "b create ok T", "b exec echo a\\x1b[31mb; exit 3 ... exit 3 T" }, { lines[1], lines[2] })
    assert.truthy(lines[3]:find("^b read_file missing .*No such file.* T$"), lines[3])
    assert.equal("b destroy ok T", lines[4])
    assert.equal("", script(place, text, { "-q" }).stderr)
    result = script(place, [[
      luarium.create({ image = "ignored" }):destroy()
      luarium.task.start(error, "a part of it")
      luarium.sleep(0)]], { "-q" })
    assert.matches("^%d%d:%d%d:%d%d error nobody was waiting at the failed end of task %d+: a part of it\n$", result.stderr)
  end))

  it("ends with what the script returned, for machines", within(function(place)
    local function last_line(text)
      return json.decode(text:match("([^\n]*)\n$"))
    end
    local record = last_line(script(place, "return { run = function() return { n = 1, list = { 'a' } } end }",
      { "--json" }).stdout)
    assert.same({ event = "result", result = { n = 1, list = { "a" } } }, record)
    local result = script(place, "return print", { "--json" })
    assert.equal(0, result.exit_code)
    assert.equal("run", last_line(result.stdout).event)
  end))

  it("writes events as JSON lines, to standard output or a file", within(function(place)
    local text = 'local box <close> = luarium.create { name = "b" } box:exec("echo hi") print("aside")'
    local result = script(place, text, { "--json", "--events", "events" })
    assert.equal("aside\n", result.stderr)
    assert.equal(result.stdout, place:read("events"))
    local seen = {}
    for line in result.stdout:gmatch("[^\n]+") do
      local record = json.decode(line)
      seen[#seen + 1] = record.event .. (record.phase and ":" .. record.phase or "")
    end
    assert.same({ "run:start", "sandbox.create:start", "sandbox.create:stop", "sandbox.exec:start", "output",
      "sandbox.exec:stop", "sandbox.destroy:start", "sandbox.destroy:stop", "run:stop" }, seen)
  end))

  it("fails when what it prints cannot be written", within(function(place)
    place:write("script.lua", "print('lost') for i = 1, 100000 do print(i) end") -- more than a pipe holds
    local result = place:run({}, { argv = { "sh", "-c", [["$0" run script.lua >/dev/full]], place.program } })
    assert.same({ 1, "luarium: standard output cannot be written: not all of it was kept\n" },
      { result.exit_code, result.stderr })
    result = place:run({}, { argv = { "bash", "-c", [["$0" run script.lua | true; exit ${PIPESTATUS[0]}]],
      place.program } })
    assert.same({ 141, "" }, { result.exit_code, result.stderr })
  end))

  it("fails when the events could not be kept, and still tells how the script failed", within(function(place)
    local incomplete = "the event file /dev/full is not complete: No space left on device"
    for text, expected in pairs({ [""] = 1, ["os.exit(0)"] = 1, ["os.exit(7)"] = 7, ["error('mine', 0)"] = 1 }) do
      local result = script(place, text, { "--events", "/dev/full" })
      assert.equal(expected, result.exit_code, text)
      assert.truthy(result.stderr:find(incomplete, 1, true), result.stderr)
      assert.equal(text:find("mine") ~= nil, result.stderr:find("mine", 1, true) ~= nil, result.stderr)
    end
  end))
end)

describe("signals", function()
  local waits = [[
    local box <close> = luarium.create { name = "b" }
    print("ready") io.stdout:flush()
    luarium.sleep(60)]]

  local function interrupt(place, text, signal, words)
    place:write("script.lua", text)
    local all = { "run", "script.lua" }
    for _, word in ipairs(words or {}) do
      all[#all + 1] = word
    end
    local process = place:spawn(all, { merge = true })
    program.read_until(process, "ready\n")
    assert(process:kill(signal))
    return process
  end

  local function ended(process)
    local text = program.read_all(process)
    local exit = assert(task.await(process:wait()))
    process:close()
    return exit.exit_code, text
  end

  for signal, code in pairs({ INT = 130, TERM = 143, HUP = 129 }) do
    it(("the first SIG%s destroys the sandboxes and ends with %d"):format(signal, code), within(function(place)
      local got, text = ended(interrupt(place, waits, signal))
      assert.equal(code, got)
      assert.truthy(text:find("interrupted by SIG" .. signal, 1, true), text)
      assert.equal(0, place:records())
    end))
  end

  it("the second leaves at once and says what is left", within(function(place)
    local process = interrupt(place, [[
      local box = luarium.create { name = "b" }
      local slow <close> = setmetatable({}, { __close = function()
        luarium.task.shield(60, luarium.sleep, 60)
      end })
      print("ready") io.stdout:flush()
      luarium.sleep(60)]], "INT")
    program.read_until(process, "once more leaves at once\n")
    assert(process:kill("INT"))
    local code, text = ended(process)
    assert.equal(130, code)
    local id = text:match("left behind: (sbx_%w+)\n")
    assert.truthy(id and text:find("`luarium destroy " .. id .. "` removes it", 1, true), text)
    place:ok({ "destroy", id })
  end))

  it("reach a script that computes, also one that catches every error", within(function(place)
    local code, text = ended(interrupt(place, [[
      local box <close> = luarium.create { name = "b" }
      print("ready") io.stdout:flush()
      while true do pcall(function() while true do end end) end]], "INT", { "--busy-limit", "0" }))
    assert.equal(130, code, text)
    assert.equal(0, place:records())
  end))

  it("end a program that is stuck in a function of C, the third time", within(function(place)
    local process = interrupt(place, 'print("ready") io.stdout:flush()\n'
      .. 'string.find(("a"):rep(40), (".-"):rep(30) .. "b")', "INT")
    task.sleep(0.1) -- each one has to arrive by itself: equal signals that wait become one
    assert(process:kill("INT"))
    task.sleep(0.1)
    assert(process:kill("INT"))
    local code, text = ended(process)
    assert.equal(130, code)
    assert.truthy(text:find("stopped by force", 1, true), text)
  end))

  it("interrupt the other commands as well", within(function(place)
    place:ok({ "create", "-n", "box" })
    local word = marked.word()
    local process = place:spawn({ "exec", "box", "--", "sh", "-c", "trap '' INT; echo ready; sleep 60; :", word },
      { merge = true })
    program.read_until(process, "ready\n")
    assert.is_true(marked.count(word) > 1) -- it and luarium exec
    assert(process:kill("INT"))
    assert.equal(130, (ended(process)))
    assert.equal(0, marked.count(word))
  end))
end)
