--- Sends spans and metrics in the background: a bounded queue, batches, bounded retries. Nobody ever waits for it but
--- `flush`, and that only so long.
local encode = require "luarium.otlp.encode"
local errors = require "luarium.error"
local http = require "luarium.http"
local json = require "luarium.json"
local log = require "luarium.log"
local native = require "luarium.native"
local retry = require "luarium.retry"
local scheduler = require "luarium.task.scheduler"
local secret = require "luarium.secret"
local task = require "luarium.task"

local loop = native.loop

local M = {}

--- Spans that wait at most; of those that come when the queue is full only the number is kept.
M.max_queue = 2048
--- Spans of one request.
M.max_batch = 512
--- Requests for one batch at most; then it is dropped.
M.max_attempts = 5
--- Seconds that a collector may ask us to stay away.
M.max_delay = 300

local RETRYABLE = { [429] = true, [502] = true, [503] = true, [504] = true } -- as the specification of OTLP says
local backoff = { initial = 1, factor = 2, cap = 30 }

---@class luarium.otlp.Target
---@field url string
---@field headers table<string, string|luarium.Secret>?

---@class luarium.otlp.Exporter
---@field trouble string? what went wrong first
local Exporter = {}
Exporter.__index = Exporter

---@param resource table
---@param metrics luarium.otlp.Metrics
---@return luarium.otlp.Exporter
function M.new(resource, metrics)
  return setmetatable({
    resource = resource, metrics = metrics, queue = {}, changed = false, targets = {},
    lanes = { { name = "traces", failures = 0, not_before = 0 }, { name = "metrics", failures = 0, not_before = 0 } },
  }, Exporter)
end

--- Says where to send; what is absent is not sent.
---@param options {traces: luarium.otlp.Target?, metrics: luarium.otlp.Target?, interval: number, timeout: number}
function Exporter:aim(options)
  self.targets, self.interval, self.timeout = options, options.interval, options.timeout
end

-- ---- what waits ----

local function has_work(self, lane)
  if not self.targets[lane.name] then
    return false
  end
  return lane.name == "traces" and #self.queue > 0 or lane.name == "metrics" and self.changed
end

--- Whether something waits to be sent.
---@return boolean
function Exporter:pending()
  return has_work(self, self.lanes[1]) or has_work(self, self.lanes[2])
end

local function drop(self, count)
  self.metrics.dropped = self.metrics.dropped + count
end

