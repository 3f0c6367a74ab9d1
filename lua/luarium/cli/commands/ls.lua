--- luarium ls
local json = require "luarium.json"
local format = require "luarium.cli.format"

local function age(record)
  local now = require("luarium.native").loop.realtime()
  return format.duration(math.max(0, now - (record.created_at or now)))
end

local function status(record)
  local now = require("luarium.native").loop.realtime()
  if record.expires_at and record.expires_at <= now then
    return "expired"
  end
  return record.status
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
        local list = {}
        for i, record in ipairs(records) do
          list[i] = { id = record.id, name = record.name, provider = record.provider,
            external_id = record.external_id, status = status(record), created_at = record.created_at,
            expires_at = record.expires_at, labels = record.labels, cwd = record.cwd }
        end
        return context:print_json(json.array(list))
      end
      local rows = { { "ID", "NAME", "PROVIDER", "STATUS", "AGE", "LABELS" } }
      for _, record in ipairs(records) do
        rows[#rows + 1] = { record.id, record.name or "-", record.provider, status(record), age(record),
          format.labels(record.labels) }
      end
      if #records == 0 then
        context:note("no sandboxes; `luarium create` makes one")
      else
        context:write(format.table(rows))
      end
    end)
  end,
}
