--- Valid UTF-8, a character at a time; Lua 5.4's own library is not in LuaJIT.
local M = {}

local function continues(text, from, to)
  for i = from, to do
    local byte = text:byte(i)
    if not byte or byte < 128 or byte > 191 then
      return false
    end
  end
  return true
end

--- How many bytes the character at i has, or nil when it is none.
---@param text string
---@param i integer
---@return integer? bytes
function M.length(text, i)
  local a, b = text:byte(i, i + 1)
  if a < 128 then
    return 1
  elseif a >= 194 and a <= 223 then
    return continues(text, i + 1, i + 1) and 2 or nil
  elseif a >= 224 and a <= 239 and continues(text, i + 1, i + 2) then
    return (a ~= 224 or b >= 160) and (a ~= 237 or b < 160) and 3 or nil
  elseif a >= 240 and a <= 244 and continues(text, i + 1, i + 3) then
    return (a ~= 240 or b >= 144) and (a ~= 244 or b < 144) and 4 or nil
  end
end

--- Whether a whole text is valid.
---@param text string
---@return boolean
function M.is_valid(text)
  local i = text:find("[\128-\255]")
  while i do
    local length = M.length(text, i)
    if not length then
      return false
    end
    i = text:find("[\128-\255]", i + length)
  end
  return true
end

return M
