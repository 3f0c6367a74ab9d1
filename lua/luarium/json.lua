--- JSON through lua-cjson, with limits fit for strangers' data: own instance, bounded depth. Numbers are written with
--- 14 digits, the most lua-cjson can: larger whole numbers travel as strings.
local errors = require "luarium.error"
local utf8 = require "luarium.utf8"

--- Of a locale whose decimal point has several bytes: lua-cjson would end the process when it learns of it.
local function no_such_point()
  return errors.new("unsupported", "json: this locale's decimal point has several bytes: set LC_NUMERIC to C")
end

if #("%.1f"):format(0.5) ~= 3 then
  error(no_such_point(), 0)
end
local cjson = require("cjson").new()

cjson.decode_max_depth(200)
cjson.encode_max_depth(200)
cjson.encode_number_precision(14)
cjson.encode_sparse_array(true, 2, 16)
cjson.decode_invalid_numbers(false)
cjson.encode_invalid_numbers(false)

local M = { null = cjson.null }

--- lua-cjson asks the locale for the decimal point when an instance is made, and a host may choose another afterwards.
---@return luarium.Error?
local function follow_locale()
  local text = cjson.encode(0.5)
  local ok, value = pcall(cjson.decode, "0.5")
  if #text ~= 3 then
    return no_such_point()
  elseif text ~= "0.5" or not ok or value ~= 0.5 then
    require("cjson").new() -- they all share what it learns
  end
end

--- lua-cjson writes an empty table as an object; this text stands for an empty list until the value is written.
local EMPTY_LIST = "\1empty list\1"

--- A list that is written as a list also when it is empty.
---@param list table
---@return table|string list for M.encode only
function M.array(list)
  return #list > 0 and list or EMPTY_LIST
end

--- Text of a value.
---@param value any
---@return string? text
---@return luarium.Error? err `invalid` when a value cannot be written as JSON
function M.encode(value)
  local fault = follow_locale()
  if fault then
    return nil, fault
  end
  local ok, text = pcall(cjson.encode, value)
  if ok then
    return (text:gsub('"\\u0001empty list\\u0001"', "[]"))
  end
  return nil, errors.new("invalid", "json: " .. tostring(text))
end

local REST = "_base64" -- ends the name of a field that has the exact bytes of another

--- Whether every text in a value is UTF-8. `path` has the tables around it: a cycle is left for the encoder to refuse.
local function is_text(value, path)
  if type(value) == "string" then
    return utf8.is_valid(value)
  elseif type(value) ~= "table" or path[value] then
    return true
  end
  path[value] = true
  for key, item in pairs(value) do
    if not is_text(key, path) or not is_text(item, path) then
      return false
    end
  end
  path[value] = nil
  return true
end

--- What has the exact bytes of an item that is no UTF-8: a text, or a list of texts as long as the item.
local function rest_of(item)
  local encode = require("luarium.native").crypto.base64_encode
  if type(item) == "string" then
    return encode(item)
  end
  local rest = {}
  for i, text in ipairs(item) do
    if type(text) ~= "string" then
      return nil -- a table, whose fields have theirs beside them
    end
    rest[i] = encode(text)
  end
  return rest[1] and rest
end

local function escape(byte)
  return ("\\x%02x"):format(byte)
end

--- A copy whose texts are UTF-8, of a value that has others.
local function with_rest(value, path)
  if type(value) == "string" then
    return utf8.replace_invalid(value)
  elseif path[value] or is_text(value, {}) then
    return value
  end
  path[value] = true
  local copy = {}
  for key, item in pairs(value) do
    local name = type(key) == "string" and utf8.replace_invalid(key, escape) or key
    copy[name] = with_rest(item, path)
    if copy[name] ~= item and type(name) == "string" then
      copy[name .. REST] = rest_of(item)
    end
  end
  path[value] = nil
  return copy
end

--- Text of a value that may have any bytes. What is not UTF-8 in a field `name` is U+FFFD there, and `name_base64` has
--- the exact bytes; for a list of texts that is a list.
---@param value any
---@return string? text
---@return luarium.Error? err
function M.encode_bytes(value)
  return M.encode(is_text(value, {}) and value or with_rest(value, {}))
end

--- Value of a text. `null` inside tables is M.null.
---@param text string
---@return any value
---@return luarium.Error? err `protocol` when it is no JSON
function M.decode(text)
  local fault = follow_locale()
  if fault then
    return nil, fault
  end
  local ok, value = pcall(cjson.decode, text)
  if ok then
    return value
  end
  return nil, errors.new("protocol", "json: " .. tostring(value))
end

local to_integer = rawget(math, "tointeger") -- Lua 5.4 only

--- lua-cjson makes a float of every number, which then would be written as 3.0.
local function whole(value)
  return to_integer and type(value) == "number" and to_integer(value) or value
end

--- The same without nulls, and with whole numbers as integers where Lua has them: a key that is null is absent.
---@param text string
---@return any value
---@return luarium.Error? err
function M.decode_plain(text)
  local value, err = M.decode(text)
  if err then
    return nil, err
  end
  local function strip(t)
    for key, item in pairs(t) do
      if item == M.null then
        t[key] = nil
      elseif type(item) == "table" then
        strip(item)
      else
        t[key] = whole(item)
      end
    end
    return t
  end
  if value == M.null then
    return nil
  end
  return type(value) == "table" and strip(value) or whole(value)
end

return M
