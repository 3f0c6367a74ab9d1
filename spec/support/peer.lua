--- A real peer (an engine, a server) that the tests of a spec file share: started before the first of them, stopped after
--- the last. Where it cannot be started the file has one pending test that says why.
---
---   local engine = peer("docker exec", dockerd, { prepare = boxes.configure })
---   if not engine then
---     return
---   end
---
--- What it returns becomes the started peer in the set-up: tests use it, the file's own body cannot yet.
local busted = require "busted"

local function first_missing(modules)
  for _, module in ipairs(modules) do
    local reason = module.missing()
    if reason then
      return reason
    end
  end
end

--- At the file's outermost level.
---@param title string names the pending test
---@param modules table a module with missing() and start(), or a list of what is needed, the one that is started first
---@param options {start: fun(at_end: fun(fn: fun())): table, prepare: fun(peer: table): (fun()?)}? instead of the module's
---  start, for further options; what else the tests share once it runs, it may return what to do before it is stopped
---@return table? peer
return function(title, modules, options)
  options = options or {}
  if modules.start then
    modules = { modules }
  end
  local reason = first_missing(modules)
  if reason then
    busted.describe(title, function()
      busted.pending(reason)
    end)
    return nil
  end

  local self, last = {}, {}
  local function at_end(fn)
    table.insert(last, 1, fn)
  end

  busted.setup(function()
    local started = (options.start or modules[1].start)(options.start and at_end)
    at_end(function()
      started:stop()
    end)
    for key, value in pairs(started) do
      self[key] = value
    end
    setmetatable(self, getmetatable(started))
    local finish = options.prepare and options.prepare(self)
    if finish then
      at_end(finish)
    end
  end)

  busted.teardown(function()
    for _, fn in ipairs(last) do
      fn()
    end
  end)

  return self
end
