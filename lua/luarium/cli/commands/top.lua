--- luarium top
local boxes = require "luarium.cli.boxes"
local format = require "luarium.cli.format"
local log = require "luarium.log"
local native = require "luarium.native"
local task = require "luarium.task"

local tty = native.tty
local await = task.await

local MAX_NAME = 24 -- columns, or one long name would push the rest off the screen

local ENTER, LEAVE = "\27[?1049h\27[?25l", "\27[?1049l\27[?25h"

local function left_of(record, now)
  if not record.expires_at then
    return "-"
  end
  return record.expires_at > now and format.duration(record.expires_at - now) or "over"
end

--- The records as rows, the oldest first, and how many are past their end.
local function rows_of(luarium, filter)
  local now, outlog = native.loop.realtime(), require "luarium.outlog"
  local rows, over = { { "ID", "NAME", "PROVIDER", "STATUS", "AGE", "IDLE", "LEFT", "LABELS" } }, 0
  for _, record in ipairs(luarium.list(filter)) do
    local left, active = left_of(record, now), outlog.last_active(record.id)
    over = over + (left == "over" and 1 or 0)
    rows[#rows + 1] = { record.id, format.cut(log.neutral(record.name or "-"), MAX_NAME),
      log.neutral(record.provider), log.neutral(boxes.status(record)),
      record.fault and "-" or format.duration(math.max(0, now - (record.created_at or now))),
      active and format.duration(math.max(0, now - active)) or "-", left,
      record.fault and record.path or log.neutral(format.labels(record.labels)) }
  end
  return rows, over
end

--- What machines are told besides: seconds since anything was done, and until the end.
local function with_times(facts)
  local now, outlog = native.loop.realtime(), require "luarium.outlog"
  for _, fact in ipairs(type(facts) == "table" and facts or {}) do
    local active = outlog.last_active(fact.id)
    fact.idle = active and math.max(0, now - active) or nil
    fact.left = fact.expires_at and math.max(0, fact.expires_at - now) or nil
  end
  return facts
end

---@class luarium.cli.Top
local Top = {}
Top.__index = Top

function Top:draw()
  if self.writer.size > 0 then
    return -- the terminal is stopped
  end
  local columns, height = tty.size(1)
  columns, height = columns or 80, height or 24
  local rows, over = rows_of(self.luarium, self.filter)
  local lines = {}
  for line in format.table(rows):gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  self.page = math.max(1, height - 2)
  self.first = math.max(0, math.min(self.first, #lines - 1 - self.page))
  local head = ("%d sandbox%s%s  %s  q quits, arrows scroll"):format(#rows - 1, #rows == 2 and "" or "es",
    over > 0 and (", %d past their end"):format(over) or "", os.date("%H:%M:%S"))
  local parts = { "\27[H", format.cut(head, columns), "\27[K\r\n", format.cut(lines[1], columns), "\27[K" }
  for i = self.first + 2, math.min(#lines, self.first + 1 + self.page) do
    parts[#parts + 1] = "\r\n" .. format.cut(lines[i], columns) .. "\27[K"
  end
  parts[#parts + 1] = "\27[J"
  self.writer:push(table.concat(parts))
end

local moves = {
  j = 1, k = -1, ["\27[B"] = 1, ["\27[A"] = -1, ["\27OB"] = 1, ["\27OA"] = -1,
  ["\27[6~"] = "down", ["\27[5~"] = "up", [" "] = "down", g = -math.huge, G = math.huge,
}

--- Takes what was typed; false ends the display.
function Top:keys(bytes)
  local at = 1
  while at <= #bytes do -- several keys may come at once
    local key = bytes:match("^\27[%[O][%d;]*[%a~]", at) or bytes:sub(at, at)
    if key:find("^[q\3\4]") then
      return false
    end
    local move = moves[key]
    if move == "down" or move == "up" then
      move = move == "down" and self.page or -self.page
    end
    self.first = math.max(0, self.first + (move or 0))
    at = at + #key
  end
  return true
end

--- Puts what happens into one queue: keys, a second that has passed, another size.
local function watch(scope, input, happened)
  scope:spawn(function()
    repeat
      local bytes = await(input:read())
      happened:put(bytes or "q")
    until not bytes
  end)
  scope:spawn(function()
    while true do
      task.sleep(1)
      happened:put("")
    end
  end)
  scope:spawn(function()
    require("luarium.cli.signals").each(function()
      happened:put("")
    end, "WINCH")
  end)
end

function Top:run(context)
  local input, err = native.input.open(0)
  local saved
  if input then
    saved, err = tty.raw(0, LEAVE)
  end
  if not saved then
    error(err, 0)
  end
  local function restore()
    self.writer:push(LEAVE)
    saved:restore()
  end
  context.close_display = restore
  self.writer:push(ENTER)
  local ok, failure = pcall(task.scope, function(scope)
    local happened = task.queue(16, "a key")
    watch(scope, input, happened)
    repeat
      self:draw()
    until not self:keys(happened:get())
    scope:cancel()
  end, "top")
  restore()
  input:close()
  if not ok then
    error(failure, 0)
  end
end

return {
  summary = "watch the sandboxes",
  about = "All sandboxes with their state, age, the time since anything was done or written, and the time that is\n"
    .. "left, anew each second. Keys: q quits, arrows, j, k, Page Up and Page Down scroll. Without a terminal, on a\n"
    .. "dumb one, or with --once, it prints one table.",
  example = "luarium top\nluarium top --once --label team=docs",
  options = {
    { "-l --label", value = "KEY=VALUE", type = "pair", many = true, about = "only those with this label" },
    { "--once", about = "print one table and end" },
  },
  run = function(args, context)
    return context:task(function()
      local luarium = context:api()
      local filter = { provider = args.provider, labels = format.map(args.label) }
      if context.json then
        return context:print_json(with_times(boxes.facts(luarium.list(filter))))
      elseif args.once or not (tty.isatty(0) and tty.isatty(1)) or require("luarium.cli.dumb")() then
        context:write(format.table((rows_of(luarium, filter))))
        return boxes.note_broken(context, luarium.list(filter))
      end
      setmetatable({ luarium = luarium, filter = filter, first = 0, page = 1,
        writer = require("luarium.cli.writer").of(1) }, Top):run(context)
    end)
  end,
}
