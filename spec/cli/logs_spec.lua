--- luarium logs: what sandboxes wrote, while they are there and after.
local json = require "luarium.json"
local program = require "spec.support.program"
local saving = require "spec.support.saving_provider"
local task = require "luarium.task"
local tmux = require "spec.support.tmux"

local TIME = "%d%d:%d%d:%d%d"

local within = program.within(60)

local function make(place)
  return (place:ok({ "create", "--name", "demo" }):match("sbx_%w+"))
end

describe("luarium logs", function()
  it("shows output and operations, the last lines, and the same for machines", within(function(place)
    local id = make(place)
    place:run({ "exec", "demo", "--", "sh", "-c", "echo one; echo two; printf three; exit 3" })
    local expected = ("^--- %s create done, [%%d.]+s\n--- %s exec: [^\n]+\none\ntwo\nthree\n"
      .. "--- %s exec exited with 3, [%%d.]+s\n$"):format(TIME, TIME, TIME)
    assert.match(expected, place:ok({ "logs", "demo" }))
    assert.match(expected, place:ok({ "logs", id:sub(1, 20) }))
    assert.match("^three\n[^\n]+\n$", place:ok({ "logs", "demo", "-n", "2" }))
    local events = {}
    for line in place:ok({ "logs", "demo", "--json" }):gmatch("[^\n]+") do
      local record = json.decode(line)
      events[#events + 1] = record.stream and record.stream .. "=" .. record.text or record.event .. " " .. record.phase
    end
    assert.equal("sandbox.create start, sandbox.create stop, sandbox.exec start, sandbox.exec stop",
      (table.concat(events, ", "):gsub("stdout=[^,]*, ", "")))
  end))

  it("is kept when the sandbox is gone, private and without secrets", within(function(place)
    place.env.TOKEN = "hunter2-hunter2"
    place:write("leak.lua", [[
      luarium.with({ name = "leak" }, function(box)
        box:exec("echo the $T; sleep 0; echo is out; printf hunter2-", { env = { T = luarium.env("TOKEN") } })
      end)]])
    place:ok({ "run", "leak.lua" })
    assert.equal(0, place:records())
    local listed = place:run({}, { argv = { "sh", "-c", "find . -name 'sbx_*.log'" } }).stdout
    local id = listed:match("(sbx_%w+)%.log\n$")
    local text = place:ok({ "logs", id })
    assert.match("is out\n.*destroy done", text)
    assert.match("the %[redacted TOKEN%]\nis out\nhunter2%-\n", text) -- the end only looks like a beginning
    assert.not_match("hunter2%-hunter2", text)
    assert.equal("700\n", place:run({}, { argv = { "stat", "-c", "%a", listed:match("^(.*)/sbx_") } }).stdout)
    assert.match("there is no sandbox 'other'", place:run({ "logs", "other" }).stderr)
  end))

  it("of a name that several had is that of the last, and says so", within(function(place)
    local id
    for _, word in ipairs({ "first", "second" }) do
      id = place:ok({ "create", "--name", "again" }):gsub("\n", "")
      place:ok({ "exec", "again", "echo " .. word })
      place:ok({ "destroy", "again" })
    end
    local result = place:run({ "logs", "again" })
    assert.matches("second\n", result.stdout)
    assert.falsy(result.stdout:find("first", 1, true), result.stdout)
    assert.equal(("luarium: %s, the last of 2 called 'again'; `luarium logs` lists them\n"):format(id), result.stderr)
    assert.matches("fits 2 logs: sbx_", place:run({ "logs", id:sub(1, 9) }).stderr, 1, true)
  end))

  it("of a fork begins with the fork, and is found by its name when that is gone", within(function(place)
    saving.write(place)
    place.env.LUARIUM_PROVIDER = "saving"
    place:ok({ "create", "--name", "demo" })
    local id = place:ok({ "fork", "demo", "--name", "copy" }):gsub("\n", "")
    place:ok({ "exec", "copy", "echo in the copy" })
    place:ok({ "destroy", "demo", "copy" })
    assert.matches("^%-%-%- %S+ fork done, .-exec: echo in the copy\nin the copy\n", place:ok({ "logs", "copy" }))
    assert.matches(id .. " +copy +gone", place:ok({ "logs" }))
    assert.matches("fork done", place:ok({ "logs", "demo" }))
  end))

  it("that is followed is left with Ctrl-C, without a word", within(function(place)
    place:ok({ "create", "--name", "demo" })
    place:ok({ "exec", "demo", "echo here" })
    local follower = place:spawn({ "logs", "demo", "-f" }, { merge = true })
    program.read_until(follower, "here\n")
    assert(follower:kill("INT"))
    assert.equal("", program.read_all(follower))
    assert.equal(130, task.await(follower:wait()).exit_code)
    place:ok({ "destroy", "demo" })
  end))

  it("follows until the sandbox is destroyed, through a file that was put aside", within(function(place)
    make(place)
    local follower = place:spawn({ "logs", "demo", "-f" })
    place:ok({ "exec", "demo", "--", "seq", "-f", "line %.0f of what is written to the log", "1", "100000" })
    place:ok({ "destroy", "demo" })
    local text = program.read_all(follower)
    local count = select(2, text:gsub("\nline %d+ of", ""))
    assert.equal(100000, count)
    assert.match("destroy done", text)
  end))

  it("passes over what is no record", within(function(place)
    local id = make(place)
    local path = place:run({}, { argv = { "sh", "-c", "find . -name " .. id .. ".log" } }).stdout:gsub("\n", "")
    local whole = place:read(path)
    place:write(path, "garbage\n{\"time\":1,\"bytes\":-5,\"stream\":\"stdout\"}\n{\"time\":1,\"stream\":\"x\",\"text\":\"y\"}\n"
      .. "{\"time\":\"x\",\"event\":5}\n" .. whole .. "{\"time\":1,\"stream\":\"stdout\",\"bytes\":9}\nabc")
    assert.match("^%-%-%- " .. TIME .. " create done, [%d.]+s\n$", place:ok({ "logs", id }))
  end))

  it("ends at once for a sandbox that is gone", within(function(place)
    local id = make(place)
    place:ok({ "destroy", "demo" })
    assert.match("destroy done", place:ok({ "logs", id, "-f", "-n", "1" }))
  end))

  it("finds what is gone by its name, lists all there are, and says how commands ended", within(function(place)
    local id = make(place)
    place:run({ "exec", "demo", "--timeout", "0.1", "--", "sleep", "60" })
    place:run({ "exec", "demo", "kill -TERM $$" })
    place:ok({ "destroy", "demo" })
    local text = place:ok({ "logs", "demo" })
    assert.match("exec was stopped: its time was over, ", text)
    assert.match("exec ended by SIGTERM, ", text)
    assert.equal(text, place:ok({ "logs", id:sub(-6) }))
    assert.match("^ID +NAME +STATUS +WRITTEN\n" .. id .. "  demo  gone    %d+%-%d+%-%d+ [%d:]+\n$", place:ok({ "logs" }))
    assert.equal("luarium: `luarium logs BOX` shows one, with -n 20 the last lines of it\n", place:run({ "logs" }).stderr)
    local facts = require("luarium.json").decode_plain(place:ok({ "logs", "--json" }))
    assert.same({ id, "demo", "gone" }, { facts[1].id, facts[1].name, facts[1].status })
  end))

  it("sends no control character to a terminal", within(function(place)
    make(place)
    place:ok({ "exec", "demo", "--", "printf", "\\033[31mred\\033]0;title\\007\\n" })
    tmux.with(place, 200, 50, function(terminal)
      terminal:enter("luarium logs demo -n 2")
      terminal:see("\n\\x1b%[31mred\\x1b%]0;title\\x07\n")
    end)
  end))
end)