--- Takes a span.
---@param span table
function Exporter:push(span)
  if not self.targets.traces then
    return
  elseif #self.queue >= M.max_queue then
    drop(self, 1)
    self:warn(("its queue is full (%d spans): further ones are dropped and counted"):format(M.max_queue))
    return
  end
  self.queue[#self.queue + 1] = span
end

--- One line in the log in the life of a process: a collector that is away must not flood it.
---@param message string
function Exporter:warn(message)
  if not self.trouble then
    self.trouble = "telemetry: " .. log.neutral(secret.redact(message))
    log.warn(self.trouble)
  end
end

local function shift(queue, count)
  local rest = {}
  for i = count + 1, #queue do
    rest[#rest + 1] = queue[i]
  end
  return rest
end

--- The next request of a lane, and what to do when it has been settled. What it holds stays queued until then.
local function take(self, lane)
  if lane.name == "metrics" then
    self.changed = false
    return { resourceMetrics = { { resource = self.resource,
      scopeMetrics = { { scope = encode.scope, metrics = self.metrics:list() } } } } }, 0
  end
  local spans = {}
  for i = 1, math.min(#self.queue, M.max_batch) do
    spans[i] = self.queue[i]
  end
  return { resourceSpans = { { resource = self.resource,
    scopeSpans = { { scope = encode.scope, spans = spans } } } } }, #spans
end

-- ---- sending ----

local function partial(self, response)
  local answer = json.decode_plain(response.body)
  local refused = type(answer) == "table" and answer.partialSuccess
  if type(refused) == "table" and (refused.rejectedSpans or refused.rejectedDataPoints or refused.errorMessage) then
    self:warn(("the collector refused %s of a batch: %s"):format(
      tostring(refused.rejectedSpans or refused.rejectedDataPoints or 0), tostring(refused.errorMessage or "")))
  end
end

--- Sends one request. Returns "sent", "again" or "refused", why, the seconds the collector wants to be left
--- alone, and whether it answered at all.
local function post(self, lane, payload, timeout)
  local target = self.targets[lane.name]
  local response, err = http.request({ method = "POST", url = target.url, headers = target.headers, timeout = timeout,
    connect_timeout = timeout, json = secret.redact_value(payload), max_body = 1048576,
    allow_plain = target.headers == nil })
  if not response then
    local hopeless = errors.is(err, "invalid") or errors.is(err, "auth")
    return hopeless and "refused" or "again", tostring(err)
  elseif response.status >= 200 and response.status < 300 then
    partial(self, response)
    return "sent"
  end
  local why = ("%s answered %d: %s"):format(secret.shown_url(target.url), response.status,
    secret.excerpt(response.body, 200))
  return RETRYABLE[response.status] and "again" or "refused", why, retry.after(response.headers, M.max_delay), true
end

local function settle(self, lane, count)
  lane.failures = 0
  self.queue = count > 0 and shift(self.queue, count) or self.queue
end

--- One request of a lane with its consequences. Returns whether the lane may go on at once, else whether somebody is
--- there who may take it later.
local function attempt(self, lane, timeout)
  local payload, count = take(self, lane)
  local ok, outcome, why, after, answered = pcall(post, self, lane, payload, timeout)
  if not ok then
    if task.cancel_reason() then
      self.changed = self.changed or lane.name == "metrics"
      error(outcome, 0)
    end
    outcome, why = "refused", tostring(outcome) -- a header's secret that cannot be read
  end
  if outcome == "sent" then
    settle(self, lane, count)
    return true
  end
  self:warn(why)
  if outcome == "again" and lane.failures + 1 < M.max_attempts then
    lane.failures = lane.failures + 1
    local delay = retry.delay(backoff, lane.failures, { retry_after = after })
    lane.not_before = loop.monotonic() + delay
    self.changed = self.changed or lane.name == "metrics" -- they are made anew each time
    return false, answered
  end
  drop(self, count)
  settle(self, lane, count)
  return true
end

local function pump(self)
  for _, lane in ipairs(self.lanes) do
    while has_work(self, lane) and loop.monotonic() >= lane.not_before and attempt(self, lane, self.timeout)
      and lane.name == "traces" do
      task.yield()
    end
  end
end

-- ---- when ----

local function disarm(self)
  if self.timer then
    scheduler.forget(self.timer)
    self.timer:cancel()
    self.timer = nil
  end
end

local function start(self)
  disarm(self)
  self.sender = task.spawn_background("telemetry", function()
    local ok, err = pcall(pump, self)
    self.sender = nil
    if ok then
      self:arm()
    elseif not errors.is(err, "cancelled") then
      self:warn(tostring(err))
    end
  end)
end

--- Sees to it that what waits is sent: at the next interval, later when the collector asked for that.
function Exporter:arm()
  if self.timer or self.sender or not self:pending() then
    return
  end
  local delay, now = self.interval, loop.monotonic()
  for _, lane in ipairs(self.lanes) do
    if has_work(self, lane) then
      delay = math.max(delay, lane.not_before - now)
    end
  end
  self.timer = loop.sleep(delay, true) -- without a timer, at the limit of handles, the next operation tries again
  if self.timer then
    scheduler.on_complete(self.timer, function()
      self.timer = nil
      start(self)
    end)
  end
end

--- Something has happened: now or soon it is sent.
function Exporter:notify()
  self.changed = true
  if #self.queue >= M.max_batch and not self.sender and loop.monotonic() >= self.lanes[1].not_before then
    start(self)
  else
    self:arm()
  end
end

-- ---- the end ----

local function flush_lane(self, lane, deadline)
  while has_work(self, lane) do
    local now = loop.monotonic()
    if lane.not_before > now then
      if lane.not_before >= deadline then
        return
      end
      task.sleep(lane.not_before - now)
    end
    local may_go_on, answered = attempt(self, lane, math.max(0.001, deadline - loop.monotonic()))
    if not may_go_on and not answered then
      return -- nobody is there
    end
  end
end

local function flush_all(self, deadline)
  if self.sender then
    self.sender:wait()
  end
  for _, lane in ipairs(self.lanes) do
    flush_lane(self, lane, deadline)
  end
end

--- Sends what waits, for at most so many seconds.
---@async
---@param seconds number
function Exporter:flush(seconds)
  disarm(self)
  if not (self.sender or self:pending()) then
    return
  end
  local ok, err = pcall(task.shield, seconds, flush_all, self, loop.monotonic() + seconds)
  if not ok then
    self:warn(errors.is(err, "timeout") and ("no answer from the collector within %g s"):format(seconds)
      or tostring(err))
  end
  self:stop()
end

--- Ends what is under way. What waits stays.
---@async
function Exporter:stop()
  disarm(self)
  if self.sender then
    task.cancel(self.sender, "telemetry has ended")
    pcall(task.shield, 1, self.sender.wait, self.sender)
  end
end

return M
