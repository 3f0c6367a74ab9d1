--- Sandboxes as users see them: create, reconnect, list, destroy. Everything here raises error objects; providers below
--- return nil, err.
local check = require "luarium.check"
local config = require "luarium.config"
local errors = require "luarium.error"
local event = require "luarium.event"
local native = require "luarium.native"
local contract = require "luarium.provider.contract"
local progress = require "luarium.progress"
local origin = require "luarium.provider.origin"
local registry = require "luarium.registry"
local leftover = require "luarium.sandbox.leftover"
local object = require "luarium.sandbox.object"
local offer = require "luarium.sandbox.offer"
local secret = require "luarium.secret"
local task = require "luarium.task"

require "luarium.sandbox.command"
require "luarium.sandbox.files"
require "luarium.sandbox.jobs"
require "luarium.sandbox.life"
object.guard_methods()

local M = { instance_of = object.instance_of, call = object.call, methods = object.methods }

--- Those that may have made the sandbox of a record that cannot be read.
local function every_provider()
  local names = config.configured()
  names["local"], names.bubblewrap = "local", "bubblewrap"
  local list = {}
  for name in pairs(names) do
    list[#list + 1] = config.provider(name)
  end
  return list
end

local function make(options, instance, id)
  local env, sources = object.reveal_map(options.env)
  local labels = {}
  for key, value in pairs(options.labels or {}) do
    labels[key] = tostring(value)
  end
  local record = {
    id = id, provider = instance.name, adapter = instance.definition.name, status = "creating", name = options.name,
    labels = labels, created_at = native.loop.realtime(),
    expires_at = options.timeout and native.loop.realtime() + options.timeout or nil, origin = origin.of(instance),
    place = instance:place(),
  }
  registry.put(record)
  local spec = {}
  for key, value in pairs(options) do
    spec[key] = value
  end
  spec.id, spec.env, spec.labels, spec.provider = id, env, labels, nil
  spec.on_progress = progress.reporter({ sandbox = id, name = options.name, what = "create" })
  local ok, made, err = xpcall(instance.call, errors.handler, instance, "create", spec)
  if not ok or not made then
    leftover.give_up(instance, record, not ok and made or err, "create", spec.nothing_made)
  end
  record.external_id, record.cwd, record.data = made.external_id, made.cwd, made.data
  record.status, record.expires_at = made.status or "running", made.expires_at or record.expires_at
  local box = object.attach(record, instance, env)
  box.secret_env = sources
  leftover.keep(box, "create")
  return box
end

--- Makes a sandbox. Close it (`local box <close> = ...`, `box:destroy()`, or use `with`).
---@async
---@param options table|string|nil a table, or the provider's name
---@return luarium.Sandbox
function M.create(options)
  if type(options) == "string" then
    options = { provider = options }
  end
  options = check.options(options, contract.create_options, "create")
  local instance = config.provider(options.provider)
  local ignored = offer.check(instance, options)
  local id = "sbx_" .. native.crypto.ulid():lower()
  offer.warn(instance, ignored, id)
  local fields = { sandbox = id, name = options.name, provider = instance.name }
  return event.span("sandbox.create", fields, make, options, instance, id)
end

--- Makes a sandbox, calls fn with it and destroys it however fn ends.
---@async
---@param options table|string|nil as for create
---@param fn fun(box: luarium.Sandbox): ...
---@return any ... what fn returned
function M.with(options, fn)
  check.argument(fn, "function", "with", "the function")
  return task.scope(function(scope)
    local box = M.create(options)
    scope:defer(box.destroy, box)
    return fn(box)
  end, "with")
end

--- Finds a sandbox again by its id, from any process that shares the state folder.
---@async
---@param id string
---@return luarium.Sandbox
function M.reconnect(id)
  check.argument(id, "text", "reconnect", "the id")
  if object.live[id] and object.live[id].status ~= "destroyed" then
    return object.live[id]
  end
  local record = registry.get(id)
  if not record then
    errors.raise("sandbox_gone", ("reconnect: there is no sandbox %s (`luarium ls` shows those there are)"):format(id))
  end
  if not record.external_id then
    errors.raise("conflict", ("reconnect: the sandbox %s was never finished: destroy it with `luarium destroy %s`")
      :format(id, id), { name = "UNFINISHED" })
  end
  local instance = origin.provider(record)
  local facts, err = instance:call("get", record.external_id, record.data or {})
  if not facts then
    err = origin.explain(record, instance, err)
    if errors.is(err, "sandbox_gone") then
      registry.delete(id)
    end
    object.raise(err, "reconnect")
  end
  record.status = facts.status or record.status
  record.expires_at = facts.expires_at or record.expires_at
  local env = record.env or {}
  for key, variable in pairs(record.secret_env or {}) do
    env[key] = os.getenv(variable)
    if env[key] then
      secret.register(env[key], variable)
    end
  end
  local box = object.attach(record, instance, env)
  box.secret_env = record.secret_env
  if origin.is_elsewhere(record, instance) then -- the same place by another name, which counts from now on
    box.place = instance:place()
    record.place = box.place
    registry.put(record)
  end
  object.arm(box)
  object.watch(box)
  return box
end

local function matches(record, filter)
  if filter.provider and record.provider ~= filter.provider or filter.name and record.name ~= filter.name then
    return false
  end
  for key, value in pairs(filter.labels or {}) do
    if (record.labels or {})[key] ~= tostring(value) then
      return false
    end
  end
  return true
end

--- The records of all sandboxes, oldest first. Nothing is asked of the vendors.
---@async
---@param filter {id?: string, provider?: string, name?: string, labels?: table<string, string>}?
---@return luarium.SandboxRecord[]
function M.list(filter)
  filter = check.options(filter, { id = "text", provider = "text", name = "text", labels = "map" }, "list")
  local found = {}
  local records = filter.id and { registry.is_id(filter.id) and registry.find(filter.id) or nil }
    or registry.list(filter.name)
  for _, record in ipairs(records) do
    if matches(record, filter) then
      found[#found + 1] = record
    end
  end
  return found
end

--- Destroys a sandbox by its id, also one that was never finished or whose provider cannot be asked for it.
---@async
---@param id string
---@return boolean existed
function M.destroy(id)
  local record = registry.find(id)
  if not record then
    return false
  end
  if object.live[id] and object.live[id].status ~= "destroyed" then
    object.live[id]:destroy()
    return true
  end
  local instance = record.provider ~= registry.UNKNOWN and origin.provider(record)
  if instance then
    origin.check(record, instance)
  end
  if instance and record.external_id then
    local box = object.attach(record, instance, record.env or {})
    box.secret_env = record.secret_env
    box:destroy()
  else
    for _, one in ipairs(instance and { instance } or every_provider()) do
      local ok, err = leftover.clear(one, record)
      if not ok then
        object.raise(err, "destroy")
      end
    end
    registry.delete(id)
  end
  return true
end

return M
