--- What a waiting task costs beyond its coroutine.
local harness = require "bench.harness"

local M = { child = {} }

local function begin()
  collectgarbage()
  collectgarbage()
  collectgarbage("stop") -- what Lua allocates from here on is then known exactly, garbage included
  return { lua = collectgarbage("count") * 1024, resident = harness.resident() }
end

--- Live bytes each: Lua's own, after a collection, and whatever else became resident.
local function finish(before, count)
  local allocated = collectgarbage("count") * 1024 - before.lua
  local other = harness.resident() - before.resident - allocated
  collectgarbage("restart")
  collectgarbage()
  collectgarbage()
  local live = collectgarbage("count") * 1024 - before.lua
  return { bytes = (live + math.max(other, 0)) / count }
end

function M.child.tasks(params)
  local task = require "luarium.task"
  local function body()
    task.sleep(3600)
  end
  local numbers
  task.scope(function(scope)
    local before = begin()
    for _ = 1, params.count do
      scope:spawn(body)
    end
    task.sleep(0.01) -- by then each has had its first turn and sleeps
    assert(task.live() == params.count + 1, "not all tasks are there")
    numbers = finish(before, params.count)
    scope:cancel()
  end)
  return numbers
end

function M.child.coroutines(params)
  local wait = coroutine.yield
  local function body()
    wait(3600)
  end
  local before, list = begin(), {}
  for i = 1, params.count do
    list[i] = coroutine.create(body)
    assert(coroutine.resume(list[i]))
  end
  local numbers = finish(before, params.count)
  assert(coroutine.status(list[params.count]) == "suspended")
  return numbers
end

M.cases = {
  {
    name = "tasks", reps = 3,
    about = "memory of each of 10,000 tasks that sleep at once; peer: as many bare coroutines",
    ours = function(context)
      return harness.child("tasks", "tasks", { count = context.quick and 200 or 10000 })
    end,
    floor = function(context)
      return harness.child("tasks", "coroutines", { count = context.quick and 200 or 10000 })
    end,
    rows = { { name = "10,000 waiting tasks, each", of = "bytes", unit = "B", extra = 4096 } },
  },
}

return M
