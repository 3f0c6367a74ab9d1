--- What a provider keeps when sandboxes are gone: snapshots and volumes. Each function asks the provider of a name, or
--- the default one, and raises its error; one that has none of them says what to use instead.
local check = require "luarium.check"
local config = require "luarium.config"
local errors = require "luarium.error"
local event = require "luarium.event"
local object = require "luarium.sandbox.object"

local M = {}

---@class luarium.Snapshot
---@field name string as it was saved under
---@field id string the vendor's
---@field image string? what `create { image = }` takes to begin with it
---@field size integer? bytes
---@field created_at number? seconds since the epoch

---@class luarium.Volume
---@field name string
---@field id string the vendor's
---@field size integer? bytes
---@field created_at number? seconds since the epoch

local function ask(instance, operation, ...)
  local value, err = instance:call(operation, ...)
  if value == nil then
    object.raise(err, operation)
  end
  return value
end

local function provider_of(name, where)
  if name ~= nil then
    check.argument(name, "text", where, "the provider's name")
  end
  return config.provider(name)
end

local function list(kind)
  return function(name)
    local instance = provider_of(name, kind .. "s")
    return event.span(kind .. ".list", { provider = instance.name }, ask, instance, kind .. "_list")
  end
end

--- The name of the one that has this id, or nil.
local function name_of(instance, kind, id)
  if instance:can(kind .. "_list") == "unsupported" then
    return nil
  end
  for _, entry in ipairs(ask(instance, kind .. "_list")) do
    if entry.id == id then
      return entry.name
    end
  end
end

local function remove(instance, kind, id)
  local ok, err = instance:call(kind .. "_delete", id)
  if not ok and errors.is(err, "not_found") then
    local name = name_of(instance, kind, id)
    if name and name ~= id then
      ok, err = instance:call(kind .. "_delete", name)
    end
  end
  if not ok then
    object.raise(err, kind .. "_delete")
  end
end

local function delete(kind)
  return function(name, id)
    local where = "delete_" .. kind
    local instance = provider_of(name, where)
    check.argument(id, "text", where, "the name or id")
    event.span(kind .. ".delete", { provider = instance.name, [kind] = id }, remove, instance, kind, id)
  end
end

--- The saved states of a provider's account, those that `box:snapshot` made.
---@async
---@type fun(provider: string?): luarium.Snapshot[]
M.snapshots = list("snapshot")

--- Deletes a saved state by its name or id; `not_found` when there is none.
---@async
---@type fun(provider: string?, id: string)
M.delete_snapshot = delete("snapshot")

--- The volumes of a provider's account.
---@async
---@type fun(provider: string?): luarium.Volume[]
M.volumes = list("volume")

--- Deletes a volume, and what is in it, by its name or id; `not_found` when there is none.
---@async
---@type fun(provider: string?, id: string)
M.delete_volume = delete("volume")

--- The volume of a name, made when there is none.
---@async
---@param provider string? nil: the default one
---@param name string
---@return luarium.Volume
function M.volume(provider, name)
  local instance = provider_of(provider, "volume")
  check.argument(name, "text", "volume", "the name")
  return event.span("volume.make", { provider = instance.name, volume = name }, ask, instance, "volume", name)
end

return M
