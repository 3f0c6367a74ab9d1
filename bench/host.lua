--- What a host with a frame loop pays for the library.
local cjson = require "cjson"
local harness = require "bench.harness"

local M = {}

M.cases = {
  {
    name = "host", reps = 5,
    about = "opening the library into a state; a step with nothing to do (peer: a bare libuv loop), and with ten "
      .. "sandboxes that write; one step a millisecond",
    ours = function(context)
      local numbers = cjson.decode(harness.run { "env", "LUARIUM_STATE_DIR=" .. harness.fresh("state"),
        harness.program("host_steps"), context.quick and "50" or "3000" })
      M.loop_us = numbers.loop_us
      return numbers
    end,
    floor = function()
      return { idle_us = M.loop_us }
    end,
    rows = {
      { name = "opening the library", of = "open_ms", unit = "ms", bound = 2 },
      { name = "step with nothing to do", of = "idle_us", unit = "us", bound = 5 },
      { name = "step, ten busy sandboxes, p99", of = "p99_ms", unit = "ms", bound = 1 },
      { name = "  half of the steps within", of = "p50_ms", unit = "ms" },
      { name = "  the longest step", of = "worst_ms", unit = "ms" },
      { name = "  tasks left after closing", of = "left", bound = 0, exact = true },
    },
  },
}

return M
