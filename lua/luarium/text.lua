--- Texts of any length, from anywhere, in time that grows no faster than they do.
local M = {}

--- The text without the blanks and line ends behind it. `gsub("%s+$", "")` takes quadratic time for a run of blanks
--- that something follows.
---@param text string
---@return string
function M.trim_end(text)
  return text:match("^.*%S") or ""
end

--- All of a file, or nil and the reason without the path. A folder can be opened, but not read.
---@param path string
---@return string? text
---@return string? reason
function M.of_file(path)
  local file, reason = io.open(path, "rb")
  if not file then
    return nil, reason:sub(1, #path + 2) == path .. ": " and reason:sub(#path + 3) or reason
  end
  local text
  text, reason = file:read("*a")
  file:close()
  return text, reason
end

--- A number for a machine: with a point, whatever the locale has there.
---@param n number
---@param form string such as "%.3f"
---@return string
function M.number(n, form)
  return (form:format(n):gsub("[^%w+-]+", "."))
end

return M
