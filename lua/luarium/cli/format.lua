--- Tables, times and sizes for people.
local log = require "luarium.log"
local trim_end = require("luarium.text").trim_end

local M = {}

-- First and last of the characters that take two columns, or none.
local WIDE = {
  { 0x231A, 0x231B }, { 0x23E9, 0x23EC }, { 0x23F0, 0x23F0 }, { 0x23F3, 0x23F3 }, { 0x25FD, 0x25FE },
  { 0x2614, 0x2615 }, { 0x2648, 0x2653 }, { 0x267F, 0x267F }, { 0x2693, 0x2693 }, { 0x26A1, 0x26A1 },
  { 0x26AA, 0x26AB }, { 0x26BD, 0x26BE }, { 0x26C4, 0x26C5 }, { 0x26CE, 0x26CE }, { 0x26D4, 0x26D4 },
  { 0x26EA, 0x26EA }, { 0x26F2, 0x26F3 }, { 0x26F5, 0x26F5 }, { 0x26FA, 0x26FA }, { 0x26FD, 0x26FD },
  { 0x2705, 0x2705 }, { 0x270A, 0x270B }, { 0x2728, 0x2728 }, { 0x274C, 0x274C }, { 0x274E, 0x274E },
  { 0x2753, 0x2755 }, { 0x2757, 0x2757 }, { 0x2795, 0x2797 }, { 0x27B0, 0x27B0 }, { 0x27BF, 0x27BF },
  { 0x2B1B, 0x2B1C }, { 0x2B50, 0x2B50 }, { 0x2B55, 0x2B55 }, { 0x1F7E0, 0x1F7EB },
  { 0x1100, 0x115F }, { 0x2329, 0x232A }, { 0x2E80, 0xA4CF }, { 0xA960, 0xA97F }, { 0xAC00, 0xD7A3 },
  { 0xF900, 0xFAFF }, { 0xFE10, 0xFE19 }, { 0xFE30, 0xFE6F }, { 0xFF00, 0xFF60 }, { 0xFFE0, 0xFFE6 },
  { 0x16FE0, 0x18D08 }, { 0x1AFF0, 0x1B2FB }, { 0x1F004, 0x1F004 }, { 0x1F0CF, 0x1F0CF }, { 0x1F18E, 0x1F18E },
  { 0x1F191, 0x1F19A }, { 0x1F200, 0x1F64F }, { 0x1F680, 0x1F6FF }, { 0x1F7F0, 0x1F7F0 }, { 0x1F900, 0x1F9FF },
  { 0x1FA70, 0x1FAFF }, { 0x20000, 0x3FFFD },
}
local EMPTY = { { 0x300, 0x36F }, { 0x200B, 0x200F }, { 0x20D0, 0x20FF }, { 0xFE00, 0xFE0F } }

local function within(ranges, code)
  for _, range in ipairs(ranges) do
    if code >= range[1] and code <= range[2] then
      return true
    end
  end
  return false
end

--- The length in bytes and the columns of the character at a place. A byte that is no UTF-8 counts as one of each.
local function character(text, at)
  local first = text:byte(at)
  local length = first >= 0xF0 and 4 or first >= 0xE0 and 3 or first >= 0xC0 and 2 or 1
  local rest = length > 1 and text:match("^[\128-\191]+", at + 1)
  if length == 1 or not rest or #rest < length - 1 then
    return 1, 1
  end
  local code = first % 2 ^ (7 - length)
  for i = 1, length - 1 do
    code = code * 64 + rest:byte(i) % 64
  end
  return length, within(WIDE, code) and 2 or within(EMPTY, code) and 0 or 1
end

--- Columns of a text on a terminal.
---@param text string
---@return integer
function M.width(text)
  if not text:find("[\128-\255]") then
    return #text
  end
  local columns, at = 0, 1
  while at <= #text do
    local length, wide = character(text, at)
    columns, at = columns + wide, at + length
  end
  return columns
end

--- The text cut to so many columns.
---@param text string
---@param columns integer
---@return string
function M.cut(text, columns)
  if M.width(text) <= columns then
    return text
  elseif columns < 1 then
    return ""
  end
  local taken, at = 0, 1
  while true do
    local length, wide = character(text, at)
    if taken + wide > columns - 1 then
      return text:sub(1, at - 1) .. "~"
    end
    taken, at = taken + wide, at + length
  end
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
    lines[#lines + 1] = trim_end(table.concat(cells, "  "))
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

--- Whole seconds of something that goes on: 0s, 7s, 3m05s
---@param seconds number
---@return string
function M.elapsed(seconds)
  return seconds < 10 and ("%ds"):format(math.floor(seconds)) or M.duration(seconds)
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
  return at == 1 and ("%d B"):format(math.floor(bytes)) or ("%.1f %s"):format(bytes, units[at])
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

--- Calls fn with each line that is whole, until it returns something. A pattern would take quadratic time for a line
--- without an end.
---@param text string
---@param fn fun(line: string): any
---@return string rest what follows the last line that fn was called with
---@return any result what fn returned
function M.whole_lines(text, fn)
  local at, stop, result = 1, text:find("\n", 1, true), nil
  while stop and not result do
    result = fn(text:sub(at, stop - 1))
    at = stop + 1
    stop = text:find("\n", at, true)
  end
  return text:sub(at), result
end

return M
