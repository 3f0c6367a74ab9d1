--- What a job costs beside a plain command.
local harness = require "bench.harness"

local M = { child = {} }

--- Counts what goes through a sandbox's provider.
local function counted(box)
  local instance = require("luarium.sandbox.object").instance_of(box)
  local call, count = instance.call, 0
  instance.call = function(self, operation, ...)
    count = count + 1
    return call(self, operation, ...)
  end
  return function()
    return count
  end
end

function M.child.quick(params)
  local luarium = require "luarium"
  local loop = require("luarium.native").loop
  local box = luarium.create { provider = "local" }
  local trips = counted(box)
  local start = loop.monotonic()
  for _ = 1, params.count do
    if params.job then
      local job = box:job({ "true" }, { wait = 10 })
      assert(job:wait().exit_code == 0)
    else
      assert(box:exec({ "true" }).exit_code == 0)
    end
  end
  local seconds = loop.monotonic() - start
  local per_command = trips() / params.count
  box:destroy()
  return { ms = seconds / params.count * 1000, trips = per_command }
end

function M.child.follow(params)
  local luarium = require "luarium"
  local loop = require("luarium.native").loop
  local box = luarium.create { provider = "local" }
  local command, size = { "head", "-c", ("%d"):format(params.bytes), "/dev/zero" }, 0
  local function count(chunk)
    size = size + #chunk
  end
  local start = loop.monotonic()
  if params.job then
    box:job(command, { wait = 0 }):follow({ on_stdout = count })
  else
    box:exec(command, { on_stdout = count })
  end
  local seconds = loop.monotonic() - start
  assert(size == params.bytes)
  box:destroy()
  return { ms = seconds * 1000 }
end

M.cases = {
  {
    name = "job", about = "100 times a job of true with its result; peer: box:exec({\"true\"})", reps = 5,
    ours = function(context)
      return harness.child("jobs", "quick", { count = context.quick and 3 or 100, job = true })
    end,
    floor = function(context)
      return harness.child("jobs", "quick", { count = context.quick and 3 or 100 })
    end,
    rows = {
      { name = "job of true", of = "ms", unit = "ms" },
      { name = "  round trips", of = "trips", bound = 1, exact = true },
    },
  },
  {
    name = "job_follow", about = "100 MB of output followed; peer: exec with on_stdout", reps = 3,
    ours = function(context)
      return harness.child("jobs", "follow", { bytes = context.quick and 3000000 or 100000000, job = true })
    end,
    floor = function(context)
      return harness.child("jobs", "follow", { bytes = context.quick and 3000000 or 100000000 })
    end,
    rows = { { name = "100 MB of a job", of = "ms", unit = "ms" } },
  },
}

return M
