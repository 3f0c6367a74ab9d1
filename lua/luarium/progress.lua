--- How far a long operation is: events "progress" for displays and logs. Made only when somebody listens.
local event = require "luarium.event"
local native = require "luarium.native"

local M = {}

--- Seconds between two events of one operation.
M.interval = 0.2

---@class luarium.ProgressRecord: luarium.EventRecord
---@field what string what is being done: "upload", "receiving objects", "pull debian:12"
---@field done number in `unit`
---@field total number? nil while unknown
---@field unit string "bytes", "objects" ...

---@alias luarium.OnProgress fun(done: number, total: number?, what: string?, unit: string?)

--- What an adapter tells, as a number that can be shown: whole, and not below 0.
local function amount(value)
  value = type(value) == "number" and value or 0
  return value >= 0 and value < 2 ^ 53 and math.floor(value) or nil
end

--- Tells how far the operation is that the caller is in. Call what it returns as often as you like: few of the calls
--- become events; the end (done = total) and a change of `what` always do.
---@param fields {sandbox?: string, name?: string, what: string, unit?: string}
---@return luarium.OnProgress? report nil when nobody listens
function M.reporter(fields)
  if not event.wanted("progress") then
    return nil
  end
  local span, last, last_what, ended = event.current_span(), nil, nil, nil
  return function(done, total, what, unit)
    done, total = amount(done) or 0, amount(total)
    total, what = total and total > 0 and total or nil, type(what) == "string" and what or fields.what
    unit = type(unit) == "string" and unit or fields.unit or "bytes"
    local now, complete = native.loop.monotonic(), total and done >= total
    if what ~= last_what then
      ended = nil
    elseif ended or not complete and last and now - last < M.interval then
      return
    end
    last, last_what, ended = now, what, complete
    event.emit("progress", { span = span, sandbox = fields.sandbox, name = fields.name, what = what, done = done,
      total = total, unit = unit })
  end
end

--- Both of two callbacks, of which either may be missing.
---@param first luarium.OnProgress?
---@param second luarium.OnProgress?
---@return luarium.OnProgress?
function M.both(first, second)
  if not (first and second) then
    return first or second
  end
  return function(...)
    first(...)
    second(...)
  end
end

return M
