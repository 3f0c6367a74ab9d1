--- Values in the JSON of OTLP: attributes, times and numbers. 64-bit integers are decimal texts there.
local check = require "luarium.check"
local compat = require "luarium.compat"
local native = require "luarium.native"
local secret = require "luarium.secret"
local utf8 = require "luarium.utf8"

local M = {}

--- Bytes that are kept of a text.
M.max_text = 1000

--- The text without what is no UTF-8, cut to max_text bytes: one wrong byte, and a collector refuses the whole batch.
---@param text string
---@return string
function M.text(text)
  if #text <= M.max_text and not text:find("[\128-\255]") then
    return text
  end
  local parts, i, limit = {}, 1, math.min(#text, M.max_text)
  while i <= limit do
    local n = utf8.length(text, i)
    if n and i + n - 1 > limit then
      break
    end
    parts[#parts + 1] = n and text:sub(i, i + n - 1) or "?"
    i = i + (n or 1)
  end
  return table.concat(parts) .. (#text > M.max_text and "..." or "")
end

--- A whole number as OTLP writes it.
---@param n number
---@return string
function M.integer(n)
  return ("%.0f"):format(n)
end

--- Seconds since the epoch as nanoseconds.
---@param seconds number
---@return string
function M.time(seconds)
  return M.integer(seconds * 1e9)
end

---@param bytes integer
---@return string hex random
function M.random_id(bytes)
  return (native.crypto.random(bytes):gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

local function any_value(value)
  local kind = type(value)
  if kind == "string" then
    return { stringValue = M.text(value) }
  elseif kind == "boolean" then
    return { boolValue = value }
  elseif compat.is_integer(value) and math.abs(value) < 2 ^ 63 then
    return { intValue = M.integer(value) }
  elseif kind == "number" and value - value == 0 then
    return { doubleValue = value }
  elseif kind == "table" and #value > 0 and check.is_list(value) then
    local values = {}
    for _, item in ipairs(value) do
      values[#values + 1] = type(item) ~= "table" and any_value(item) or nil
    end
    return #values > 0 and { arrayValue = { values = values } } or nil
  end
end

--- The attributes of a table, in the order of their names; nil when there are none. What has no form there is left out.
---@param map table<string, any>
---@return table[]?
function M.attributes(map)
  local list = {}
  for _, key in ipairs(check.keys(map)) do
    local value = any_value(map[key])
    if value then
      list[#list + 1] = { key = M.text(key), value = value }
    end
  end
  return #list > 0 and list or nil
end

local function uuid()
  local hex = M.random_id(16)
  return ("%s-%s-4%s-a%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), hex:sub(18, 20), hex:sub(21))
end

--- Who sends: made once, as its instance id tells processes apart that count for themselves.
---@param extra table<string, string> wins over what is known here
---@return table resource
function M.resource(extra)
  local facts = {
    ["service.name"] = "luarium", ["service.version"] = native.version, ["service.instance.id"] = uuid(),
    ["telemetry.sdk.name"] = "luarium", ["telemetry.sdk.language"] = "lua", ["telemetry.sdk.version"] = native.version,
  }
  for key, value in pairs(extra) do
    facts[key] = secret.redact(value)
  end
  return { attributes = M.attributes(facts) }
end

M.scope = { name = "luarium", version = native.version }

return M
