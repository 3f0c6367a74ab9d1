--- luarium jobs
local boxes = require "luarium.cli.boxes"
local jobs = require "luarium.cli.jobs"
local options = require "luarium.cli.options"

local function end_them(box, args, context)
  for _, text in ipairs(args.kill) do
    local status = box:attach(jobs.find(box, text)):kill(args.signal)
    context:note("%s: %s", status.key, jobs.state(status))
  end
  for _, text in ipairs(args.remove) do
    local key = jobs.find(box, text)
    box:attach(key):remove()
    context:note("removed %s", key)
  end
end

return {
  summary = "list the jobs of a sandbox, or end them",
  about = "Jobs are commands that go on without us: `luarium exec --detach` starts one, `luarium attach` follows it.",
  example = "luarium jobs demo\nluarium jobs demo --kill build\nluarium jobs demo --remove build",
  arguments = { { "box", about = "id, its beginning or end, or name" } },
  options = {
    { "--kill", value = "JOB", many = true, about = "end this one and all it started; a key or the beginning of one" },
    { "--signal", value = "NAME", about = "with --kill: send this instead of SIGKILL" },
    { "--remove", value = "JOB", many = true, about = "forget one that has ended, with its output" },
  },
  run = function(args, context)
    if args.signal and #args.kill == 0 then
      options.usage_error("jobs: --signal goes with --kill", "luarium help jobs")
    end
    return context:task(function()
      local box = boxes.open(context:api(), args.box)
      if #args.kill + #args.remove > 0 then
        end_them(box, args, context)
        if not context.json then
          return 0
        end
      end
      local list = box:jobs()
      if context.json then
        return context:print_json(require("luarium.json").array(list))
      elseif #list == 0 then
        return context:note("no jobs; `luarium exec --detach %s -- COMMAND` starts one", args.box)
      end
      context:write(jobs.table(list))
    end)
  end,
}
