--- luarium ls
local boxes = require "luarium.cli.boxes"
local format = require "luarium.cli.format"
local neutral = require("luarium.log").neutral

local function age(record)
  if record.fault then
    return "-"
  end
  local now = require("luarium.native").loop.realtime()
  return format.duration(math.max(0, now - (record.created_at or now)))
end

return {
  summary = "list the sandboxes",
  about = "Shows the records of the state folder; no provider is asked.",
  example = "luarium ls --label team=docs",
  options = {
    { "-l --label", value = "KEY=VALUE", type = "pair", many = true, about = "only those with this label" },
  },
  run = function(args, context)
    context:task(function()
      local luarium = context:api()
      local records = luarium.list({ provider = args.provider, labels = format.map(args.label) })
      if context.json then
        return context:print_json(boxes.facts(records))
      end
      local rows = { { "ID", "NAME", "PROVIDER", "STATUS", "AGE", "LABELS" } }
      for _, record in ipairs(records) do
        rows[#rows + 1] = { record.id, neutral(record.name or "-"), neutral(record.provider),
          neutral(boxes.status(record)), age(record), record.fault and record.path
          or neutral(format.labels(record.labels)) }
      end
      if #records == 0 then
        context:note("no sandboxes; `luarium create` makes one")
      else
        context:write(format.table(rows))
        boxes.note_broken(context, records)
      end
    end)
  end,
}
