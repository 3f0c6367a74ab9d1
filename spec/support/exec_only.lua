--- A provider that brings only what the contract requires, so that everything else is emulated: the local provider
--- without the rest. Requiring it registers it.
local base = require "luarium.providers.local"
local provider = require "luarium.provider"

local definition = provider.define {
  name = "exec_only",
  summary = "the local provider with nothing but the required operations",
  docs = base.docs,
  config = base.config,
  accepts = base.accepts,
  ignores = base.ignores,
  streams = true,

  create = base.create,
  get = base.get,
  list = base.list,
  destroy = base.destroy,
  exec = function(self, box, command, options)
    return base.exec(self, box, command, options)
  end,
}

provider.register(definition)

return definition
