--- luarium repl: from a pipe, and on a real terminal.
local program = require "spec.support.program"
local tmux = require "spec.support.tmux"

local within = program.within(60)

local function feed(place, text)
  return place:run({ "repl" }, { stdin = text })
end

describe("luarium repl from a pipe", function()
  it("shows what lines return, keeps globals, and waits for whole statements", within(function(place)
    local result = feed(place, "x = 2\nx + 40, \"a\\27[31m\"\nfor i = 1, 2 do\n  print(i * x)\nend\n= _\n{ 'b', a = {} }")
    assert.equal("", result.stderr)
    assert.equal(0, result.exit_code)
    assert.equal("42  \"a\\x1b[31m\"\n2\n4\n42\n{ \"b\", a = {} }\n", result.stdout)
  end))

  it("runs calls that wait, and lists the sandboxes that are left", within(function(place)
    local result = feed(place, "box = luarium.create {}\nbox:exec('echo hi').stdout\n")
    assert.equal("\"hi\\n\"\n", result.stdout)
    assert.match("still there: sbx_%w+\n", result.stderr)
    assert.equal(1, place:records())
    result = feed(place, ("luarium.reconnect('%s'):destroy()\n"):format(result.stderr:match("sbx_%w+")))
    assert.same({ 0, "" }, { result.exit_code, result.stderr })
    assert.equal(0, place:records())
  end))

  it("ends at the first failure, with its code", within(function(place)
    local result = feed(place, "print(1)\nerror('broken')\nprint(2)\n")
    assert.same({ 1, "1\n" }, { result.exit_code, result.stdout })
    assert.match("broken", result.stderr)
    assert.equal(7, feed(place, "os.exit(7)\nprint(2)\n").exit_code)
    result = feed(place, "for i = 1, 2 do")
    assert.equal(1, result.exit_code)
    assert.match("ended within a statement", result.stderr)
    result = feed(place, "x = = 2\n")
    assert.equal(1, result.exit_code)
    assert.match("line:1: unexpected symbol", result.stderr)
  end))

  it("shows no secret", within(function(place)
    place.env.TOKEN = "hunter2-hunter2"
    local result = feed(place, "s = luarium.env('TOKEN')\n"
      .. "luarium.with({}, function(box) return box:exec('echo $T', { env = { T = s } }).stdout end)\n")
    assert.equal("", result.stderr)
    assert.not_match("hunter2", result.stdout)
    assert.equal(0, result.exit_code)
  end))

  it("refuses a statement without an end", within(function(place)
    local result = feed(place, ("x"):rep(6000000))
    assert.equal(1, result.exit_code)
    assert.match("a statement has at most 4194304 bytes", result.stderr)
  end))

  it("takes a statement of very many lines, and tells a fault within it", program.within(90)(function(place)
    local lines = {}
    for i = 1, 60000 do
      lines[i] = ("  %d, -- line"):format(i)
    end
    local rows = table.concat(lines, "\n")
    local result = feed(place, "t = {\n" .. rows .. "\n}\n#t\n")
    assert.same({ "", "60000\n" }, { result.stderr, result.stdout })
    result = feed(place, "t = {\n" .. rows .. "\n = = \n")
    assert.same({ 1, "" }, { result.exit_code, result.stdout })
    assert.match("line:60002: unexpected symbol", result.stderr)
  end))

  it("goes on with a value that cannot be shown", within(function(place)
    local result = feed(place, "setmetatable({}, { __tostring = function() error('broken') end })\n_ ~= nil\n"
      .. "setmetatable({}, { __tostring = function() luarium.sleep(0.01) return 'waited' end })\n"
      .. "setmetatable({ a = 1 }, { __index = function(t) return t end, __pairs = error })\n")
    assert.same({ "", "<table: its __tostring failed: line:1: broken>\ntrue\nwaited\n{ a = 1 }\n" },
      { result.stderr, result.stdout })
  end))

  it("cuts what is long or holds itself", within(function(place)
    local result = feed(place, "t = {}\nt.t = t\nt\n#('x'):rep(9000), ('x'):rep(9000)\n")
    assert.match("^{ t = {... itself} }\n9000  \"x+\" ... %(9000 bytes%)\n$", result.stdout)
    result = feed(place, "t = {}\nfor i = 1, 5000 do t[i] = i end\nt\n")
    assert.match("%(4900 more%)", result.stdout)
  end))
end)

describe("luarium repl on a terminal", function()
  it("goes on after failures and Ctrl-C, and leaves with Ctrl-D", within(function(place)
    tmux.with(place, 80, 24, function(screen)
      screen:enter("luarium repl; echo code=$?")
      screen:see("Ctrl%-D leaves.\n>\n")
      screen:enter("error('broken')")
      screen:see("luarium: .-broken")
      screen:enter("luarium.with({}, function(box) print('at work'); box:exec('sleep 1000') end)")
      screen:see("\nat work\n")
      screen:keys("C-c")
      screen:see("interrupted by SIGINT\n")
      screen:enter("setmetatable({}, { __tostring = function() print('to show'); while true do end end })")
      screen:see("\nto show\n")
      screen:keys("C-c")
      screen:see("\nto show\n[^>]*interrupted by SIGINT\n>\n")
      screen:enter("for i = 1,")
      screen:see("\n>>\n")
      screen:keys("C-c")
      screen:see("\n>> %^C\n>\n")
      screen:enter("6 * 7")
      screen:see("\n42\n>\n")
      screen:keys("C-d")
      screen:see("code=0")
    end)
    assert.equal(0, place:records())
  end))

  it("lets tasks work while nothing is typed", within(function(place)
    tmux.with(place, 80, 24, function(screen)
      screen:enter("luarium repl")
      screen:see("\n>\n")
      screen:enter("t = luarium.task.start(function() luarium.task.sleep(0.2); print('from the' .. ' task') end)")
      screen:see("from the task\n")
      screen:enter("t:done()")
      screen:see("\ntrue\n")
    end)
  end))
end)
