--- Finding sandboxes by what their records say, over list.
local errors = require "luarium.error"
local shell = require "luarium.provider.emulate.shell"

local M = {}

local function carries(labels, wanted)
  for key, value in pairs(wanted) do
    if tostring(labels[key]) ~= tostring(value) then
      return false
    end
  end
  return true
end

--- The sandboxes that carry all of these labels.
---@async
---@param self luarium.ProviderInstance
---@param labels table<string, string>
---@return table[]? records as list returns them
---@return luarium.Error? err
function M.find_by_label(self, labels)
  local all, err = self:call("list")
  if not all then
    return nil, err
  end
  local found = {}
  for _, record in ipairs(all) do
    if carries(record.labels or {}, labels) then
      found[#found + 1] = record
    end
  end
  return found
end

--- The sandbox of this name. Two of one name are a conflict: nobody should destroy the wrong one.
---@async
---@param self luarium.ProviderInstance
---@param name string
---@return table? record
---@return luarium.Error? err
function M.find_by_name(self, name)
  local all, err = self:call("list")
  if not all then
    return nil, err
  end
  local found, ids = nil, {}
  for _, record in ipairs(all) do
    if record.name == name then
      found = record
      ids[#ids + 1] = tostring(record.external_id)
    end
  end
  if #ids > 1 then
    return nil, errors.new("conflict", ("%d sandboxes are named '%s': %s"):format(#ids, shell.show(name),
      table.concat(ids, ", ")))
  elseif not found then
    return nil, errors.new("not_found", ("no sandbox is named '%s'"):format(shell.show(name)))
  end
  return found
end

return M
