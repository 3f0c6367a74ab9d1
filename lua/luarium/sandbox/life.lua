--- What happens to a sandbox as a whole: git and results, start and stop, its end.
local check = require "luarium.check"
local errors = require "luarium.error"
local event = require "luarium.event"
local native = require "luarium.native"
local leftover = require "luarium.sandbox.leftover"
local registry = require "luarium.registry"
local object = require "luarium.sandbox.object"
local task = require "luarium.task"

local Sandbox = object.methods

-- ---- git, results ----

--- Clones a repository; see luarium.git.
---@async
---@param url string
---@param options table?
function Sandbox:clone(url, options)
  return require("luarium.git").clone(self, url, options)
end

--- The repository at a path of the sandbox.
---@param path string?
---@param options {url?: string, base?: string}?
function Sandbox:git(path, options)
  return require("luarium.git").open(self, path or ".", options)
end

--- Collects diff, files, logs and a report into a local folder; see luarium.collect.
---@async
---@param options table
function Sandbox:collect(options)
  return require("luarium.collect").collect(self, options)
end

-- ---- life ----

---@param operation string
---@return string|false capability "native", "emulated" or false
function Sandbox:can(operation)
  local capability = object.instances[self]:can(operation)
  return capability ~= "unsupported" and capability
end

--- Facts from the provider: {external_id, status, labels, created_at, expires_at, ...}.
---@async
function Sandbox:info()
  object.require_alive(self, "info")
  local facts, err = object.instances[self]:call("get", self.external_id, self.data)
  if not facts then
    object.raise(err, "info")
  end
  return facts
end

local function set_status(operation, status)
  return function(self)
    local result = object.span(self, operation, {})
    self.status = status
    registry.put(object.record_of(self))
    return result
  end
end

Sandbox.start = set_status("start", "running")
Sandbox.stop = set_status("stop", "stopped")
Sandbox.pause = set_status("pause", "paused")
Sandbox.resume = set_status("resume", "running")
Sandbox.archive = set_status("archive", "archived")
Sandbox.recover = set_status("recover", "running")

--- Moves its end of life to so many seconds from now.
---@async
---@param seconds number
function Sandbox:extend(seconds)
  check.argument(seconds, "seconds", "extend", "the time")
  local result = object.span(self, "extend", { seconds = seconds }, seconds)
  self.expires_at = type(result) == "table" and result.expires_at or native.loop.realtime() + seconds
  registry.put(object.record_of(self))
  object.arm(self)
end

--- The address of a port in the sandbox.
---@async
---@param port integer
---@return string url
---@return table? headers that requests must carry
---@return boolean held whether it lasts only as long as this program
function Sandbox:url(port)
  check.argument(port, "integer", "url", "the port")
  if port < 1 or port > 65535 then
    errors.raise("invalid", ("url: expected a port from 1 to 65535, got %s"):format(tostring(port)))
  end
  local result = object.span(self, "url", { port = port }, port)
  return result.url, result.headers, result.held or false
end

--- Saves its state under a name; `luarium.snapshots` lists it.
---@async
---@param name string
---@return luarium.Snapshot
function Sandbox:snapshot(name)
  check.argument(name, "text", "snapshot", "the name")
  return object.span(self, "snapshot", { snapshot = name }, name)
end

--- A copy with a life of its own: of the files, and of what else the provider can copy.
---@async
---@param options {name?: string}?
---@return luarium.Sandbox
function Sandbox:fork(options)
  options = check.options(options, { name = "name" }, "fork")
  local instance = object.instances[self]
  local record = object.record_of(self, "creating")
  record.id, record.name = "sbx_" .. native.crypto.ulid():lower(), options.name
  record.external_id, record.created_at = nil, native.loop.realtime()
  object.require_alive(self, "fork")
  if instance:can("fork") == "unsupported" then
    return object.call(self, "fork") -- raises, with advice
  end
  registry.put(record)
  local ok, made = pcall(object.span, self, "fork", { copy = record.id, copy_name = record.name },
    { id = record.id, name = record.name })
  if not ok then
    leftover.give_up(instance, record, made, "fork")
  end
  record.external_id, record.data, record.status = made.external_id, made.data, made.status or "running"
  record.cwd = made.cwd or record.cwd
  local box = object.attach(record, instance, self.env)
  box.secret_env = self.secret_env
  leftover.keep(box, "fork")
  return box
end

local function destroy(box)
  pcall(registry.put, object.record_of(box, "destroying")) -- a full disk must not keep it from being freed
  local ok, err = object.instances[box]:call("destroy", box)
  if not ok and not errors.is(err, "sandbox_gone") and not errors.is(err, "not_found") then
    object.raise(err, "destroy")
  end
  registry.delete(box.id)
  box.status = "destroyed"
end

--- Ends the sandbox and everything in it. Destroying it again does nothing. Works also while its task is cancelled.
---@async
function Sandbox:destroy()
  if self.status == "destroyed" then
    return
  end
  if self.destroying then
    return self.destroying:wait()
  end
  object.disarm(self)
  object.unwatch(self)
  self.destroying = task.event("the end of " .. self.id)
  local ok, err = pcall(task.shield, object.destroy_budget, event.span, "sandbox.destroy",
    { sandbox = self.id, name = self.name, provider = self.provider }, destroy, self)
  self.destroying:set()
  self.destroying = nil
  if not ok then
    error(err, 0)
  end
end

Sandbox.close = Sandbox.destroy
object.metatable.__close = function(self)
  self:destroy()
end

function object.metatable.__tostring(self)
  return ("sandbox %s%s (%s, %s)"):format(self.id, self.name and " " .. self.name or "", self.provider, self.status)
end
