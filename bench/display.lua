--- What the live display of many sandboxes costs: events of sandboxes that write, with the display and without.
local harness = require "bench.harness"

local M = {}

-- Each of the sandboxes writes a line every two seconds; the processor time of the whole program is written down.
local SCRIPT = [[
local event, task = require "luarium.event", require "luarium.task"
local count, seconds, path = %d, %g, %q
luarium.list() -- the display begins with the first use of the library
for i = 1, count do
  event.emit("sandbox.exec", { phase = "start", span = 100000 + i, sandbox = "sbx_" .. i, name = "box" .. i,
    command = "make test" })
end
local began, at = luarium.monotonic(), 0
local clock = os.clock()
while luarium.monotonic() - began < seconds do
  for _ = 1, count / 20 do
    at = at %% count + 1
    event.emit("output", { sandbox = "sbx_" .. at, text = "a line of output that goes on for a while " .. at .. "\n" })
  end
  luarium.sleep(0.1)
end
local file = assert(io.open(path, "w"))
file:write((os.clock() - clock) / (luarium.monotonic() - began) * 100)
file:close()
]]

local function percent(context, option)
  local script, result = harness.fresh("script") .. ".lua", harness.fresh("percent")
  harness.write(script, SCRIPT:format(context.quick and 20 or 500, context.quick and 0.5 or 5, result))
  local line = harness.command { "env", "TERM=xterm", "LUARIUM_STATE_DIR=" .. harness.fresh("state"),
    harness.build .. "/luarium", "run", option, script }
  harness.run { "script", "-qec", "stty rows 50 cols 200; " .. line, "/dev/null" }
  return { percent = tonumber(harness.read(result)) }
end

M.cases = {
  {
    name = "display", reps = 3,
    about = "percent of a core for the live display of 500 sandboxes, a tenth of a second apart; peer: nothing shown",
    needs = function()
      return not harness.succeeds("command -v script") and "there is no script (util-linux)" or nil
    end,
    ours = function(context)
      return percent(context, "--color=auto")
    end,
    floor = function(context)
      return percent(context, "--quiet")
    end,
    rows = { { name = "display of 500 sandboxes", of = "percent", unit = "%", extra = 3 } },
  },
}

return M
