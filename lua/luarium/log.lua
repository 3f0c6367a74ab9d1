--- Log lines are events too; without a display they go to standard error, redacted, one line each.
local event = require "luarium.event"
local secret = require "luarium.secret"
local utf8 = require "luarium.utf8"

local M = {}

local levels = { debug = 1, info = 2, warn = 3, error = 4 }

--- The lowest level that is shown: "debug", "info", "warn" or "error".
M.level = "info"

--- Where a line goes; a terminal display replaces it, and a host sets it to false to stay silent.
---@type fun(level: string, line: string)|false
M.sink = false

--- Bytes above 127 without the control characters among them, which terminals take as UTF-8 or as single bytes, and
--- without those that turn the direction of writing, or a name could rearrange the line that it is in.
local function high(bytes)
  local parts, at = {}, 1
  while at <= #bytes do
    local length = utf8.length(bytes, at)
    local char = bytes:sub(at, at + (length or 1) - 1)
    if char:find("^\194[\128-\159]") or char:find("^\226\128[\170-\174]") or char:find("^\226\129[\166-\169]") then
      char = "?"
    elseif not length and char:byte() < 160 then
      char = ("\\x%02x"):format(char:byte())
    end
    parts[#parts + 1] = char
    at = at + (length or 1)
  end
  return table.concat(parts)
end

--- Text without control characters, fit for a terminal or a log. Tabs and line ends become blanks.
---@param text string
---@return string
function M.neutral(text)
  return (text:gsub("[%z\1-\31\127]", function(c)
    return (c == "\n" or c == "\t" or c == "\r") and " " or ("\\x%02x"):format(c:byte())
  end):gsub("[\128-\255]+", high))
end

--- The same, but line ends stay, and a tab becomes two blanks.
---@param text string
---@return string
function M.neutral_lines(text)
  return (text:gsub("\t", "  "):gsub("[^\n]+", M.neutral))
end

local function write(level, message, fields)
  message = secret.hide_passwords(message)
  event.emit("log", { level = level, message = message, fields = fields })
  if M.sink and levels[level] >= levels[M.level] then
    M.sink(level, M.neutral(secret.redact(message)))
  end
end

for level in pairs(levels) do
  ---@param message string
  ---@param fields table?
  M[level] = function(message, fields)
    write(level, message, fields)
  end
end

return M
