--- What a value looks like to a person: on one line while it is short, else a line for each field.
local check = require "luarium.check"
local errors = require "luarium.error"

local M = {}

local MAX_DEPTH, MAX_FIELDS, MAX_TEXT, WIDTH = 4, 100, 4000, 100

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\""] = "\\\"", ["\\"] = "\\\\" }

local function text(value)
  value = require("luarium.secret").redact(value) -- escaped, a secret would not be known
  local cut = #value > MAX_TEXT and (" ... (%d bytes)"):format(#value) or ""
  value = value:sub(1, MAX_TEXT):gsub("[%c\"\\\127]", function(char)
    return escapes[char] or ("\\x%02x"):format(char:byte())
  end)
  return "\"" .. value .. "\"" .. cut
end

local show

local function name_of(key)
  if type(key) == "string" and key:match("^[%a_][%w_]*$") then
    return key .. " = "
  end
  return "[" .. (type(key) == "string" and text(key) or tostring(key)) .. "] = "
end

--- The fields as texts: the list first, then by name.
local function fields(value, depth, seen)
  local parts, listed, keys = {}, {}, check.sorted_keys(value)
  for i, item in ipairs(value) do
    listed[i] = true
    parts[#parts + 1] = #parts < MAX_FIELDS and show(item, depth + 1, seen) or nil
  end
  for _, key in ipairs(keys) do
    if not listed[key] and #parts < MAX_FIELDS then
      parts[#parts + 1] = name_of(key) .. show(value[key], depth + 1, seen)
    end
  end
  if #keys > #parts then
    parts[#parts + 1] = ("... (%d more)"):format(#keys - #parts)
  end
  return parts
end

local function show_table(value, depth, seen)
  if next(value) == nil then
    return "{}"
  elseif depth >= MAX_DEPTH then
    return "{...}"
  end
  seen[value] = true
  local parts = fields(value, depth, seen)
  seen[value] = nil
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #line + 2 * depth <= WIDTH and not line:find("\n", 1, true) then
    return line
  end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

show = function(value, depth, seen)
  if type(value) == "string" then
    return text(value)
  elseif type(value) ~= "table" or errors.is(value) then
    return tostring(value)
  elseif (debug.getmetatable(value) or {}).__tostring then
    return tostring(value)
  elseif seen[value] then
    return "{... itself}"
  end
  return show_table(value, depth, seen)
end

--- Control characters are shown as escapes, long and deep values are cut; a table that holds itself ends there.
---@param value any
---@return string
function M.inspect(value)
  return show(value, 0, {})
end

return M
