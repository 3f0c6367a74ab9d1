--- Configuration: luarium.lua in the project, then the user's own, then the environment, then arguments; the later
--- wins. A configuration file is Lua in a small environment: it may call luarium.configure{...} or return a table.
local check = require "luarium.check"
local errors = require "luarium.error"
local provider = require "luarium.provider"
local secret = require "luarium.secret"

local M = {}

local template = {
  default = "text", providers = "table", state_dir = "text", cache_dir = "text",
  busy_limit = "seconds", provider_path = "strings", telemetry = "table|boolean",
}

local settings = { providers = {} }
local instances = {}
local loaded = {} -- the files that were read
local sources = {} -- the name of a provider -> the file that configured it last; false: a program did

local function check_providers(providers, where)
  local faults = {}
  for _, name in ipairs(check.keys(providers)) do
    local entry = providers[name]
    if type(entry) ~= "table" or type(entry[1]) ~= "string" then
      faults[#faults + 1] = ("providers.%s: expected { \"adapter\", key = value, ... }, got %s"):format(
        name, type(entry))
    elseif not name:match("^[%w_%-]+$") then
      faults[#faults + 1] = ("providers.%s: a name has letters, digits, - and _ only"):format(name)
    end
  end
  if #faults > 0 then
    errors.raise("invalid", where .. ": " .. table.concat(faults, "; "))
  end
end

local function key_of(name, adapter_file)
  return adapter_file and name .. "\0" .. adapter_file or name
end

local function forget_instances(name)
  for key in pairs(instances) do
    if key == name or key:sub(1, #name + 1) == key_of(name, "") then
      instances[key] = nil
    end
  end
end

---@class luarium.Settings
---@field default string? the provider that create uses
---@field providers table<string, table>? name -> { adapter, key = value, ... }
---@field state_dir string?
---@field cache_dir string?
---@field busy_limit number? seconds a script may compute without waiting; 0 switches the guard off
---@field provider_path string[]? folders with adapters of one's own
---@field telemetry luarium.TelemetryOptions|false|nil where operations are reported to; false switches it off

--- Adds settings; later ones win, providers are merged by name.
---@param options luarium.Settings
---@param where string? for messages
---@param file string? the configuration file that has them
function M.configure(options, where, file)
  where = where or "configure"
  check.options(options, template, where)
  check_providers(options.providers or {}, where)
  if options.telemetry ~= nil then
    require("luarium.otlp").configure(options.telemetry, where)
  end
  for key, value in pairs(options) do
    if key == "providers" then
      for name, entry in pairs(value) do
        settings.providers[name], sources[name] = entry, file or false
        forget_instances(name)
      end
    else
      settings[key] = value
    end
  end
  if options.provider_path then
    provider.path = options.provider_path
  end
  if options.busy_limit then
    require("luarium.task").guard(options.busy_limit)
  end
end

--- Gives up what the providers keep open, such as connections; what needs one opens it again.
function M.close()
  for _, instance in pairs(instances) do
    instance:close()
  end
end

--- Forgets everything that was configured. For tests and hosts that start over.
function M.reset()
  M.close()
  settings, instances, loaded, sources = { providers = {} }, {}, {}, {}
  if package.loaded["luarium.otlp"] then
    require("luarium.otlp").reset()
  end
end

-- ---- files ----

--- One of Lua's tables for a file that may write into it without changing it for the program.
local function copied(library)
  local copy = {}
  for name, value in pairs(library) do
    copy[name] = value
  end
  return copy
end

--- Loads one configuration file. Raises `invalid` with the file's own line when it is broken.
---@param path string
function M.load_file(path)
  local text, message = require("luarium.text").of_file(path)
  if not text then
    errors.raise("not_found", ("the configuration file %s cannot be read: %s"):format(path, message))
  end
  local given
  local env = {
    luarium = { env = secret.env, configure = function(options)
      given = options
    end },
    os = { getenv = os.getenv }, string = copied(string), table = copied(table), math = copied(math),
    tostring = tostring, tonumber = tonumber, pairs = pairs, ipairs = ipairs, type = type, error = error,
    assert = assert,
  }
  env.require = function(name)
    if name == "luarium" then
      return env.luarium
    end
    errors.raise("invalid", ("%s: a configuration file may require only \"luarium\", not %q"):format(path, name))
  end
  local chunk, syntax = load(text, "@" .. path, "t", env)
  if not chunk then
    errors.raise("invalid", "configuration: " .. syntax)
  end
  local ok, result = pcall(chunk)
  if not ok then
    errors.raise("invalid", "configuration: " .. tostring(result))
  end
  given = given or result
  if type(given) ~= "table" then
    errors.raise("invalid", path .. ": expected a call of luarium.configure{...} or a returned table")
  end
  M.configure(given, path, path)
  loaded[#loaded + 1] = path
end

--- The configuration files that were read.
---@return string[]
function M.loaded()
  return loaded
end

--- The configuration file that a provider's configuration is from.
---@param name string
---@return string? path
function M.source(name)
  return sources[name] or nil
end

--- Whether the program itself has configured a provider of this name.
---@param name string
---@return boolean
function M.is_own(name)
  return sources[name] == false
end

--- The configuration files that exist, in the order in which they are read.
---@return string[]
M.files = require "luarium.config.files"

--- Reads the files that exist, or the one given.
---@param path string?
function M.load(path)
  if path then
    return M.load_file(path)
  end
  for _, file in ipairs(M.files()) do
    M.load_file(file)
  end
end

-- ---- answers ----

local function env(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- A folder of the user: that of a variable of the XDG specification, which wants relative paths to be ignored, else
--- one below HOME. Without a HOME, as in services, there is none that would be private and last.
local function user_folder(own, variable, below)
  local path = env(variable)
  if path and path:sub(1, 1) == "/" then
    return path .. "/luarium"
  end
  local home = env("HOME")
  if not home then
    errors.raise("invalid", ("the variable HOME is not set: set it, or %s"):format(own))
  elseif home:sub(1, 1) ~= "/" then
    errors.raise("invalid", ("the variable HOME is %q: expected an absolute path"):format(home))
  end
  return home .. below .. "/luarium"
end

--- Where state is kept; not made here. Raises `invalid` for a HOME that is missing or no absolute path.
---@return string
function M.state_dir()
  return settings.state_dir or env("LUARIUM_STATE_DIR")
    or user_folder("LUARIUM_STATE_DIR", "XDG_STATE_HOME", "/.local/state")
end

--- Where what can be made again is kept, such as git mirrors. Raises as state_dir.
---@return string
function M.cache_dir()
  return settings.cache_dir or env("LUARIUM_CACHE_DIR")
    or user_folder("LUARIUM_CACHE_DIR", "XDG_CACHE_HOME", "/.cache")
end

--- The provider's name that counts: the argument, LUARIUM_PROVIDER, SANDBOX_PROVIDER, the configured default, local.
---@param name string?
---@return string
function M.provider_name(name)
  return name or env("LUARIUM_PROVIDER") or env("SANDBOX_PROVIDER") or settings.default or "local"
end

--- Where operations are reported to, as configured; the environment may say otherwise.
---@return luarium.TelemetryOptions|false|nil
function M.telemetry()
  return settings.telemetry
end

--- The names that were configured, with their adapters.
---@return table<string, string>
function M.configured()
  local result = {}
  for name, entry in pairs(settings.providers) do
    result[name] = entry[1]
  end
  return result
end

--- The adapter of a configured name, else the name.
---@param name string
---@return string
function M.adapter(name)
  return (settings.providers[name] or { name })[1]
end

--- The configured provider of a name; an adapter's own name works without configuration.
---@param name string?
---@param adapter_file string? where its adapter is, when that is not looked for
---@return luarium.ProviderInstance
function M.provider(name, adapter_file)
  name = M.provider_name(name)
  local key = key_of(name, adapter_file)
  if not instances[key] then
    local entry = settings.providers[name] or { name }
    local given = {}
    for option, value in pairs(entry) do
      if option ~= 1 then
        given[option] = value
      end
    end
    instances[key] = provider.open(name, entry[1], given, check.keys(settings.providers), adapter_file)
  end
  return instances[key]
end

return M
