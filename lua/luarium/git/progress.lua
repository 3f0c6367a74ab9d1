--- What `git --progress` writes to stderr: read while it comes, and taken out of what git complains about. A server's
--- own lines are in it too, so nothing here may take long for a line without an end.
local M = {}

local MAX_LINE = 200 -- bytes: git's own are shorter, longer ones tell no progress

--- Reads git's stderr as it comes.
---@param report luarium.OnProgress gets objects done and in all
---@return fun(chunk: string)
function M.reader(report)
  local tail = ""
  return function(chunk)
    local text = tail .. chunk
    local at = text:match("^.*[\r\n]()") or 1
    tail = text:sub(math.max(at, #text - MAX_LINE)) -- of a longer line the end will do: it tells nothing anyway
    for line in text:sub(1, at - 1):gmatch("[^\r\n]+") do
      local what, done, total = line:sub(1, MAX_LINE):match("(%u[%a ]*):%s+%d+%% %((%d+)/(%d+)%)")
      if what then
        report(tonumber(done), tonumber(total), what:lower(), "objects")
      end
    end
  end
end

local function tells_progress(line)
  return #line <= MAX_LINE and line:find("%d%% %(%d+/%d+%)") ~= nil
end

--- The text without the lines that only tell how far git is.
---@param text string
---@return string
function M.strip(text)
  local kept, at = {}, 1
  while at <= #text do
    local stop = text:find("\n", at, true) or #text
    local line = text:sub(at, stop)
    line = line:match("^.*\r([^\r\n].*)$") or line -- what was written over
    if not tells_progress(line) then
      kept[#kept + 1] = line
    end
    at = stop + 1
  end
  return table.concat(kept)
end

return M
