--- Durations as people write them: 90, 90s, 30m, 1.5h, 2d.
local M = {}

local UNITS = { [""] = 1, s = 1, m = 60, h = 3600, d = 86400 }

--- What is expected, for help and errors.
M.FORM = "seconds, or such as 90s, 30m, 1.5h, 2d"

--- The units with their names, for completion.
M.units = { { "s", "seconds" }, { "m", "minutes" }, { "h", "hours" }, { "d", "days" } }

local MOST = 315360000 -- ten years, as everywhere

--- The seconds of a text, or nil when it is no duration.
---@param text string
---@return number? seconds
function M.parse(text)
  if #text > 30 then
    return nil
  end
  local number, unit = text:lower():match("^(%d*%.?%d+)([smhd]?)$")
  local seconds = number and tonumber(number) * UNITS[unit]
  return seconds and seconds <= MOST and seconds or nil
end

return M
