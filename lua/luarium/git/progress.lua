--- What `git --progress` writes to stderr: read while it comes, and taken out of what git complains about.
local M = {}

local TAIL = 200 -- bytes of an unfinished line that are kept: git's own are shorter

--- Reads git's stderr as it comes.
---@param report luarium.OnProgress gets objects done and in all
---@return fun(chunk: string)
function M.reader(report)
  local tail = ""
  return function(chunk)
    local text = tail .. chunk
    local at = text:find("[^\r\n]*$")
    tail = text:sub(at):sub(-TAIL)
    for line in text:sub(1, at - 1):gmatch("[^\r\n]+") do
      local what, done, total = line:match("(%u[%a ]*):%s+%d+%% %((%d+)/(%d+)%)")
      if what then
        report(tonumber(done), tonumber(total), what:lower(), "objects")
      end
    end
  end
end

--- The text without the lines that only tell how far git is.
---@param text string
---@return string
function M.strip(text)
  local kept = text:gsub("[^\r\n]*\r", "")
  return (kept:gsub("[^\n]*%d+%% %(%d+/%d+%)[^\n]*\n?", ""))
end

return M
