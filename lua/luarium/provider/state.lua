--- The facts of a sandbox that adapters which have no vendor keep beside it. Commands of the sandbox may have been at
--- the file: it is read as a stranger's.
local check = require "luarium.check"
local errors = require "luarium.error"
local json = require "luarium.json"

local M = {}

---@class luarium.ProviderState
---@field id string
---@field name string?
---@field labels table<string, string>?
---@field created_at number? seconds since the epoch
---@field expires_at number?
---@field work string? the working directory

local TIME = { type = "number", min = 0, max = 1e11 } -- seconds since the epoch

local FIELDS = {
  id = { type = "text", required = true }, name = "text", labels = "map", created_at = TIME, expires_at = TIME,
  work = "text",
}

--- The state of a sandbox that a text is.
---@param text string
---@param id string the sandbox's
---@return luarium.ProviderState? state
---@return luarium.Error? err `protocol`
function M.decode(text, id)
  local state, err = json.decode_plain(text)
  local fault = err and err.message or type(state) ~= "table" and "expected a table, got a " .. type(state)
  for _, name in ipairs(fault and {} or check.keys(FIELDS)) do
    fault = fault or check.field(state, name, FIELDS[name])
  end
  fault = fault or state.id ~= id and "it is that of another one"
  if fault then
    return nil, errors.new("protocol", "the state of the sandbox is damaged: " .. fault)
  end
  return state
end

--- What get and list of a provider tell of it.
---@param state luarium.ProviderState
---@return table facts
function M.describe(state)
  return {
    external_id = state.id, status = "running", name = state.name, labels = state.labels or {},
    created_at = state.created_at, expires_at = state.expires_at, cwd = state.work,
  }
end

return M
