--- The output of jobs as `luarium logs` shows it: read from the sandbox, so that it is whole, whoever else has read it.
local jobs = require "luarium.cli.jobs"
local native = require "luarium.native"
local shown_output = require("luarium.sandbox.command").shown_output

local M = {}

local CHUNK = 1048576
local STREAMS = { "stdout", "stderr" }

--- Bytes at the end of a stream in which its last lines are looked for.
M.searched = 8388608

--- Hands on the bytes [from, to) of a stream, without those that were given up.
local function read(job, stream, from, to, hand_on)
  while from < to do
    local bytes, after = job:read({ stream = stream, offset = from, max = math.min(CHUNK, to - from) })
    if not bytes or bytes == "" then
      return
    end
    hand_on(bytes)
    from = after
  end
end

--- Where the last so many lines of [from, to) begin.
local function tail_start(job, stream, from, to, count)
  from = math.max(from, to - M.searched)
  local size = 65536
  while count > 0 do
    local parts, at = {}, math.max(from, to - size)
    read(job, stream, at, to, function(bytes)
      parts[#parts + 1] = bytes
    end)
    local text = table.concat(parts)
    local ends = select(2, text:gsub("\n", "")) - (text:sub(-1) == "\n" and 1 or 0)
    if ends >= count then
      local place = 0
      for _ = 1, ends - count + 1 do
        place = text:find("\n", place + 1, true)
      end
      return to - #text + place
    elseif at == from then
      return from
    end
    size = size * 8
  end
  return to
end

local function end_of(context, status)
  local now = native.loop.realtime()
  if context.json then
    return { time = now, job = status.key, state = status.state, exit_code = status.exit_code, signal = status.signal,
      timed_out = status.timed_out, stdout_bytes = status.stdout_bytes, stderr_bytes = status.stderr_bytes }
  end
  return { time = now, job = status.key, about = ("job %s: %s"):format(status.key, jobs.state(status)) }
end

--- One job: what there is, or with --follow until it ends, and how it is then.
local function show(context, printer, flush, job, args)
  local status = job:status()
  local feeds, finishes, from = {}, {}, {}
  for _, stream in ipairs(STREAMS) do
    local feed
    feed, finishes[stream] = shown_output(function(text)
      printer:show({ time = native.loop.realtime(), job = job.key, stream = stream, text = text })
    end)
    feeds[stream] = function(bytes)
      feed(bytes)
      flush()
    end
    from[stream] = status[stream .. "_from"]
    if args.tail then
      from[stream] = tail_start(job, stream, from[stream], status[stream .. "_bytes"], args.tail)
    end
  end
  if args.follow then
    status = job:follow({ on_stdout = feeds.stdout, on_stderr = feeds.stderr, stdout_offset = from.stdout,
      stderr_offset = from.stderr })
  end
  for _, stream in ipairs(STREAMS) do
    if not args.follow then
      read(job, stream, from[stream], status[stream .. "_bytes"], feeds[stream])
    end
    finishes[stream]()
  end
  printer:show(end_of(context, status))
  flush()
end

--- Shows the jobs that --job names, or all. Several that are followed are followed at once.
---@async
---@param context luarium.cli.Context
---@param box luarium.Sandbox
---@param args {job: string[], jobs: boolean?, follow: boolean?, tail: integer?}
function M.show(context, box, args)
  local list, seen = {}, {}
  local function add(key)
    list[#list + 1] = not seen[key] and box:attach(key) or nil
    seen[key] = true
  end
  for _, text in ipairs(args.job) do
    add(jobs.find(box, text))
  end
  for _, status in ipairs(args.jobs and box:jobs() or {}) do
    add(status.key)
  end
  if #list == 0 then
    return context:note("no jobs; `luarium exec --detach %s -- COMMAND` starts one", box.name or box.id)
  end
  local printer, flush = require("luarium.cli.log_printer").open(context.json)
  printer.unnamed = #list == 1
  context:api().map(list, function(job)
    show(context, printer, flush, job, args)
  end, { concurrency = args.follow and #list or 1 })
end

return M
