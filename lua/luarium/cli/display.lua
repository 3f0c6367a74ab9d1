--- What commands show on standard error while they go on: on a terminal one live line per sandbox at the bottom and,
--- of a run, a line for each finished operation above; elsewhere these lines, and one now and then for what takes long.
--- With --json a run has every event on standard output.
local boxes = require "luarium.cli.display.boxes"
local compat = require "luarium.compat"
local describe = require "luarium.cli.display.describe"
local event = require "luarium.event"
local format = require "luarium.cli.format"
local native = require "luarium.native"
local writer = require "luarium.cli.writer"

local M = {}

local TICK = 0.1 -- seconds between two drawings
local MAX_QUEUED = 1000 -- lines that wait for the next drawing
local MARGIN = 5 -- columns that stay free: "^C" is echoed at the end of the last line, and must not wrap

--- Seconds after which an operation that still runs is told of, where there are no live lines. The next time is twice
--- as late, until it is every `still_most` seconds.
M.still_after, M.still_most = 30, 300

---@class luarium.cli.Display
local Display = {}
Display.__index = Display

-- ---- lines ----

local colors = { ok = "32", failed = "31", warn = "33", error = "31", dim = "2" }

function Display:paint(color, text)
  return self.color and ("\27[%sm%s\27[0m"):format(colors[color], text) or text
end

--- One finished operation: 12:00:01 box exec git clone ... ok 1.2s
function Display:finished(record)
  local state, word = describe.outcome(record)
  local head = describe.head(record, record.time)
  local tail = require("luarium.log").neutral(word) .. " " .. format.duration(record.duration or 0)
  if self.columns then
    head = format.cut(head, math.max(20, self.columns - format.width(tail) - 2))
  end
  return head .. " " .. self:paint(state, tail)
end

--- Operations inside another that is shown are shown only with -v.
function Display:is_inner(record)
  local parent = record.parent and self.spans[record.parent]
  return parent and parent.event ~= "run" and parent.event ~= "step" and not self.verbose
end

function Display:on_operation(record)
  local inner = self:is_inner(record)
  if record.phase == "start" then
    self.spans[record.span] = { event = record.event, record = record, began = self.now(), inner = inner }
  elseif record.phase then
    self.spans[record.span] = nil
    if record.event ~= "run" and not inner then
      local state = describe.outcome(record)
      self.totals[state] = self.totals[state] + 1
      if self.lasting then
        self:line(self:finished(record))
      end
    end
  end
  if self.live then
    self.boxes:on_operation(record, inner)
  end
end

function Display:on_progress(record)
  if self.live then
    self.boxes:on_progress(record)
  end
  local span = self.spans[record.span]
  while span and span.inner do -- an inner operation tells for the one that is shown
    span = self.spans[span.record.parent]
  end
  if span then
    span.amount = record
  end
end

function Display:on_log(record)
  local levels = { debug = 1, info = 2, warn = 3, error = 4 }
  if (levels[record.level] or 2) >= (self.verbose and 1 or 2) then
    local head = os.date("%H:%M:%S ", math.floor(record.time))
    local color = record.level == "error" and "error" or record.level == "warn" and "warn" or "dim"
    self:line(head .. self:paint(color, record.level) .. " "
      .. require("luarium.log").neutral(tostring(record.message)))
  end
end

