--- Commands that do one thing to several sandboxes: all are found before anything is done, all are tried, and what went
--- wrong is told in one line at the end.
local boxes = require "luarium.cli.boxes"
local errors = require "luarium.error"
local json = require "luarium.json"
local terms = require "luarium.cli.terms"

local M = {}

local SHOWN = 5 -- failures that are told of
local CONCURRENCY = 16

--- The records that words name, each once.
---@async
---@param luarium table
---@param words string[]
---@return luarium.SandboxRecord[]
function M.find(luarium, words)
  local records, seen = {}, {}
  for _, word in ipairs(words) do
    local ok, record = pcall(boxes.find, luarium, word)
    if not ok and errors.is(record, "not_found") and #words > 1 then
      errors.raise("not_found", record.message .. "; nothing was done to the others", { data = record.data })
    elseif not ok then
      error(record, 0)
    end
    if not seen[record.id] then
      seen[record.id] = true
      records[#records + 1] = record
    end
  end
  return records
end

--- Raises one error for all that went wrong.
---@param failed {id: string, error: string}[]
---@param count integer of how many
---@param done string "destroyed"
function M.fail(failed, count, done)
  local said = {}
  for i = 1, math.min(#failed, SHOWN) do
    said[i] = failed[i].id .. ": " .. failed[i].error
  end
  errors.raise("io", ("%d of %d could not be %s; %s%s"):format(#failed, count, done, table.concat(said, "; "),
    #failed > SHOWN and "; ..." or ""))
end

--- Calls fn with each item at once, tells what was done, and raises when one failed. A failure that is alone is raised
--- as it is.
---@async
---@param context luarium.cli.Context
---@param items table[] each with an id
---@param done string "stopped": the key of the ids in JSON, and the word of the notes
---@param fn fun(item: table)
function M.each(context, items, done, fn)
  local results = context:api().map(items, fn, { settle = true, concurrency = CONCURRENCY })
  local fine, failed = {}, {}
  for i, result in ipairs(results) do
    local id = items[i].id
    if result.ok then
      fine[#fine + 1] = id
      context:note("%s %s", done, id)
    else
      failed[#failed + 1] = { id = id, error = terms.message(errors.normal(result.error), context.command) }
    end
  end
  local alone = #items == 1 and #failed == 1
  if context.json and not alone then
    context:print_json({ [done] = json.array(fine), failed = json.array(failed) })
  end
  if alone then
    error(results[1].error, 0)
  elseif #failed > 0 then
    M.fail(failed, #items, done)
  end
end

--- A command that changes the state of sandboxes, such as `stop`.
---@param operation string the method
---@param done string "stopped"
---@param words table summary, about, example
---@return luarium.cli.Command
function M.command(operation, done, words)
  return {
    summary = words.summary, about = words.about, example = words.example,
    arguments = { { "box", many = true, about = "id, its beginning or end, or name" } },
    run = function(args, context)
      context:task(function()
        local luarium = context:api()
        local records = M.find(luarium, args.box)
        context:show()
        M.each(context, records, done, function(record)
          local box = luarium.reconnect(record.id)
          box[operation](box)
        end)
      end)
    end,
  }
end

return M
