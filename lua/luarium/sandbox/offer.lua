--- What create is asked for against what the provider takes: refused, or ignored and told.
local check = require "luarium.check"
local config = require "luarium.config"
local errors = require "luarium.error"
local log = require "luarium.log"
local provider = require "luarium.provider"

local M = {}

local ALWAYS = { "provider", "name", "env", "labels", "timeout" }

local function set_of(...)
  local set = {}
  for _, list in ipairs({ ... }) do
    for _, key in ipairs(list) do
      set[key] = true
    end
  end
  return set
end

--- Whether a sandbox that has it all anyway has what is asked for: a network, or ports under their own numbers.
local had_anyway = {
  network = function(value)
    return value == true
  end,
  ports = function(list)
    for _, port in ipairs(list) do
      if not tostring(port):match("^%d+$") then
        return false
      end
    end
    return true
  end,
}

--- Raises `unsupported` for an option that the provider neither takes nor ignores.
---@param instance luarium.ProviderInstance
---@param options table
---@return string[] ignored those that were given in vain
function M.check(instance, options)
  local definition, ignored = instance.definition, {}
  local takes, ignores = set_of(ALWAYS, definition.accepts or {}), set_of(definition.ignores or {})
  local gives = set_of(definition.gives or {})
  takes.options = not ignores.options or next(options.options or {}) == nil
  for _, key in ipairs(check.keys(options)) do
    if not takes[key] and ignores[key] then
      ignored[#ignored + 1] = key
    elseif not takes[key] and not (gives[key] and had_anyway[key](options[key])) then
      errors.raise("unsupported", ("create: provider '%s' cannot do `%s`: leave it out or choose another provider "
        .. "(`luarium providers` shows what each can do)"):format(instance.name, key), { provider = instance.name })
    end
  end
  return ignored
end

local function takes_all(adapter, keys)
  local ok, definition = pcall(provider.load, adapter)
  local takes = ok and set_of(definition.accepts or {}) or {}
  for _, key in ipairs(keys) do
    if not takes[key] then
      return false
    end
  end
  return true
end

--- A provider that takes all of these options: a configured one, else one that comes with the library.
local function taker_of(keys)
  local configured = config.configured()
  for _, name in ipairs(check.keys(configured)) do
    if takes_all(configured[name], keys) then
      return name
    end
  end
  for _, name in ipairs(provider.names()) do
    if provider.is_builtin(name) and takes_all(name, keys) then
      return name
    end
  end
end

--- Warns of options that were given in vain, in one line.
---@async
---@param instance luarium.ProviderInstance
---@param ignored string[]
---@param id string of the sandbox
function M.warn(instance, ignored, id)
  if #ignored == 0 then
    return
  end
  local taker, one = taker_of(ignored), #ignored == 1
  log.warn(("provider '%s' ignores %s: %s"):format(instance.name, table.concat(ignored, ", "),
    taker and ("'%s' takes %s, use --provider %s"):format(taker, one and "it" or "them", taker)
      or ("leave %s out"):format(one and "it" or "them")),
    { sandbox = id, provider = instance.name, ignored = ignored })
end

return M
