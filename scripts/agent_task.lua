-- One task for one agent: a sandbox, a clone, a branch, the agent, the tests, and everything worth keeping in --out.
--
--   luarium run scripts/agent_task.lua repo=https://example.com/app.git \
--     agent='my-agent --yes' tests='make test' prompt='make the tests pass' --out results
--
-- The agent is a command line that changes files. It gets the prompt on standard input and as $PROMPT.
local luarium = require "luarium"

-- Seconds beside the agent and its tests: the clone, the results. What a crash leaves is past its end then, and
-- `luarium destroy --expired` ends it.
local THE_REST = 3600

local function measured(durations, name, fn)
  local began = luarium.monotonic()
  local result = fn()
  durations[name] = luarium.monotonic() - began
  return result
end

-- The place for another kind of agent: whatever leaves its work in the folder of the repository.
local function run_agent(box, repo, input)
  local env = { PROMPT = input.prompt }
  for _, name in ipairs(input.keys or {}) do
    env[name] = luarium.env(name)
  end
  return box:exec(input.agent, { cwd = repo.path, stdin = input.prompt, env = env, timeout = input.agent_timeout })
end

-- A sandbox costs money: what is missing here is told before there is one.
local function check_keys(input)
  for _, name in ipairs(input.keys or {}) do
    if not luarium.env(name):available() then
      luarium.error.raise("auth", ("keys: the variable %s is not set: export %s=... and try again"):format(name, name),
        { name = "NO_VARIABLE" })
    end
  end
end

-- The last line that a command which failed wrote to its standard error: most say there what was wrong.
local function last_words(result)
  local line = not result.ok and result.stderr:sub(-300):gsub("%s+$", ""):match("[^\n]*$")
  return line and line ~= "" and ": " .. line or ""
end

local function outcome(result)
  if not result then
    return nil
  end
  return { ok = result.ok, exit_code = result.exit_code, signal = result.signal, timed_out = result.timed_out,
    seconds = result.duration }
end

local function work(box, input, run)
  local durations, results = {}, {}
  local repo = measured(durations, "clone", function()
    return box:clone(input.repo, {
      branch = input.base, token = input.token, depth = input.depth, mirror = input.mirror or nil,
    })
  end)
  repo:branch(input.branch)
  results.agent = measured(durations, "agent", function()
    return run_agent(box, repo, input)
  end)
  if input.tests and results.agent.ok then
    results.tests = measured(durations, "tests", function()
      return box:exec(input.tests, { cwd = repo.path, timeout = input.tests_timeout })
    end)
  end
  local report = box:collect {
    dir = run.out, repo = repo, files = input.artifacts, results = results, durations = durations,
    logs = { agent = results.agent, tests = results.tests },
  }
  return {
    sandbox = box.id, provider = box.provider, branch = input.branch, agent = outcome(results.agent),
    tests = outcome(results.tests), changed = report.totals and report.totals.files or #report.changed,
    folder = report.dir, complete = report.complete,
    ok = results.agent.ok and (not results.tests or results.tests.ok),
  }, last_words(results.tests or results.agent)
end

local function describe(name, result)
  if not result then
    return name .. ": not run"
  elseif result.timed_out then
    return name .. ": timed out"
  elseif result.ok then
    return name .. ": ok"
  end
  return ("%s: %s"):format(name, result.signal or "exit " .. tostring(result.exit_code))
end

return {
  description = "Clones a repository into a sandbox, lets an agent work on a branch, runs the tests and collects the "
    .. "results.",
  inputs = {
    repo = { type = "text", required = true, about = "address of the repository" },
    agent = { type = "text", required = true, about = "command line; the prompt is on standard input and in $PROMPT" },
    prompt = { type = "text", required = true, about = "what the agent is to do" },
    keys = { type = "list", about = "variables that the agent gets as secrets: keys=ANTHROPIC_API_KEY" },
    tests = { type = "text", about = "command that tells whether it worked" },
    branch = { type = "text", default = "agent", about = "branch to work on" },
    base = { type = "text", about = "branch or tag to start from" },
    depth = { type = "integer", about = "clone only so many commits" },
    token = { type = "secret", about = "for a private repository" },
    artifacts = { type = "list", about = "more files to keep, as globs" },
    name = { type = "text", default = "agent-task", about = "name of the sandbox" },
    image = { type = "text", about = "image of the sandbox" },
    network = { type = "boolean", about = "ask for a network, where the provider gives none by itself" },
    mirror = { type = "boolean", about = "clone on this machine and bring it in, for a sandbox without network" },
    agent_timeout = { type = "seconds", default = 1800, about = "for the agent" },
    tests_timeout = { type = "seconds", default = 600, about = "for the tests" },
  },
  run = function(input, run)
    check_keys(input)
    local summary, said
    do
      local box <close> = luarium.create {
        name = input.name, image = input.image, network = input.network or nil,
        timeout = input.agent_timeout + input.tests_timeout + THE_REST,
      }
      summary, said = work(box, input, run)
    end
    if not run.silent then
      print(describe("agent", summary.agent))
      print(describe("tests", summary.tests))
      print(("changed files: %d"):format(summary.changed))
      print("results: " .. summary.folder)
    end
    if not summary.ok and not run.silent then
      luarium.error.raise("io", ("the task failed: %s%s (what there is of it is in %s)"):format(summary.tests
        and describe("tests", summary.tests) or describe("agent", summary.agent), said, summary.folder))
    end
    return summary
  end,
}
