--- The whole life of many sandboxes at once.
local harness = require "bench.harness"

local M = { child = {} }

local function count_entries(folder)
  return tonumber(harness.capture("find '" .. folder .. "' -mindepth 1 2>/dev/null | wc -l"))
end

function M.child.sandboxes(params)
  local luarium = require "luarium"
  local loop = require("luarium.native").loop
  local numbers = {}
  for i = 1, params.count do
    numbers[i] = i
  end
  local failures, first = 0, nil
  local start = loop.monotonic()
  luarium.map(numbers, function()
    local err
    local ok, result = pcall(function()
      local box = luarium.create { provider = "local" }
      local result = box:exec("true")
      box:destroy()
      return result
    end)
    if not ok or result.exit_code ~= 0 then
      failures, err = failures + 1, ok and "exit code " .. tostring(result.exit_code) or tostring(result)
      first = first or err
    end
  end, { concurrency = params.concurrency })
  local seconds = loop.monotonic() - start
  if first then
    io.stderr:write("sandboxes: ", failures, " failed, the first with: ", first, "\n")
  end
  local state = os.getenv("LUARIUM_STATE_DIR")
  local left = count_entries(state .. "/sandboxes") + count_entries(state .. "/local")
  return { seconds = seconds, failures = failures, left = left }
end

M.cases = {
  {
    name = "sandboxes", reps = 5, warm = true,
    about = "1,000 sandboxes, 100 at a time: create, exec, destroy; peer: the same work in C around poll",
    ours = function(context)
      return harness.child("sandboxes", "sandboxes",
        { count = context.quick and 8 or 1000, concurrency = context.quick and 4 or 100 })
    end,
    floor = function(context)
      local folder = harness.fresh("floor")
      harness.run { "mkdir", folder }
      local seconds = harness.floor("floor_sandboxes", context.quick and "8" or "1000",
        context.quick and "4" or "100", folder)
      return { seconds = seconds }
    end,
    rows = {
      { name = "1,000 sandboxes, 100 at a time", of = "seconds", unit = "s", most = 1.5 },
      { name = "  failures", of = "failures", bound = 0, exact = true },
      { name = "  files left behind", of = "left", bound = 0, exact = true },
    },
  },
}

return M
