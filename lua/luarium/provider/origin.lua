--- Where the provider of a sandbox came from, as far as that depends on the folder: the file of an adapter of one's
--- own, and the configuration file. The record keeps both, so that a command in another folder means the same provider,
--- or says where to go. It also keeps the place that the provider led to: another one, which knows no such sandbox,
--- proves nothing about it.
local config = require "luarium.config"
local errors = require "luarium.error"
local native = require "luarium.native"
local provider = require "luarium.provider"
local task = require "luarium.task"

local await = task.await
local fs = native.fs

local M = {}

--- What the record of a sandbox keeps; nil when it is found from everywhere.
---@async
---@param instance luarium.ProviderInstance
---@return {adapter: string?, config: string?}? origin absolute paths
function M.of(instance)
  local file = provider.file_of(instance.definition)
  local adapter = file and not provider.is_builtin(instance.definition.name) and await(fs.realpath(file)) or nil
  local source = config.source(instance.name)
  source = source and await(fs.realpath(source)) or nil
  return (adapter or source) and { adapter = adapter, config = source } or nil
end

local function parent(path)
  return path:match("^(.+)/[^/]*$") or "/"
end

--- Whether the configuration that a sandbox was made with is in force.
local function is_read(path)
  for _, file in ipairs(config.loaded()) do
    if await(fs.realpath(file)) == path then
      return true
    end
  end
  return not fs.exists(path) -- it was moved: what is configured now must do
end

--- A bit of a file's mode.
local function has(mode, bit)
  return math.floor(mode / bit) % 2 == 1
end

--- The part of a path that others than its owner and the super-user can replace, or nil. Code is read from there
--- although nobody has chosen that folder in this command.
local function exposed(path)
  local own = await(fs.stat(config.state_dir()))
  while own do
    local facts = await(fs.stat(path))
    if not facts or facts.uid ~= 0 and facts.uid ~= own.uid then
      return path
    end
    local open_to_others = has(facts.mode, 16) or has(facts.mode, 2) -- 020, 002
    if open_to_others and not (facts.type == "dir" and has(facts.mode, 512)) then -- 01000: only owners rename
      return path
    elseif path == "/" then
      return nil
    end
    path = parent(path)
  end
  return path
end

--- The folder in which an adapter is found without further ado.
local function home_of(adapter)
  local folder = parent(adapter)
  return folder:match("/providers$") and parent(folder) or nil
end

--- Whether the provider leads somewhere else than when it made the sandbox, as another DOCKER_HOST does.
---@param record luarium.SandboxRecord
---@param instance luarium.ProviderInstance
---@return boolean
function M.is_elsewhere(record, instance)
  local here = instance:place()
  return record.place ~= nil and here ~= nil and here ~= record.place
end

--- What to say instead of "there is none" of a provider that leads elsewhere; else the answer itself.
---@param record luarium.SandboxRecord
---@param instance luarium.ProviderInstance
---@param err luarium.Error?
---@return luarium.Error? err
function M.explain(record, instance, err)
  if not M.is_elsewhere(record, instance) or err and not errors.is(err, "sandbox_gone") then
    return err
  end
  return errors.new("conflict", ("%s was made at %s, but the provider '%s' leads to %s now: let it lead there again, "
    .. "or forget the sandbox with `luarium destroy --forget %s`"):format(record.id, record.place, record.provider,
      instance:place(), record.id), { name = "PLACE_CHANGED", cause = err })
end

--- Raises when the provider leads elsewhere and does not know the sandbox: it cannot end it, and the record would be
--- lost.
---@async
---@param record luarium.SandboxRecord
---@param instance luarium.ProviderInstance
function M.check(record, instance)
  if not M.is_elsewhere(record, instance) then
    return
  end
  local facts, err
  if record.external_id then
    facts, err = instance:call("get", record.external_id, record.data or {})
  end
  if not facts then
    error(M.explain(record, instance, err), 0)
  end
end

local function from_file(record, path)
  local open = exposed(path)
  if open then
    local home = home_of(path)
    errors.raise("auth", ("the adapter of %s is %s, and others than you can change %s: %slet only you change it")
      :format(record.id, path, open, home and "run this in " .. home .. ", or " or ""), { name = "ADAPTER_EXPOSED" })
  end
  return config.provider(record.provider, path)
end

--- The provider that a sandbox was made with. Raises `conflict` when it is configured elsewhere.
---@async
---@param record luarium.SandboxRecord
---@return luarium.ProviderInstance
function M.provider(record)
  local origin = record.origin or {}
  if origin.config and not config.is_own(record.provider) and not is_read(origin.config) then
    errors.raise("conflict", ("%s was made with the provider '%s' of %s, which is not in force here: run this in %s")
      :format(record.id, record.provider, origin.config, parent(origin.config)), { name = "CONFIGURED_ELSEWHERE" })
  end
  local now = origin.adapter and provider.find(config.adapter(record.provider))
  if not origin.adapter or now and await(fs.realpath(now)) == origin.adapter then
    return config.provider(record.provider)
  elseif fs.exists(origin.adapter) then
    return from_file(record, origin.adapter)
  end
  local ok, instance = pcall(config.provider, record.provider)
  if ok then
    return instance
  elseif instance == task.cancel_reason() then
    error(instance, 0)
  end
  errors.raise("not_found", ("the adapter of %s was %s, which is gone: put it back, or forget the sandbox with "
    .. "`luarium destroy --forget %s`"):format(record.id, origin.adapter, record.id), { name = "ADAPTER_GONE" })
end

return M
