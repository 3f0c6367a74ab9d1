--- luarium repl
local function track(open)
  local event = require "luarium.event"
  event.on("sandbox.create", function(record)
    if record.phase == "stop" then
      open[record.sandbox] = true
    end
  end)
  event.on("sandbox.destroy", function(record)
    if record.phase == "stop" then
      open[record.sandbox] = nil
    end
  end)
end

return {
  summary = "type Lua, a line at a time",
  about = "The library is there as `luarium`, and calls that wait just work. What a line returns is shown, and is in\n"
    .. "`_`. Globals last from line to line; a statement goes on until it is whole. Ctrl-C ends what the line does,\n"
    .. "Ctrl-D or os.exit() the session. Sandboxes that were not destroyed are listed at the end.\n"
    .. "`luarium.task.start(fn)` works beside what is typed. Without a terminal the lines are read from standard\n"
    .. "input, and the first failure ends the session with its exit code.",
  example = "luarium repl\necho 'luarium.with({}, function(box) return box:exec(\"pwd\").stdout end)' | luarium repl",
  run = function(_, context)
    local tty = require("luarium.native").tty
    local interactive = tty.isatty(0) and tty.isatty(1)
    local open = {}
    context.on_api = function()
      track(open)
    end
    local code = context:task(function()
      if interactive then
        context:note("Luarium %s, %s. Ctrl-D leaves.", require("luarium.native").version, _VERSION)
      end
      return require("luarium.cli.repl").new(context, interactive):run()
    end)
    if interactive then
      io.stdout:write("\n")
    end
    local ids = require("luarium.check").keys(open)
    if #ids > 0 then
      context:note("luarium: still there: %s\nhint: `luarium destroy %s` removes %s", table.concat(ids, ", "),
        table.concat(ids, " "), #ids == 1 and "it" or "them")
    end
    return code
  end,
}
