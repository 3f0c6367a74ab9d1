--- Events: every operation tells when it starts, ends or fails. Handlers in Lua and a file of JSON lines get them,
--- with secrets removed.
local check = require "luarium.check"
local compat = require "luarium.compat"
local errors = require "luarium.error"
local json = require "luarium.json"
local native = require "luarium.native"
local scheduler = require "luarium.task.scheduler"
local secret = require "luarium.secret"

local unpack = compat.unpack
local M = {}

local handlers = {}
local next_span = 0
local outside -- the operation that runs outside every task

---@class luarium.EventRecord
---@field event string "sandbox.create", "sandbox.exec", "output", "log" ...
---@field phase "start"|"stop"|"error"|nil nil for things that only happen
---@field time number seconds since the epoch
---@field span integer? the operation it belongs to
---@field parent integer? the operation around it
---@field duration number? seconds, with stop and error
---@field error luarium.Error? with error

local function add(entry)
  handlers[#handlers + 1] = entry
  return function()
    for i, other in ipairs(handlers) do
      if other == entry then
        table.remove(handlers, i)
        break
      end
    end
  end
end

--- Calls fn for every event whose name is `name`, begins with `name.`, or all when name is "*".
---@param name string
---@param fn fun(record: luarium.EventRecord)
---@return fun() off ends it
function M.on(name, fn)
  check.argument(name, "text", "on", "the event's name")
  check.argument(fn, "function", "on", "the handler")
  return add({ name = name, prefix = name .. ".", fn = fn })
end

--- Calls fn for the start, stop and error of every operation. What only happens, such as output, is not made for it.
---@param fn fun(record: luarium.EventRecord)
---@return fun() off ends it
function M.on_operations(fn)
  return add({ operations = true, fn = fn })
end

local function wants(entry, name, phase)
  if entry.operations then
    return phase ~= nil
  end
  return entry.name == "*" or entry.name == name or name:sub(1, #entry.prefix) == entry.prefix
end

--- Whether anybody listens, so that costly fields need not be made in vain.
---@param name string
---@param phase string? that of an operation
---@return boolean
function M.wanted(name, phase)
  for _, entry in ipairs(handlers) do
    if wants(entry, name, phase) then
      return true
    end
  end
  return false
end

local emitting = false

--- Sends one event. A handler that fails is dropped and reported; it cannot hurt the operation.
---@param name string
---@param fields table?
function M.emit(name, fields)
  local phase = fields and fields.phase
  if #handlers == 0 or not M.wanted(name, phase) then
    return
  end
  local record = secret.redact_value(fields or {})
  record.event, record.time = name, record.time or native.loop.realtime()
  local broken
  for _, entry in ipairs({ unpack(handlers) }) do -- a copy: a handler may end itself
    if wants(entry, name, phase) then
      local ok, err = pcall(entry.fn, record)
      if not ok and not (errors.is(err, "cancelled") and err.name == "EXIT") then -- os.exit is no failure
        broken = broken or {}
        broken[#broken + 1] = { entry = entry, err = err }
      end
    end
  end
  for _, item in ipairs(broken or {}) do
    for i, entry in ipairs(handlers) do
      if entry == item.entry then
        table.remove(handlers, i)
        break
      end
    end
    if not emitting then
      emitting = true
      M.emit("log", { level = "error", message = "an event handler failed and was removed: " .. tostring(item.err) })
      emitting = false
    end
  end
end

--- Runs fn(...) as an operation: start, then stop or error with its duration. Operations inside it, also in tasks
--- that it spawns, name it as their parent.
---@async
---@param name string
---@param fields table
---@param fn function
---@return any ... its results; its error is raised
function M.span(name, fields, fn, ...)
  if #handlers == 0 then
    return fn(...)
  end
  next_span = next_span + 1
  local task = scheduler.current()
  local id, parent = next_span, M.current_span()
  local base = { span = id, parent = parent }
  for key, value in pairs(fields) do
    base[key] = value
  end
  local function tell(phase, more)
    local record = { phase = phase }
    for key, value in pairs(base) do
      record[key] = value
    end
    for key, value in pairs(more or {}) do
      record[key] = value
    end
    M.emit(name, record)
  end
  -- Both clocks at once: what handlers take must not make an operation end before those inside it.
  local began = native.loop.monotonic()
  tell("start", { time = native.loop.realtime() })
  local scope, outer
  if task then
    scope = task.scope
    outer = scope.span
    scope.span = id
  else
    outer, outside = outside, id
  end
  local function done(ok, ...)
    if scope then
      scope.span = outer
    else
      outside = outer
    end
    local duration = native.loop.monotonic() - began
    if not ok then
      tell("error", { duration = duration, error = errors.normal((...)) })
      error((...), 0)
    end
    local result = ...
    local summary = type(result) == "table" and M.summaries[name] and M.summaries[name](result) or nil
    tell("stop", { duration = duration, result = summary })
    return ...
  end
  return done(xpcall(fn, errors.handler, ...))
end

--- What of a result is worth telling, by event name.
M.summaries = {}

--- The operation that the caller is in.
---@return integer?
function M.current_span()
  local task = scheduler.current()
  local scope = task and task.scope
  while scope do
    if scope.span then
      return scope.span
    end
    scope = scope.parent
  end
  return not task and outside or nil
end

local function plain(value, copies)
  if errors.is(value) then
    local err = errors.normal(value)
    return { kind = err.kind, message = err.message, op = err.op, provider = err.provider }
  elseif type(value) == "table" then
    local copy = copies[value] or {}
    if not copies[value] then
      copies[value] = copy
      for key, item in next, value do
        copy[key] = plain(item, copies)
      end
    end
    return copy
  elseif type(value) == "function" or type(value) == "userdata" or type(value) == "thread" then
    return tostring(value)
  end
  return value
end

--- One line of JSON for a record.
---@param record luarium.EventRecord
---@return string
function M.to_json(record)
  local text = json.encode_bytes(plain(record, {}))
  return text or json.encode({ event = record.event, time = record.time, unencodable = true })
end

--- Appends every event to a file, one JSON object a line.
---@param path string
---@return fun(): luarium.Error? close tells of what could not be written
function M.to_file(path)
  local file, message = io.open(path, "a")
  if not file then
    errors.raise("io", ("the event file %s cannot be opened: %s"):format(path, message))
  end
  file:setvbuf("no") -- with a buffer, glibc does not tell which write failed
  local fault
  local off = M.on("*", function(record)
    local written, why = file:write(M.to_json(record) .. "\n")
    fault = fault or not written and why
  end)
  return function()
    off()
    local closed, why = file:close()
    fault = fault or not closed and why
    return fault and errors.new("io", ("the event file %s is not complete: %s"):format(path, fault)) or nil
  end
end

return M