--- Adds a line that stays. On a terminal it appears with the next drawing.
function Display:line(text)
  if self.live then
    self.queued[#self.queued + 1] = text
    if #self.queued >= MAX_QUEUED then
      self.writer:tell("") -- the terminal is stopped: whoever tells more waits
      self:draw(true)
    end
  else
    self.writer:tell(text .. "\n")
  end
end

-- ---- the live part ----

local MAX_NAME = 24 -- columns

local function name_of(box)
  return format.cut(require("luarium.log").neutral(box.name), MAX_NAME)
end

--- Columns of the longest name and of the longest time.
local function widths(self, shown)
  local now, name, time = self.now(), 0, 0
  for _, box in ipairs(shown) do
    name = math.max(name, format.width(name_of(box)))
    time = math.max(time, #format.elapsed(now - box.since))
  end
  return name, time
end

local function box_line(self, box, columns, name_width, time_width)
  local log = require "luarium.log"
  local now = self.now()
  local time = format.elapsed(now - box.since)
  local head = ("%s  %s%s  %s"):format(format.pad(name_of(box), name_width), (" "):rep(time_width - #time), time,
    log.neutral(box.state or ""))
  local said = box.amount and describe.bar(box.amount, box.verb, now) or log.neutral(box.last)
  if said == "" then
    return format.cut(head, columns)
  end
  local room = math.floor(columns / 2) -- for what is done; the rest for what it says
  head = format.cut(head, box.amount and math.max(room, columns - format.width(said) - 2) or room)
  return head .. "  " .. self:paint("dim", format.cut(said, columns - format.width(head) - 2))
end

--- 12 sandboxes, 9 at work; 40 operations done, 1 failed; 3m05s
local function header(self, columns)
  local totals = self.totals
  local failed = totals.failed > 0 and (", %d failed"):format(totals.failed) or ""
  local text = ("%d sandboxes, %d at work; %d operations done%s; %s"):format(#self.boxes.list, self.boxes:busy(),
    totals.ok + totals.failed, failed, format.elapsed(self.now() - self.began))
  return self:paint(totals.failed > 0 and "failed" or "dim", format.cut(text, columns))
end

function Display:live_lines(columns, rows)
  local count, lines = #self.boxes.list, {}
  columns = math.max(1, columns - MARGIN)
  if count > 1 then
    lines[1] = header(self, columns)
  end
  local most = math.max(1, rows - 2 - #lines)
  local shown = self.boxes:visible(count > most and most - 1 or most)
  local name_width, time_width = widths(self, shown)
  for _, box in ipairs(shown) do
    lines[#lines + 1] = box_line(self, box, columns, name_width, time_width)
  end
  if count > #shown then
    lines[#lines + 1] = format.cut(("... and %d more"):format(count - #shown), columns)
  end
  return lines
end

--- Makes room for what somebody else writes; the live part comes back with the next drawing.
function Display:clear()
  if self.screen then
    local above = self.queued
    self.queued = {}
    self.screen:draw(above, {})
    pcall(self.writer.settle, self.writer, 0) -- what comes now may go another way to the same terminal
  end
end

---@param all boolean? also when the terminal has not taken the last drawing yet
function Display:draw(all)
  if not self.closed and (self.partial or not all and self.writer.size > 0) then
    return -- the script is in the middle of a line, or the terminal is stopped
  end
  local columns, rows = self.screen:size()
  self.columns = columns
  local above = self.queued
  self.queued = {}
  self.screen:draw(above, self.closed and {} or self:live_lines(columns, rows))
end

-- ---- without a terminal ----

--- 12:00:31 box exec make test: still running, 30s
function Display:tell_what_lasts()
  local now = self.now()
  for _, span in pairs(self.spans) do
    local elapsed = now - span.began
    if not span.inner and span.event ~= "run" and elapsed >= (span.due or M.still_after) then
      span.due = elapsed + math.min(math.max(elapsed, M.still_after), M.still_most)
      local amount = span.amount and ": " .. describe.amount(span.amount, describe.verb(span)) or ""
      local head = describe.head(span.record, native.loop.realtime())
      self:line(("%s: still running, %s%s"):format(head, format.elapsed(elapsed), amount))
    end
  end
end

-- ---- the script's own output ----

--- print and io.write of the script go above the live part, when both are on the terminal.
local function around(self, print_or_write, ends_line)
  return function(...)
    if not self.partial then
      self:clear()
    end
    local results = { print_or_write(...) }
    io.stdout:flush()
    local last = tostring(select(-1, "", ...))
    self.partial = not ends_line and (last == "" and self.partial or last ~= "" and last:sub(-1) ~= "\n")
    return compat.unpack(results)
  end
end

local function replace_output(env, print_, write)
  local copy = {}
  for key, value in pairs(io) do
    copy[key] = value
  end
  copy.write = write
  env.print, env.io = print_, copy
end

--- With --json standard output has the events only: what the script prints goes to standard error.
local function print_aside(script)
  local function print_(...)
    local parts = compat.pack(...)
    for i = 1, parts.n do
      parts[i] = tostring(parts[i])
    end
    io.stderr:write(table.concat(parts, "\t"), "\n")
  end
  replace_output(script.env, print_, function(...)
    return io.stderr:write(...)
  end)
end

-- ---- life ----

--- Runs as long as the program does; a timer that keeps nobody waiting.
local function tick(self, seconds, fn)
  local task = require "luarium.task"
  while not self.closed do
    fn(self)
    self.timer = native.loop.sleep(seconds, true)
    if not task.await(self.timer) then
      return
    end
  end
end

function Display:listen()
  local function on(name, method)
    self.offs[#self.offs + 1] = event.on(name, function(record)
      method(self, record)
    end)
  end
  on("log", self.on_log)
  for _, name in ipairs({ "run", "sandbox", "step", "git", "collect", "snapshot", "volume" }) do
    on(name, self.on_operation)
  end
  on("progress", self.on_progress)
  local spawn = require("luarium.task").spawn_detached
  if self.live then
    on("output", function(_, record)
      self.boxes:on_output(record)
    end)
    spawn("display", tick, self, TICK, function()
      self:draw()
    end)
  else
    spawn("display", tick, self, math.min(1, M.still_after / 4), self.tell_what_lasts)
  end
end

local function print_events(self)
  local stdout = writer.of(1)
  self.offs[1] = event.on("*", function(record)
    stdout:tell(event.to_json(record) .. "\n")
  end)
end

--- Opens the display. Called in the main task.
---@param context luarium.cli.Context
---@param script luarium.Script? whose run is shown; a command that has a result of its own shows only what lasts
---@return luarium.cli.Display
function M.open(context, script)
  local self = setmetatable({
    verbose = context.verbose, spans = {}, queued = {}, now = native.loop.monotonic, offs = {},
    writer = writer.of(2), totals = { ok = 0, failed = 0 }, began = native.loop.monotonic(),
    lasting = script or context.verbose,
  }, Display)
  context.close_display = function()
    self:close()
  end
  if context.json then
    if script then
      print_aside(script)
      print_events(self)
    end
    return self
  elseif context.quiet then
    self.offs[1] = event.on("log", function(record)
      if record.level == "error" then -- such as the failure of a task that nobody waits for
        self:on_log(record)
      end
    end)
    return self
  end
  self.live = native.tty.isatty(2) and not require("luarium.cli.dumb")()
  self.color = context:has_color()
  if self.live then
    self.boxes = boxes.new(self.now)
    self.screen = require("luarium.cli.display.screen").new(2, function(bytes)
      self.writer:push(bytes)
    end)
    if script and native.tty.isatty(1) then
      replace_output(script.env, around(self, print, true), around(self, io.write))
    end
  end
  self:listen()
  return self
end

--- Draws what is left and gives the terminal back.
function Display:close()
  if self.closed then
    return
  end
  self.closed = true
  for _, off in ipairs(self.offs) do
    off()
  end
  if self.timer then
    self.timer:cancel()
  end
  if self.live then
    if self.partial and #self.queued > 0 then
      io.stdout:write("\n")
      io.stdout:flush()
    end
    self:draw()
  end
end

return M
