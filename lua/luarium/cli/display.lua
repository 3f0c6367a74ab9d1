--- What a run shows on standard error while it goes on: on a terminal one live line per sandbox at the bottom and a
--- line for each finished operation above; elsewhere only those lines; with --json every event on standard output.
local compat = require "luarium.compat"
local event = require "luarium.event"

local M = {}

local TICK = 0.1 -- seconds between two drawings
local MARGIN = 5 -- columns that stay free: "^C" is echoed at the end of the last line, and must not wrap

---@class luarium.cli.Display
local Display = {}
Display.__index = Display

local function short(record)
  if record.name then
    return record.name
  end
  return record.sandbox and record.sandbox:sub(-6) or ""
end

local function first_line(text)
  local line = text:match("^%s*([^\n]*)") or ""
  return #line < #text:gsub("%s+$", "") and line .. " ..." or line
end

--- git's own command, without the settings in front of it.
local function short_git(command)
  local rest = command:match("^git (%-[cC] .*)$")
  while rest and rest:match("^%-[cC] %S+ ") do
    rest = rest:gsub("^%-[cC] %S+ ", "", 1)
  end
  return rest and "git " .. rest or command
end

--- What the operation is about: its command, address, path, name.
local function detail(record)
  local what = record.url or record.command or record.path or record.step or record.snapshot or record.script
  if record.port then
    what = tostring(record.port)
  end
  return type(what) == "string" and short_git(first_line(what)) or ""
end

local function outcome(record)
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

-- ---- lines ----

local colors = { ok = "32", failed = "31", warn = "33", error = "31", dim = "2" }

function Display:paint(color, text)
  return self.color and ("\27[%sm%s\27[0m"):format(colors[color], text) or text
end

