--- `luarium logs` and jobs: their output is read from the sandbox, and told apart by name.
local json = require "luarium.json"
local program = require "spec.support.program"
local task = require "luarium.task"

local TIME = "%d%d:%d%d:%d%d"

local within = program.within(60, function(place)
  place.id = place:ok({ "create", "--name", "demo" }):match("sbx_%w+")
end)

local function start(place, key, text)
  place:ok({ "exec", "-d", "--key", key, "demo", "--", "sh", "-c", text })
end

local function wait(place, key)
  return place:run({ "attach", "demo", key })
end

describe("luarium logs --job", function()
  it("shows what a job wrote, also when others have read it, and how it is", within(function(place)
    start(place, "build", "echo one; echo two; printf three; exit 3")
    wait(place, "build")
    local expected = "^one\ntwo\nthree\n%-%-%- " .. TIME .. " job build: exit 3\n$"
    for _ = 1, 2 do
      assert.match(expected, place:ok({ "logs", "demo", "--job", "bui" }))
    end
    assert.match("^two\nthree\n%-%-%- [^\n]+\n$", place:ok({ "logs", "demo", "-j", "build", "-n", "2" }))
    assert.match("^%-%-%- [^\n]+\n$", place:ok({ "logs", "demo", "-j", "build", "-n", "0" }))
    local records = {}
    for line in place:ok({ "logs", "demo", "--job", "build", "--json" }):gmatch("[^\n]+") do
      records[#records + 1] = json.decode(line)
    end
    assert.same({ "build", "stdout", "one\ntwo\nthree" }, { records[1].job, records[1].stream, records[1].text })
    assert.same({ "build", "finished", 3 }, { records[2].job, records[2].state, records[2].exit_code })
    local result = place:run({ "logs", "demo", "--job", "biuld" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("there is no job 'biuld' in demo: did you mean 'build'?", 1, true), result.stderr)
  end))

  it("finds the last lines of much", within(function(place)
    start(place, "long", "seq 1 300000; printf end")
    wait(place, "long")
    for count, first in pairs({ [1] = "end", [2] = "300000", [3] = "299999", [200000] = "100002" }) do
      local text = place:ok({ "logs", "demo", "--job", "long", "-n", tostring(count) })
      assert.equal(first, text:match("^[^\n]*"))
      assert.equal(count + 1, select(2, text:gsub("\n", "")))
    end
  end))

  it("follows several at once, each line with its job's name", within(function(place)
    start(place, "one", "printf 'begun '; while [ ! -e go ]; do sleep 0.02; done; echo first")
    start(place, "two", "echo second; while [ ! -e go ]; do sleep 0.02; done; printf last >&2")
    local follower = place:spawn({ "logs", "demo", "--jobs", "-f" })
    program.read_until(follower, "%[two%] second\n") -- live: both still run
    place:ok({ "exec", "demo", "touch go" })
    local text = program.read_all(follower)
    assert.match("%[one%] begun first\n", text)
    assert.match("%[two%] last\n%-%-%- " .. TIME .. " job two: exit 0\n", text)
    assert.match("%-%-%- " .. TIME .. " job one: exit 0\n", text)
    assert.equal(0, task.await(follower:wait()).exit_code)
  end))

  it("needs a sandbox, and one of the two options", within(function(place)
    for _, case in ipairs({
      { { "logs", "--jobs" }, "need the sandbox" }, { { "logs", "--job", "x" }, "need the sandbox" },
      { { "logs", "demo", "--job", "x", "--jobs" }, "not both" },
    }) do
      local result = place:run(case[1])
      assert.equal(2, result.exit_code)
      assert.truthy(result.stderr:find(case[2], 1, true), result.stderr)
    end
    start(place, "build", "true")
    assert.match("^build\t", place:ok({ "__complete", "--", "logs", "demo", "--job", "b" }))
  end))
end)

describe("the log of a sandbox with jobs", function()
  it("names what scripts have followed, is not written by those who only look, and is what is left",
    within(function(place)
    start(place, "other", "echo seen by attach")
    wait(place, "other")
    place:ok({ "logs", "demo", "--jobs", "-f" })
    place:write("follow.lua", ([[
      local box = luarium.reconnect(%q)
      local one = box:job("printf 'half '; while [ ! -e go ]; do sleep 0.02; done; echo line",
        { key = "one", wait = 0 })
      local two = box:job("echo whole; touch go", { key = "two", wait = 0 })
      luarium.all {
        function() one:follow() end,
        function() two:follow() end,
      }
      box:job("true", { key = "two-more", wait = 20 }):kill()
      luarium.try(box.job, box, "false", { key = "one" })]]):format(place.id))
    place:ok({ "run", "-q", "follow.lua" })
    local result = place:run({ "logs", "demo" })
    for _, line in ipairs({ "%[one%] half line", "%[two%] whole", TIME .. " job one started, [%d.]+s",
      TIME .. " job two%-more exited with 0, [%d.]+s", TIME .. " job kill two%-more done, [%d.]+s",
      TIME .. " job one failed: 'one' was started with another command" }) do
      assert.match("\n[- ]*" .. line, result.stdout)
    end
    assert.falsy(result.stdout:find("\nseen by attach", 1, true), result.stdout)
    assert.equal("luarium: what its jobs write is in the sandbox: `luarium logs demo --jobs` shows it\n", result.stderr)
    place:ok({ "destroy", "demo" })
    local text = place:ok({ "logs", "demo", "--job", "two" })
    assert.match("^%-%-%- [^\n]* job two: [^\n]+\n", text)
    assert.match("\nwhole\n", text)
    assert.falsy(text:find("half", 1, true) or text:find("more", 1, true), text)
  end))
end)
