--- Providers: `define` checks an adapter and reports every fault at once, `load` finds one by name, `open` makes a
--- configured instance whose capabilities are known before anything runs.
local check = require "luarium.check"
local contract = require "luarium.provider.contract"
local errors = require "luarium.error"
local native = require "luarium.native"
local secret = require "luarium.secret"

local await = require("luarium.task").await

local M = {}

local definitions = {} -- name -> definition, as loaded
local from_files = {} -- path -> definition, of those that were asked for by their file
local files = setmetatable({}, { __mode = "k" }) -- definition -> the file it was loaded from
local definition_mt = { __name = "luarium.ProviderDefinition" }

---@class luarium.ProviderDefinition
---@field name string how scripts and configuration call it
---@field summary string one line for `luarium providers`
---@field docs string where its vendor's interface is documented
---@field config table<string, table>? rows of luarium.check, plus env (variable), secret, default and about
---@field unsupported table<string, string>? operation -> what to use instead, where the contract's advice does not fit
---@field emulated table<string, boolean>? operations that the adapter brings, but builds from others
---@field ignores string[]? create options without meaning here; "options": it has none of its own
---@field accepts string[]? create options beyond name, env, labels, timeout and options that it honours
---@field gives string[]? "network", "ports": what every sandbox has anyway, so that asking for just that is fine
---@field owns_lifetime boolean? the vendor itself ends a sandbox when its time is over
---@field streams boolean? its exec serves callbacks and an iterator for stdin itself, although it has spawn
---@field ends_all boolean? a command that is cut off takes with it whatever it has detached
---@field folds_signals boolean? a signal comes as exit code 128 + its number, and cannot be told from that exit code
---@field watch (fun(self, box: luarium.BoxRecord, on_end: fun(err: luarium.Error)): fun())? calls on_end when the
---  sandbox has ended by itself, as soon as that is known; returns what ends the watch. Neither may wait
---@field settle (fun(self, record: luarium.SandboxRecord): boolean?, luarium.Error?)? sees to it that a create or fork
---  that was cut off, perhaps that of a process which was killed, makes nothing any more that `list` does not show yet
---@field place (fun(self): string?)? where its sandboxes are, such as an address and an account; without secrets. A
---  provider elsewhere that does not know a sandbox proves nothing, and its record is kept. It may not wait
---@field host_path (fun(self, box, path: string): string)? where the host sees a path of the sandbox, if it does

local plain_fields = {
  name = "string", summary = "string", docs = "string", config = "table", unsupported = "table",
  emulated = "table", ignores = "list", accepts = "list", gives = "list", setup = "function", close = "function",
  host_path = "function", place = "function", watch = "function", settle = "function", owns_lifetime = "boolean",
  streams = "boolean", folds_signals = "boolean", ends_all = "boolean",
}