--- One finished operation: 12:00:01 box exec git clone ... ok 1.2s
function Display:finished(record)
  local format = require "luarium.cli.format"
  local log = require "luarium.log"
  local verb = record.event:gsub("^sandbox%.", "")
  local state, word = outcome(record)
  local words = { short(record), verb, detail(record) }
  local parts = {}
  for _, text in ipairs(words) do
    if text ~= "" then
      parts[#parts + 1] = log.neutral(text)
    end
  end
  local head = os.date("%H:%M:%S ", math.floor(record.time)) .. table.concat(parts, " ")
  local tail = log.neutral(word) .. " " .. format.duration(record.duration or 0)
  if self.columns then
    head = format.cut(head, math.max(20, self.columns - format.width(tail) - 2))
  end
  return head .. " " .. self:paint(state, tail)
end

--- Operations inside another that is shown are shown only with -v.
function Display:is_inner(record)
  local parent = record.parent and self.spans[record.parent]
  return parent and parent ~= "run" and parent ~= "step" and not self.verbose
end

function Display:on_operation(record)
  if record.phase == "start" then
    self.spans[record.span] = record.event
  elseif record.phase then
    local inner = self:is_inner(record)
    self.spans[record.span] = nil
    self:tally(record, inner)
    if record.event ~= "run" and not inner then
      self:line(self:finished(record))
    end
  end
  if self.live then
    self:update_box(record)
  end
end

--- Counts for the header.
function Display:tally(record, inner)
  if record.event ~= "run" and not inner then
    local state = outcome(record)
    self.totals[state] = self.totals[state] + 1
  end
end

function Display:on_log(record)
  local levels = { debug = 1, info = 2, warn = 3, error = 4 }
  if (levels[record.level] or 2) >= (self.verbose and 1 or 2) then
    local log = require "luarium.log"
    local head = os.date("%H:%M:%S ", math.floor(record.time))
    local color = record.level == "error" and "error" or record.level == "warn" and "warn" or "dim"
    self:line(head .. self:paint(color, record.level) .. " " .. log.neutral(tostring(record.message)))
  end
end

--- Adds a line that stays. On a terminal it appears with the next drawing.
function Display:line(text)
  if self.live then
    self.queued[#self.queued + 1] = text
  else
    io.stderr:write(text, "\n")
  end
end

-- ---- the live part ----

function Display:forget(id)
  for i, box in ipairs(self.list) do
    if box == self.boxes[id] then
      table.remove(self.list, i)
      break
    end
  end
  self.boxes[id], self.chosen = nil, nil
end

function Display:update_box(record)
  local id = record.sandbox
  if not id then
    return
  end
  local box = self.boxes[id]
  if record.event == "sandbox.destroy" and record.phase == "stop"
    or record.event == "sandbox.create" and record.phase == "error" or record.event == "sandbox.expired" then
    self:forget(id)
    return
  end
  if not box then
    self.count = self.count + 1
    box = { order = self.count, name = short(record), last = "", failed = false }
    self.boxes[id] = box
    self.list[#self.list + 1] = box
  end
  box.changed = self.now()
  if record.phase == "start" then
    if not self:is_inner(record) then
      box.state, box.since = record.event:gsub("^sandbox%.", "") .. " " .. detail(record), self.now()
      box.span = record.span
    end
  elseif box.span == record.span then
    box.failed = outcome(record) == "failed"
    box.state, box.since, box.span = box.failed and "failed" or "idle", self.now(), nil
  end
end

function Display:on_output(record)
  local box = self.boxes[record.sandbox]
  if box then
    local tail = box.tail and (box.tail .. record.text) or record.text
    local last = tail:sub(-2000):match("([^\r\n]*%S[^\r\n]*)[\r\n%s]*$")
    box.last, box.changed = last or box.last, self.now()
    box.tail = not tail:match("[\r\n]$") and last or nil -- an unfinished line goes on with the next chunk
  end
end

local function box_line(self, box, columns)
  local format = require "luarium.cli.format"
  local log = require "luarium.log"
  local elapsed = format.duration(self.now() - (box.since or self.now()))
  local head = ("%s  %s  %s"):format(log.neutral(box.name), elapsed, log.neutral(box.state or ""))
  if box.last == "" then
    return format.cut(head, columns)
  end
  head = format.cut(head, math.floor(columns / 2)) -- half for what is done, the rest for what it says
  return head .. "  " .. self:paint("dim", format.cut(log.neutral(box.last), columns - format.width(head) - 2))
end

--- 12 sandboxes, 9 at work; 40 operations done, 1 failed; 3m05s
local function header(self, list, columns)
  local format = require "luarium.cli.format"
  local busy = 0
  for _, box in ipairs(list) do
    busy = busy + (box.span and 1 or 0)
  end
  local totals = self.totals
  local failed = totals.failed > 0 and (", %d failed"):format(totals.failed) or ""
  local text = ("%d sandboxes, %d at work; %d operations done%s; %s"):format(#list, busy, totals.ok + totals.failed,
    failed, format.duration(self.now() - self.began))
  return self:paint(totals.failed > 0 and "failed" or "dim", format.cut(text, columns))
end

local function by_order(a, b)
  return a.order < b.order
end

--- Those at work or whose last operation failed before the others, and of each the ones that something happened to
--- last.
local function by_activity(a, b)
  local first, second = a.span ~= nil or a.failed, b.span ~= nil or b.failed
  if first ~= second then
    return first
  elseif a.changed ~= b.changed then
    return a.changed > b.changed
  end
  return a.order < b.order
end

--- The boxes that fit, in the order in which they were made. They are chosen anew once a second: lines that jump about
--- cannot be read, and sorting hundreds at each drawing costs.
function Display:visible(most)
  local list = self.list
  if #list <= most then
    return list
  end
  local now = self.now()
  if not self.chosen or #self.chosen ~= most or now - self.chosen_at >= 1 then
    local sorted, chosen = {}, {}
    for i, box in ipairs(list) do
      sorted[i] = box
    end
    table.sort(sorted, by_activity)
    for i = 1, most do
      chosen[i] = sorted[i]
    end
    table.sort(chosen, by_order)
    self.chosen, self.chosen_at = chosen, now
  end
  return self.chosen
end

function Display:live_lines(columns, rows)
  local list, lines = self.list, {}
  if #list > 1 then
    lines[1] = header(self, list, math.max(1, columns - MARGIN))
  end
  local most = math.max(1, rows - 2 - #lines)
  local shown = self:visible(#list > most and most - 1 or most)
  local more = #list - #shown
  for _, box in ipairs(shown) do
    lines[#lines + 1] = box_line(self, box, math.max(1, columns - MARGIN))
  end
  if more > 0 then
    lines[#lines + 1] = ("... and %d more"):format(more)
  end
  return lines
end

--- Bytes that take the live part away; the cursor is at its end. A terminal that became narrower has wrapped it.
function Display:erase(columns, rows)
  local up = -1
  for _, width in ipairs(self.drawn) do
    up = up + math.max(1, math.ceil(width / columns))
  end
  self.drawn = {}
  up = math.min(up, rows - 1)
  return up >= 0 and ("\r" .. (up > 0 and ("\27[%dA"):format(up) or "") .. "\27[J") or ""
end

local function size()
  local columns, rows = require("luarium.native").tty.size(2)
  return columns or 80, rows or 24
end

--- Makes room for what somebody else writes; the live part comes back with the next drawing.
function Display:clear()
  local bytes = self:erase(size())
  if bytes ~= "" then
    require("luarium.native").tty.write(2, bytes)
  end
end

function Display:draw(final)
  local tty = require("luarium.native").tty
  local columns, rows = size()
  self.columns = columns
  local parts = { self:erase(columns, rows) }
  for _, text in ipairs(self.queued) do
    parts[#parts + 1] = text .. "\n"
  end
  self.queued = {}
  if not final then
    local format = require "luarium.cli.format"
    local lines = self:live_lines(columns, rows)
    for i, line in ipairs(lines) do
      self.drawn[i] = format.width((line:gsub("\27%[%d*m", "")))
    end
    parts[#parts + 1] = table.concat(lines, "\n")
  end
  local bytes = table.concat(parts)
  if bytes ~= "" then
    tty.write(2, bytes)
  end
end

--- print and io.write of the script go above the live part, when both are on the terminal.
local function around(self, write)
  return function(...)
    self:clear()
    local results = { write(...) }
    io.stdout:flush()
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

local function share_terminal(self, script)
  replace_output(script.env, around(self, print), around(self, io.write))
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
local function tick(self)
  local native = require "luarium.native"
  local task = require "luarium.task"
  while not self.closed do
    self:draw()
    self.timer = native.loop.sleep(TICK, true)
    if not task.await(self.timer) then
      return
    end
  end
end

function Display:listen()
  local context = self.context
  local function on(name, fn)
    self.offs[#self.offs + 1] = event.on(name, fn)
  end
  if context.json then
    return on("*", function(record)
      io.stdout:write(event.to_json(record), "\n")
    end)
  elseif context.quiet then
    return
  end
  on("log", function(record)
    self:on_log(record)
  end)
  for _, name in ipairs({ "run", "sandbox", "step", "git", "collect" }) do
    on(name, function(record)
      self:on_operation(record)
    end)
  end
  if self.live then
    on("output", function(record)
      self:on_output(record)
    end)
    require("luarium.task").spawn_detached("display", tick, self)
  end
end

--- The display of a script's run. Called in the main task.
---@param context luarium.cli.Context
---@param script luarium.Script
---@return luarium.cli.Display
function M.open(context, script)
  local native = require "luarium.native"
  local self = setmetatable({
    context = context, verbose = context.verbose, spans = {}, boxes = {}, list = {}, queued = {}, drawn = {}, count = 0,
    now = native.loop.monotonic, offs = {}, totals = { ok = 0, failed = 0 }, began = native.loop.monotonic(),
  }, Display)
  self.live = not context.json and not context.quiet and native.tty.isatty(2) and os.getenv("TERM") ~= "dumb"
  self.color = not context.json and context:has_color()
  if context.json then
    print_aside(script)
  elseif self.live and native.tty.isatty(1) then
    share_terminal(self, script)
  end
  context.close_display = function()
    self:close()
  end
  context.clear_display = function()
    self:clear()
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
  if self.live then
    if self.timer then
      self.timer:cancel()
    end
    self:draw(true)
  end
end

return M
