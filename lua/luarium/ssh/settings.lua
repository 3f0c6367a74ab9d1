--- ~/.ssh/config, as far as it says where a host is and how to get in.
local ascii = require "luarium.ascii"
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
    if ascii.lower(host):match(lua_pattern(ascii.lower(pattern))) then
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
  return ascii.lower(key), value:match('^"(.*)"$') or value
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
local RIVALS = { proxyjump = "proxycommand", proxycommand = "proxyjump" } -- the first one counts

--- What says where a host is and how to get in: only this must not be overlooked.
local MATTERS = {}
for word in ("hostname port user identityfile identitiesonly identityagent proxyjump proxycommand proxyusefdpass "
  .. "userknownhostsfile hostkeyalias stricthostkeychecking include"):gmatch("%a+") do
  MATTERS[word] = true
end

--- Whether the conditions of a Match hold. The word that cannot be judged here, when it depends on that.
local function judge(conditions, found, who)
  local subjects = {
    host = found.hostname and M.expand(found.hostname, { h = who.host }) or who.host, originalhost = who.host,
    user = who.user or found.user or who.own, localuser = who.own,
  }
  local unknown
  local at = 1
  while true do
    local _, stop, negated, word = conditions:find("^%s*(!?)(%a+)[%s=]*", at)
    if not stop then
      return unknown == nil, unknown
    end
    local holds
    at, word = stop + 1, ascii.lower(word)
    if word == "all" then
      holds = true
    elseif word == "canonical" or word == "final" then
      holds = false -- the file is read once, with the name as it was given
    else
      local quoted, after = conditions:match('^"([^"]*)"()', at)
      local plain, next_at = conditions:match("^(%S+)()", at)
      at = after or next_at or at
      if subjects[word] then
        holds = M.matches(((quoted or plain or ""):gsub(",", " ")), subjects[word])
      end
    end
    if holds == nil then
      unknown = unknown or word
    elseif holds == (negated == "!") then
      return false
    end
  end
end

local function judged(value, found, who, place)
  local active, unknown = judge(value, found, who)
  return active, unknown and ("%s: `Match %s` is not understood here"):format(place, unknown)
end

local read_into

local function include(found, value, who, base, depth, path)
  if depth >= DEPTH_MAX then
    return nil, errors.new("invalid", path .. ": too many files include each other")
  end
  for _, file in ipairs(included(value, base)) do
    local ok, err = read_into(found, file, who, base, depth + 1)
    if not ok then
      return nil, err
    end
  end
  return true
end

local function set(found, key, value, place)
  if LISTS[key] then
    found[key] = found[key] or {}
    table.insert(found[key], value)
  elseif found[key] == nil and not (RIVALS[key] and found[RIVALS[key]]) then
    found[key] = value -- the first one counts
    found.places[key] = place
  end
end

function read_into(found, path, who, base, depth)
  local text, err = await(fs.read_file(path, { max = FILE_MAX }))
  if not text then
    if err.kind == "not_found" then
      return true
    end
    return nil, err
  end
  local active, doubt, number = true, nil, 0
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local key, value = split((line:gsub("\r$", "")))
    local place = ("%s line %d"):format(path, number)
    if key == "host" then
      active, doubt = M.matches(value, who.host), nil
    elseif key == "match" then
      active, doubt = judged(value, found, who, place)
    elseif doubt and MATTERS[key] then
      return nil, errors.new("unsupported", ("ssh: %s, and %s depends on it: name the host in a `Host` line, or set "
        .. "ssh_config = false and the options host, user, key, jump"):format(doubt, key))
    elseif active and key == "include" then
      local ok, fault = include(found, value, who, base, depth, path)
      if not ok then
        return nil, fault
      end
    elseif active and key ~= "" then
      set(found, key, value, place)
    end
  end
  return true
end

--- What a configuration says of a host: values by their names in small letters; `places` tells where each stands.
---@async
---@param path string
---@param host string as the user calls it
---@param user string? who is asked for
---@param own string? the user of this machine
---@return table<string, any>? values
---@return luarium.Error? err
function M.read(path, host, user, own)
  local found = { places = {} }
  local who = { host = host, user = user, own = own or "" }
  local ok, err = read_into(found, path, who, path:match("^(.*)/[^/]*$") or ".", 0)
  if not ok then
    return nil, err
  end
  return found
end

return M
