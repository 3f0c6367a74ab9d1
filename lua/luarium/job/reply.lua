--- What the script of luarium.job.script answers, as tables. The sandbox may say anything: what does not fit is an
--- error of kind `protocol`.
local errors = require "luarium.error"

local M = {}

local SIGNALS = {
  "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
  "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
  "PWR", "SYS",
}

--- The names of signals that can be sent, without SIG.
---@type table<string, boolean>
M.signals = {}
for _, name in ipairs(SIGNALS) do
  M.signals[name] = true
end

local STATES = { running = "running", finished = "finished", lost = "lost" }

local REASONS = {
  reboot = "the machine was started anew",
  supervisor = "its supervisor was killed",
  damaged = "its records are damaged",
}

---@class luarium.JobStatus
---@field key string
---@field state "running"|"quiet"|"finished"|"lost" quiet only when asked for
---@field command string what it was started with, for people
---@field exit_code integer? when it finished by itself
---@field signal string? "SIGKILL" ..., when one ended it
---@field terminal boolean it has one
---@field timed_out boolean its time limit ended it
---@field overflow boolean it was ended because its output could not be shortened to max_output
---@field disk_full boolean output is or may be missing: the disk was full, or what writes it down was killed
---@field reason string? why it is lost
---@field started_at number seconds since the epoch, by the clock of who started it
---@field duration number? seconds that it ran, or runs
---@field idle number? seconds since it last wrote, while it runs; whole ones, from status and jobs
---@field stdout_bytes integer how many it wrote
---@field stderr_bytes integer
---@field stdout_from integer bytes before this offset were given up for max_output
---@field stderr_from integer

local function malformed(what)
  return nil, errors.new("protocol", "the job's answer is malformed: " .. what)
end

local function parse_fields(text)
  local fields, numbers = {}, {}
  local values, label = text:match("^(.-) label=(.*)$")
  for key, value in (values or text):gmatch("([%a_]+)=(%S+)") do
    fields[key], numbers[key] = value, value:match("^%d+$") and #value < 16 and tonumber(value) or nil
  end
  return fields, numbers, label or ""
end

local function end_of(status, numbers)
  local folded = numbers.sig == 1 and SIGNALS[numbers.code - 128]
  local by_limit = numbers.late == 1 and numbers.code >= 128
  if by_limit or numbers.over == 1 and numbers.code >= 128 then
    folded = "KILL"
  end
  status.timed_out, status.overflow = by_limit, numbers.over == 1
  status.disk_full = numbers.full == 1
  status.signal = folded and "SIG" .. folded or nil
  status.exit_code = not folded and numbers.code or nil
end

--- One line about a job.
---@param line string
---@return luarium.JobStatus? status
---@return luarium.Error|{ours: boolean}|nil err or what else the line says
function M.status(line)
  local text = line:match("^luarium%-job (.*)$")
  if not text then
    return malformed("it does not begin like one")
  end
  local fields, numbers, label = parse_fields(text)
  local state = STATES[fields.state]
  for _, name in ipairs({ "out", "err", "out_from", "err_from", "now", "ours" }) do
    if not numbers[name] then
      return malformed("no number " .. name)
    end
  end
  local known = numbers.code and numbers.start and numbers["until"]
  if not state or not fields.key or state == "finished" and not known then
    return malformed("what state it is in")
  end
  local status = {
    key = fields.key, state = state, command = label, started_at = tonumber(fields.at) or 0,
    reason = state == "lost" and (REASONS[fields.why] or "unknown") or nil, idle = numbers.idle,
    stdout_bytes = numbers.out, stderr_bytes = numbers.err, stdout_from = numbers.out_from,
    stderr_from = numbers.err_from, timed_out = false, overflow = false, disk_full = false,
    terminal = numbers.tty == 1,
  }
  if state == "finished" then
    end_of(status, numbers)
    status.duration = math.max(0, numbers["until"] - numbers.start) / 100
  elseif state == "running" and numbers.start then
    status.duration = math.max(0, numbers.now - numbers.start) / 100
  end
  return status, { ours = numbers.ours == 1 }
end

--- Several lines.
---@param text string
---@return luarium.JobStatus[]? list
---@return luarium.Error? err
function M.list(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    local status, err = M.status(line)
    if not status then
      return nil, err
    end
    list[#list + 1] = status
  end
  return list
end

---@class luarium.JobReply
---@field status luarium.JobStatus
---@field ours boolean this call started it
---@field stdout {at: integer, bytes: string}
---@field stderr {at: integer, bytes: string}

--- Bytes of a stream; those that were given up while they were read are no bytes of it.
local function piece(text, from, at, count, given_up)
  local lost = math.min(count, math.max(0, given_up - at))
  return { at = at + lost, bytes = text:sub(from + lost, from + count - 1) }
end

--- A line, how much of which stream, the bytes, and what was given up meanwhile.
---@param text string
---@return luarium.JobReply? reply
---@return luarium.Error? err
function M.parse(text)
  local first = text:find("\n", 1, true)
  local second = first and text:find("\n", first + 1, true)
  if not second or second > 4096 then
    return malformed("its first lines")
  end
  local status, more = M.status(text:sub(1, first - 1))
  if not status then
    return nil, more
  end
  local out_at, out_n, err_at, err_n = text:sub(first + 1, second - 1):match("^luarium%-data (%d+) (%d+) (%d+) (%d+)$")
  out_at, out_n, err_at, err_n = tonumber(out_at), tonumber(out_n), tonumber(err_at), tonumber(err_n)
  if not out_at then
    return malformed("how much output there is")
  end
  local from = second + 1
  local out_from, err_from = text:sub(from + out_n + err_n):match("^\nluarium%-end (%d+) (%d+)\n$")
  if not out_from then
    return malformed("it ends too early, or too late")
  end
  return {
    status = status, ours = more.ours,
    stdout = piece(text, from, out_at, out_n, tonumber(out_from)),
    stderr = piece(text, from + out_n, err_at, err_n, tonumber(err_from)),
  }
end

return M
