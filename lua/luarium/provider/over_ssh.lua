--- Adapters for vendors that only give machines: their calls create and destroy, SSH does everything else.
---
---   return over_ssh.define {
---     name = "vendor", summary = ..., docs = ..., config = { api_key = ... },
---     create = function(self, spec) ... return { external_id = ..., ssh = { host = ..., user = ... } } end,
---     destroy = function(self, box) ... end, get = ..., list = ...,
---   }
---
--- `create` returns in `ssh` how the machine is reached: the options of the ssh provider, plain values only, since they
--- are kept in the sandbox's record. What is secret comes from `login(self, box)`, which is asked before each
--- connection and may return more of these options.
local errors = require "luarium.error"
local native = require "luarium.native"
local provider = require "luarium.provider"
local ssh = require "luarium.ssh"
local task = require "luarium.task"
local transfer = require "luarium.ssh.transfer"

local M = {}

local READY = 180 -- seconds that a machine has to let us in when the adapter says nothing else
local CREATE = 120 -- seconds that the vendor's create may take
local PAUSE = 1 -- between two attempts

local OWN = { login = true, ready_timeout = true, root = true }

local function merged(...)
  local result = {}
  for i = 1, select("#", ...) do
    for key, value in pairs((select(i, ...)) or {}) do
      result[key] = value
    end
  end
  return result
end

--- The machine of a sandbox; its connections are shared by everything that is done there.
local function machine_of(self, adapter, box)
  self.state.machines = self.state.machines or {}
  local found = self.state.machines[box.external_id]
  if not found then
    local options = merged({ ssh_config = false }, box.data.ssh, adapter.login and adapter.login(self, box))
    local err
    found, err = ssh.open(options, adapter.root)
    if not found then
      return nil, err
    end
    self.state.machines[box.external_id] = found
  end
  return found
end

local function forget(self, external_id)
  local found = self.state.machines and self.state.machines[external_id]
  if found then
    self.state.machines[external_id] = nil
    found:close()
  end
end

--- Until it answers: a machine that has just been made refuses connections for a while.
local function prepare(machine, spec, seconds)
  local deadline = native.loop.monotonic() + seconds
  while true do
    local made, err = machine:create(spec)
    if made or not err.retryable or native.loop.monotonic() > deadline then
      return made, err
    end
    task.sleep(PAUSE)
  end
end

local function create_with(adapter)
  return function(self, spec)
    -- Not to be cut off: the vendor may go on, and the machine would appear when nobody looks for it any more.
    local made, err = task.shield(CREATE, adapter.create, self, spec)
    if not made then
      return nil, err
    end
    local box = { id = spec.id, external_id = made.external_id, data = merged(made.data, { ssh = made.ssh }) }
    local ok, folder, fault = pcall(function()
      local machine, problem = machine_of(self, adapter, box)
      if not machine then
        return nil, problem
      end
      return prepare(machine, spec, adapter.ready_timeout or READY)
    end)
    if not ok or not folder then
      forget(self, made.external_id)
      pcall(task.shield, 60, adapter.destroy, self, box)
      if not ok then
        error(folder, 0)
      end
      return nil, fault
    end
    box.data.root, box.data.id = folder.data.root, spec.id
    return {
      external_id = made.external_id, status = "running", cwd = folder.cwd, data = box.data,
      expires_at = made.expires_at or folder.expires_at,
    }
  end
end

--- A machine that cannot be reached may be gone: the vendor knows.
local function checked(self, adapter, box, value, err)
  if value == nil and errors.is(err, "unavailable") then
    local facts, fault = adapter.get(self, box.external_id, box.data)
    if not facts and errors.is(fault, "sandbox_gone") then
      return nil, fault
    end
  end
  return value, err
end

local function over(adapter, method)
  return function(self, box, ...)
    local machine, err = machine_of(self, adapter, box)
    if not machine then
      return nil, err
    end
    -- In the machine the sandbox is known by our own id.
    local inner = { external_id = box.data.id, cwd = box.cwd, data = box.data, env = box.env }
    return checked(self, adapter, box, machine[method](machine, inner, ...))
  end
end

local function across(adapter, move)
  return function(self, box, ...)
    local machine, err = machine_of(self, adapter, box)
    if not machine then
      return nil, err
    end
    return checked(self, adapter, box, move(self, machine, box, ...))
  end
end

--- Makes an adapter. Beside what every adapter has, `create` and `login` are those described above; `ready_timeout`:
--- seconds that a new machine has until it lets us in (default 180); `root`: the folder of sandboxes in it.
---@param adapter table
---@return luarium.ProviderDefinition
function M.define(adapter)
  local definition = {}
  for key, value in pairs(adapter) do
    definition[key] = not OWN[key] and value or nil
  end
  definition.create = create_with(adapter)
  definition.exec, definition.spawn, definition.pty, definition.streams = over(adapter, "exec"), over(adapter, "spawn"),
    true, true
  definition.upload, definition.download = across(adapter, transfer.upload), across(adapter, transfer.download)
  definition.url = over(adapter, "url")
  definition.destroy = function(self, box)
    forget(self, box.external_id)
    return adapter.destroy(self, box)
  end
  definition.close = function(self)
    for external_id in pairs(merged(self.state.machines)) do
      forget(self, external_id)
    end
    if adapter.close then
      adapter.close(self)
    end
  end
  return provider.define(definition)
end

return M
