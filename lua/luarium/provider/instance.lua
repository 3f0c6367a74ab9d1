--- A configured provider. Every call of an operation goes through here: to the adapter's own function, to the
--- emulation, or to an `unsupported` that helps. Errors leave with the provider's name on them.
local errors = require "luarium.error"
local provider = require "luarium.provider"

local M = {}

---@class luarium.ProviderInstance
---@field name string the name it was configured under
---@field definition luarium.ProviderDefinition
---@field config table what the adapter asked for, resolved; secrets stay secrets
---@field state table the adapter's own, for the life of the instance
local Instance = {}
local mt = { __index = Instance, __name = "luarium.ProviderInstance" }

--- What a provider's functions are given as `box`: no more than they need.
---@class luarium.BoxRecord
---@field id string our durable id
---@field external_id string the vendor's
---@field name string?
---@field cwd string the working directory, absolute in the sandbox
---@field env table<string, string> environment of every command
---@field data table what create returned for reconnecting; plain values only

---@param name string
---@param definition luarium.ProviderDefinition
---@param config table
---@return luarium.ProviderInstance
function M.new(name, definition, config)
  local self = setmetatable({ name = name, definition = definition, config = config, state = {} }, mt)
  if definition.setup then
    definition.setup(self)
  end
  return self
end

---@param operation string
---@return string capability "native", "emulated" or "unsupported"
function Instance:can(operation)
  return provider.capability(self.definition, operation)
end

--- Where its sandboxes are, as far as the adapter can tell.
---@return string?
function Instance:place()
  return self.definition.place and self.definition.place(self) or nil
end

local function emulation(operation)
  return require("luarium.provider.emulate")[operation]
end

local function finish(self, operation, value, ...)
  if value == nil then
    local err = ...
    if errors.is(err) then
      if not err.provider then
        err = err:wrap(self.name .. "." .. operation, { provider = self.name })
      end
      return nil, err
    end
  end
  return value, ...
end

--- Whether an exec needs its streams while it runs, and the adapter would rather give a process than serve them.
local function over_spawn(definition, options)
  return definition.spawn and not definition.streams
    and (options.on_stdout or options.on_stderr or type(options.stdin) == "function")
end

--- Whether a command asks for a terminal that the adapter does not have.
local function lacks_pty(self, operation, options)
  return (operation == "exec" or operation == "spawn") and options.pty and self:can("pty") == "unsupported"
end

--- Calls an operation.
---@async
---@param operation string
---@return any value
---@return luarium.Error? err
function Instance:call(operation, ...)
  local own = self.definition[operation]
  if lacks_pty(self, operation, select(3, ...) or {}) then
    return nil, provider.unsupported(self.definition, "pty")
  end
  if operation == "exec" and over_spawn(self.definition, select(3, ...)) then
    return finish(self, operation, emulation("exec_over_spawn")(self, ...))
  end
  if type(own) == "function" then
    return finish(self, operation, own(self, ...))
  end
  if self:can(operation) == "emulated" or operation == "exec" then
    return finish(self, operation, emulation(operation)(self, ...))
  end
  return nil, provider.unsupported(self.definition, operation)
end

--- Gives up what the adapter keeps open.
function Instance:close()
  if self.definition.close then
    self.definition.close(self)
  end
  self.state = {}
end

return M
