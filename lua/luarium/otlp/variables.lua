--- The environment variables of OpenTelemetry, as options of luarium.otlp.
local ascii = require "luarium.ascii"
local secret = require "luarium.secret"

local M = {}

local HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"

local TIMEOUT = "OTEL_EXPORTER_OTLP_TIMEOUT"

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- name=value,name=value with percent-encoded values; nil when malformed.
local function pairs_of(text)
  local map = {}
  for item in text:gmatch("[^,]+") do
    local name, value = item:match("^%s*([^=%s]+)%s*=%s*(.-)%s*$")
    if name then
      map[decode(name)] = decode(value)
    elseif item:find("%S") then
      return nil
    end
  end
  return map
end

---@alias luarium.otlp.Getenv fun(name: string): string?

local function reader(getenv)
  return function(name)
    local value = getenv(name)
    return value ~= "" and value or nil
  end
end

local function protocol_fault(get)
  for _, name in ipairs({ "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL" }) do
    local value = get(name)
    if value and value ~= "http/json" then
      return ("%s is %s, and only http/json is spoken here"):format(name, value)
    end
  end
end

local function headers_of(text)
  local map = pairs_of(text)
  if not map then
    return nil, HEADERS .. ": expected name=value,name=value"
  end
  for name, value in pairs(map) do
    map[name] = secret.new(value, HEADERS)
    secret.register_header(value, HEADERS)
  end
  return map
end

--- Milliseconds as seconds.
local function timeout_of(text)
  local number = tonumber(text)
  if text and not (number and number >= 50 and number <= 3600000) then
    return nil, ("%s: expected milliseconds from 50 to 3600000, got %q"):format(TIMEOUT, text)
  end
  return number and number / 1000
end

local function has_otlp(value)
  return value == nil or ("," .. value .. ","):find("[,%s]otlp[,%s]") ~= nil
end

--- What the variables say; an empty table when they are not set.
---@param getenv luarium.otlp.Getenv
---@return table? options those of luarium.otlp, and `disabled`
---@return string? fault
function M.read(getenv)
  local get = reader(getenv)
  if ascii.lower(get("OTEL_SDK_DISABLED") or "") == "true" then
    return { disabled = true }
  end
  local fault = protocol_fault(get)
  if fault then
    return nil, fault
  end
  local options = { endpoint = get("OTEL_EXPORTER_OTLP_ENDPOINT"),
    traces_endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    metrics_endpoint = get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") }
  options.timeout, fault = timeout_of(get(TIMEOUT))
  if get(HEADERS) and not fault then
    options.headers, fault = headers_of(get(HEADERS))
  end
  for _, name in ipairs({ "traces", "metrics" }) do
    if not has_otlp(get("OTEL_" .. ascii.upper(name) .. "_EXPORTER")) then
      options[name] = false
    end
  end
  return not fault and options or nil, fault
end

--- Attributes of the resource. A malformed list counts as absent, as the specification says.
---@param getenv luarium.otlp.Getenv
---@return table<string, string>
function M.resource(getenv)
  local get = reader(getenv)
  local map = pairs_of(get("OTEL_RESOURCE_ATTRIBUTES") or "") or {}
  map["service.name"] = get("OTEL_SERVICE_NAME") or map["service.name"]
  return map
end

return M
