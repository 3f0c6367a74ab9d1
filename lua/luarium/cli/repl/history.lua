--- The lines typed in earlier sessions: STATE/repl_history, private, without secrets.
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local M = {}

local KEPT = 1000 -- lines
local MAX_BYTES = 262144 -- then the file is written anew with those that are kept
local MAX_LINE = 4096

---@class luarium.cli.History
---@field path string
---@field last string?
local History = {}
History.__index = History

--- Reads what is kept.
---@async
---@param folder string the state folder
---@return luarium.cli.History
---@return string[] lines oldest first
function M.open(folder)
  local self = setmetatable({ path = folder .. "/repl_history" }, History)
  local lines = {}
  local text = task.await(native.fs.read_file(self.path, { max = 16 * MAX_BYTES })) or ""
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  local kept = {}
  for i = math.max(1, #lines - KEPT + 1), #lines do
    kept[#kept + 1] = lines[i]
  end
  if #text > MAX_BYTES then
    task.await(native.fs.write_file(self.path, table.concat(kept, "\n") .. "\n", { mode = 384, atomic = true })) -- 0600
  end
  self.last = kept[#kept]
  return self, kept
end

--- Keeps a line, unless it begins with a blank or is the one before. Called when the line has run, so that a secret it
--- made is known. A history that cannot be written is no reason to stop.
---@async
---@param line string
---@return string? kept as it is kept; nil when it is not
function History:add(line)
  local text = secret.redact(line)
  if text:find("^%s") or text == "" or text == self.last or #text > MAX_LINE or text:find("[%c]") then
    return nil
  end
  self.last = text
  task.await(native.fs.write_file(self.path, text .. "\n", { mode = 384, append = true, parents = true }))
  return text
end

return M
