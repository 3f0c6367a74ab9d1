--- The conformance suite as tests: one `it` a check, so that a failure names the check.
local lfs = require "lfs"
local async = require "spec.support.async"
local busted = require "busted"
local config = require "luarium.config"
local conformance = require "luarium.conformance"
local native = require "luarium.native"
local task = require "luarium.task"

local function state_folder()
  local path = os.tmpname()
  os.remove(path)
  assert(lfs.mkdir(path))
  return path
end

--- Waits until what an earlier step left to be done in the background is done, so that no check is blamed for it.
local function settle()
  local deadline = native.loop.monotonic() + 30
  repeat
    task.sleep(0.005)
  until native.loop.counts() == 0 or native.loop.monotonic() > deadline
end

--- Registers a describe block that runs every check over a provider.
---@param title string
---@param options table|fun(): table for conformance.open
---@param skip fun(reason: string) busted's pending, which only a function of the spec file itself can reach
return function(title, options, skip)
  busted.describe(title, function()
    local session, state

    busted.lazy_setup(function()
      state = state_folder()
      config.configure({ state_dir = state })
      session = task.run(conformance.open, type(options) == "function" and options() or options)
      settle()
    end)

    busted.lazy_teardown(function()
      if session then
        task.run(session.close, session)
      end
      config.reset()
      task.run(function()
        task.await(native.fs.remove(state, { recursive = true }))
      end)
    end)

    for _, item in ipairs(conformance.checks()) do
      busted.it(item.topic .. ": " .. item.name, function()
        if item.shared then
          task.run(session.shared, session, item.topic) -- made here: it outlives the check
        end
        local result
        async(item.heavy and 320 or 80, function()
          result = session:run(item)
        end)()
        if result.status == "skipped" then
          skip(result.reason)
        elseif result.status == "failed" then
          error(result.reason, 0)
        end
      end)
    end
  end)
end
