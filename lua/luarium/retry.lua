--- Trying again: full jitter, Retry-After, and only for errors that say that trying again may help.
local check = require "luarium.check"
local errors = require "luarium.error"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

---@class luarium.RetryPolicy
---@field max integer? attempts in total; default 4
---@field initial number? seconds; the first delay is drawn from 0 to this; default 0.5
---@field factor number? default 2
---@field cap number? seconds; no delay is drawn from a longer range; default 30
---@field on (fun(err: luarium.Error, attempt: integer): boolean)? which errors are worth another attempt
---@field on_retry (fun(err: luarium.Error, attempt: integer, delay: number))?

local template = {
  max = { type = "integer", min = 1 }, initial = "seconds", factor = { type = "number", min = 1 }, cap = "seconds",
  on = "function", on_retry = "function",
}

local function fraction()
  local a, b, c = native.crypto.random(3):byte(1, 3)
  return (a * 65536 + b * 256 + c) / 16777216
end

--- The delay before the attempt after this one, in seconds.
---@param policy luarium.RetryPolicy
---@param attempt integer the one that failed, from 1
---@param err luarium.Error
---@return number
function M.delay(policy, attempt, err)
  local range = math.min(policy.cap or 30, (policy.initial or 0.5) * (policy.factor or 2) ^ (attempt - 1))
  local drawn = range * fraction()
  return math.max(drawn, err.retry_after or 0)
end

local function worth_it(policy, err, attempt)
  if policy.on then
    return policy.on(err, attempt)
  end
  return err.retryable == true
end

local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11,
  Dec = 12 }

--- Seconds since the epoch of a date of HTTP, "Sun, 06 Nov 1994 08:49:37 GMT"; nil for anything else.
local function epoch(text)
  local day, month, year, hour, minute, second = (text or ""):match(
    "^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  local m = MONTHS[month]
  if not m then
    return nil
  end
  local y = m > 2 and year + 0 or year - 1 -- years begin in March, so that a leap day is the last of one
  local days = y * 365 + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
    + math.floor((153 * (m > 2 and m - 3 or m + 9) + 2) / 5) + day - 719469
  return days * 86400 + hour * 3600 + minute * 60 + second
end

--- How long a server wants to be left alone, from its headers: Retry-After in seconds, or a date, which is read by the
--- server's own clock when it told the time.
---@param headers table<string, string>
---@param longest number seconds
---@return number? seconds
function M.after(headers, longest)
  local value = headers["retry-after"]
  local seconds = (value or ""):match("^%d+$") and tonumber(value)
  local date = not seconds and epoch(value)
  if date then
    seconds = math.max(0, date - (epoch(headers.date) or native.loop.realtime()))
  end
  return seconds and math.min(seconds, longest) or nil
end

--- Calls fn(attempt) until it gives a value, the error is not worth another attempt, or the attempts are used up. fn
--- returns value or nil, err; a delay that would pass the task's deadline is not waited for.
---@async
---@param policy luarium.RetryPolicy?
---@param fn fun(attempt: integer): any, luarium.Error?
---@return any value
---@return luarium.Error? err
function M.call(policy, fn)
  policy = check.options(policy, template, "retry")
  local attempt = 1
  while true do
    local value, err = fn(attempt)
    if value ~= nil or not errors.is(err) then
      return value, err
    end
    if attempt >= (policy.max or 4) or not worth_it(policy, err, attempt) then
      return nil, err
    end
    local delay, deadline = M.delay(policy, attempt, err), task.deadline()
    if deadline and native.loop.monotonic() + delay >= deadline then
      return nil, err
    end
    if policy.on_retry then
      policy.on_retry(err, attempt, delay)
    end
    task.sleep(delay)
    attempt = attempt + 1
  end
end

return M
