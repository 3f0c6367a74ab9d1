--- print and io.write of a session: what tasks write while a line is being edited goes above it.
local compat = require "luarium.compat"

local M = {}

local function joined(separator, ...)
  local parts = compat.pack(...)
  for i = 1, parts.n do
    parts[i] = tostring(parts[i])
  end
  return table.concat(parts, separator)
end

---@param env table the globals of the session
---@param editor luarium.cli.Editor
function M.share(env, editor)
  env.print = function(...)
    local text = joined("\t", ...) .. "\n"
    if not editor:print(text) then
      io.stdout:write(text)
    end
  end
  local copy = {}
  for name, value in pairs(io) do
    copy[name] = value
  end
  copy.write = function(...)
    if editor.reading and editor:print(joined("", ...)) then
      return io.stdout
    end
    return io.write(...)
  end
  env.io = copy
end

return M