local function definition_faults(definition)
  local faults = {}
  local function fault(...)
    faults[#faults + 1] = string.format(...)
  end
  if type(definition.name) ~= "string" or not definition.name:match("^[a-z][a-z0-9_]*$") then
    fault("name: expected a word of small letters, digits and underscores, got %s", tostring(definition.name))
  end
  for _, key in ipairs(check.keys(definition)) do
    local operation, plain = contract.by_name[key], plain_fields[key]
    if operation then
      if type(definition[key]) ~= "function" and not (key == "pty" and definition[key] == true) then
        fault("%s: expected a function, got %s", key, type(definition[key]))
      end
    elseif not plain then
      local candidates = check.keys(contract.by_name)
      for name in pairs(plain_fields) do
        candidates[#candidates + 1] = name
      end
      local near = check.nearest(key, candidates)
      fault("%s: no operation of the contract%s", key, near and (": did you mean " .. near .. "?") or "")
    elseif type(definition[key]) ~= (plain == "list" and "table" or plain) then
      fault("%s: expected a %s, got %s", key, plain, type(definition[key]))
    end
  end
  for _, operation in ipairs(contract.operations) do
    if operation.required and definition[operation.name] == nil
      and not (operation.name == "exec" and definition.spawn) then
      fault("%s: this operation is required (%s)", operation.name, operation.about)
    end
  end
  if definition.pty and not definition.spawn then
    fault("pty: a provider with pty needs spawn")
  end
  for _, key in ipairs(check.keys(type(definition.config) == "table" and definition.config or {})) do
    local row = definition.config[key]
    if type(row) ~= "table" or type(row.type or "text") ~= "string" then
      fault("config.%s: expected a table such as { type = \"text\", env = \"NAME\" }", key)
    end
  end
  for _, list in ipairs({ "unsupported", "emulated" }) do
    for _, key in ipairs(check.keys(type(definition[list]) == "table" and definition[list] or {})) do
      if not contract.by_name[key] then
        fault("%s.%s: no operation of the contract", list, key)
      end
    end
  end
  return faults
end

--- Checks an adapter. Raises `invalid` with every fault at once.
---@param definition luarium.ProviderDefinition
---@return luarium.ProviderDefinition
function M.define(definition)
  if type(definition) ~= "table" then
    errors.raise("invalid", "provider.define: expected a table, got " .. type(definition))
  end
  local faults = definition_faults(definition)
  if #faults > 0 then
    errors.raise("invalid", ("provider %s: %d fault%s: %s"):format(tostring(definition.name or "?"), #faults,
      #faults == 1 and "" or "s", table.concat(faults, "; ")))
  end
  return setmetatable(definition, definition_mt)
end

function M.is_definition(value)
  return getmetatable(value) == definition_mt
end

-- ---- finding ----

--- Folders that are searched for NAME.lua and luarium_provider_NAME.so before the built-in adapters.
M.path = { "providers" }

local function accept(name, value, from)
  if not M.is_definition(value) then
    errors.raise("invalid", ("provider %s: %s must return provider.define{...}, it returned %s"):format(
      name, from, type(value)))
  end
  return value
end

local function load_lua(name, path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text, why = file:read("*a")
  file:close()
  if not text then
    errors.raise("invalid", ("provider %s: %s cannot be read: %s"):format(name, path, why))
  end
  local chunk, message = load(text, "@" .. path, "t")
  if not chunk then
    errors.raise("invalid", "provider " .. name .. ": " .. message)
  end
  return accept(name, chunk(name), path)
end

local function load_c(name, path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  file:close()
  local open, message = package.loadlib(path, "luaopen_luarium_provider_" .. name)
  if not open then
    errors.raise("invalid", ("provider %s: %s cannot be loaded: %s"):format(name, path, message))
  end
  return accept(name, open(name), path)
end

local function load_file(name, path)
  local definition = (path:match("%.so$") and load_c or load_lua)(name, path)
  if definition then
    files[definition] = path
  end
  return definition
end

--- The file in M.path that an adapter of this name is loaded from, or nil.
---@param name string
---@return string? path
function M.find(name)
  for _, folder in ipairs(name:match("^[a-z][a-z0-9_]*$") and M.path or {}) do
    for _, file in ipairs({ name .. ".lua", "luarium_provider_" .. name .. ".so" }) do
      if native.fs.exists(folder .. "/" .. file) then
        return folder .. "/" .. file
      end
    end
  end
end

--- The file that an adapter was loaded from; nil for one that comes with the library or was registered.
---@param definition luarium.ProviderDefinition
---@return string? path
function M.file_of(definition)
  return files[definition]
end

local builtin = { "local", "bubblewrap", "docker", "ssh" }

--- Whether an adapter of this name comes with the library.
---@param name string
---@return boolean
function M.is_builtin(name)
  for _, known in ipairs(builtin) do
    if known == name then
      return true
    end
  end
  return false
end

--- The adapter of this name. Raises `invalid` when there is none, with what there is.
---@param name string
---@param configured string[]? names that would have been understood too
---@param path string? the file that it is in, when it is not looked for
---@return luarium.ProviderDefinition
function M.load(name, configured, path)
  check.argument(name, "text", "provider", "the provider's name")
  if path then
    from_files[path] = from_files[path] or load_file(name, path)
    return from_files[path]
  elseif definitions[name] then
    return definitions[name]
  end
  if not name:match("^[a-z][a-z0-9_]*$") then
    errors.raise("invalid", ("provider %q: a name has small letters, digits and underscores only"):format(name))
  end
  local file = M.find(name)
  local definition = file and load_file(name, file)
  if not definition then
    local module = "luarium.providers." .. name
    local ok, value = pcall(require, module)
    if ok then
      definition = accept(name, value, module)
    elseif not tostring(value):find("module '" .. module .. "' not found", 1, true) then
      error(value, 0)
    end
  end
  if not definition then
    local names, known = M.names(), {}
    for _, list in ipairs({ names, configured or {} }) do
      for _, other in ipairs(list) do
        known[other] = true
      end
    end
    names = check.keys(known)
    local near = check.nearest(name, names)
    errors.raise("invalid", ("there is no provider '%s'%s (known: %s; `luarium provider new %s` makes one)"):format(
      name, near and (": did you mean '" .. near .. "'?") or "", table.concat(names, ", "), name))
  end
  definitions[name] = definition
  return definition
end

--- Registers an adapter that was not found by path, such as one of a host.
---@param definition luarium.ProviderDefinition
function M.register(definition)
  definitions[definition.name] = accept(definition.name, definition, "register")
end

--- The names of the adapters that can be loaded: built in, registered, and found in M.path.
---@async
---@return string[]
function M.names()
  local seen = {}
  for _, name in ipairs(builtin) do
    seen[name] = true
  end
  for name in pairs(definitions) do
    seen[name] = true
  end
  for _, folder in ipairs(M.path) do
    for _, entry in ipairs(await(native.fs.ls(folder)) or {}) do
      local name = entry.name:match("^([a-z][a-z0-9_]*)%.lua$")
        or entry.name:match("^luarium_provider_([a-z0-9_]+)%.so$")
      if name then
        seen[name] = true
      end
    end
  end
  return check.keys(seen)
end

-- ---- configuration ----

local function resolve_option(key, row, given)
  local value = given[key]
  if value == nil and row.env then
    local from_env = os.getenv(row.env)
    if from_env and from_env ~= "" then
      value = from_env
      local types = row.type or "text"
      if types:find("number", 1, true) or types:find("seconds", 1, true) or types:find("integer", 1, true) then
        value = tonumber(from_env) or from_env
      elseif types:find("boolean", 1, true) then
        value = from_env == "1" or from_env == "true" or from_env == "yes"
      end
    end
  end
  if value == nil then
    value = row.default
  end
  if value ~= nil and row.secret and type(value) == "string" then
    value = secret.new(value, row.env or key)
  end
  return value
end

local function resolve_config(definition, given, where)
  local template, config, missing = {}, {}, {}
  for key, row in pairs(definition.config or {}) do
    template[key] = { type = row.secret and "secret" or row.type or "text", one_of = row.one_of, min = row.min,
      max = row.max, secret = row.secret }
  end
  check.options(given, template, where)
  for _, key in ipairs(check.keys(definition.config or {})) do
    local row = definition.config[key]
    config[key] = resolve_option(key, row, given)
    local usable = config[key] ~= nil and not (secret.is(config[key]) and not config[key]:available())
    if row.required and not usable then
      missing[#missing + 1] = row.env and ("%s (set the variable %s%s)"):format(key, row.env,
        row.about and ", " .. row.about or "") or key
    end
  end
  check.options(config, template, where)
  if #missing > 0 then
    errors.raise("auth", ("%s: missing %s%s"):format(where, table.concat(missing, ", "),
      definition.docs and "; the provider's pages: " .. definition.docs or ""),
      { provider = definition.name, name = "NOT_CONFIGURED" })
  end
  return config
end

--- How an adapter offers an operation: "native", "emulated" or "unsupported".
---@param definition luarium.ProviderDefinition
---@param operation string
---@return string
function M.capability(definition, operation)
  local row = contract.by_name[operation]
  if not row then
    errors.raise("invalid", ("there is no operation '%s'%s"):format(tostring(operation),
      check.nearest(tostring(operation), check.keys(contract.by_name)) and (": did you mean '"
        .. check.nearest(tostring(operation), check.keys(contract.by_name)) .. "'?") or ""))
  end
  if definition[operation] then
    return definition.emulated and definition.emulated[operation] and "emulated" or "native"
  end
  if definition.unsupported and definition.unsupported[operation] then
    return "unsupported"
  end
  if operation == "exec" and definition.spawn then
    return "native"
  end
  for _, needed in ipairs(row.needs or {}) do
    if M.capability(definition, needed) == "unsupported" then
      return "unsupported"
    end
  end
  return row.needs and "emulated" or "unsupported"
end

--- operation -> capability, for one adapter.
---@param definition luarium.ProviderDefinition
---@return table<string, string>
function M.capabilities(definition)
  local result = {}
  for _, operation in ipairs(contract.operations) do
    result[operation.name] = M.capability(definition, operation.name)
  end
  return result
end

--- The error for an operation that a provider does not have.
---@return luarium.Error
function M.unsupported(definition, operation)
  local row = contract.by_name[operation]
  local advice = definition.unsupported and definition.unsupported[operation] or row and row.instead
  return errors.new("unsupported", ("provider '%s' has no '%s'%s"):format(definition.name, operation,
    advice and ": " .. advice or ""), { provider = definition.name, op = nil })
end

--- A configured provider. Raises `invalid` or `auth` when the configuration is not right.
---@param name string the name it was configured under
---@param adapter string
---@param given table configuration
---@param configured string[]? all configured names, for the error of one that does not exist
---@param path string? the adapter's file, when it is not looked for
---@return luarium.ProviderInstance
function M.open(name, adapter, given, configured, path)
  local definition = M.load(adapter, configured, path)
  local config = resolve_config(definition, given or {}, "provider " .. name)
  return require("luarium.provider.instance").new(name, definition, config)
end

return M
