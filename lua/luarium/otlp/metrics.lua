--- Counts and durations of operations, and how many sandboxes there are: cumulative since the start.
local check = require "luarium.check"
local encode = require "luarium.otlp.encode"
local native = require "luarium.native"

local M = {}

local CUMULATIVE = 2 -- of the enum AggregationTemporality

--- Upper bounds of the buckets of durations, in seconds.
M.bounds = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800 }

---@class luarium.otlp.Metrics
---@field dropped integer spans that were not sent
local Metrics = {}
Metrics.__index = Metrics

---@return luarium.otlp.Metrics
function M.new()
  return setmetatable({ series = {}, owner = {}, live = {}, dropped = 0, began = native.loop.realtime() }, Metrics)
end

local function bucket_of(seconds)
  for i, bound in ipairs(M.bounds) do
    if seconds <= bound then
      return i
    end
  end
  return #M.bounds + 1
end

local function series_of(self, record, outcome)
  local provider = record.provider or ""
  local key = record.event .. "\0" .. provider .. "\0" .. outcome
  local series = self.series[key]
  if not series then
    series = { count = 0, sum = 0, buckets = {}, attributes = encode.attributes({
      ["luarium.operation"] = record.event, ["luarium.provider"] = record.provider, ["luarium.outcome"] = outcome }) }
    for i = 1, #M.bounds + 1 do
      series.buckets[i] = 0
    end
    self.series[key] = series
  end
  return series
end

local function gone(self, id)
  local provider = self.owner[id]
  if provider then
    self.owner[id] = nil
    self.live[provider] = self.live[provider] - 1
  end
end

--- Only the sandboxes made here are counted: others belong to whoever made them.
local function follow(self, record)
  local id = record.sandbox
  if record.event == "sandbox.create" and not record.error then
    self.owner[id] = record.provider
    self.live[record.provider] = (self.live[record.provider] or 0) + 1
  elseif id and (record.event == "sandbox.destroy" and not record.error
      or record.error and record.error.kind == "sandbox_gone") then
    gone(self, id)
  end
end

--- Takes a record of an operation.
---@param record luarium.EventRecord
function Metrics:record(record)
  if record.phase == "start" then
    return
  end
  local outcome = record.error and (record.error.kind == "cancelled" and "cancelled" or "error") or "ok"
  local series = series_of(self, record, outcome)
  local bucket = bucket_of(record.duration)
  series.count, series.sum = series.count + 1, series.sum + record.duration
  series.min, series.max = math.min(series.min or record.duration, record.duration),
    math.max(series.max or record.duration, record.duration)
  series.buckets[bucket] = series.buckets[bucket] + 1
  follow(self, record)
end

local function sum(name, unit, description, is_monotonic, points)
  return { name = name, unit = unit, description = description,
    sum = { aggregationTemporality = CUMULATIVE, isMonotonic = is_monotonic, dataPoints = points } }
end

local function texts(numbers)
  local list = {}
  for i, n in ipairs(numbers) do
    list[i] = encode.integer(n)
  end
  return list
end

--- What there is to tell, as a list of metrics; nil when nothing has happened.
---@return table[]?
function Metrics:list()
  local from, now = encode.time(self.began), encode.time(native.loop.realtime())
  local counts, durations, live = {}, {}, {}
  for _, key in ipairs(check.keys(self.series)) do
    local series = self.series[key]
    counts[#counts + 1] = { attributes = series.attributes, startTimeUnixNano = from, timeUnixNano = now,
      asInt = encode.integer(series.count) }
    durations[#durations + 1] = { attributes = series.attributes, startTimeUnixNano = from, timeUnixNano = now,
      count = encode.integer(series.count), sum = series.sum, min = series.min, max = series.max,
      bucketCounts = texts(series.buckets), explicitBounds = M.bounds }
  end
  for _, provider in ipairs(check.keys(self.live)) do
    live[#live + 1] = { attributes = encode.attributes({ ["luarium.provider"] = provider }), startTimeUnixNano = from,
      timeUnixNano = now, asInt = encode.integer(self.live[provider]) }
  end
  if #counts == 0 then
    return nil
  end
  local list = {
    sum("luarium.operations", "{operation}", "Operations that have ended.", true, counts),
    { name = "luarium.operation.duration", unit = "s", description = "How long operations took.",
      histogram = { aggregationTemporality = CUMULATIVE, dataPoints = durations } },
  }
  if #live > 0 then
    list[#list + 1] = sum("luarium.sandboxes.live", "{sandbox}", "Sandboxes made here that exist.", false, live)
  end
  if self.dropped > 0 then
    list[#list + 1] = sum("luarium.telemetry.spans.dropped", "{span}", "Spans that could not be sent.", true,
      { { startTimeUnixNano = from, timeUnixNano = now, asInt = encode.integer(self.dropped) } })
  end
  return list
end

return M
