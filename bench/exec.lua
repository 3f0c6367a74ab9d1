--- What running a small command costs.
local harness = require "bench.harness"

local M = { child = {} }

--- Memory that is really there, in strings of 64 MiB.
local function make_resident(mib)
  local list = {}
  for i = 1, mib // 64 do
    list[i] = string.rep(string.char(i), 64 * 1048576)
  end
  return list
end

function M.child.exec(params)
  local luarium = require "luarium"
  local loop = require("luarium.native").loop
  local ballast = make_resident(params.ballast)
  local box = luarium.create { provider = "local" }
  local start = loop.monotonic()
  for _ = 1, params.count do
    assert(box:exec({ "true" }).exit_code == 0)
  end
  local seconds = loop.monotonic() - start
  box:destroy()
  assert(#ballast == params.ballast // 64)
  return { ms = seconds / params.count * 1000 }
end

local function case(name, about, row, ballast)
  return {
    name = name, about = about, reps = 7,
    needs = function()
      if ballast * 1048576 * 1.5 > harness.memory_available() then
        return "not enough memory"
      end
    end,
    ours = function(context)
      return harness.child("exec", "exec", { count = context.quick and 5 or 1000, ballast = ballast })
    end,
    floor = function(context)
      local count = context.quick and 5 or 1000
      return { ms = harness.stopwatch({ "true" }, { "-m", tostring(ballast), count = count }) / count * 1000 }
    end,
    rows = { { name = row, of = "ms", unit = "ms", most = 1.3 } },
  }
end

M.cases = {
  case("exec", "1,000 times box:exec({\"true\"}), one after another; peer: posix_spawn and waitpid in C",
    "exec of true", 0),
  case("exec_large", "the same from a host with 2 GiB resident", "exec of true, 2 GiB host", 2048),
}

return M
