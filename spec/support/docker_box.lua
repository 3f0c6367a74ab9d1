--- What the specs of docker share: a configured provider over a dockerd, sandboxes that go with the test.
local async = require "spec.support.async"
local config = require "luarium.config"
local sandbox = require "luarium.sandbox"
local scratch = require "spec.support.scratch"

local M = {}

--- Configures the provider "docker" over an engine, with a state folder of its own; call what it returns at the end.
---@param engine table of spec.support.dockerd, or anything with host and image
---@param more table? further configuration
---@return fun() finish
function M.configure(engine, more)
  local dir = scratch.make()
  local entry = { "docker", host = engine.host, image = engine.image }
  for key, value in pairs(more or {}) do
    entry[key] = value
  end
  config.configure({ state_dir = dir .. "/state", providers = { docker = entry } })
  return function()
    config.reset()
    scratch.drop(dir)
  end
end

--- A test with a sandbox: fn(box), in a task with a limit.
---@param options table? of create
---@param fn fun(box: luarium.Sandbox)
---@param seconds number?
function M.with(options, fn, seconds)
  return async(seconds or 60, function()
    local given = { provider = "docker" }
    for key, value in pairs(options or {}) do
      given[key] = value
    end
    sandbox.with(given, fn)
  end)
end

--- The error that fn raises.
function M.error_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "no error was raised")
  return err
end

return M
