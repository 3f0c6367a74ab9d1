--- Log lines are events too; without a display they go to standard error, redacted, one line each.
local event = require "luarium.event"
local secret = require "luarium.secret"

local M = {}

local levels = { debug = 1, info = 2, warn = 3, error = 4 }

--- The lowest level that is shown: "debug", "info", "warn" or "error".
M.level = "info"

--- Where a line goes; a terminal display replaces it, and a host sets it to false to stay silent.
---@type fun(level: string, line: string)|false
M.sink = false

--- Text without control characters, fit for a terminal or a log. Tabs and line ends become blanks.
---@param text string
---@return string
function M.neutral(text)
  return (text:gsub("[%z\1-\31\127]", function(c)
    return (c == "\n" or c == "\t" or c == "\r") and " " or ("\\x%02x"):format(c:byte())
  end):gsub("\194[\128-\159]", "?"))
end

local function write(level, message, fields)
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
