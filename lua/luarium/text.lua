--- Texts of any length, from anywhere, in time that grows no faster than they do.
local M = {}

--- The text without the blanks and line ends behind it. `gsub("%s+$", "")` takes quadratic time for a run of blanks
--- that something follows.
---@param text string
---@return string
function M.trim_end(text)
  return text:match("^.*%S") or ""
end

return M
