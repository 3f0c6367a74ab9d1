--- What a value looks like to a person: on one line while it is short, else a line for each field. Tables are read raw,
--- and of what belongs to the value only its __tostring is called; all that is shown at once is bounded.
local errors = require "luarium.error"
local log = require "luarium.log"
local secret = require "luarium.secret"

local M = {}

local MAX_DEPTH, MAX_FIELDS, MAX_TEXT, WIDTH = 4, 100, 4000, 100
local MAX_KEYS = 10000  -- looked at in one table
local MAX_ALL = 65536   -- bytes, about, of all that is shown at once
local MAX_LINE = 400    -- the same of a value within a message

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\""] = "\\\"", ["\\"] = "\\\\" }

--- Secrets go first: what is cut or escaped could no longer be told.
local function cut(value)
  value = secret.redact(value)
  return value:sub(1, MAX_TEXT), #value > MAX_TEXT and (" ... (%d bytes)"):format(#value) or ""
end

local function escaped(value)
  return log.neutral((value:gsub("[%c\"\\\127]", function(char)
    return escapes[char] or ("\\x%02x"):format(char:byte())
  end)))
end

--- As Lua would read it. A long one of several lines, such as the output of a command, has its lines below each other.
local function text(value, in_lines)
  local start, more = cut(value)
  local shown = escaped(start)
  if in_lines and #shown > WIDTH and start:find("\n", 1, true) then
    local lines = {}
    for line in (start .. "\n"):gmatch("([^\n]*)\n") do
      lines[#lines + 1] = escaped(line)
    end
    shown = table.concat(lines, "\\\n")
  end
  return "\"" .. shown .. "\"" .. more
end

--- What its __tostring makes of a value.
local function own_text(value, make)
  local ok, result = pcall(make, value)
  if ok and type(result) == "string" then
    return result
  elseif not ok and errors.is(result, "cancelled") then
    error(result, 0) -- Ctrl-C, and not the value's own failure
  end
  local why = ok and "gave a " .. type(result)
    or "failed" .. (type(result) == "string" and ": " .. result:match("^[^\n]*") or "")
  return ("<%s: its __tostring %s>"):format(type(value), why)
end

local function metamethod(value, name)
  local mt = debug.getmetatable(value)
  return type(mt) == "table" and rawget(mt, name) or nil
end

--- Any value but a string as a text of its own.
local function plain(value)
  local make = metamethod(value, "__tostring")
  local start, more = cut(make ~= nil and own_text(value, make) or tostring(value))
  return log.neutral_lines(start) .. more
end

local show

local function name_of(key)
  if type(key) == "string" and key:match("^[%a_][%w_]*$") and #key <= MAX_TEXT then
    return key .. " = "
  end
  return "[" .. (type(key) == "string" and text(key) or plain(key)) .. "] = "
end

local ranks = { number = 1, string = 2 }

local function comes_before(a, b)
  local first, second = ranks[type(a)] or 3, ranks[type(b)] or 3
  if first ~= second then
    return first < second
  end
  return first < 3 and a < b
end

--- The keys in the order in which they are shown, and whether there are others.
local function keys_of(value)
  local keys = {}
  local key = next(value)
  while key ~= nil and #keys < MAX_KEYS do
    keys[#keys + 1] = key
    key = next(value, key)
  end
  table.sort(keys, comes_before)
  return keys, key ~= nil
end

local function take(budget, part)
  budget.left = budget.left - #part
  return part
end

--- The fields as texts: the list first, then by name.
local function fields(value, depth, seen, budget)
  local parts, listed = {}, 0
  local function may_go_on()
    return #parts < MAX_FIELDS and budget.left > 0
  end
  local keys, more = keys_of(value)
  while may_go_on() and rawget(value, listed + 1) ~= nil do
    listed = listed + 1
    parts[listed] = show(rawget(value, listed), depth + 1, seen, budget)
  end
  for _, key in ipairs(keys) do
    local in_list = type(key) == "number" and key >= 1 and key <= listed and key % 1 == 0
    if not in_list and may_go_on() then
      parts[#parts + 1] = take(budget, name_of(key)) .. show(rawget(value, key), depth + 1, seen, budget)
    end
  end
  if more or #keys > #parts then
    parts[#parts + 1] = ("... (%s%d more)"):format(more and "at least " or "", #keys - #parts)
  end
  return parts
end

local function show_table(value, depth, seen, budget)
  if next(value) == nil then
    return "{}"
  elseif depth >= MAX_DEPTH or budget.left <= 0 then
    return "{...}"
  end
  seen[value] = true
  local parts = fields(value, depth, seen, budget)
  seen[value] = nil
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if budget.one_line or #line + 2 * depth <= WIDTH and not line:find("\n", 1, true) then
    return line
  end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

show = function(value, depth, seen, budget)
  if type(value) == "string" then
    return take(budget, text(value, not budget.one_line))
  elseif type(value) ~= "table" or errors.is(value) or metamethod(value, "__tostring") ~= nil then
    return take(budget, plain(value))
  elseif seen[value] then
    return take(budget, "{... itself}")
  end
  return show_table(value, depth, seen, budget)
end

--- Several values beside each other. Control characters are shown as escapes, long and deep values are cut; a table
--- that holds itself ends there.
---@param values any[]
---@param first integer
---@param last integer
---@return string
function M.inspect_all(values, first, last)
  local texts, budget = {}, { left = MAX_ALL }
  for i = first, last do
    if budget.left <= 0 then
      texts[#texts + 1] = ("... (%d more)"):format(last - i + 1)
      break
    end
    texts[#texts + 1] = show(values[i], 0, {}, budget)
  end
  return table.concat(texts, "  ")
end

--- A value as a part of one line.
---@param value any
---@return string
function M.line(value)
  local shown = log.neutral(show(value, 0, {}, { left = MAX_LINE, one_line = true }))
  return #shown > 2 * MAX_LINE and shown:sub(1, MAX_LINE) .. " ..." or shown
end

---@param value any
---@return string
function M.inspect(value)
  return M.inspect_all({ value }, 1, 1)
end

return M
