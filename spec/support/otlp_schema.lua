--- A strict reader of OTLP's JSON, after the published opentelemetry-proto 1.x: unknown fields, wrong types, ids of a
--- wrong length and numbers of a wrong form are faults. Collectors are more lenient, and differently so.
local M = {}

local rows = {}

local function fault(path, text)
  error(path .. ": " .. text, 0)
end

local function is_list(value)
  return type(value) == "table" and (next(value) == nil or #value > 0)
end

local function hex(length)
  return function(value, path)
    if type(value) ~= "string" or #value ~= length or value:find("[^0-9a-f]") or not value:find("[^0]") then
      fault(path, ("expected %d hexadecimal digits, got %s"):format(length, tostring(value)))
    end
  end
end

local function text(value, path)
  if type(value) ~= "string" then
    fault(path, "expected a text, got " .. type(value))
  elseif utf8 and not utf8.len(value) then -- LuaJIT has no utf8
    fault(path, "not UTF-8")
  end
end

local function unsigned(value, path)
  if type(value) ~= "string" or not value:find("^%d+$") or #value > 20 then
    fault(path, "expected a 64-bit number as a decimal text, got " .. tostring(value))
  end
end

local function signed(value, path)
  if type(value) ~= "string" or not value:find("^%-?%d+$") or #value > 20 then
    fault(path, "expected a 64-bit number as a decimal text, got " .. tostring(value))
  end
end

local function number(value, path)
  if type(value) ~= "number" then
    fault(path, "expected a number, got " .. type(value))
  end
end

local function boolean(value, path)
  if type(value) ~= "boolean" then
    fault(path, "expected a boolean, got " .. type(value))
  end
end

local function enum(highest)
  return function(value, path)
    if type(value) ~= "number" or value ~= math.floor(value) or value < 0 or value > highest then
      fault(path, "expected the number of an enum, got " .. tostring(value))
    end
  end
end

local function list(check)
  return function(value, path)
    if not is_list(value) then
      fault(path, "expected a list")
    end
    for i, item in ipairs(value) do
      check(item, path .. "[" .. i .. "]")
    end
  end
end

local function message(name)
  return function(value, path)
    local row = rows[name]
    if type(value) ~= "table" then
      fault(path, "expected " .. name)
    end
    for key, item in pairs(value) do
      local check = row.fields[key] or fault(path, ("%s has no field %s"):format(name, tostring(key)))
      check(item, path .. "." .. key)
    end
    for _, key in ipairs(row.required or {}) do
      if value[key] == nil then
        fault(path, ("%s needs %s"):format(name, key))
      end
    end
    local chosen = 0
    for _, key in ipairs(row.one_of or {}) do
      chosen = chosen + (value[key] ~= nil and 1 or 0)
    end
    if row.one_of and chosen ~= 1 then
      fault(path, ("%s has exactly one of %s"):format(name, table.concat(row.one_of, ", ")))
    end
    if row.rule then
      row.rule(value, path)
    end
  end
end

local attributes = list(message "KeyValue")

rows.AnyValue = { fields = { stringValue = text, boolValue = boolean, intValue = signed, doubleValue = number,
  arrayValue = message "ArrayValue" },
  one_of = { "stringValue", "boolValue", "intValue", "doubleValue", "arrayValue" } }
rows.ArrayValue = { fields = { values = list(message "AnyValue") } }
rows.KeyValue = { fields = { key = text, value = message "AnyValue" }, required = { "key", "value" } }
rows.Resource = { fields = { attributes = attributes, droppedAttributesCount = number } }
rows.Scope = { fields = { name = text, version = text, attributes = attributes }, required = { "name" } }

rows.Status = { fields = { code = enum(2), message = text } }
rows.Span = {
  fields = { traceId = hex(32), spanId = hex(16), parentSpanId = hex(16), traceState = text, name = text,
    kind = enum(5), startTimeUnixNano = unsigned, endTimeUnixNano = unsigned, attributes = attributes,
    droppedAttributesCount = number, status = message "Status" },
  required = { "traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano" },
  rule = function(span, path)
    if #span.startTimeUnixNano ~= 19 or span.endTimeUnixNano < span.startTimeUnixNano then
      fault(path, "it ends before it starts, or its times are no nanoseconds of our days")
    end
  end,
}
rows.ScopeSpans = { fields = { scope = message "Scope", spans = list(message "Span"), schemaUrl = text },
  required = { "scope", "spans" } }
rows.ResourceSpans = { fields = { resource = message "Resource", scopeSpans = list(message "ScopeSpans"),
  schemaUrl = text }, required = { "resource", "scopeSpans" } }
rows.TracesRequest = { fields = { resourceSpans = list(message "ResourceSpans") }, required = { "resourceSpans" } }

rows.NumberDataPoint = { fields = { attributes = attributes, startTimeUnixNano = unsigned, timeUnixNano = unsigned,
  asInt = signed, asDouble = number, flags = number }, required = { "startTimeUnixNano", "timeUnixNano" },
  one_of = { "asInt", "asDouble" } }
rows.HistogramDataPoint = {
  fields = { attributes = attributes, startTimeUnixNano = unsigned, timeUnixNano = unsigned, count = unsigned,
    sum = number, min = number, max = number, bucketCounts = list(unsigned), explicitBounds = list(number),
    flags = number },
  required = { "startTimeUnixNano", "timeUnixNano", "count", "bucketCounts", "explicitBounds" },
  rule = function(point, path)
    local total = 0
    for _, count in ipairs(point.bucketCounts) do
      total = total + tonumber(count)
    end
    if #point.bucketCounts ~= #point.explicitBounds + 1 or total ~= tonumber(point.count) then
      fault(path, "the buckets do not fit their bounds or the count")
    end
  end,
}
rows.Sum = { fields = { dataPoints = list(message "NumberDataPoint"), aggregationTemporality = enum(2),
  isMonotonic = boolean }, required = { "dataPoints", "aggregationTemporality", "isMonotonic" } }
rows.Histogram = { fields = { dataPoints = list(message "HistogramDataPoint"), aggregationTemporality = enum(2) },
  required = { "dataPoints", "aggregationTemporality" } }
rows.Metric = { fields = { name = text, description = text, unit = text, sum = message "Sum",
  histogram = message "Histogram" }, required = { "name" }, one_of = { "sum", "histogram" } }
rows.ScopeMetrics = { fields = { scope = message "Scope", metrics = list(message "Metric"), schemaUrl = text },
  required = { "scope", "metrics" } }
rows.ResourceMetrics = { fields = { resource = message "Resource", scopeMetrics = list(message "ScopeMetrics"),
  schemaUrl = text }, required = { "resource", "scopeMetrics" } }
rows.MetricsRequest = { fields = { resourceMetrics = list(message "ResourceMetrics") },
  required = { "resourceMetrics" } }

--- Raises the first fault of a request's value.
---@param path string that of the request: it ends with /traces or /metrics, and perhaps a query
---@param value table
function M.check(path, value)
  message(path:gsub("%?.*", ""):find("/traces$") and "TracesRequest" or "MetricsRequest")(value, "request")
end

--- Attributes as a table from names to plain values.
function M.plain(list_of_attributes)
  local map = {}
  for _, item in ipairs(list_of_attributes or {}) do
    local kind, value = next(item.value)
    map[item.key] = kind == "intValue" and tonumber(value) or value
  end
  return map
end

return M
