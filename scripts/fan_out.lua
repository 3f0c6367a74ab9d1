-- One task over many repositories, or many prompts over one: a sandbox each, some at a time. A failure does not stop
-- the others. The results are in --out, one folder each, with summary.json.
--
--   luarium run scripts/fan_out.lua repo=A repo=B repo=C agent='my-agent' prompt='update the licence' concurrency=2
--   luarium run scripts/fan_out.lua repo=A agent='my-agent' prompt='fix the tests' prompt='write the docs'
local luarium = require "luarium"
local agent_task = require "agent_task" -- the file beside this one

-- Every repository with every prompt.
local function plan(input)
  local jobs = {}
  for _, repo in ipairs(input.repo) do
    for _, prompt in ipairs(input.prompt) do
      local number = #jobs + 1
      local short = repo:gsub("/+$", ""):match("([^/:]+)$"):gsub("%.git$", ""):gsub("[^%w_-]", "-")
      jobs[number] = { number = number, repo = repo, prompt = prompt, name = ("%02d-%s"):format(number, short) }
    end
  end
  return jobs
end

local function run_job(job, input, run)
  return agent_task.run({
    repo = job.repo, prompt = job.prompt, name = job.name, agent = input.agent, tests = input.tests,
    branch = input.branch, base = input.base, token = input.token, image = input.image, network = input.network,
    mirror = input.mirror, artifacts = input.artifacts, agent_timeout = input.agent_timeout,
    tests_timeout = input.tests_timeout, keys = input.keys,
  }, { out = run.out, silent = true })
end

local function row(job, result, seconds)
  if not result.ok then
    return { job = job.name, repo = job.repo, prompt = job.prompt, ok = false, seconds = seconds,
      error = tostring(result.error) }
  end
  local summary = result.value
  return { job = job.name, repo = job.repo, prompt = job.prompt, ok = summary.ok, seconds = seconds,
    agent = summary.agent, tests = summary.tests, changed = summary.changed, folder = summary.folder }
end

local function state(outcome)
  return outcome and (outcome.ok and "ok" or outcome.timed_out and "timeout" or outcome.signal
    or "exit " .. tostring(outcome.exit_code)) or "-"
end

local function print_table(rows)
  local format = "%-24s  %-7s  %-9s  %-9s  %7s  %7s  %s"
  print(format:format("JOB", "RESULT", "AGENT", "TESTS", "CHANGED", "SECONDS", ""))
  for _, item in ipairs(rows) do
    print((format:format(item.job, item.ok and "ok" or "failed", state(item.agent), state(item.tests),
      item.changed or "-", ("%.1f"):format(item.seconds), item.error or ""):gsub("%s+$", "")))
  end
end

return {
  description = "Runs an agent task over several repositories or prompts, some at a time.",
  inputs = {
    repo = { type = "list", required = true, about = "addresses of the repositories" },
    prompt = { type = "list", required = true, about = "what the agents are to do" },
    agent = { type = "text", required = true, about = "command line; the prompt is on standard input and in $PROMPT" },
    keys = { type = "list", about = "variables that the agents get as secrets: keys=ANTHROPIC_API_KEY" },
    tests = { type = "text", about = "command that tells whether it worked" },
    concurrency = { type = "integer", default = 4, about = "sandboxes at a time" },
    branch = { type = "text", default = "agent", about = "branch to work on" },
    base = { type = "text", about = "branch or tag to start from" },
    token = { type = "secret", about = "for private repositories" },
    artifacts = { type = "list", about = "more files to keep, as globs" },
    image = { type = "text", about = "image of the sandboxes" },
    network = { type = "boolean", about = "ask for a network, where the provider gives none by itself" },
    mirror = { type = "boolean", about = "clone on this machine and bring it in, for sandboxes without network" },
    agent_timeout = { type = "seconds", default = 1800, about = "for each agent" },
    tests_timeout = { type = "seconds", default = 600, about = "for the tests of each" },
  },
  run = function(input, run)
    local jobs = plan(input)
    local seconds = {}
    local results = luarium.map(jobs, function(job)
      local began = luarium.monotonic()
      local result, err = luarium.try(run_job, job, input, run)
      seconds[job.number] = luarium.monotonic() - began
      return result or error(err, 0)
    end, { concurrency = input.concurrency, settle = true })
    local rows, failed = {}, 0
    for i, job in ipairs(jobs) do
      rows[i] = row(job, results[i], seconds[i])
      failed = failed + (rows[i].ok and 0 or 1)
    end
    print_table(rows)
    print("report: " .. run:write("summary.json", { jobs = rows, failed = failed }))
    if failed > 0 then
      luarium.error.raise("io", ("%d of %d failed (what there is of them is in %s)"):format(failed, #jobs, run.out))
    end
  end,
}
