--- luarium doctor
local format = require "luarium.cli.format"

local colors = { ok = "32", warn = "33", fail = "31" }

return {
  summary = "look for what could stand in the way",
  about = "Every line is ok, warn or fail, with what to do. The exit code is 1 when something fails.\n"
    .. "-v also says what each check is for.",
  example = "luarium doctor\nluarium doctor -v",
  help = function(_, command)
    local options = require "luarium.cli.options"
    local rows = require("luarium.cli.checkup").explain()
    for _, row in ipairs(rows) do
      row[1] = "  " .. row[1]
    end
    return options.help(command, "Checks:\n" .. format.table(rows) .. "\n")
  end,
  run = function(_, context)
    return context:task(function()
      local results = require("luarium.cli.checkup").run(context)
      local failed = false
      for _, result in ipairs(results) do
        failed = failed or result.status == "fail"
      end
      if context.json then
        context:print_json({ checks = results })
        return failed and 1 or 0
      end
      local color = context:has_color() and require("luarium.native").tty.isatty(1)
      for _, result in ipairs(results) do
        local mark = format.pad(result.status, 4)
        if color then
          mark = ("\27[%sm%s\27[0m"):format(colors[result.status], mark)
        end
        context:print("%s  %s  %s", mark, format.pad(result.name, 12), require("luarium.log").neutral(result.message))
        if context.verbose then
          context:print("      %s     %s", (" "):rep(12), result.about)
        end
        if result.advice then
          context:print("      %s  -> %s", (" "):rep(12), result.advice)
        end
      end
      return failed and 1 or 0
    end)
  end,
}
