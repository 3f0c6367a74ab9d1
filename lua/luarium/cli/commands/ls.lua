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
      local expired = 0
      for _, record in ipairs(records) do
        expired = expired + (boxes.status(record) == "expired" and 1 or 0)
        rows[#rows + 1] = { record.id, neutral(record.name or "-"), neutral(record.provider),
          neutral(boxes.status(record)), age(record), record.fault and record.path
          or neutral(format.labels(record.labels)) }
      end
      if #records > 0 then
        context:write(format.table(rows))
        boxes.note_broken(context, records)
      elseif #args.label > 0 or args.provider then
        context:note("no sandbox fits; `luarium ls` shows all")
      else
        context:note("no sandboxes; `luarium create` makes one")
      end
      if expired > 0 then
        context:note("luarium: %d past %s end; `luarium destroy --expired` ends %s", expired,
          expired == 1 and "its" or "their", expired == 1 and "it" or "them")
      end
    end)
  end,
}
