--- An adapter that tells how far it is and then waits for a file: what displays show meanwhile can be looked at.
local M = {}

M.text = [=[
local native = require "luarium.native"
local provider = require "luarium.provider"
local task = require "luarium.task"

local function wait_for(name)
  while not task.await(native.fs.stat(name)) do
    task.sleep(0.02)
  end
end

return provider.define {
  name = "slow", summary = "waits for files", docs = "-", config = {},
  create = function(_, spec)
    if spec.on_progress then
      spec.on_progress(524288, 2097152, "pull debian:12")
      wait_for("pulled")
      spec.on_progress(0, 3, "unpack", "layers")
    end
    wait_for("unpacked")
    return { external_id = spec.id, cwd = "/", data = {}, status = "running" }
  end,
  get = function()
    return { status = "running" }
  end,
  list = function()
    return {}
  end,
  destroy = function()
    return true
  end,
  exec = function()
    return { exit_code = 0, stdout = "", stderr = "", stdout_bytes = 0, stderr_bytes = 0, duration = 0 }
  end,
  stat = function()
    return nil, require("luarium.error").new("not_found", "there is none")
  end,
  upload = function(_, _, _, _, options)
    options.on_progress(3, 4)
    wait_for("sent")
    return { files = 1, bytes = 4, skipped = {} }
  end,
}
]=]

--- Puts the adapter into the folder of a program's project.
---@param place spec.Place
function M.write(place)
  place:write("providers/slow.lua", M.text)
end

return M
