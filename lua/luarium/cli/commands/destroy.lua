--- luarium destroy
local boxes = require "luarium.cli.boxes"
local json = require "luarium.json"
local errors = require "luarium.error"
local format = require "luarium.cli.format"
local many = require "luarium.cli.many"
local options = require "luarium.cli.options"
local terms = require "luarium.cli.terms"

--- Asks on the terminal.
local function confirmed(count)
  local native = require "luarium.native"
  if not (native.tty.isatty(0) and native.tty.isatty(2)) then
    options.usage_error("destroy --all asks first, and there is no terminal to ask on: add --yes",
      "luarium destroy --all --yes")
  end
  io.stderr:write(("destroy %d sandbox%s? [y/N] "):format(count, count == 1 and "" or "es"))
  io.stderr:flush()
  local input, err = native.input.open(0)
  if not input then
    error(err, 0)
  end
  local ok, answer = pcall(require("luarium.task").await, input:read())
  input:close()
  if not ok then
    error(answer, 0)
  end
  return (answer or ""):lower():match("^y") ~= nil
end

local function chosen(luarium, args)
  if not args.all and not args.expired then
    return many.find(luarium, args.box)
  end
  local records = {}
  for _, record in ipairs(luarium.list({ provider = args.provider, labels = format.map(args.label) })) do
    records[#records + 1] = (args.all or boxes.status(record) == "expired") and record or nil
  end
  return records
end

local function check_words(args)
  local several = args.all and "--all" or args.expired and "--expired"
  if args.all and args.expired then
    options.usage_error("destroy: either --all or --expired, not both", "luarium help destroy")
  elseif several and #args.box > 0 then
    options.usage_error(("destroy: either sandboxes or %s, not both"):format(several), "luarium help destroy")
  elseif not several and #args.box == 0 then
    options.usage_error("destroy: which sandbox? name at least one, or give --all", "luarium ls")
  elseif not several and #args.label > 0 then
    options.usage_error("destroy: --label goes with --all or --expired", "luarium help destroy")
  end
end

--- Ends one; with `forget`, what cannot be ended loses its record all the same, and the reason is returned.
local function destroy(luarium, record, forget, command)
  local ok, err = luarium.try(function()
    luarium.destroy(record.id)
    return true
  end)
  if ok then
    return nil
  elseif not forget or errors.is(err, "cancelled") then
    error(err, 0)
  end
  require("luarium.registry").delete(record.id)
  return terms.message(errors.normal(err), command)
end

return {
  summary = "end sandboxes and everything in them",
  about = "A sandbox whose provider cannot be asked stays on record, so that it is not lost. Where the provider is\n"
    .. "gone for good, --forget removes the record all the same. --expired is something for cron: it ends those\n"
    .. "whose --timeout is over while no program of ours was there to do it.",
  example = "luarium destroy demo\nluarium destroy --all --label team=docs --yes\n"
    .. "luarium destroy --expired --quiet",
  arguments = { { "box", many = true, optional = true, about = "id, its beginning or end, or name" } },
  options = {
    { "-a --all", about = "all of them; --provider and --label narrow it down" },
    { "--expired", about = "those past their end; --provider and --label narrow it down" },
    { "-y --yes", about = "do not ask" },
    { "--forget", about = "remove also the record of what cannot be destroyed; ending it is up to you then" },
    { "-l --label", value = "KEY=VALUE", type = "pair", many = true,
      about = "with --all or --expired: only those with this label" },
  },
  run = function(args, context)
    check_words(args)
    return context:task(function()
      local luarium = context:api()
      local records = chosen(luarium, args)
      if args.all and #records > 0 and not args.yes and not confirmed(#records) then
        return 1
      end
      context:show()
      local results = luarium.map(records, function(record)
        return destroy(luarium, record, args.forget, context.command)
      end, { settle = true, concurrency = 16 })
      local gone, failed, forgotten = {}, {}, {}
      for i, result in ipairs(results) do
        local id = records[i].id
        if result.ok and result.value then
          forgotten[#forgotten + 1] = { id = id, error = result.value }
          context:note("forgot %s, which could not be destroyed: %s", id, result.value)
        elseif result.ok then
          gone[#gone + 1] = id
          context:note("destroyed %s", id)
        else
          failed[#failed + 1] = { id = id, error = terms.message(errors.normal(result.error), context.command) }
        end
      end
      if context.json then
        context:print_json({ destroyed = json.array(gone), failed = json.array(failed),
          forgotten = args.forget and json.array(forgotten) or nil })
      end
      if #failed > 0 then
        many.fail(failed, #records, "destroyed")
      end
    end)
  end,
}
