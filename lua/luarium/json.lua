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

local array_mt = cjson.array_mt

--- Marks a list so that it stays a list when it is empty.
---@param list table
---@return table list
function M.array(list)
  return array_mt and setmetatable(list, array_mt) or list
end

--- Text of a value.
---@param value any
---@return string? text
---@return luarium.Error? err `invalid` when a value cannot be written as JSON
function M.encode(value)
  local ok, text = pcall(cjson.encode, value)
  if ok then
    return text
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

--- The same without nulls: a key that is null is absent.
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
      end
    end
    return t
  end
  if value == M.null then
    return nil
  end
  return type(value) == "table" and strip(value) or value
end

return M
