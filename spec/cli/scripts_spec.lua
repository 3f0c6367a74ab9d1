--- The scripts that come with Luarium, run by the real program.
local json = require "luarium.json"
local native = require "luarium.native"
local program = require "spec.support.program"
local task = require "luarium.task"

local within = program.within(60)

local function script(name)
  return assert(task.await(native.fs.realpath("scripts/" .. name .. ".lua")))
end

local function sh(place, command)
  local result = place:run({}, { argv = { "sh", "-ec", command } })
  assert.equal(0, result.exit_code, command .. "\n" .. result.stdout .. result.stderr)
  return result.stdout
end

--- Repositories with one commit each.
local function repositories(place, ...)
  for _, name in ipairs({ ... }) do
    sh(place, ([[
      git init -q -b main %s && cd %s && echo hello > a.txt && git add .
      git -c user.name=spec -c user.email=spec@example.com commit -q -m first]]):format(name, name))
  end
end

local no_bwrap = require("spec.support.bwrap").missing()

describe("scripts/", function()
  it("quickstart.lua shows the first steps on every provider of this machine", within(function(place)
    for _, provider in ipairs({ "local", not no_bwrap and "bubblewrap" or nil }) do
      local text = place:ok({ "run", "-q", "--provider", provider, script("quickstart") })
      assert.equal("it says:\thello from Linux\nexit code of false:\t1\ntimed out:\ttrue\tafter printing\tbegun\n"
        .. "one line\nanother line\nsquares:\t1 4 9 16\n", text)
    end
    assert.equal(0, place:records())
  end))

  it("agent_task.lua brings home what the agent did", within(function(place)
    repositories(place, "app")
    local text = place:ok({ "run", script("agent_task"), "repo=file://" .. place.dir .. "/app", "branch=fix/it",
      'agent=cat > NEW; echo "$PROMPT" >> a.txt; echo working', "tests=grep -q 'make it so' NEW; echo tested",
      "prompt=make it so", "artifacts=*.txt", "--out", "results" })
    assert.equal("agent: ok\ntests: ok\nchanged files: 2\nresults: results/agent-task\n", text)
    local report = json.decode(place:read("results/agent-task/report.json"))
    assert.same({ "fix/it", 0, 0 }, { report.branch, report.exit_codes.agent.exit_code, report.exit_codes.tests.exit_code })
    assert.equal("hello\nmake it so\n", place:read("results/agent-task/files/a.txt"))
    assert.equal("make it so", sh(place, "cd app && git apply ../results/agent-task/diff.patch && cat NEW"))
    assert.equal(0, place:records())
  end))

  it("agent_task.lua works behind a border without network", within(function(place)
    if no_bwrap then
      pending(no_bwrap)
    end
    repositories(place, "app")
    local words = { "run", "-q", "--provider", "bubblewrap", script("agent_task"), "repo=file://" .. place.dir .. "/app",
      "prompt=x", "agent=echo new > NEW", "--out", "results" }
    local result = place:run(words)
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("mirror = true brings it from this machine", 1, true), result.stderr)
    words[#words + 1] = "mirror=true"
    assert.equal("agent: ok\ntests: not run\nchanged files: 1\nresults: results/agent-task\n", place:ok(words))
    assert.equal(0, place:records())
  end))

  it("agent_task.lua hands keys to the agent only, and writes them nowhere", within(function(place)
    repositories(place, "app")
    place.env.AGENT_KEY = "k3y-for-the-agent"
    local words = { "run", "-q", script("agent_task"), "repo=file://" .. place.dir .. "/app", "prompt=x", "keys=AGENT_KEY",
      'agent=echo "key: $AGENT_KEY"; touch NEW', 'tests=test -z "$AGENT_KEY"', "--out", "results" }
    place:ok(words)
    assert.equal("key: [redacted AGENT_KEY]\n", place:read("results/agent-task/logs/agent.stdout"))
    words[6] = "keys=NO_SUCH_KEY"
    local result = place:run(words)
    assert.truthy(result.stderr:find("the variable NO_SUCH_KEY is not set", 1, true), result.stderr)
    assert.equal(1, select(2, place:ok({ "logs" }):gsub("sbx_%w+", ""))) -- no sandbox was made for nothing
  end))

  it("agent_task.lua leaves nothing without an end when the program is killed", within(function(place)
    repositories(place, "app")
    local process = place:spawn({ "run", "--json", script("agent_task"), "repo=file://" .. place.dir .. "/app", "prompt=x",
      "agent=echo at work; sleep 60", "agent_timeout=100", "tests_timeout=50" })
    program.read_until(process, "at work\\n")
    process:kill("KILL")
    task.await(process:wait())
    local left = json.decode(place:ok({ "ls", "--json" }))
    assert.equal(1, #left)
    local seconds = left[1].expires_at - left[1].created_at
    assert.is_true(seconds > 150 and seconds < 2 * 3600, tostring(seconds))
  end))

  it("agent_task.lua keeps the results of a task that failed, and fails", within(function(place)
    repositories(place, "app")
    local words = { "run", "-q", script("agent_task"), "repo=file://" .. place.dir .. "/app", "prompt=x",
      "agent=echo half > NEW", "tests=echo broken; exit 3", "--out", "results" }
    local result = place:run(words)
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("the task failed: tests: exit 3 (what there is of it is in results/agent-task)", 1,
      true), result.stderr)
    assert.falsy(result.stderr:find("hint:", 1, true), result.stderr)
    assert.truthy(place:read("results/agent-task/diff.patch"):find("+half", 1, true))
    words[6], words[7] = "agent=sleep 60", "agent_timeout=0.2"
    result = place:run(words)
    assert.truthy(result.stdout:find("agent: timed out\ntests: not run\n", 1, true), result.stdout)
    words[6] = "agent=no-such-agent -p"
    assert.matches("the task failed: agent: exit 127: [^\n]*no%-such%-agent: not found %(what there is",
      place:run(words).stderr)
    assert.equal(0, place:records())
  end))

  it("fan_out.lua goes on when some fail, and reports all", within(function(place)
    repositories(place, "one", "two")
    local base = "repo=file://" .. place.dir .. "/"
    local result = place:run({ "run", "-q", script("fan_out"), base .. "one", base .. "none", base .. "two",
      "prompt=good", "prompt=bad", "agent=cat > NEW", "tests=grep -q good NEW", "concurrency=2", "--out", "results" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("4 of 6 failed (what there is of them is in results)", 1, true), result.stderr)
    assert.falsy(result.stderr:find("hint:", 1, true), result.stderr)
    local rows = {}
    for name, state in result.stdout:gmatch("(%d%d%-%w+) +(%w+)") do
      rows[#rows + 1] = name .. " " .. state
    end
    assert.same({ "01-one ok", "02-one failed", "03-none failed", "04-none failed", "05-two ok", "06-two failed" }, rows)
    local summary = json.decode(place:read("results/summary.json"))
    assert.same({ 4, 6, 1 }, { summary.failed, #summary.jobs, summary.jobs[2].tests.exit_code })
    assert.truthy(summary.jobs[3].error:find("none", 1, true))
    assert.truthy(place:read("results/05-two/diff.patch"):find("+good", 1, true))
    assert.equal(0, place:records())
  end))

  it("say what they take", within(function(place)
    for _, name in ipairs({ "agent_task", "fan_out" }) do
      local text = place:ok({ "run", script(name), "--help" })
      assert.truthy(text:find("\n  prompt +%w+ +what the agents? .- %(required%)\n"), text)
    end
  end))
end)
