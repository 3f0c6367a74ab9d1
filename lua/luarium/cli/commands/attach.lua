--- luarium attach
local boxes = require "luarium.cli.boxes"
local cli = require "luarium.cli"
local exit_code = require "luarium.cli.exit_code"
local jobs = require "luarium.cli.jobs"
local task = require "luarium.task"
local writer = require "luarium.cli.writer"

--- Follows until the end, or until Ctrl-C: that leaves the job alone.
local function follow(context, job, given)
  local result, left
  task.scope(function(scope)
    context.interrupt = function(reason)
      local first = not left
      left = true
      if first then
        scope:cancel(reason)
      end
      return first
    end
    local ok, value = pcall(job.follow, job, given)
    context.interrupt = nil
    if ok then
      result = value
    elseif not left then
      error(value, 0)
    end
  end, "attach")
  return result
end

return {
  summary = "follow a job of a sandbox",
  about = "Shows what it has written so far and what comes, to its end; the exit code is the job's own. 124: its time\n"
    .. "limit ended it, 125: nobody knows how it ended, or Luarium itself failed. Ctrl-C leaves it to itself.",
  example = "luarium attach demo build\nluarium attach demo build --offset 4096",
  failed_code = 125,
  arguments = {
    { "box", about = "id, its beginning or end, or name" },
    { "job", about = "its key, or the beginning of one" },
  },
  options = {
    { "--offset", value = "BYTES", type = "count", about = "where in its standard output to begin" },
  },
  run = function(args, context)
    return context:task(function()
      local box = boxes.open(context:api(), args.box)
      require("luarium.outlog").only_view()
      local job = box:attach(jobs.find(box, args.job))
      if context.json then
        local result = job:wait()
        context:print_json(result)
        return result.lost and cli.codes.luarium or exit_code(result)
      end
      context.writes_through = true
      local result = follow(context, job,
        { on_stdout = writer.to(1), on_stderr = writer.to(2), stdout_offset = args.offset })
      if not result then
        context:note("luarium: left %s, which goes on; `luarium attach %s %s` comes back", job.key, args.box, job.key)
        return cli.codes.interrupted
      elseif result.lost then
        context:note("luarium: nobody knows how %s ended: %s", job.key, result.reason)
        return cli.codes.luarium
      elseif result.timed_out then
        context:note("luarium: stopped by its time limit after %.1f s", result.duration)
      end
      return exit_code(result)
    end)
  end,
}
