--- The main task of the program, and what signals do to it: the first asks it to end, so that cleanup runs and
--- sandboxes are destroyed; the second leaves at once and says what is left behind.
local errors = require "luarium.error"
local native = require "luarium.native"
local signals = require "luarium.cli.signals"
local task = require "luarium.task"

local M = {}

local codes = { INT = 130, TERM = 143, HUP = 129 }

--- Keeps the ids of the sandboxes that this process made and has not destroyed.
local function track(open)
  local event = require "luarium.event"
  event.on("sandbox.create", function(record)
    open[record.sandbox] = record.phase ~= "error" and (record.name or "") or nil
  end)
  event.on("sandbox.gone", function(record)
    open[record.sandbox] = nil
  end)
  event.on("sandbox.destroy", function(record)
    if record.phase == "stop" then
      open[record.sandbox] = nil
    end
  end)
end

--- Which sandboxes are there still, and how to remove them; empty when there are none.
---@param open table<string, string> the context's `open`
---@param what string how that is to be called
---@return string lines
function M.describe_open(open, what)
  local ids = require("luarium.check").keys(open)
  if #ids == 0 then
    return ""
  end
  return ("luarium: %s: %s\nhint: `luarium destroy %s` removes %s\n"):format(what, table.concat(ids, ", "),
    table.concat(ids, " "), #ids == 1 and "it" or "them")
end

--- Tells at the end of a command which of the sandboxes that it made are there still.
---@param context luarium.cli.Context
function M.note_open(context)
  local left = context.open and M.describe_open(context.open, "still there") or ""
  if left ~= "" then
    context:note("%s", (left:gsub("\n$", "")))
  end
end

local function leave(name, open, context, when)
  local writer = require "luarium.cli.writer"
  if context.close_display then
    context.close_display()
  end
  io.stdout:flush()
  if context.json then
    local ids = require("luarium.check").keys(open)
    writer.of(2):push(require("luarium.json").encode({ error = { kind = "cancelled",
      message = "stopped by SIG" .. name, name = "SIG" .. name, exit_code = codes[name],
      left_behind = #ids > 0 and ids or nil } }) .. "\n")
  else
    writer.of(2):push(("luarium: stopped by SIG%s before %s\n%s"):format(name, when,
      M.describe_open(open, "left behind")))
  end
  writer.abandon()
  os.exit(codes[name], false)
end

local function ask(main, name, times, open, context, reason)
  context.signal_code = context.signal_code or codes[name]
  if main.state == "done" then
    leave(name, open, context, "all was written")
  elseif times > 1 then
    leave(name, open, context, "the cleanup was done")
  end
  if not (context.endless and name == "INT") then
    context:note("luarium: SIG%s: cleaning up; once more leaves at once", name)
  end
  task.cancel(main, reason)
end

--- The signals that end the program: a hangup only when whoever started it, such as nohup, does not ignore it.
local function watched()
  if native.signal.ignored("HUP") then
    return "INT", "TERM"
  end
  return "INT", "TERM", "HUP"
end

local function watch(main, open, context)
  local times = 0
  signals.each(function(name)
    local reason = errors.new("cancelled", "interrupted by SIG" .. name, { name = "SIG" .. name })
    if name == "INT" and context.interrupt and context.interrupt(reason) then
      times = 0 -- what was running was asked to end, not the program
    else
      times = times + 1
      ask(main, name, times, open, context, reason)
    end
  end, watched())
end

--- Seconds a script may compute without waiting, unless --busy-limit or busy_limit say otherwise.
M.busy_limit = 10

--- Longer than any script: with it the guard still looks for signals, but never stops a script of itself.
local NO_LIMIT = 315360000

---@param seconds number 0: no limit
function M.guard(seconds)
  task.guard(seconds > 0 and seconds or NO_LIMIT)
end

--- The end of a body: what providers keep open, sockets in the file system too, goes with the program.
local function close_after(ok, ...)
  local config = package.loaded["luarium.config"]
  if config then
    pcall(config.close)
  end
  if not ok then
    error((...), 0)
  end
  return ...
end

--- Runs the body as a task; returns what it returned, raises what it raised.
---@param body fun(): any
---@param context luarium.cli.Context
---@return any
function M.run(body, context)
  M.guard(context.busy_limit or M.busy_limit)
  local open, on_api = {}, context.on_api
  context.open = open
  context.on_api = function() -- before that nothing can be made
    track(open)
    if on_api then
      on_api()
    end
  end
  return task.run(function()
    local main = task.current()
    task.spawn_detached("signals", watch, main, open, context)
    task.yield() -- the watch is on before anything is done
    collectgarbage("restart")
    return close_after(xpcall(body, errors.handler, main))
  end)
end

return M
