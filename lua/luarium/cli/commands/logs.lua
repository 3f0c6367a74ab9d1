--- luarium logs
local boxes = require "luarium.cli.boxes"
local errors = require "luarium.error"
local format = require "luarium.cli.format"
local log_printer = require "luarium.cli.log_printer"
local options = require "luarium.cli.options"
local task = require "luarium.task"

local LOOK = 0.2 -- seconds between two looks at a log that is followed

--- The id of a sandbox that is there, or whose log is: of several that are gone and had the same name, the last.
local function find(context, luarium, outlog, text)
  local ok, record = pcall(boxes.find, luarium, text)
  if ok then
    return record.id
  elseif record.kind ~= "not_found" then
    error(record, 0)
  end
  local found, last, namesakes = {}, nil, 0
  for _, kept in ipairs(outlog.kept()) do
    if kept.name == text then
      last, namesakes = kept.id, namesakes + 1
    elseif boxes.is_part(text, kept.id) then
      found[#found + 1] = kept.id
    end
  end
  if namesakes > 1 then
    context:note("luarium: %s, the last of %d called '%s'; `luarium logs` lists them", last, namesakes, text)
  elseif not last and #found > 1 then
    errors.raise("invalid", ("'%s' fits %d logs: %s"):format(text, #found, table.concat(found, ", ")),
      { data = { hint = "luarium logs" } })
  end
  return last or found[1] or error(record, 0)
end

--- What the reader could not read is not kept secret.
local function note_damage(context, reader)
  reader:give_up()
  if reader.damaged > 0 then
    context:note("luarium: %d place%s of the log had no record and %s passed over: %s", reader.damaged,
      reader.damaged == 1 and "" or "s", reader.damaged == 1 and "was" or "were", reader.path)
  end
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

--- Whether a record is of a job that was asked for.
local function is_wanted(record, args)
  if args.jobs then
    return record.job ~= nil
  end
  for _, text in ipairs(args.job) do
    if record.job == text then
      return true
    end
  end
  return #args.job == 0
end

local function show_all(reader, printer, args)
  local record = reader:next()
  while record do
    printer.saw_jobs = printer.saw_jobs or record.job ~= nil
    if is_wanted(record, args) then
      printer:show(record)
    end
    record = reader:next()
  end
end

local function follow(reader, printer, flush, args, id)
  local registry = require "luarium.registry"
  repeat
    local gone = not registry.get(id)
    task.sleep(LOOK) -- also once more when it is gone: its end is written last
    show_all(reader, printer, args)
    flush()
  until gone
end

local function show(args, context, reader, id)
  local printer, flush = log_printer.open(context.json)
  printer.unnamed = #args.job == 1
  if args.tail then
    local write = printer.write
    local keep, drain = tail(args.tail)
    printer.write = keep
    show_all(reader, printer, args)
    if not args.follow then
      printer:flush()
    end
    drain(write)
    printer.write = write
  end
  show_all(reader, printer, args)
  if args.follow then
    flush()
    follow(reader, printer, flush, args, id)
  end
  printer:flush()
  flush()
  return printer.saw_jobs
end

--- The log of a sandbox. Where jobs are asked for it is gone: what was followed of them while it was there is left.
local function show_log(args, context, outlog, id, is_there)
  local reader = outlog.reader(id)
  local saw_jobs = show(args, context, reader, id)
  note_damage(context, reader)
  reader:close()
  if saw_jobs and is_there and not args.follow then
    context:note("luarium: what its jobs write is in the sandbox: `luarium logs %s --jobs` shows it", args.box)
  end
end

local function check_words(args)
  if (args.jobs or #args.job > 0) and not args.box then
    options.usage_error("logs: --job and --jobs need the sandbox: luarium logs BOX --jobs", "luarium ls")
  elseif args.jobs and #args.job > 0 then
    options.usage_error("logs: either --job or --jobs, not both", "luarium help logs")
  end
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
  context:note("luarium: `luarium logs BOX` shows one, with -n 20 the last lines of it")
end

return {
  summary = "show what a sandbox wrote and what was done to it",
  about = "Output of commands and the operations of every luarium command of this machine on the sandbox, without\n"
    .. "secrets; at most the last 8 MiB. Without BOX, a list of the logs there are: those of sandboxes that are gone\n"
    .. "are kept until there are 400, and a name that several had means the last. With --follow it goes on until the\n"
    .. "sandbox is destroyed. What a job writes is in the sandbox: --job and --jobs read it there, with --follow\n"
    .. "until they end, and with --tail so many lines of each of their streams. The log has of it what scripts have\n"
    .. "followed, with the job's name, and that is what is left when the sandbox is gone. Programs that embed\n"
    .. "Luarium write no log.",
  example = "luarium logs demo --tail 20\nluarium logs demo -f\nluarium logs demo --job build -f\nluarium logs",
  arguments = { { "box", optional = true, about = "id, its beginning or end, or name; without: list the logs" } },
  options = {
    { "-f --follow", about = "go on with what comes" },
    { "-n --tail", value = "LINES", type = "count", about = "only so many of the last lines; with --json: records" },
    { "-j --job", value = "JOB", many = true, about = "what this job writes; a key or the beginning of one" },
    { "--jobs", about = "what all its jobs write, each line with the job's name" },
  },
  run = function(args, context)
    check_words(args)
    context.writes_through, context.endless = true, args.follow
    return context:task(function()
      local luarium = context:api()
      local outlog = require "luarium.outlog"
      if not args.box then
        return list(context, luarium, outlog)
      end
      local id = find(context, luarium, outlog, args.box)
      local is_there = require("luarium.registry").find(id) ~= nil
      if is_there and (args.jobs or #args.job > 0) then
        outlog.only_view()
        return require("luarium.cli.job_logs").show(context, luarium.reconnect(id), args)
      end
      show_log(args, context, outlog, id, is_there)
    end)
  end,
}
