--- What every method of a sandbox stands on: the object, its provider, its record, calls with errors that are raised.
local check = require "luarium.check"
local errors = require "luarium.error"
local event = require "luarium.event"
local native = require "luarium.native"
local registry = require "luarium.registry"
local secret = require "luarium.secret"
local task = require "luarium.task"
local scheduler = require "luarium.task.scheduler"

local M = {}

--- Seconds that destroying a sandbox may take when its task is already being cancelled.
M.destroy_budget = 120

---@class luarium.Sandbox
---@field id string durable: `luarium.reconnect(id)` finds it again from any process
---@field name string?
---@field provider string the configured name
---@field external_id string the vendor's id
---@field status string "running", "stopped", "destroyed" ...
---@field labels table<string, string>
---@field cwd string the working directory, where relative paths start
---@field created_at number seconds since the epoch
---@field expires_at number? when it ends by itself
---@field env table<string, string>
---@field data table
local Sandbox = {}
local mt = { __index = Sandbox, __name = "luarium.Sandbox" }
M.methods, M.metatable = Sandbox, mt

M.live = setmetatable({}, { __mode = "v" }) -- id -> object, so that one process has one object per sandbox
M.instances = setmetatable({}, { __mode = "k" }) -- sandbox -> provider instance

--- Raises with the operation's name and without secrets. The reason of a cancelled task passes as it is: scopes know it
--- by identity.
function M.raise(err, op)
  if err == task.cancel_reason() then
    error(err, 0)
  end
  if errors.is(err) and not err.op and op then
    err = err:wrap(op)
  end
  error(secret.redact_error(err), 0)
end

function M.reveal_map(map)
  local plain, sources = {}, {}
  for key, value in pairs(map or {}) do
    if secret.is(value) then
      plain[key] = secret.reveal(value)
      sources[key] = value.name
    else
      plain[key] = tostring(value)
    end
    if key == "" or key:find("[=%z]") or plain[key]:find("\0", 1, true) then
      errors.raise("invalid", ("env: %q cannot be an environment variable"):format(key))
    end
  end
  return plain, sources
end

--- Makes each method say what is wrong when it is called with a dot. Called once, when all methods are there.
function M.guard_methods()
  for name, method in pairs(Sandbox) do
    Sandbox[name] = function(self, ...)
      if type(self) ~= "table" or self.external_id == nil then
        local got = type(self) == "nil" and "nothing" or "a " .. type(self)
        errors.raise("invalid",
          ("%s: expected a sandbox in front, got %s: write box:%s(...), with a colon"):format(name, got, name))
      end
      return method(self, ...)
    end
  end
end

function M.attach(record, instance, env)
  local box = setmetatable({
    id = record.id, name = record.name, provider = record.provider, external_id = record.external_id,
    status = record.status, labels = record.labels or {}, cwd = record.cwd, data = record.data or {},
    created_at = record.created_at, expires_at = record.expires_at, env = env, origin = record.origin,
    place = record.place,
  }, mt)
  M.instances[box] = instance
  M.live[box.id] = box
  return box
end

function M.disarm(box)
  if box.lifetime then
    scheduler.forget(box.lifetime)
    box.lifetime:cancel()
    box.lifetime = nil
  end
end

--- What is done when a sandbox has turned out to be gone.
---@async
---@param box luarium.Sandbox
---@param err luarium.Error
function M.lose(box, err)
  M.disarm(box)
  M.unwatch(box)
  if box.status ~= "destroyed" then
    box.status, box.gone = "destroyed", err
    event.emit("sandbox.gone", { sandbox = box.id, name = box.name, provider = box.provider, error = err })
  end
  task.shield(M.destroy_budget, registry.delete, box.id)
end

function M.unwatch(box)
  if box.stop_watching then
    box.stop_watching()
    box.stop_watching = nil
  end
end

--- Learns of the end of an idle sandbox, where the provider can tell.
function M.watch(box)
  local definition = M.instances[box].definition
  if not definition.watch then
    return
  end
  M.unwatch(box)
  local held = setmetatable({ box = box }, { __mode = "v" }) -- a watch keeps no sandbox that nobody else has
  box.stop_watching = definition.watch(M.instances[box], box, function(err)
    task.spawn_background("the end of a sandbox", function()
      if held.box and held.box.status ~= "destroyed" and not held.box.destroying then
        M.lose(held.box, err)
      end
    end)
  end)
end

--- Ends the sandbox when its time is over, where the vendor does not do it.
function M.arm(box)
  M.disarm(box)
  if not box.expires_at or M.instances[box].definition.owns_lifetime then
    return
  end
  local seconds = math.max(0, box.expires_at - native.loop.realtime())
  local op, err = native.loop.sleep(seconds, true)
  if not op then
    M.raise(err, "create")
  end
  box.lifetime = op
  scheduler.on_complete(op, function()
    if box.lifetime == op then
      box.lifetime = nil
      task.spawn_detached("end of life of " .. box.id, function()
        event.emit("sandbox.expired", { sandbox = box.id, name = box.name })
        box:destroy()
      end)
    end
  end)
end

function M.record_of(box, status)
  local plain, sources = {}, box.secret_env or {}
  for key, value in pairs(box.env) do
    if not sources[key] then
      plain[key] = value
    end
  end
  return {
    id = box.id, name = box.name, provider = box.provider, adapter = M.instances[box].definition.name,
    external_id = box.external_id, status = status or box.status, labels = box.labels, cwd = box.cwd,
    data = box.data, origin = box.origin, place = box.place, created_at = box.created_at,
    expires_at = box.expires_at, env = plain, secret_env = sources,
  }
end

---@return luarium.ProviderInstance
function M.instance_of(box)
  return M.instances[box]
end

function M.require_alive(box, op)
  if box.gone then
    errors.raise("sandbox_gone", ("%s: %s"):format(op, box.gone.message), { provider = box.provider, cause = box.gone })
  elseif box.status == "destroyed" then
    errors.raise("sandbox_gone", ("%s: the sandbox %s was destroyed"):format(op, box.id), { provider = box.provider })
  elseif box.destroying then -- or what is started meanwhile could outlive it
    errors.raise("sandbox_gone", ("%s: the sandbox %s is being destroyed"):format(op, box.id),
      { provider = box.provider })
  end
end

--- Calls an operation of the provider; raises its error. A sandbox found gone is remembered as gone.
function M.call(box, operation, ...)
  M.require_alive(box, operation)
  local value, err = M.instances[box]:call(operation, box, ...)
  if value == nil and err then
    if errors.is(err, "sandbox_gone") then
      M.lose(box, err)
    end
    M.raise(err, operation)
  end
  return value
end

--- Runs fn(box, operation, ...) as an operation of the sandbox.
function M.span_with(fn, box, operation, fields, ...)
  fields.sandbox, fields.name, fields.provider = box.id, box.name, box.provider
  return event.span("sandbox." .. operation, fields, fn, box, operation, ...)
end

function M.span(box, operation, fields, ...)
  return M.span_with(M.call, box, operation, fields, ...)
end

--- A path made absolute in the sandbox.
---@param path string
---@return string
function Sandbox:path(path)
  check.argument(path, "text", "path", "the path")
  if path == "" then
    errors.raise("invalid", "the path is empty; \".\" is the working directory")
  end
  return path:sub(1, 1) == "/" and path or self.cwd .. "/" .. path
end

return M
