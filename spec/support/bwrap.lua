--- Whether this machine lets bwrap make its namespaces; a chroot, for instance, does not.
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

--- Why bwrap is of no use here, or nil.
---@return string?
function M.missing()
  local result = assert(task.await(native.process.run({
    argv = { "bwrap", "--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true" },
    env = { "PATH=" .. os.getenv("PATH") },
  })))
  if result.exit_code ~= 0 then
    return "bwrap is of no use here: " .. (result.stderr:match("[^\n]+") or "it fails")
  end
end

return M
