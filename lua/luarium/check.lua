--- Validation of options: unknown names, wrong types, missing and impossible values, all found at once, each
--- with what was expected.
local compat = require "luarium.compat"
local errors = require "luarium.error"
local utf8 = require "luarium.utf8"

local M = {}

--- The edit distance of two short words, for "did you mean"; two letters exchanged count as one mistake.
local function distance(a, b)
  local previous, before = {}, nil
  for j = 0, #b do
    previous[j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    previous, before = row, previous
  end
  return previous[#b]
end

--- The candidate nearest to a mistyped word, or nil when none is near.
---@param word string
---@param candidates string[]
---@return string?
function M.nearest(word, candidates)
  local best, best_distance
  local limit = math.max(1, math.floor(#word / 2.5))
  table.sort(candidates)
  for _, candidate in ipairs(candidates) do
    local d = distance(word:lower(), candidate:lower())
    if d <= limit and (not best or d < best_distance) then
      best, best_distance = candidate, d
    end
  end
  return best
end

local function keys_of(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = tostring(key)
  end
  table.sort(keys)
  return keys
end
M.keys = keys_of

--- The keys themselves, in the order of their texts.
---@param t table
---@return any[]
function M.sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function is_list(value)
  if type(value) ~= "table" then
    return false
  end
  local n = 0
  for key in pairs(value) do
    if type(key) ~= "number" then
      return false
    end
    n = n + 1
  end
  return n == #value
end
M.is_list = is_list

local matchers = {
  any = function()
    return true
  end,
  string = function(v)
    return type(v) == "string"
  end,
  text = function(v)
    return type(v) == "string" and not v:find("\0", 1, true)
  end,
  name = function(v)
    return M.is_name(v)
  end,
  number = function(v)
    return type(v) == "number" and v == v
  end,
  integer = compat.is_integer,
  seconds = function(v)
    return type(v) == "number" and v >= 0 and v <= 315360000
  end,
  size = function(v)
    return compat.is_integer(v) and v >= 0
  end,
  boolean = function(v)
    return type(v) == "boolean"
  end,
  table = function(v)
    return type(v) == "table"
  end,
  list = is_list,
  ["function"] = function(v)
    return type(v) == "function" or type(v) == "table" and (getmetatable(v) or {}).__call ~= nil
  end,
  strings = function(v)
    if not is_list(v) then
      return false
    end
    for _, item in ipairs(v) do
      if type(item) ~= "string" then
        return false
      end
    end
    return true
  end,
  map = function(v) -- text to text, number or boolean: environments, labels, headers
    if type(v) ~= "table" then
      return false
    end
    for key, item in pairs(v) do
      local t = type(item)
      local plain = t == "string" or t == "number" or t == "boolean"
      if type(key) ~= "string" or not (plain or M.is_secret(item)) then
        return false
      end
    end
    return true
  end,
  secret = function(v)
    return type(v) == "string" or M.is_secret(v)
  end,
}

local expected = {
  text = "text without NUL bytes",
  name = "a name of 1 to 100 bytes of UTF-8 without control characters, ':' and '/', that does not begin with '-', "
    .. "'sbx_' or 'run_'",
  seconds = "seconds (a number from 0 to ten years)",
  size = "a whole number of at least 0",
  integer = "a whole number",
  number = "a number",
  string = "a string",
  boolean = "true or false",
  table = "a table",
  list = "a list",
  strings = "a list of strings",
  map = "a table of names and plain values",
  secret = "a string or luarium.env(...)",
  ["function"] = "a function",
}

--- Set by luarium.secret, which this module must not require.
M.is_secret = function()
  return false
end

--- The one rule for names of sandboxes: they are shown on terminals, are words of commands (`luarium cp NAME:path`),
--- and must not look like an id, of a sandbox or of a run.
---@param value any
---@return boolean
function M.is_name(value)
  return type(value) == "string" and #value >= 1 and #value <= 100 and utf8.is_valid(value)
    and not value:find("[%c:/]") and not value:find("\194[\128-\159]") and not value:find("^%-")
    and not value:find("^sbx_") and not value:find("^run_")
end

--- What M.is_name expects, in words.
M.NAME = expected.name

local function describe(value)
  if type(value) == "string" then
    local shown = #value > 40 and value:sub(1, 37) .. "..." or value
    return ("%q"):format(shown):gsub("\\\n", "\\n")
  elseif type(value) == "table" then
    return errors.is(value) and "an error object" or "a table"
  end
  return tostring(value)
end

local function matches(value, types)
  for name in types:gmatch("[^|]+") do
    if matchers[name](value) then
      return true
    end
  end
  return false
end

local function wanted(row)
  local parts = {}
  for name in row.type:gmatch("[^|]+") do
    parts[#parts + 1] = expected[name] or name
  end
  return table.concat(parts, " or ")
end

local function check_row(name, row, value, faults)
  if value == nil then
    if row.required then
      faults[#faults + 1] = ("option '%s' is missing: expected %s"):format(name, wanted(row))
    end
    return
  end
  if not matches(value, row.type) then
    local shown = row.secret and "a value of another type" or describe(value)
    faults[#faults + 1] = ("option '%s': expected %s, got %s"):format(name, wanted(row), shown)
    return
  end
  if row.one_of then
    for _, allowed in ipairs(row.one_of) do
      if allowed == value then
        return
      end
    end
    faults[#faults + 1] = ("option '%s': expected one of %s, got %s"):format(
      name, table.concat(row.one_of, ", "), describe(value))
  end
  if row.min and value < row.min or row.max and value > row.max then
    faults[#faults + 1] = ("option '%s': expected a value from %s to %s, got %s"):format(
      name, row.min or "-inf", row.max or "inf", tostring(value))
  end
end

--- What is wrong with a field of a table that was read from somewhere, or nil. Its value is not shown.
---@param from table
---@param name string
---@param row {type: string, required?: boolean, min?: number, max?: number}|string
---@return string? fault
function M.field(from, name, row)
  row = type(row) == "string" and { type = row } or row
  local value = from[name]
  if value == nil then
    return row.required and ("the field '%s' is missing"):format(name) or nil
  elseif not matches(value, row.type) then
    return ("the field '%s' is a %s: expected %s"):format(name, type(value), wanted(row))
  elseif row.min and value < row.min or row.max and value > row.max then
    return ("the field '%s' is out of range"):format(name)
  end
end

--- Every fault of an option table against a template; an empty list when it is right.
---@param options table
---@param template table<string, {type: string, required?: boolean, one_of?: any[], min?: number, max?: number}|string>
---@return string[]
function M.faults(options, template)
  local faults = {}
  for _, key in ipairs(keys_of(options)) do
    if not template[key] then
      local near = M.nearest(key, keys_of(template))
      faults[#faults + 1] = near and ("unknown option '%s': did you mean '%s'?"):format(key, near)
        or ("unknown option '%s': expected one of %s"):format(key, table.concat(keys_of(template), ", "))
    end
  end
  for _, name in ipairs(keys_of(template)) do
    local row = template[name]
    if type(row) == "string" then
      row = { type = row }
    end
    check_row(name, row, options[name], faults)
  end
  return faults
end

--- Validates an option table; raises one `invalid` error that lists every fault.
---@param options table? nil counts as empty
---@param template table
---@param where string the call, for the message: "sandbox:exec"
---@return table options
function M.options(options, template, where)
  if options == nil then
    options = {}
  end
  if type(options) ~= "table" then
    errors.raise("invalid", ("%s: expected a table of options, got %s"):format(where, describe(options)))
  end
  local faults = M.faults(options, template)
  if #faults > 0 then
    errors.raise("invalid", where .. ": " .. table.concat(faults, "; "))
  end
  return options
end

--- Validates one positional argument; raises `invalid`.
---@param value any
---@param types string such as "text" or "string|list"
---@param where string
---@param name string
---@return any value
function M.argument(value, types, where, name)
  if not matches(value, types) then
    errors.raise("invalid", ("%s: %s: expected %s, got %s"):format(
      where, name, wanted({ type = types }), describe(value)))
  end
  return value
end

return M
