--- Completion of what is typed: keywords, globals, fields and methods. Nothing of the session is run for that: fields
--- are looked up raw, and in tables that `__index` names.
local check = require "luarium.check"

local M = {}

local MAX_CHAIN = 10 -- tables that are followed by __index
local MAX_LISTED = 200

local keywords = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
  "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }

--- The tables in which a field of the value is found: itself, then what __index names.
local function tables_of(value)
  local list, at = {}, value
  if type(value) ~= "table" then
    local meta = debug.getmetatable(value)
    at = type(meta) == "table" and rawget(meta, "__index") or nil
  end
  while type(at) == "table" and #list < MAX_CHAIN do
    list[#list + 1] = at
    local meta = debug.getmetatable(at)
    at = type(meta) == "table" and rawget(meta, "__index") or nil
  end
  return list
end

local function lookup(value, key)
  for _, place in ipairs(tables_of(value)) do
    local found = rawget(place, key)
    if found ~= nil then
      return found
    end
  end
  return nil
end

--- The value that a chain of names leads to. The session's own table of globals makes `luarium` when it is asked for.
local function resolve(env, names)
  local value = env
  for i, name in ipairs(names) do
    if i == 1 and name == "luarium" then
      value = env.luarium
    else
      value = lookup(value, name)
    end
    if value == nil then
      return nil
    end
  end
  return value
end

local function add(found, name, beginning, value)
  if type(name) == "string" and name:sub(1, #beginning) == beginning and name:match("^[%a_][%w_]*$")
    and (beginning ~= "" or name:sub(1, 2) ~= "__") then
    found[name] = found[name] or (type(value) == "function" and "function" or "value")
  end
end

local function candidates(env, names, separator, beginning)
  local found = {}
  local value = resolve(env, names)
  for _, place in ipairs(tables_of(value)) do
    for name, field in next, place do
      if separator ~= ":" or type(field) == "function" then
        add(found, name, beginning, field)
      end
    end
  end
  if #names == 0 then
    add(found, "luarium", beginning)
    for _, word in ipairs(keywords) do
      add(found, word, beginning)
    end
  end
  return found
end

--- What all of the sorted names begin with.
local function common(names)
  local first, last = names[1], names[#names]
  local length = 0
  while length < #first and first:byte(length + 1) == last:byte(length + 1) do
    length = length + 1
  end
  return first:sub(1, length)
end

--- Completes the name at the end of a text.
---@param text string what stands before the cursor
---@param env table the globals of the session
---@return string insert what to add at the cursor; "" for nothing
---@return string[] names those that would do, when there are several and nothing can be added
function M.complete(text, env)
  if not text:find("%S") then
    return "  ", {}
  end
  local chain = text:match("[%a_][%w_%.:]*$")
  if not chain or text:sub(-#chain - 1, -#chain - 1):find("[%w_%)%]\"'%.:]") then
    return "", {}
  end
  local path, separator, beginning = chain:match("^(.-)([%.:]?)([%w_]*)$")
  local names = {}
  for name in path:gmatch("[^%.:]+") do
    names[#names + 1] = name
  end
  local found = candidates(env, names, separator, beginning)
  local sorted = check.sorted_keys(found)
  if #sorted == 0 then
    return "", {}
  end
  local insert = common(sorted):sub(#beginning + 1)
  if #sorted == 1 and found[sorted[1]] == "function" then
    insert = insert .. "("
  end
  if insert ~= "" then
    return insert, {}
  end
  for i = #sorted, MAX_LISTED + 1, -1 do
    sorted[i] = nil
  end
  return "", sorted
end

return M
