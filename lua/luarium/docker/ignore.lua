--- .dockerignore: what of a folder is no part of a build. The last pattern that matches a path, or a folder above it,
--- decides; one with ! in front brings back.
local errors = require "luarium.error"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

local await = task.await

--- A Lua pattern for one of .dockerignore's.
local function translate(glob)
  local at, parts = 1, {}
  while at <= #glob do
    local c = glob:sub(at, at)
    if glob:sub(at, at + 2) == "**/" then
      parts[#parts + 1], at = "\1", at + 3
    elseif glob:sub(at, at + 1) == "**" then
      parts[#parts + 1], at = ".*", at + 2
    elseif c == "*" then
      parts[#parts + 1], at = "[^/]*", at + 1
    elseif c == "?" then
      parts[#parts + 1], at = "[^/]", at + 1
    elseif c == "[" and glob:find("%]", at + 2) then
      local stop = glob:find("%]", at + 2)
      parts[#parts + 1], at = glob:sub(at, stop):gsub("%%", "%%%%"), stop + 1
    else
      if c == "\\" and at < #glob then
        at = at + 1
        c = glob:sub(at, at)
      end
      parts[#parts + 1], at = c:gsub("[^%w]", "%%%0"), at + 1
    end
  end
  return parts
end

--- The patterns for one glob: folders in front of which any may stand make two.
local function expand(parts)
  local list = { "^" }
  for _, part in ipairs(parts) do
    local grown = {}
    for _, text in ipairs(list) do
      if part == "\1" then
        grown[#grown + 1] = text
        grown[#grown + 1] = text .. ".*/"
      else
        grown[#grown + 1] = text .. part
      end
    end
    list = grown
  end
  for i, text in ipairs(list) do
    list[i] = text .. "$"
  end
  return list
end

--- The rules of a text, in order.
---@param text string
---@return {keep: boolean, patterns: string[]}[] rules
---@return boolean exceptions
function M.parse(text)
  local rules, exceptions = {}, false
  for line in text:gmatch("[^\r\n]+") do
    line = line:match("^%s*(.-)%s*$")
    if line ~= "" and line:sub(1, 1) ~= "#" then
      local keep = line:sub(1, 1) == "!"
      exceptions = exceptions or keep
      local glob = line:gsub("^!%s*", ""):gsub("^%./", ""):gsub("^/+", ""):gsub("/+$", "")
      if glob ~= "" and select(2, glob:gsub("%*%*/", "")) <= 4 then
        rules[#rules + 1] = { keep = keep, patterns = expand(translate(glob)) }
      end
    end
  end
  return rules, exceptions
end

local function matches(rule, path)
  for _, pattern in ipairs(rule.patterns) do
    if path:find(pattern) then
      return true
    end
  end
  return false
end

--- Whether a path is left out.
---@param rules table[] of M.parse
---@param path string below the folder, without a slash in front
---@param inherited boolean? what was decided for the folder that it is in
---@return boolean
function M.excludes(rules, path, inherited)
  local excluded = inherited or false
  for _, rule in ipairs(rules) do
    if matches(rule, path) then
      excluded = not rule.keep
    end
  end
  return excluded
end

local function walk(root, below, inherited, rules, exceptions, list)
  local entries, err = await(native.fs.ls(root .. (below ~= "" and "/" .. below or "")))
  if not entries then
    return nil, err
  end
  for _, entry in ipairs(entries) do
    local path = below == "" and entry.name or below .. "/" .. entry.name
    local excluded = M.excludes(rules, path, inherited)
    if entry.type == "dir" and (not excluded or exceptions) then
      local ok, fault = walk(root, path, excluded, rules, exceptions, list)
      if not ok then
        return nil, fault
      end
    elseif entry.type ~= "dir" and not excluded then
      list[#list + 1] = path
    end
  end
  return true
end

--- What of a folder is sent. The Dockerfile always is.
---@async
---@param root string
---@param dockerfile string
---@return {paths: string[]?}? what nil paths: everything
---@return luarium.Error? err
function M.read(root, dockerfile)
  local facts, err = await(native.fs.stat(root .. "/" .. dockerfile))
  if not facts then
    return nil, err.kind == "not_found" and errors.new("not_found",
      ("build: there is no %s/%s"):format(root, dockerfile), { name = "ENOENT" }) or err
  end
  local text = await(native.fs.read_file(root .. "/.dockerignore", { max = 1048576 }))
  local rules, exceptions = M.parse(text or "")
  if #rules == 0 then
    return {}
  end
  local list = {}
  local ok, fault = walk(root, "", false, rules, exceptions, list)
  if not ok then
    return nil, fault
  end
  local has
  for _, path in ipairs(list) do
    has = has or path == dockerfile
  end
  if not has then
    list[#list + 1] = dockerfile
  end
  return { paths = list }
end

return M
