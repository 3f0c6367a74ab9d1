--- Records of logs, and the output of jobs, as lines for people or as JSON.
local format = require "luarium.cli.format"
local log = require "luarium.log"
local native = require "luarium.native"
local check = require "luarium.check"
local writer = require "luarium.cli.writer"

local M = {}

local COLLECTED = 65536 -- bytes of lines that are written at once

--- What happened to a job when it was started.
local function started(record)
  if record.started == false then
    return " was there already"
  end
  return record.state == "running" and " started" or nil
end

--- What happened, in words; nil: not worth a line.
local function describe(record)
  local name = (record.event or ""):gsub("^sandbox%.", ""):gsub("[._]", " ")
  name = record.job and name .. " " .. record.job or name
  local what = record.command or record.detail
  if record.phase == "start" then
    return what and ("%s: %s"):format(name, what)
  elseif record.phase == "error" then
    return ("%s failed: %s"):format(name, record.error or "?")
  end
  local how = started(record) or record.timed_out and " was stopped: its time was over"
    or record.signal and " ended by " .. record.signal
    or record.exit_code and (" exited with %d"):format(record.exit_code) or " done"
  return ("%s%s, %s"):format(name, how, format.duration(record.duration or 0))
end

---@class luarium.cli.LogPrinter
---@field write fun(text: string)
---@field neutral boolean the text goes to a terminal
---@field unnamed boolean? there is only one job: its name is not said on each line
---@field partial table<string, {job: string?, text: string}> lines that are not whole yet, by job and stream
local Printer = {}
Printer.__index = Printer

--- A line; of a job it begins with the job's name.
function Printer:line(text, job)
  text = job and not self.unnamed and ("[%s] %s"):format(job, text) or text
  self.write((self.neutral and log.neutral(text) or text) .. "\n")
end

--- Ends the lines that are not whole yet: all, or those of one job.
---@param job string?
function Printer:flush(job)
  for _, key in ipairs(check.keys(self.partial)) do
    local begun = self.partial[key]
    if begun and (not job or begun.job == job) then
      self.partial[key] = nil
      self:line(begun.text, begun.job)
    end
  end
end

function Printer:output(record)
  local key = ("%s %s"):format(record.job or "", record.stream)
  local begun = self.partial[key] and self.partial[key].text or ""
  self.partial[key] = nil -- a write may wait, and another job go on
  local text = format.whole_lines(begun .. record.text, function(line)
    self:line(line, record.job)
  end)
  if #text > 65536 then -- a line without an end is shown in pieces
    self:line(text, record.job)
    text = ""
  end
  self.partial[key] = text ~= "" and { text = text, job = record.job } or nil
end

function Printer:show(record)
  if record.stream then
    return self:output(record)
  end
  local text = record.about or describe(record)
  if text then
    self:flush(record.about and record.job)
    self:line(("--- %s %s"):format(os.date("%H:%M:%S", math.floor(record.time)), text))
  end
end

--- Shows records as lines of JSON.
local function json_printer(write)
  return { write = write, flush = function() end, show = function(self, record)
    self.write(require("luarium.json").encode_bytes(record) .. "\n")
  end }
end

--- Collects lines, so that each is no write of its own, and writes them; the second function writes what is left.
local function collector(stdout)
  local lines, size = {}, 0
  local function flush()
    local text = table.concat(lines)
    lines, size = {}, 0 -- before the write, which may wait: others add to them
    stdout:write(text)
  end
  return function(text)
    lines[#lines + 1], size = text, size + #text
    if size >= COLLECTED then
      flush()
    end
  end, flush
end

--- What shows records on standard output; the second function writes what it has collected.
---@param as_json boolean
---@return luarium.cli.LogPrinter
---@return fun() flush
function M.open(as_json)
  local write, flush = collector(writer.of(1))
  if as_json then
    return json_printer(write), flush
  end
  return setmetatable({ write = write, neutral = native.tty.isatty(1), partial = {} }, Printer), flush
end

return M
