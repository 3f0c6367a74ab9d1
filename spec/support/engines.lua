--- More engines than the one that the test runs in: processes of their own that share its state folder.
local lfs = require "lfs"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

local process = native.process
local interpreter = lfs.symlinkattributes("/proc/self/exe", "target")

--- Starts a second engine that runs the text, and returns it with a reader of its lines.
function M.start(folder, text)
  local env = {
    "LUARIUM_STATE_DIR=" .. folder .. "/state", "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath,
  }
  for _, name in ipairs({ "PATH", "HOME", "LD_PRELOAD", "ASAN_OPTIONS" }) do
    if os.getenv(name) then
      env[#env + 1] = name .. "=" .. os.getenv(name)
    end
  end
  local child = assert(process.spawn({
    argv = { interpreter, "-e", 'io.stdout:setvbuf("no") local luarium = require "luarium" luarium.run(function() '
      .. text .. " end)" },
    env = env,
  }))
  local buffer = ""
  local function line()
    while not buffer:find("\n", 1, true) do
      local data, stream = task.await(child:read())
      assert(data, "the second engine ended: " .. buffer)
      assert(stream == "stdout", data)
      buffer = buffer .. data
    end
    local first, rest = buffer:match("^([^\n]*)\n(.*)$")
    buffer = rest
    return first
  end
  return child, line
end

--- kill -9 of the engine alone: what it has started is not told.
function M.kill(child)
  assert(task.await(process.run({ argv = { "kill", "-9", tostring(child:pid()) }, env = { "PATH=" .. os.getenv("PATH") } })))
  task.await(child:wait())
  child:close()
end

--- Whether a process runs; a zombie that its new parent has not collected yet does not.
function M.runs(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text ~= nil and text:match("%) (%a)") ~= "Z"
end

return M
