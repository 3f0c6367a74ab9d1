--- `luarium exec --detach`, `luarium jobs` and `luarium attach`.
local compat = require "luarium.compat"
local json = require "luarium.json"
local program = require "spec.support.program"
local tmux = require "spec.support.tmux"
local until_true = require "spec.support.until_true"

local within = program.within(60, function(place)
  place:ok({ "create", "--name", "demo" })
end)

describe("luarium exec --detach", function()
  it("prints the key, and attach shows the output and passes the exit code on", within(function(place)
    assert.equal("build\n", place:ok({ "exec", "-d", "--key", "build", "-e", "A=b", "demo", "--", "sh", "-c",
      "echo out $A; echo err >&2; sleep 0.2; echo end; exit 7" }))
    for _, word in ipairs({ "build", "bui" }) do
      local result = place:run({ "attach", "demo", word })
      assert.equal(7, result.exit_code)
      assert.equal("out b\nend\n", result.stdout)
      assert.equal("err\n", result.stderr)
    end
    assert.equal("end\n", place:run({ "attach", "demo", "build", "--offset", "6" }).stdout)
    local facts = json.decode(place:run({ "attach", "--json", "demo", "build" }).stdout)
    assert.same({ 7, "out b\nend\n", "finished" }, { facts.exit_code, facts.stdout, facts.state })
  end))

  it("finds what was started under the key before", within(function(place)
    local words = { "exec", "--json", "--detach", "--key", "k", "demo", "echo x >>runs" }
    assert.is_true(json.decode(place:ok(words)).started)
    assert.is_false(json.decode(place:ok(words)).started)
    assert.equal(0, place:run({ "attach", "demo", "k" }).exit_code)
    assert.equal("x\n", place:ok({ "exec", "demo", "cat runs" }))
    local result = place:run({ "exec", "-d", "--key", "k", "demo", "true" })
    assert.equal(125, result.exit_code)
    assert.truthy(result.stderr:find("'k' was started with another command", 1, true), result.stderr)
  end))

  it("gives it standard input when asked", within(function(place)
    local key = place:ok({ "exec", "-d", "-i", "demo", "cat" }, { stdin = "for the job\n" }):gsub("\n", "")
    assert.equal("for the job\n", place:ok({ "attach", "demo", key }))
    key = place:ok({ "exec", "-d", "demo", "cat" }, { stdin = "for nobody\n" }):gsub("\n", "")
    assert.equal("", place:ok({ "attach", "demo", key }))
  end))

  it("has a time limit that outlives us", within(function(place)
    place:ok({ "exec", "-d", "--key", "k", "--timeout", "0.5", "demo", "trap '' TERM; echo begun; sleep 30" })
    local result = place:run({ "attach", "demo", "k" })
    assert.equal(124, result.exit_code)
    assert.equal("begun\n", result.stdout)
    assert.truthy(result.stderr:find("stopped by its time limit", 1, true))
  end))

  it("refuses what makes no sense", within(function(place)
    for _, case in ipairs({
      { { "exec", "--key", "k", "demo", "true" }, "--key goes with --detach" },
      { { "exec", "-d", "-t", "demo", "true" }, "no terminal" },
      { { "jobs", "demo", "--signal", "TERM" }, "--signal goes with --kill" },
    }) do
      local result = place:run(case[1])
      assert.equal(2, result.exit_code)
      assert.truthy(result.stderr:find(case[2], 1, true), result.stderr)
    end
  end))
end)

describe("luarium jobs", function()
  it("lists them, ends them, forgets them", within(function(place)
    assert.equal("", place:ok({ "jobs", "demo" }))
    place:ok({ "exec", "-d", "--key", "long", "demo", "--", "sleep", "1000" })
    place:ok({ "exec", "-d", "--key", "quick", "demo", "exit 3" })
    place:run({ "attach", "demo", "quick" })
    local text = place:ok({ "jobs", "demo" })
    assert.truthy(text:find("\nlong +running .* sleep 1000\n"), text)
    assert.truthy(text:find("\nquick +exit 3 "), text)
    local list = json.decode(place:ok({ "--json", "jobs", "demo" }))
    assert.same({ "long", "running" }, { list[1].key, list[1].state })
    local result = place:run({ "jobs", "demo", "--remove", "long" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("still runs", 1, true), result.stderr)
    place:ok({ "jobs", "demo", "--kill", "long", "--remove", "long", "--remove", "quick" })
    assert.equal("", place:ok({ "jobs", "demo" }))
  end))

  it("names the nearest for one that there is not", within(function(place)
    place:ok({ "exec", "-d", "--key", "build", "demo", "true" })
    for _, words in ipairs({ { "attach", "demo", "biuld" }, { "jobs", "demo", "--kill", "biuld" } }) do
      local result = place:run(words)
      assert.truthy(result.exit_code ~= 0)
      assert.truthy(result.stderr:find("did you mean 'build'?", 1, true), result.stderr)
    end
  end))

  it("are completed", within(function(place)
    place:ok({ "exec", "-d", "--key", "build", "demo", "true" })
    for _, words in ipairs({ { "attach", "demo", "b" }, { "jobs", "demo", "--kill", "" },
      { "jobs", "demo", "--remove=b" }, { "shell", "demo", "--attach=b" } }) do
      local text = place:ok({ "__complete", "--", compat.unpack(words) })
      assert.truthy(text:find("build\t", 1, true), text)
    end
  end))
end)

describe("luarium attach", function()
  it("leaves the job alone on Ctrl-C", within(function(place)
    place:ok({ "exec", "-d", "--key", "long", "demo", "echo begun; sleep 1000" })
    tmux.with(place, 80, 24, function(terminal)
      terminal:enter("luarium attach demo long")
      terminal:see("\nbegun\n")
      terminal:keys("C-c")
      terminal:see("luarium: left long, which goes on; `luarium attach demo long` comes back\nready>")
      terminal:enter("echo code $?")
      terminal:see("\ncode 130\n")
    end)
    assert.equal("running", json.decode(place:ok({ "--json", "jobs", "demo" }))[1].state)
  end))

  it("of one whose supervisor was killed says so", within(function(place)
    place:ok({ "exec", "-d", "--key", "k", "demo", "echo said; kill -9 $PPID; sleep 1000" })
    local result = until_true("the end is known", function()
      local attached = place:run({ "attach", "demo", "k" })
      return attached.exit_code ~= 0 and attached
    end)
    assert.equal(125, result.exit_code)
    assert.equal("said\n", result.stdout)
    assert.truthy(result.stderr:find("nobody knows how k ended: its supervisor was killed", 1, true), result.stderr)
  end))
end)
