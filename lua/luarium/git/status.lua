--- Reads what git prints for machines: status, raw and numstat differences, logs. All of it is NUL separated, so that
--- any file name survives.
local M = {}

local function fields_of(text)
  local position = 1
  return function()
    local stop = text:find("\0", position, true)
    if not stop then
      return nil
    end
    local field = text:sub(position, stop - 1)
    position = stop + 1
    return field
  end
end

-- ---- status --porcelain=v2 -z --branch ----

local function header(result, key, value)
  if key == "oid" then
    result.head = value ~= "(initial)" and value or nil
  elseif key == "head" then
    result.branch = value ~= "(detached)" and value or nil
  elseif key == "upstream" then
    result.upstream = value
  elseif key == "ab" then
    local ahead, behind = value:match("^%+(%d+) %-(%d+)$")
    result.ahead, result.behind = tonumber(ahead), tonumber(behind)
  end
end

-- How many words stand before the path.
local words_before = { ["1"] = 8, ["2"] = 9, u = 10 }

local function entry_of(kind, field)
  if kind == "?" or kind == "!" then
    return { code = kind .. kind, path = field:sub(3) }
  end
  local position = 1
  for _ = 1, words_before[kind] do
    position = (field:find(" ", position, true) or #field) + 1
  end
  return { code = field:sub(3, 4), path = field:sub(position) }
end

---@class luarium.GitStatusEntry
---@field path string relative to the root of the repository; any bytes but NUL
---@field code string two characters, index and working tree: "M.", ".D", "A.", "R.", "UU", "??", "!!"; "." is unchanged
---@field renamed_from string?

---@class luarium.GitStatus
---@field clean boolean nothing differs and nothing is untracked
---@field branch string? nil when HEAD is detached
---@field head string? commit; nil before the first one
---@field upstream string?
---@field ahead integer?
---@field behind integer?
---@field entries luarium.GitStatusEntry[]

---@param text string
---@return luarium.GitStatus
function M.parse(text)
  local result = { entries = {} }
  local next_field = fields_of(text)
  for field in next_field do
    local kind = field:sub(1, 1)
    if kind == "#" then
      local key, value = field:match("^# branch%.(%S+) (.*)$")
      if key then
        header(result, key, value)
      end
    elseif words_before[kind] or kind == "?" or kind == "!" then
      local entry = entry_of(kind, field)
      if kind == "2" then
        entry.renamed_from = next_field()
      end
      result.entries[#result.entries + 1] = entry
    end
  end
  result.clean = true
  for _, entry in ipairs(result.entries) do
    if entry.code ~= "!!" then
      result.clean = false
    end
  end
  return result
end

-- ---- diff --raw -z and --numstat -z ----

local statuses = {
  A = "added", C = "copied", D = "deleted", M = "modified", R = "renamed", T = "type", U = "unmerged",
}

---@class luarium.GitChange
---@field path string
---@field status "added"|"copied"|"deleted"|"modified"|"renamed"|"type"|"unmerged"|"unknown"
---@field renamed_from string? also for copies
---@field mode string the mode afterwards: "100644", "100755", "120000" (link), "160000" (repository), "000000" (gone)
---@field added integer? lines; nil when binary
---@field deleted integer?
---@field binary boolean?

--- Joins the two listings of the same difference.
---@param raw string
---@param numstat string
---@return luarium.GitChange[]
function M.changes(raw, numstat)
  local list, by_path = {}, {}
  local next_field = fields_of(raw)
  for field in next_field do
    local mode, letter = field:match("^:%d+ (%d+) %x+ %x+ (%a)")
    local path = next_field()
    if mode and path then
      local change = { status = statuses[letter] or "unknown", mode = mode }
      if letter == "R" or letter == "C" then
        change.renamed_from = path
        path = next_field()
      end
      change.path = path
      list[#list + 1], by_path[path] = change, change
    end
  end
  next_field = fields_of(numstat)
  for field in next_field do
    local added, deleted, path = field:match("^(%S+)\t(%S+)\t(.*)$")
    if path == "" then -- a rename: both names follow
      next_field()
      path = next_field()
    end
    local change = path and by_path[path]
    if change then
      change.added, change.deleted = tonumber(added), tonumber(deleted)
      change.binary = added == "-" or nil
    end
  end
  return list
end

-- ---- log ----

--- The format whose output M.log reads, together with -z.
M.log_format = "--format=%H%x00%P%x00%an%x00%ae%x00%at%x00%s%x00%b"

---@class luarium.GitCommit
---@field sha string
---@field parents string[]
---@field author string
---@field email string
---@field time integer seconds since the epoch
---@field subject string
---@field body string

---@param text string
---@return luarium.GitCommit[]
function M.log(text)
  local list = {}
  local next_field = fields_of(text)
  for sha in next_field do
    local parents = {}
    for parent in (next_field() or ""):gmatch("%x+") do
      parents[#parents + 1] = parent
    end
    list[#list + 1] = {
      sha = sha, parents = parents, author = next_field() or "", email = next_field() or "",
      time = tonumber(next_field()) or 0, subject = next_field() or "",
      body = ((next_field() or ""):gsub("\n+$", "")),
    }
  end
  return list
end

return M
