--- What must happen when an operation is called that the provider does not have.
local errors = require "luarium.error"
local expect = require "luarium.conformance.expect"
local contract = require "luarium.provider.contract"

local M = {}

--- How a script comes to call an operation. Those that are not here have no method: the provider is asked itself.
local calls = {
  spawn = function(box)
    box:spawn({ "true" })
  end,
  pty = function(box)
    box:exec({ "true" }, { pty = true })
  end,
  start = function(box)
    box:start()
  end,
  stop = function(box)
    box:stop()
  end,
  pause = function(box)
    box:pause()
  end,
  resume = function(box)
    box:resume()
  end,
  archive = function(box)
    box:archive()
  end,
  recover = function(box)
    box:recover()
  end,
  extend = function(box)
    box:extend(60)
  end,
  url = function(box)
    box:url(8080)
  end,
  snapshot = function(box)
    box:snapshot("conformance")
  end,
  fork = function(box)
    box:fork()
  end,
}

--- Fails unless calling the operation raises an `unsupported` that names the provider and the operation and says
--- what to do instead, and `can` knew it before.
---@param c luarium.ConformanceContext
---@param operation string
function M.verify(c, operation)
  expect.equal(c.box:can(operation), false, ("can(%q)"):format(operation))
  local err = expect.raises("unsupported", function()
    if calls[operation] then
      return calls[operation](c.box)
    end
    local value, err = c.instance:call(operation, c.box)
    if value == nil and errors.is(err) then
      error(err, 0)
    end
    return value
  end, "'" .. operation .. "'", c.instance.definition.name)
  local advice = (c.instance.definition.unsupported or {})[operation] or contract.by_name[operation].instead
  expect.yes(type(advice) == "string" and #advice > 0, "there is advice for " .. operation)
  expect.contains(tostring(err), advice, "the message of the missing operation " .. operation)
end

return M
