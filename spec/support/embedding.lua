--- C hosts for specs: built once, run in a folder of their own.
local lfs = require "lfs"
local native = require "luarium.native"
local state = require "spec.support.state"
local task = require "luarium.task"

local M = { build = lfs.currentdir() .. "/build" }

--- Builds the hosts; returns the options that run one of them.
function M.options(folder, name, more)
  -- One at a time: spec files run side by side, and ninja does not look out for another.
  local made = assert(task.await(native.process.run({ merge = true, env = { "PATH=" .. os.getenv("PATH") },
    argv = { "flock", M.build .. "/build.lock", "cmake", "--build", M.build, "--target", "embedding_hosts" } })))
  assert(made.exit_code == 0, made.stdout)
  local options = { argv = { M.build .. "/tools/" .. name }, timeout = 60,
    env = { "PATH=" .. os.getenv("PATH"), "LUARIUM_STATE_DIR=" .. folder .. "/state", "LD_LIBRARY_PATH=" .. M.build } }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return options
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

--- Runs a Lua script in spec/support/embedding_script.c, in a shell after `before`; returns what was reported of its
--- end, and the result.
function M.script(text, before)
  local report, result
  state.with(function(folder)
    local file = assert(io.open(folder .. "/script.lua", "w"))
    file:write(text)
    file:close()
    local options = M.options(folder, "embedding_script", { cwd = folder })
    options.argv = { "sh", "-c", ("exec 9>report; %s\nexec %s script.lua"):format(before or "", options.argv[1]) }
    result = assert(task.await(native.process.run(options)))
    report = read(folder .. "/report")
  end)
  return report, result
end

return M
