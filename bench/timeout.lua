--- A timeout is a bound: the call returns, everything it started is dead, what it said is kept.
local harness = require "bench.harness"

local M = { child = {} }

--- Processes whose environment holds this entry. Zombies have none.
local function carriers(entry)
  return tonumber(harness.capture("grep -lzxF -e '" .. entry
    .. "' /proc/[0-9]*/environ 2>/dev/null | wc -l"))
end

function M.child.timeout(params)
  local luarium = require "luarium"
  local loop = require("luarium.native").loop
  local box = luarium.create { provider = "local", env = { LUARIUM_BENCH_MARK = params.mark } }
  local start = loop.monotonic()
  local result = box:exec("echo before; sleep 30 & sleep 30", { timeout = 0.5 })
  local seconds = loop.monotonic() - start
  local survivors = carriers("LUARIUM_BENCH_MARK=" .. params.mark)
  box:destroy()
  return {
    ms = seconds * 1000, survivors = survivors,
    lost = result.stdout == "before\n" and 0 or 1,
    untold = result.timed_out and 0 or 1,
  }
end

M.cases = {
  {
    name = "timeout", reps = 5,
    about = "a timeout of 500 ms on a shell with a background child",
    ours = function(context)
      return harness.child("timeout", "timeout", { mark = harness.fresh("mark"), quick = context.quick })
    end,
    rows = {
      { name = "500 ms timeout returns within", of = "ms", unit = "ms", bound = 600 },
      { name = "  survivors", of = "survivors", bound = 0, exact = true },
      { name = "  outputs lost", of = "lost", bound = 0, exact = true },
      { name = "  not told apart", of = "untold", bound = 0, exact = true },
    },
  },
}

return M
