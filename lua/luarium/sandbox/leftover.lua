--- What a create or fork has made: kept when it ended well, else taken away.
local object = require "luarium.sandbox.object"
local registry = require "luarium.registry"
local task = require "luarium.task"

local M = {}

--- Destroys whatever carries our id at the vendor.
---@async
---@param instance luarium.ProviderInstance
---@param record luarium.SandboxRecord
---@return boolean? ok
---@return luarium.Error? err
function M.remove(instance, record)
  local found, fault = instance:call("list")
  if not found then
    return nil, fault
  end
  for _, entry in ipairs(found) do
    local labels = entry.labels or {}
    if entry.external_id == record.id or entry.name == record.id or labels["luarium.id"] == record.id then
      local ok, err = instance:call("destroy", { id = record.id, external_id = entry.external_id, data = {}, env = {} })
      if not ok then
        return nil, err
      end
    end
  end
  return true
end

--- The same for a record that somebody else has left: what was asked for may still be under way.
---@async
---@param instance luarium.ProviderInstance
---@param record luarium.SandboxRecord
---@return boolean? ok
---@return luarium.Error? err
function M.clear(instance, record)
  if instance.definition.settle then
    local ok, err = instance.definition.settle(instance, record)
    if not ok then
      return nil, err
    end
  end
  return M.remove(instance, record)
end

--- Writes down a sandbox that was just made and sees to its end; what cannot be written down is destroyed. Raises.
---@async
---@param box luarium.Sandbox
---@param op string
function M.keep(box, op)
  local ok, err = pcall(function()
    registry.put(object.record_of(box))
    object.arm(box)
    object.watch(box)
  end)
  if not ok then
    task.shield(object.destroy_budget, box.destroy, box)
    object.raise(err, op)
  end
end

--- Takes away what was made, and its record when that is certain; raises.
---@async
---@param instance luarium.ProviderInstance
---@param record luarium.SandboxRecord
---@param err any why
---@param op string
---@param nothing_made boolean? it failed before the vendor was asked to make anything
function M.give_up(instance, record, err, op, nothing_made)
  local ok, gone = true, nothing_made
  if not nothing_made then
    ok, gone = pcall(task.shield, object.destroy_budget, M.remove, instance, record)
  end
  if ok and gone then
    task.shield(object.destroy_budget, registry.delete, record.id)
  end
  object.raise(err, op)
end

return M
