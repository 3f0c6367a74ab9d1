--- Tables, times and sizes for people.
local log = require "luarium.log"

local M = {}

--- Columns of a text on a terminal: bytes that continue a UTF-8 sequence take no place.
---@param text string
---@return integer
function M.width(text)
  local _, continued = text:gsub("[\128-\191]", "")
  return #text - continued
end

--- The text cut to so many columns.
---@param text string
---@param columns integer
---@return string
function M.cut(text, columns)
  if M.width(text) <= columns then
    return text
  end
  if columns <= 1 then
    return columns == 1 and "~" or ""
  end
  local taken, at = 0, 1
  while at <= #text do
    local length = #(text:match("^[^\128-\191][\128-\191]*", at) or text:sub(at, at))
    if taken + 1 > columns - 1 then
      break
    end
    taken, at = taken + 1, at + length
  end
  return text:sub(1, at - 1) .. "~"
end

---@param text string
---@param columns integer
---@return string
function M.pad(text, columns)
  return text .. (" "):rep(columns - M.width(text))
end

--- Rows of texts as aligned lines; the first row is the heading. The last column is not padded.
---@param rows string[][]
---@return string
function M.table(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      row[i] = log.neutral(tostring(cell))
      widths[i] = math.max(widths[i] or 0, M.width(row[i]))
    end
  end
  local lines = {}
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      cells[i] = i < #row and M.pad(cell, widths[i]) or cell
    end
    lines[#lines + 1] = (table.concat(cells, "  "):gsub("%s+$", ""))
  end
  return table.concat(lines, "\n") .. "\n"
end

--- 0.3s, 12s, 3m05s, 2h10m, 5d
---@param seconds number
---@return string
function M.duration(seconds)
  if seconds < 10 then
    return ("%.1fs"):format(seconds)
  elseif seconds < 100 then
    return ("%ds"):format(math.floor(seconds))
  elseif seconds < 3600 then
    return ("%dm%02ds"):format(math.floor(seconds / 60), math.floor(seconds % 60))
  elseif seconds < 86400 then
    return ("%dh%02dm"):format(math.floor(seconds / 3600), math.floor(seconds % 3600 / 60))
  end
  return ("%dd"):format(math.floor(seconds / 86400))
end

--- 17 B, 4.2 KiB, 1.0 GiB
---@param bytes number
---@return string
function M.size(bytes)
  local units = { "B", "KiB", "MiB", "GiB", "TiB" }
  local at = 1
  while bytes >= 1024 and at < #units do
    bytes, at = bytes / 1024, at + 1
  end
  return at == 1 and ("%d B"):format(bytes) or ("%.1f %s"):format(bytes, units[at])
end

--- "a=1,b=2", sorted.
---@param labels table?
---@return string
function M.labels(labels)
  local parts = {}
  for key, value in pairs(labels or {}) do
    parts[#parts + 1] = key .. "=" .. tostring(value)
  end
  table.sort(parts)
  return table.concat(parts, ",")
end

--- A list of { key, value } as a table; the later wins.
---@param pairs_given table[]?
---@return table<string, string>?
function M.map(pairs_given)
  if not pairs_given or #pairs_given == 0 then
    return nil
  end
  local result = {}
  for _, pair in ipairs(pairs_given) do
    result[pair[1]] = pair[2]
  end
  return result
end

return M
