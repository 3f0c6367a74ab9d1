--- luarium provider test
local format = require "luarium.cli.format"

local marks = { passed = "ok", failed = "FAILED", skipped = "skipped" }

local function show(context, result)
  if context.json then
    return context:print_json(result)
  elseif context.quiet and result.status ~= "failed" then
    return
  end
  local report = require "luarium.cli.report"
  context:print("%s  %s: %s  %s", format.pad(marks[result.status], 7), result.topic, result.name,
    format.duration(result.duration))
  if result.reason and (result.status == "failed" or context.verbose) then
    context:print("         %s", (report.clean(result.reason):gsub("\n", "\n         ")))
  end
  io.stdout:flush()
end

return {
  summary = "run the conformance suite over a provider",
  about = "Makes real sandboxes and destroys them. A check whose operation the provider lacks checks that the refusal "
    .. "helps.",
  example = "luarium provider test acme --filter files",
  arguments = { { "name", about = "a configured name, or an adapter's own" } },
  options = {
    { "-f --filter", value = "PATTERN", about = "only the checks whose \"topic: name\" has this Lua pattern" },
    { "-j --jobs", value = "N", type = "positive", about = "topics at a time (default: 1)" },
    { "--light", about = "leave out what takes long or moves much data" },
  },
  run = function(args, context)
    return context:task(function()
      context:api()
      local report = require("luarium.conformance").run({
        provider = args.name, filter = args.filter, jobs = args.jobs, heavy = not args.light,
        on_result = function(result)
          show(context, result)
        end,
      })
      if not context.json then
        context:print("%d passed, %d failed, %d skipped", report.passed, report.failed, report.skipped)
      end
      if report.passed + report.failed == 0 then
        require("luarium.cli.options").usage_error("provider test: no check fits the filter",
          "luarium provider test " .. args.name)
      end
      return report.failed > 0 and 1 or 0
    end)
  end,
}
