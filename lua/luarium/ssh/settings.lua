--- ~/.ssh/config, as far as it says where a host is and how to get in.
local errors = require "luarium.error"
local native = require "luarium.native"
local task = require "luarium.task"

local await = task.await
local fs = native.fs

local M = {}

local FILE_MAX = 1048576 -- bytes of a file
local DEPTH_MAX = 8 -- of files that include files

--- A pattern of ssh's as one of Lua's.
local function lua_pattern(pattern)
  return "^" .. pattern:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

--- Whether a list of patterns means a host; one with ! in front that matches says no.
---@param patterns string
---@param host string
---@return boolean
function M.matches(patterns, host)
  local found = false
  for word in patterns:gmatch("%S+") do
    local negated, pattern = word:match("^(!?)\"?(.-)\"?$")
    if host:lower():match(lua_pattern(pattern:lower())) then
      if negated == "!" then
        return false
      end
      found = true
    end
  end
  return found
end

local function home()
  return os.getenv("HOME") or "/root"
end

--- ~ and the words with a percent sign that are known here.
local function expand(value, words)
  value = value:gsub("^~/", home():gsub("%%", "%%%%") .. "/")
  return (value:gsub("%%(.)", function(letter)
    return letter == "%" and "%" or letter == "d" and home() or words[letter]
  end))
end
M.expand = expand

--- Key and value of a line: `Key value`, `Key=value`, quotes around a value.
local function split(line)
  local key, value = line:match("^%s*([%a%d]+)%s*[=%s]%s*(.-)%s*$")
  if not key then
    return "", "" -- nothing, or a comment
  end
  return key:lower(), value:match('^"(.*)"$') or value
end

local function included(value, base)
  local files = {}
  for word in value:gmatch("%S+") do
    local path = expand(word, {})
    if path:sub(1, 1) ~= "/" then
      path = base .. "/" .. path
    end
    local folder, name = path:match("^(.*)/([^/]*)$")
    if name:find("[*?]") then
      for _, entry in ipairs(await(fs.ls(folder)) or {}) do
        if entry.name:match(lua_pattern(name)) then
          files[#files + 1] = folder .. "/" .. entry.name
        end
      end
    else
      files[#files + 1] = path
    end
  end
  return files
end

local LISTS = { identityfile = true }

local function read_into(found, path, host, base, depth)
  local text, err = await(fs.read_file(path, { max = FILE_MAX }))
  if not text then
    if err.kind == "not_found" then
      return true
    end
    return nil, err
  end
  local active = true
  for line in text:gmatch("[^\r\n]+") do
    local key, value = split(line)
    if key == "host" then
      active = M.matches(value, host)
    elseif key == "match" then
      active = value:lower() == "all" -- other conditions ask for things that are not known here
    elseif active and key == "include" then
      if depth >= DEPTH_MAX then
        return nil, errors.new("invalid", path .. ": too many files include each other")
      end
      for _, file in ipairs(included(value, base)) do
        local ok, fault = read_into(found, file, host, base, depth + 1)
        if not ok then
          return nil, fault
        end
      end
    elseif active and LISTS[key] then
      found[key] = found[key] or {}
      table.insert(found[key], value)
    elseif active and key ~= "" and found[key] == nil then
      found[key] = value -- the first one counts
    end
  end
  return true
end

--- What a configuration says of a host: values by their names in small letters.
---@async
---@param path string
---@param host string as the user calls it
---@return table<string, string|string[]>? values
---@return luarium.Error? err
function M.read(path, host)
  local found = {}
  local ok, err = read_into(found, path, host, path:match("^(.*)/[^/]*$") or ".", 0)
  if not ok then
    return nil, err
  end
  return found
end

return M
