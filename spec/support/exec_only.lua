--- A provider that brings only what the contract requires, so that everything else is emulated: the local provider
--- without the rest. Requiring it registers it.
local base = require "luarium.providers.local"
local over_spawn = require("luarium.provider.emulate.exec").exec_over_spawn
local provider = require "luarium.provider"

--- Its exec serves callbacks and iterators itself, over a spawn that nobody else sees.
local function exec(self, box, command, options)
  if options.on_stdout or options.on_stderr or type(options.stdin) == "function" then
    local inner = { call = function(_, _, ...)
      return base.spawn(self, ...)
    end }
    return over_spawn(inner, box, command, options)
  end
  return base.exec(self, box, command, options)
end

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
    local result, err = exec(self, box, command, options)
    if result and result.exit_code ~= 0 then -- a vendor's machine that is gone would run nothing at all
      local there, gone = base.get(self, box.external_id)
      if not there then
        return nil, gone
      end
    end
    return result, err
  end,
}

provider.register(definition)

return definition
