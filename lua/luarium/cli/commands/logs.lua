--- luarium logs
local boxes = require "luarium.cli.boxes"
local errors = require "luarium.error"
local format = require "luarium.cli.format"
local log = require "luarium.log"
local native = require "luarium.native"
local task = require "luarium.task"
local writer = require "luarium.cli.writer"

local COLLECTED = 65536 -- bytes of lines that are written at once
local LOOK = 0.2 -- seconds between two looks at a log that is followed

--- The id of a sandbox that is there, or whose log is.
local function find(luarium, outlog, text)
  local ok, record = pcall(boxes.find, luarium, text)
  if ok then
    return record.id
  elseif record.kind ~= "not_found" then
    error(record, 0)
  end
  local found = {}
  for _, kept in ipairs(outlog.kept()) do
    if kept.name == text or boxes.is_part(text, kept.id) then
      found[#found + 1] = kept.id
    end
  end
  if #found > 1 then
    errors.raise("invalid", ("'%s' fits %d logs: %s"):format(text, #found, table.concat(found, ", ")),
      { data = { hint = "luarium logs" } })
  end
  return found[1] or error(record, 0)
end

--- What happened, in words; nil: not worth a line.
local function describe(record)
  local name = (record.event or ""):gsub("^sandbox%.", ""):gsub("%.", " ")
  local what = record.command or record.detail
  if record.phase == "start" then
    return what and ("%s: %s"):format(name, what)
  elseif record.phase == "error" then
    return ("%s failed: %s"):format(name, record.error or "?")
  end
  local how = record.timed_out and " was stopped: its time was over" or record.signal and " ended by " .. record.signal
    or record.exit_code and (" exited with %d"):format(record.exit_code) or " done"
  return ("%s%s, %s"):format(name, how, format.duration(record.duration or 0))
end

---@class luarium.cli.LogPrinter
---@field write fun(text: string)
---@field neutral boolean the text goes to a terminal
---@field partial table<string, string> lines that are not whole yet, by stream
local Printer = {}
Printer.__index = Printer

function Printer:line(text)
  self.write((self.neutral and log.neutral(text) or text) .. "\n")
end

function Printer:flush()
  for _, stream in ipairs({ "stdout", "stderr" }) do
    if self.partial[stream] then
      self:line(self.partial[stream])
      self.partial[stream] = nil
    end
  end
end

function Printer:output(record)
  local text = format.whole_lines((self.partial[record.stream] or "") .. record.text, function(line)
    self:line(line)
  end)
  if #text > 65536 then -- a line without an end is shown in pieces
    self:line(text)
    text = ""
  end
  self.partial[record.stream] = text ~= "" and text or nil
end

function Printer:show(record)
  if record.stream then
    return self:output(record)
  end
  local text = describe(record)
  if text then
    self:flush()
    self:line(("--- %s %s"):format(os.date("%H:%M:%S", math.floor(record.time)), text))
  end
end

--- Shows records as lines of JSON.
local function json_printer(write)
  return { write = write, flush = function() end, show = function(self, record)
    self.write(require("luarium.json").encode_bytes(record) .. "\n")
  end }
end

--- What the reader could not read is not kept secret.
local function note_damage(context, reader)
  reader:give_up()
  if reader.damaged > 0 then
    context:note("luarium: %d place%s of the log had no record and %s passed over: %s", reader.damaged,
      reader.damaged == 1 and "" or "s", reader.damaged == 1 and "was" or "were", reader.path)
  end
end

--- Collects lines, so that each is no write of its own, and writes them; the second function writes what is left.
local function collector(stdout)
  local lines, size = {}, 0
  local function flush()
    stdout:write(table.concat(lines))
    lines, size = {}, 0
  end
  return function(text)
    lines[#lines + 1], size = text, size + #text
    if size >= COLLECTED then
      flush()
    end
  end, flush
end

--- Keeps the last lines only, until they are asked for.
local function tail(count)
  local lines, first = {}, 1
  return function(text)
    lines[#lines + 1] = text
    if #lines - first + 1 > count then
      lines[first] = false
      first = first + 1
    end
  end, function(write)
    for i = first, #lines do
      write(lines[i])
    end
  end
end

local function show_all(reader, printer)
  local record = reader:next()
  while record do
    printer:show(record)
    record = reader:next()
  end
end

local function follow(reader, printer, flush, id)
  local registry = require "luarium.registry"
  repeat
    local gone = not registry.get(id)
    task.sleep(LOOK) -- also once more when it is gone: its end is written last
    show_all(reader, printer)
    flush()
  until gone
end

local function show(args, context, reader, id)
  local write, flush = collector(writer.of(1))
  local printer = context.json and json_printer(write)
    or setmetatable({ write = write, neutral = native.tty.isatty(1), partial = {} }, Printer)
  if args.tail then
    local drain
    printer.write, drain = tail(args.tail)
    show_all(reader, printer)
    if not args.follow then
      printer:flush()
    end
    drain(write)
    printer.write = write
  end
  show_all(reader, printer)
  if args.follow then
    flush()
    follow(reader, printer, flush, id)
  end
  printer:flush()
  flush()
end

--- The logs that are kept, those that were written last at the end.
local function list(context, luarium, outlog)
  local alive = {}
  for _, record in ipairs(luarium.list()) do
    alive[record.id] = boxes.status(record)
  end
  local rows, facts = { { "ID", "NAME", "STATUS", "WRITTEN" } }, {}
  for i, kept in ipairs(outlog.kept()) do
    local status = alive[kept.id] or "gone"
    rows[i + 1] = { kept.id, kept.name or "-", status, os.date("%Y-%m-%d %H:%M:%S", math.floor(kept.written)) }
    facts[i] = { id = kept.id, name = kept.name, status = status, written = kept.written }
  end
  if context.json then
    return context:print_json(require("luarium.json").array(facts))
  elseif #facts == 0 then
    return context:note("no logs; `luarium create` makes a sandbox, and its log")
  end
  context:write(format.table(rows))
end

return {
  summary = "show what a sandbox wrote and what was done to it",
  about = "Output of commands and the operations of every luarium command of this machine on the sandbox, without\n"
    .. "secrets; at most the last 8 MiB. Without BOX, a list of the logs there are: those of sandboxes that are gone\n"
    .. "are kept until there are 400. With --follow it goes on until the sandbox is destroyed. What a job writes\n"
    .. "is not here: `luarium attach` shows it. Programs that embed Luarium write no log.",
  example = "luarium logs demo --tail 20\nluarium logs demo -f\nluarium logs",
  arguments = { { "box", optional = true, about = "id, its beginning or end, or name; without: list the logs" } },
  options = {
    { "-f --follow", about = "go on with what comes" },
    { "-n --tail", value = "LINES", type = "count", about = "only so many of the last lines; with --json: records" },
  },
  run = function(args, context)
    context.writes_through, context.endless = true, args.follow
    return context:task(function()
      local luarium = context:api()
      local outlog = require "luarium.outlog"
      if not args.box then
        return list(context, luarium, outlog)
      end
      local id = find(luarium, outlog, args.box)
      local reader = outlog.reader(id)
      show(args, context, reader, id)
      note_damage(context, reader)
      reader:close()
    end)
  end,
}
