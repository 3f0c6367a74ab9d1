--- A private state folder for a test, so that it neither sees nor leaves anything.
local config = require "luarium.config"
local fs = require("luarium.native").fs
local task = require "luarium.task"

local M = {}

--- Calls fn(folder) with a fresh configuration whose state and cache are in a temporary folder; removes it afterwards.
function M.with(fn)
  local folder = assert(task.await(fs.mkdtemp("/tmp/luarium-spec-")))
  config.reset()
  config.configure({ state_dir = folder .. "/state", cache_dir = folder .. "/cache" })
  local ok, err = pcall(fn, folder)
  config.reset()
  task.shield(30, function()
    assert(task.await(fs.remove(folder, { recursive = true })))
  end)
  if not ok then
    error(err, 0)
  end
end

return M
