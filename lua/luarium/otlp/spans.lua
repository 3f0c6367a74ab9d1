--- Operations as spans: the event records of each are joined to one, under the operation around it.
local check = require "luarium.check"
local encode = require "luarium.otlp.encode"
local event = require "luarium.event"
local trace = require "luarium.trace"

local M = {}

local INTERNAL, STATUS_ERROR = 1, 2 -- numbers of the enums SpanKind and StatusCode

local hidden = { event = true, phase = true, time = true, span = true, parent = true, duration = true, error = true,
  result = true }
local renamed = { sandbox = "luarium.sandbox.id", name = "luarium.sandbox.name" }

---@class luarium.otlp.Spans
---@field open table<integer, table> the operations that have not ended, by the number that events give them
local Spans = {}
Spans.__index = Spans

---@param remote luarium.TraceContext? the trace that our roots belong to
---@param push fun(span: table) gets each span when its operation has ended
---@return luarium.otlp.Spans
function M.new(remote, push)
  return setmetatable({ open = {}, remote = remote, push = push, flags = remote and remote.flags or "01",
    sampled = not remote or trace.is_sampled(remote) }, Spans)
end

local function begin(self, id, parent)
  local context = { span = encode.random_id(8) }
  local around = parent and self:context(parent) or self.remote
  context.trace = around and around.trace or encode.random_id(16)
  context.parent = around and around.span
  self.open[id] = context
  return context
end

--- The place of an operation in its trace. One that began before anybody listened is a root.
---@param id integer
---@return {trace: string, span: string, parent: string?}
function Spans:context(id)
  return self.open[id] or begin(self, id)
end

--- The place of the operation that the caller is in.
---@return luarium.TraceContext?
function Spans:current()
  local id = event.current_span()
  local context = id and self:context(id)
  if context then
    return { trace = context.trace, span = context.span, flags = self.flags, state = self.remote and self.remote.state }
  end
end

local function attributes(record)
  local map = {}
  for key, value in pairs(record) do
    if not hidden[key] then
      map[renamed[key] or "luarium." .. tostring(key)] = value
    end
  end
  for _, key in ipairs(check.keys(record.result or {})) do
    map["luarium." .. key] = record.result[key]
  end
  local err = record.error
  if err then
    map["error.type"], map["luarium.error.name"], map["luarium.provider"] = err.kind, err.name,
      record.provider or err.provider
  end
  return encode.attributes(map)
end

--- Takes a record of an operation.
---@param record luarium.EventRecord
function Spans:record(record)
  if not record.span then
    return
  end
  if record.phase == "start" then
    begin(self, record.span, record.parent).began = record.time
    return
  end
  local context = self:context(record.span)
  self.open[record.span] = nil
  local began = context.began or record.time - record.duration
  if self.sampled then
    self.push({
      traceId = context.trace, spanId = context.span, parentSpanId = context.parent,
      traceState = self.remote and self.remote.state, name = encode.text(record.event), kind = INTERNAL,
      startTimeUnixNano = encode.time(began), endTimeUnixNano = encode.time(began + record.duration),
      attributes = attributes(record),
      status = record.error and { code = STATUS_ERROR, message = encode.text(record.error.message) } or nil,
    })
  end
end

return M
