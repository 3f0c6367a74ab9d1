--- What a misspelt name was probably meant to be, for Lua's own "attempt to call a nil value".
local check = require "luarium.check"

local M = {}

--- The names that a call of this sort could have meant, of the parts that are loaded.
local sources = {
  method = {
    { "luarium.sandbox", function(sandbox) return sandbox.methods end },
    { "luarium.git.repo", function(repo) return repo.methods end },
    { "luarium.sandbox.object", function(object) return object.process_methods end },
    { "luarium.task.scope", function(scope) return scope.methods end },
    { "luarium.task.scheduler", function(scheduler) return scheduler.methods end },
  },
  field = {
    { "luarium", function(luarium) return luarium end },
    { "luarium.task", function(task) return task end },
  },
}

-- Lua 5.4: attempt to call a nil value (method 'exce'); LuaJIT: attempt to call method 'exce' (a nil value)
local patterns = {
  "attempt to call a nil value %((%a+) '([^']+)'%)",
  "attempt to call (%a+) '([^']+)' %(a nil value%)",
}

local function each_name(sort, fn)
  for _, source in ipairs(sources[sort] or {}) do
    local module = package.loaded[source[1]]
    for name in pairs(type(module) == "table" and source[2](module) or {}) do
      fn(name)
    end
  end
end

--- Calls fn with the name of every method that objects of the library have, of the parts that are loaded.
---@param fn fun(name: string)
function M.each_method(fn)
  each_name("method", fn)
end

--- Lua's message, with the name that is nearest to one that does not exist.
---@param message string
---@return string
function M.improve(message)
  for _, pattern in ipairs(patterns) do
    local sort, name = message:match(pattern)
    local names = {}
    each_name(sort, function(candidate)
      names[#names + 1] = candidate
    end)
    local near = name and check.nearest(name, names)
    local sandbox = sort == "method" and package.loaded["luarium.sandbox"]
    if sandbox and sandbox.methods[name] then
      return message
        .. ": it is a method of sandboxes; luarium.list() gives records, luarium.reconnect(record.id) the sandbox"
    elseif near and near ~= name then
      return ("%s: did you mean '%s'?"):format(message, near)
    end
  end
  return message
end

return M
