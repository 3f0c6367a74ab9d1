--- The commands of what a provider keeps when sandboxes are gone: snapshots and volumes.
local format = require "luarium.cli.format"
local json = require "luarium.json"
local errors = require "luarium.error"

local M = {}

local function age(entry)
  local now = require("luarium.native").loop.realtime()
  return type(entry.created_at) == "number" and format.duration(math.max(0, now - entry.created_at)) or "-"
end

--- A table for people.
---@param list (luarium.Snapshot|luarium.Volume)[]
---@return string
function M.table(list)
  local rows = { { "NAME", "SIZE", "AGE", "ID" } }
  for _, entry in ipairs(list) do
    rows[#rows + 1] = { entry.name, entry.size and format.size(entry.size) or "-", age(entry), entry.id or "-" }
  end
  return format.table(rows)
end

local function facts(list)
  local result = {}
  for i, entry in ipairs(list) do
    result[i] = { name = entry.name, id = entry.id, image = entry.image, size = entry.size,
      created_at = entry.created_at }
  end
  return json.array(result)
end

local function delete(context, given, remove)
  local items, seen = {}, {}
  for _, id in ipairs(given) do
    items[#items + 1] = not seen[id] and { id = id } or nil
    seen[id] = true
  end
  require("luarium.cli.many").each(context, items, "deleted", function(item)
    remove(context.provider, item.id)
  end)
end

--- The command that lists and deletes one kind.
---@param kind "snapshot"|"volume"
---@param words table summary, about, example, none
---@return luarium.cli.Command
function M.command(kind, words)
  return {
    summary = words.summary, about = words.about, example = words.example,
    options = {
      { "--delete", value = kind:upper(), many = true, about = "delete this one, by its name or id" },
    },
    run = function(args, context)
      context:task(function()
        local luarium = context:api()
        if #args.delete > 0 then
          return delete(context, args.delete, luarium["delete_" .. kind])
        end
        local list, err = luarium.try(luarium[kind .. "s"], context.provider)
        if errors.is(err, "unsupported") then
          errors.raise("unsupported", ("provider '%s' has no list of %ss: --provider chooses another one"):format(
            err.provider, kind), { provider = err.provider })
        elseif err then
          error(err, 0)
        end
        if context.json then
          context:print_json(facts(list))
        elseif #list == 0 then
          context:note("%s", words.none)
        else
          context:write(M.table(list))
        end
      end)
    end,
  }
end

return M
