--- Containers: what a command costs, what its output costs, and a hundred at once. A dockerd of the benchmark's own.
local harness = require "bench.harness"

local M = { child = {} }

local engine, container

local function needs()
  return require("spec.support.dockerd").missing()
end

--- The engine, and a container for the other side, made for the first case that is run.
local function start()
  if engine then
    return
  end
  engine = require("spec.support.dockerd").start()
  local made = engine:ask("POST", "/containers/create", { Image = engine.image, Cmd = { "sleep", "100000" } })
  container = made.Id
  engine:ask("POST", "/containers/" .. container .. "/start")
end

local function configure(params)
  local luarium = require "luarium"
  luarium.configure { providers = { docker = { "docker", host = params.host, image = params.image } } }
  return luarium, require("luarium.native").loop
end

function M.child.exec(params)
  local luarium, loop = configure(params)
  local box = luarium.create { provider = "docker" }
  box:exec({ "true" })
  local began = loop.monotonic()
  for _ = 1, params.count do
    assert(box:exec({ "true" }).exit_code == 0)
  end
  local seconds = loop.monotonic() - began
  box:destroy()
  return { ms = seconds / params.count * 1000 }
end

function M.child.output(params)
  local luarium, loop = configure(params)
  local box = luarium.create { provider = "docker" }
  local bytes = 0
  local began = loop.monotonic()
  box:exec({ "head", "-c", ("%d"):format(params.bytes), "/dev/zero" }, { on_stdout = function(chunk)
    bytes = bytes + #chunk
  end })
  local seconds = loop.monotonic() - began
  assert(bytes == params.bytes, "bytes were lost")
  box:destroy()
  return { seconds = seconds, peak = harness.peak() / 1048576 }
end

function M.child.many(params)
  local luarium, loop = configure(params)
  local numbers = {}
  for i = 1, params.count do
    numbers[i] = i
  end
  local failures, first = 0, nil
  local began = loop.monotonic()
  luarium.map(numbers, function(i)
    local ok, result = pcall(luarium.with, { provider = "docker" }, function(box)
      return box:exec("echo " .. i).stdout == i .. "\n"
    end)
    if not ok or not result then
      failures, first = failures + 1, first or tostring(result)
    end
  end, { concurrency = params.count })
  if first then
    io.stderr:write("docker: ", failures, " failed, the first with: ", first, "\n")
  end
  return { seconds = loop.monotonic() - began, failures = failures }
end

local function params(more)
  start()
  more.host, more.image = engine.host, engine.image
  return more
end

local function count(context)
  return context.quick and 3 or 50
end

local function ours_exec(context)
  return harness.child("docker", "exec", params({ count = count(context) }))
end

M.cases = {
  {
    name = "docker_exec", reps = 7, needs = needs,
    about = "50 times box:exec({\"true\"}) in a container; peer: a bare client in C on the same socket",
    ours = ours_exec,
    floor = function(context)
      start()
      return { ms = harness.floor("floor_docker", engine.socket, container, tostring(count(context)))
        / count(context) * 1000 }
    end,
    rows = { { name = "docker exec of true", of = "ms", unit = "ms", most = 1.2 } },
  },
  {
    name = "docker_exec_cli", reps = 3,
    needs = function()
      return needs() or not harness.succeeds("command -v docker") and "the docker command is not installed" or nil
    end,
    about = "the same; peer: the program docker exec",
    ours = ours_exec,
    floor = function(context)
      start()
      return { ms = harness.stopwatch({ "docker", "--host", engine.host, "exec", container, "true" },
        { count = count(context) }) / count(context) * 1000 }
    end,
    rows = { { name = "  beside the program", of = "ms", unit = "ms", most = 1.0 } },
  },
  {
    name = "docker_output", reps = 3, needs = needs,
    about = "1 GiB of output to a callback; peer: the bare client, which throws it away",
    ours = function(context)
      return harness.child("docker", "output", params({ bytes = context.quick and 1048576 or 1073741824 }))
    end,
    floor = function(context)
      start()
      return { seconds = harness.floor("floor_docker", engine.socket, container, "1", "head", "-c",
        context.quick and "1048576" or "1073741824", "/dev/zero") }
    end,
    rows = {
      { name = "docker exec, 1 GiB of output", of = "seconds", unit = "s", most = 2.0 },
      { name = "  peak memory", of = "peak", unit = "MiB", bound = 64 },
    },
  },
  {
    name = "docker_many", reps = 1, needs = needs,
    about = "100 containers at once: create, exec, destroy",
    ours = function(context)
      local result = harness.child("docker", "many", params({ count = context.quick and 4 or 100 }))
      result.left = #engine:containers() - 1 -- the other side's
      return result
    end,
    rows = {
      { name = "100 containers at once", of = "seconds", unit = "s" },
      { name = "  failures", of = "failures", bound = 0, exact = true },
      { name = "  containers left behind", of = "left", bound = 0, exact = true },
    },
  },
}

return M
