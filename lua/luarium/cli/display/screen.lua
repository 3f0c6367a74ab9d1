--- The lines at the bottom of the terminal that are written over. Only those that changed are written again.
local format = require "luarium.cli.format"
local native = require "luarium.native"

local M = {}

local Screen = {}
Screen.__index = Screen

---@param fd integer a terminal
---@param put fun(bytes: string) writes to it
function M.new(fd, put)
  return setmetatable({ fd = fd, put = put, drawn = {} }, Screen)
end

---@return integer columns
---@return integer rows
function Screen:size()
  local columns, rows = native.tty.size(self.fd)
  return columns or 80, rows or 24
end

local function plain_width(line)
  return format.width((line:gsub("\27%[%d*m", "")))
end

--- How many rows the cursor is below the first that was drawn; a terminal that became narrower has wrapped them.
local function rows_up(drawn, columns, rows)
  local up = -1
  for _, line in ipairs(drawn) do
    up = up + math.max(1, math.ceil(plain_width(line) / columns))
  end
  return math.min(up, rows - 1)
end

local function go_up(rows)
  return "\r" .. (rows > 0 and ("\27[%dA"):format(rows) or "")
end

local function erase(self, columns, rows)
  local up = rows_up(self.drawn, columns, rows)
  self.drawn = {}
  return up >= 0 and go_up(up) .. "\27[J" or ""
end

--- Writes over the lines whose text is another now; the cursor stays at the end of the last.
local function update(self, lines)
  local parts, at = {}, #lines
  for i, line in ipairs(lines) do
    if line ~= self.drawn[i] then
      local move = i < at and ("\27[%dA"):format(at - i) or i > at and ("\27[%dB"):format(i - at) or ""
      parts[#parts + 1] = "\r" .. move .. line .. "\27[K"
      at = i
    end
  end
  if #parts > 0 and at < #lines then
    parts[#parts + 1] = ("\r\27[%dB"):format(#lines - at)
  end
  return table.concat(parts)
end

--- Draws the lines; those of `above` stay for good.
---@param above string[]
---@param lines string[] each narrower than the terminal
function Screen:draw(above, lines)
  local columns, rows = self:size()
  if #above == 0 and #lines == #self.drawn and columns == self.columns then
    self.put(update(self, lines))
  else
    local parts = { erase(self, columns, rows) }
    for _, text in ipairs(above) do
      parts[#parts + 1] = text .. "\n"
    end
    parts[#parts + 1] = table.concat(lines, "\n")
    self.put(table.concat(parts))
  end
  self.drawn, self.columns = lines, columns
end

return M
