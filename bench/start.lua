--- From starting the program to the first line of a script.
local harness = require "bench.harness"

local M = {}

local function program()
  return harness.build .. "/luarium"
end

local function script()
  local path = harness.folder .. "/first_line.lua"
  harness.write(path, "io.stdout:write('x') io.stdout:flush()\n")
  return path
end

M.cases = {
  {
    name = "start", reps = 7, warm = true,
    about = "luarium run of a one-line script, to that line; peer: lua5.4 -e '', start to end",
    needs = function()
      return not harness.exists(program()) and program() .. " is not built" or nil
    end,
    ours = function(context)
      local count = context.quick and 2 or 100
      local words = { program(), "run", script() }
      return { ms = harness.stopwatch(words, { "-1", count = count }) / count * 1000 }
    end,
    floor = function(context)
      local count = context.quick and 2 or 100
      return { ms = harness.stopwatch({ "lua5.4", "-e", "" }, { count = count }) / count * 1000 }
    end,
    rows = { { name = "start to first line", of = "ms", unit = "ms", most = 2 } },
  },
}

return M
