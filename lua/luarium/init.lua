--- Luarium: sandboxes for coding agents, driven from Lua.
local config = require "luarium.config"
local errors = require "luarium.error"
local event = require "luarium.event"
local native = require "luarium.native"
local sandbox = require "luarium.sandbox"
local saved = require "luarium.saved"
local secret = require "luarium.secret"
local task = require "luarium.task"

local M = {
  version = native.version,

  configure = config.configure,
  create = sandbox.create,
  with = sandbox.with,
  reconnect = sandbox.reconnect,
  list = sandbox.list,
  destroy = sandbox.destroy,
  snapshots = saved.snapshots,
  delete_snapshot = saved.delete_snapshot,
  volumes = saved.volumes,
  volume = saved.volume,
  delete_volume = saved.delete_volume,

  task = task,
  run = task.run,
  scope = task.scope,
  all = task.all,
  map = task.map,
  race = task.race,
  timeout = task.timeout,
  sleep = task.sleep,

  env = secret.env,
  secret = secret.new,
  on = event.on,
  error = errors,
  monotonic = native.loop.monotonic,
}

--- Runs a function that may fail.
---@async
---@param fn function
---@return any value what it returned, or nil
---@return luarium.Error? err
function M.try(fn, ...)
  local function done(ok, ...)
    if ok then
      return ...
    end
    local err = ...
    if task.cancel_reason() == err then
      error(err, 0) -- nobody may swallow the end of their own task
    end
    return nil, errors.from(err)
  end
  require("luarium.check").argument(fn, "function", "try", "the function")
  return done(xpcall(fn, errors.handler, ...))
end

--- Calls fn(attempt) again while it fails with an error that says that trying again may help, with growing pauses.
---@async
---@param options luarium.RetryPolicy?
---@param fn fun(attempt: integer): any
---@return any value what it returned; the last error is raised
function M.retry(options, fn)
  require("luarium.check").argument(fn, "function", "retry", "the function")
  local value, err = require("luarium.retry").call(options, function(attempt)
    return M.try(fn, attempt)
  end)
  if value == nil and errors.is(err) then
    error(err, 0)
  end
  return value
end

--- A side effect of the script's own, by name. A durable run keeps its result and does not repeat it.
---@async
---@param name string
---@param fn function
---@return any ... what fn returned
function M.step(name, fn, ...)
  require("luarium.check").argument(name, "text", "step", "the name")
  return event.span("step", { step = name }, fn, ...)
end

return M
