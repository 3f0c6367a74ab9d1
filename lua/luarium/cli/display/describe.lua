--- Operations in words: what they are about, how they ended, how far they are.
local format = require "luarium.cli.format"
local trim_end = require("luarium.text").trim_end

local M = {}

local BAR = 16 -- columns of a bar

--- The name of the sandbox, else the end of its id.
---@param record luarium.EventRecord
---@return string
function M.short(record)
  if record.name then
    return record.name
  end
  return record.sandbox and record.sandbox:sub(-6) or ""
end

local function first_line(text)
  local line = text:match("^%s*([^\n]*)") or ""
  return #line < #trim_end(text) and line .. " ..." or line
end

--- What the operation is about: its command, address, path, name.
---@param record luarium.EventRecord
---@return string
function M.detail(record)
  local what = record.url or record.command or record.remote or record.path or record.step or record.snapshot
    or record.volume or record.script
  if record.port then
    what = tostring(record.port)
  elseif record.remote and record.ref then
    what = record.remote .. " " .. record.ref
  end
  return type(what) == "string" and first_line(what) or ""
end

--- The operation itself: "exec", "git push".
---@param record luarium.EventRecord
---@return string
function M.verb(record)
  return (record.event:gsub("^sandbox%.", ""):gsub("%.", " "))
end

---@param record luarium.EventRecord the end of an operation
---@return "ok"|"failed" state
---@return string word
function M.outcome(record)
  if record.phase == "error" then
    local err = record.error
    return "failed", err.kind == "cancelled" and "cancelled" or tostring(err.message)
  end
  local result = record.result
  if type(result) == "table" then
    if result.timed_out then
      return "failed", "timeout"
    elseif result.signal then
      return "failed", result.signal
    elseif result.exit_code and result.exit_code ~= 0 then
      return "failed", "exit " .. tostring(result.exit_code)
    end
  end
  return "ok", "ok"
end

--- 12:00:01 box exec make test
---@param record luarium.EventRecord
---@param time number seconds since the epoch
---@return string
function M.head(record, time)
  local log = require "luarium.log"
  local parts = { os.date("%H:%M:%S", math.floor(time)) }
  for _, text in ipairs({ M.short(record), M.verb(record), M.detail(record) }) do
    if text ~= "" then
      parts[#parts + 1] = log.neutral(text)
    end
  end
  return table.concat(parts, " ")
end

---@class luarium.cli.Amount
---@field what string
---@field done number
---@field total number?
---@field unit string
---@field first number what was done when it was first told
---@field since number when that was

local function quantity(amount, number)
  return amount.unit == "bytes" and format.size(number) or ("%d %s"):format(number, amount.unit)
end

local function done_of_total(amount)
  if amount.unit == "bytes" then
    return format.size(amount.done) .. " of " .. format.size(amount.total)
  end
  return ("%d of %d %s"):format(amount.done, amount.total, amount.unit)
end

local function what_of(amount, verb)
  return amount.what ~= verb and require("luarium.log").neutral(amount.what) .. " " or ""
end

local function share(amount)
  return math.min(1, amount.done / amount.total)
end

local function numbers(amount)
  if not amount.total then
    return quantity(amount, amount.done)
  end
  return ("%d%% %s"):format(math.floor(share(amount) * 100), done_of_total(amount))
end

--- receiving objects 45% 450 of 1000 objects; 1.2 MiB while the total is unknown
---@param amount luarium.cli.Amount
---@param verb string left out of the text when it says the same
---@return string
function M.amount(amount, verb)
  return what_of(amount, verb) .. numbers(amount)
end

local function rate(amount, now)
  local seconds = now - amount.since
  if seconds < 1 or amount.unit ~= "bytes" or amount.done <= amount.first then
    return ""
  end
  return "  " .. format.size((amount.done - amount.first) / seconds) .. "/s"
end

--- receiving objects [#########-----------] 45% 450 of 1000 objects
---@param amount luarium.cli.Amount
---@param verb string as for `amount`
---@param now number seconds
---@return string
function M.bar(amount, verb, now)
  local bar = ""
  if amount.total then
    local full = math.floor(share(amount) * BAR)
    bar = "[" .. ("#"):rep(full) .. ("-"):rep(BAR - full) .. "] "
  end
  return what_of(amount, verb) .. bar .. numbers(amount) .. rate(amount, now)
end

return M
