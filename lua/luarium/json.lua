--- JSON through lua-cjson, with limits fit for strangers' data: own instance, bounded depth. Numbers are written with
--- 14 digits, the most lua-cjson can: larger whole numbers travel as strings.
local cjson = require("cjson").new()
local errors = require "luarium.error"

cjson.decode_max_depth(200)
cjson.encode_max_depth(200)
cjson.encode_number_precision(14)
cjson.encode_sparse_array(true, 2, 16)
cjson.decode_invalid_numbers(false)
cjson.encode_invalid_numbers(false)

local M = { null = cjson.null }

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
  local ok, text = pcall(cjson.encode, value)
  if ok then
    return (text:gsub('"\\u0001empty list\\u0001"', "[]"))
  end
  return nil, errors.new("invalid", "json: " .. tostring(text))
end

--- Value of a text. `null` inside tables is M.null.
---@param text string
---@return any value
---@return luarium.Error? err `protocol` when it is no JSON
function M.decode(text)
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
