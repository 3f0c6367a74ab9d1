--- Small and capital letters of machines' texts. Those of Lua are the locale's, and a host may be Turkish, where i and
--- I are no pair.
local M = {}

local small, capital = {}, {}
for code = 65, 90 do
  local a, b = string.char(code), string.char(code + 32)
  small[a], capital[b] = b, a
end

---@param text string
---@return string
function M.lower(text)
  return (text:gsub("[A-Z]", small))
end

---@param text string
---@return string
function M.upper(text)
  return (text:gsub("[a-z]", capital))
end

return M
