--- Jobs as the command line names and shows them.
local check = require "luarium.check"
local errors = require "luarium.error"
local format = require "luarium.cli.format"

local M = {}

--- The key that a word names: a key, or the beginning of one. Raises `not_found` with the nearest.
---@async
---@param box luarium.Sandbox
---@param text string
---@param user string? whose jobs
---@return string key
function M.find(box, text, user)
  local keys, begun = {}, {}
  for _, status in ipairs(box:jobs({ user = user })) do
    if status.key == text then
      return text
    end
    keys[#keys + 1] = status.key
    if #text >= 3 and status.key:sub(1, #text) == text then
      begun[#begun + 1] = status.key
    end
  end
  local hint = { hint = "luarium jobs " .. (box.name or box.id) }
  if #begun == 1 then
    return begun[1]
  elseif #begun > 1 then
    errors.raise("invalid", ("%s is the beginning of %d jobs: %s"):format(text, #begun, table.concat(begun, ", ")),
      { data = hint })
  end
  local near = check.nearest(text, keys)
  errors.raise("not_found", ("there is no job '%s' in %s%s"):format(text, box.name or box.id,
    near and (": did you mean '%s'?"):format(near) or ""), { data = hint })
end

--- "exit 3", "SIGKILL", "timed out", "lost" ...
---@param status luarium.JobStatus
---@return string
function M.state(status)
  if status.state ~= "finished" then
    return status.state
  elseif status.timed_out then
    return "timed out"
  elseif status.overflow then
    return "too much output"
  end
  return status.signal or ("exit %d"):format(status.exit_code)
end

--- A table for people.
---@param list luarium.JobStatus[]
---@return string
function M.table(list)
  local now = require("luarium.native").loop.realtime()
  local rows = { { "JOB", "STATE", "AGE", "TIME", "OUTPUT", "COMMAND" } }
  for _, status in ipairs(list) do
    rows[#rows + 1] = { status.key, M.state(status), format.duration(math.max(0, now - status.started_at)),
      status.duration and format.duration(status.duration) or "-",
      format.size(status.stdout_bytes + status.stderr_bytes), format.cut(status.command, 60) }
  end
  return format.table(rows)
end

return M
