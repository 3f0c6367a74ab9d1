--- Finding containers: by their id, or all that carry our labels.
local ascii = require "luarium.ascii"
local container = require "luarium.docker.container"
local http = require "luarium.http"
local json = require "luarium.json"
local native = require "luarium.native"
local options_of = require "luarium.docker.options"

local M = {}

local STATUS = { running = "running", paused = "paused", exited = "stopped", created = "stopped", dead = "stopped",
  restarting = "starting", removing = "destroying" }

local function seconds_of(text)
  local year, month, day, hour, minute, second = tostring(text):match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
  if not year then
    return tonumber(text)
  end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  local y = month <= 2 and year - 1 or year -- days since the epoch, counted in years that begin in March
  local era = math.floor(y / 400)
  local day_of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  local year_of_era = y - era * 400
  local days = era * 146097 + year_of_era * 365 + math.floor(year_of_era / 4) - math.floor(year_of_era / 100)
    + day_of_year - 719468
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

local function describe(id, state, labels, created)
  return {
    external_id = id, status = STATUS[ascii.lower(tostring(state))] or tostring(state),
    name = labels["luarium.name"] ~= "" and labels["luarium.name"] or nil, labels = options_of.own_labels(labels),
    created_at = seconds_of(created), expires_at = tonumber(labels["luarium.expires"]), cwd = labels["luarium.cwd"],
  }
end

---@async
---@param self luarium.ProviderInstance
---@param external_id string
---@param data table? what create returned
---@return table? facts
---@return luarium.Error? err
function M.get(self, external_id, data)
  local engine, err = container.engine(self)
  if not engine then
    return nil, err
  end
  local facts
  facts, err = container.inspect(engine, external_id)
  if not facts then
    return nil, err
  end
  local found = describe(facts.Id, facts.State.Status, (facts.Config or {}).Labels or {}, facts.Created)
  found.expires_at = data and data.expires_at or found.expires_at
  if found.expires_at and found.expires_at <= native.loop.realtime() then
    local ok, fault = container.remove(engine, external_id)
    if not ok then
      return nil, fault
    end
    return nil, container.gone(engine, external_id)
  end
  return found
end

local function carries(labels, wanted)
  for name, value in pairs(wanted) do
    if labels[name] ~= tostring(value) then
      return false
    end
  end
  return true
end

local function find(self, labels)
  local engine, err = container.engine(self)
  if not engine then
    return nil, err
  end
  local filters = { "luarium.id" }
  for name, value in pairs(labels) do
    filters[#filters + 1] = name .. "=" .. tostring(value)
  end
  local found
  found, err = engine:request("GET", "/containers/json?" .. http.encode_query({ all = 1,
    filters = json.encode({ label = filters }) }), { shape = "list" })
  if not found then
    return nil, err
  end
  local list = {}
  for _, facts in ipairs(found) do
    local own = facts.Labels or {}
    local entry = own["luarium.id"] ~= "" and describe(facts.Id, facts.State, own, facts.Created)
    if entry and carries(entry.labels, labels) then -- an image may have labels too, which the engine mixes in
      list[#list + 1] = entry
    end
  end
  return list
end

---@async
---@param self luarium.ProviderInstance
---@return table[]? list
---@return luarium.Error? err
function M.list(self)
  return find(self, {})
end

---@async
---@param self luarium.ProviderInstance
---@param labels table<string, string>
---@return table[]? list
---@return luarium.Error? err
function M.find_by_label(self, labels)
  return find(self, labels)
end

return M
