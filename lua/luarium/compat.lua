--- The few functions that Lua 5.4 and LuaJIT 2.1 spell differently.
local M = {}

M.unpack = table.unpack or unpack

M.pack = table.pack or function(...)
  return { n = select("#", ...), ... }
end

--- Whether a coroutine can be closed from outside (Lua 5.4 only).
M.close_coroutine = coroutine.close

--- Whether the running function may wait; one that a collector calls may not.
M.may_yield = coroutine.isyieldable

M.is_luajit = rawget(_G, "jit") ~= nil

--- math.type exists only in 5.4; JSON and option checks only ask whether a number is whole.
---@param n any
---@return boolean
function M.is_integer(n)
  return type(n) == "number" and n == math.floor(n) and n > -math.huge and n < math.huge
end

return M
