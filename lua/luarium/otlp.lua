--- Telemetry over OTLP/HTTP with JSON: operations as spans and metrics, sent to a collector. Loaded only when it is
--- configured. The pieces: spans and metrics take the records of events, the exporter sends them.
local check = require "luarium.check"
local encode = require "luarium.otlp.encode"
local errors = require "luarium.error"
local event = require "luarium.event"
local exporter = require "luarium.otlp.exporter"
local host = require "luarium.task.host"
local metrics = require "luarium.otlp.metrics"
local secret = require "luarium.secret"
local spans = require "luarium.otlp.spans"
local trace = require "luarium.trace"
local variables = require "luarium.otlp.variables"

local M = {}

--- Seconds that sending what is left may take at the end.
M.flush_limit = 3

---@class luarium.TelemetryOptions
---@field endpoint string? base of the collector's URL: /v1/traces and /v1/metrics are added
---@field traces_endpoint string? the whole URL for spans, instead
---@field metrics_endpoint string? the whole URL for metrics, instead
---@field headers table<string, string|luarium.Secret>? of every request
---@field interval number? seconds between two requests, default 5
---@field timeout number? seconds that a request may take, default 10
---@field traces boolean? false: no spans
---@field metrics boolean? false: no metrics

local template = {
  endpoint = "text", traces_endpoint = "text", metrics_endpoint = "text", headers = "map",
  interval = { type = "seconds", min = 0.05 }, timeout = { type = "seconds", min = 0.05 }, traces = "boolean",
  metrics = "boolean",
}

local given      -- what was configured; nil: nothing
local overrides  -- what the variables of the environment say; the program reads them
local running    -- { exporter, off } while telemetry is on

-- ---- options ----

local function is_loopback(url)
  local name = url:match("^http://(%[[^%]]*%])") or url:match("^http://([^/:?]*)")
  return name == "localhost" or name:find("^127%.%d+%.%d+%.%d+$") ~= nil or name == "[::1]"
end

local function is_address(url)
  local base, query = url:match("^([^?]*)(.*)$")
  return base:find("^https?://[^/%s@#]+/?[^%s@#]*$") and not query:find("[%s#]")
end

local function url_faults(options)
  local faults, has_headers = {}, next(options.headers or {}) ~= nil
  for _, key in ipairs({ "endpoint", "traces_endpoint", "metrics_endpoint" }) do
    local url = options[key]
    if url and not is_address(url) then
      faults[#faults + 1] = ("option '%s': expected http://host:port or https://..., got %q%s"):format(key,
        secret.shown_url(url), url:find("@", 1, true) and ": what authorizes goes into the headers" or "")
    elseif url and has_headers and url:find("^http:") and not is_loopback(url) then
      faults[#faults + 1] = ("option '%s': headers are secrets, and http:// shows them to the network: use https://")
        :format(key)
    end
  end
  for _, name in ipairs(check.keys(options.headers or {})) do
    if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      faults[#faults + 1] = ("option 'headers': %q cannot be the name of a header"):format(name)
    end
  end
  return faults
end

--- Every fault of the options; an empty list when they are right.
local function faults_of(options)
  local faults = check.faults(options, template)
  return #faults > 0 and faults or url_faults(options)
end

local function merge(into, options)
  local merged = {}
  for _, list in ipairs({ into or {}, options or {} }) do
    for key, value in pairs(list) do
      merged[key] = value
    end
  end
  return merged
end

local function target(options, name)
  local whole, base = options[name .. "_endpoint"], options.endpoint
  if options[name] == false or not (whole or base) then
    return nil
  end
  if not whole then
    local path, query = base:match("^([^?]*)(.*)$")
    whole = path:gsub("/+$", "") .. "/v1/" .. name .. query
  end
  return { url = whole,
    headers = next(options.headers or {}) and options.headers or nil }
end

-- ---- running ----

local function begin()
  local counts = metrics.new()
  local sender = exporter.new(encode.resource(variables.resource(os.getenv)), counts)
  local joined = spans.new(trace.remote(), function(span)
    sender:push(span)
  end)
  trace.source = function()
    return joined:current()
  end
  running = { exporter = sender, off = event.on_operations(function(record)
    joined:record(record)
    counts:record(record)
    if record.phase ~= "start" then
      sender:notify()
    end
  end) }
end

local function stop()
  if running then
    running.off()
    running.exporter:stop()
    trace.source, running = nil, nil
  end
end

local function apply()
  local options = merge(given, overrides)
  local traces, counts = target(options, "traces"), target(options, "metrics")
  if options.disabled or not (traces or counts) then
    return stop()
  elseif not running then
    begin()
  end
  running.exporter:aim({ traces = traces, metrics = counts, interval = options.interval or 5,
    timeout = options.timeout or 10 })
end

--- Adds settings, or switches telemetry off with false. Called by luarium.configure.
---@param options luarium.TelemetryOptions|false
---@param where string for messages
function M.configure(options, where)
  where = where .. ": telemetry"
  if options == false then
    given = nil
  else
    check.options(options, template, where)
    local merged = merge(given, options)
    local faults = url_faults(merged)
    if #faults > 0 then
      errors.raise("invalid", where .. ": " .. table.concat(faults, "; "))
    end
    given = merged
  end
  apply()
end

--- Lets the variables of OpenTelemetry win over what is configured. For the program: a host's environment is not
--- necessarily meant for us. What is wrong there leaves telemetry off and is returned, as it may be meant for others.
---@return string? fault
function M.use_variables()
  local options, fault = variables.read(os.getenv)
  if options and not options.disabled then
    local faults = faults_of(merge(given, options))
    fault = faults[1] and table.concat(faults, "; ")
  end
  overrides = not fault and options or { disabled = true }
  apply()
  return fault and "telemetry is off: " .. fault
end

--- What went wrong first, if anything did.
---@return string?
function M.trouble()
  return running and running.exporter.trouble
end

--- Sends what is left.
---@async
---@param seconds number? at most, default 3
function M.flush(seconds)
  if running then
    running.exporter:flush(seconds or M.flush_limit)
  end
end

--- Ends it and forgets all settings.
function M.reset()
  given, overrides = nil, nil
  stop()
end

host.at_shutdown(function(seconds)
  M.flush(math.min(seconds, M.flush_limit))
end)

return M
