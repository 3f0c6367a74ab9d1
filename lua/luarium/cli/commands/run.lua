--- luarium run
local duration = require "luarium.duration"
local options = require "luarium.cli.options"

local LOOK_SECONDS = 5 -- at what a script declares

local function read_json(path)
  local text, reason = require("luarium.text").of_file(path)
  if not text then
    options.usage_error(("the input file %s cannot be read: %s"):format(path, reason), "luarium help run")
  end
  local value, err = require("luarium.json").decode_plain(text)
  if err or type(value) ~= "table" or #value > 0 then
    options.usage_error(("%s: expected a JSON object%s"):format(path, err and ": " .. err.message or ""),
      "luarium help run")
  end
  return value
end

--- What was given, by name; the command line wins over the file.
local function given_inputs(args)
  local given = {}
  for name, value in pairs(args.input and read_json(args.input) or {}) do
    given[tostring(name)] = { value = value }
  end
  for _, pair in ipairs(args.inputs) do
    local name, text = pair[1], pair[2]
    local texts = given[name] and given[name].texts or {}
    texts[#texts + 1] = text
    given[name] = { text = text, texts = texts }
  end
  return given
end

local function input_lines(rows)
  local names = require("luarium.check").keys(rows)
  table.sort(names, function(a, b)
    local first, second = rows[a].required or false, rows[b].required or false
    if first ~= second then
      return first
    end
    return a < b
  end)
  local lines = {}
  for _, name in ipairs(names) do
    local row = rows[name]
    local about = row.about or ""
    if row.type == "secret" then
      about = about .. " (as env:VARIABLE)"
    end
    if row.required then
      about = about .. " (required)"
    elseif row.default ~= nil then
      about = about .. (" (default: %s)"):format(row.default)
    elseif row.computed then
      about = about .. " (has a default)"
    end
    lines[#lines + 1] = { "  " .. name, row.type, (about:gsub("^ ", "")) }
  end
  return lines
end

--- Help for one script: what it declares. It is not run for that.
local function script_help(words, command)
  local at, path = 1, nil
  while words[at] and not path do
    if words[at]:sub(1, 1) ~= "-" or words[at] == "-" then
      path = words[at]
    elseif options.takes_value(words[at], command) then
      at = at + 1
    end
    at = at + 1
  end
  if not path then
    return options.help(command)
  end
  local clean = require("luarium.cli.report").clean
  local declared, why = require("luarium.script.look").describe(path, LOOK_SECONDS)
  local text = ("Usage: luarium run %s [NAME=VALUE ...] [OPTIONS]\n\n"):format(path)
  if why then
    return text .. "Whether it declares inputs is not known: " .. clean(why) .. ".\n"
  elseif not declared then
    return text .. "This script declares no inputs; it gets NAME=VALUE as `input.NAME`.\n"
  end
  if declared.description then
    text = text .. clean(declared.description) .. "\n\n"
  end
  if not next(declared.inputs) then
    return text .. "It takes no inputs.\n"
  end
  return text .. "Inputs:\n" .. require("luarium.cli.format").table(input_lines(declared.inputs))
    .. "\nThey may also come from a JSON file: --input FILE. `luarium help run` shows the options.\n"
end

--- Runs the script as one operation that events tell of, when somebody gets all of them.
local function run_script(script, given, args, context)
  local script_module = require "luarium.script"
  local info = script_module.new_run(args.script, args.out or "luarium-out")
  if not (context.json or args.events or context:may_report()) then
    return script_module.run(script, given, info)
  end
  return require("luarium.event").span("run", { script = args.script }, script_module.run, script, given, info)
end

local function run(args, context)
  local script = require("luarium.script").load(args.script, function()
    return context:api()
  end)
  local given = given_inputs(args)
  local function show()
    context:show(script)
  end
  context.on_api = show -- a script that makes no sandbox has nothing to show
  local close_events = args.events and require("luarium.event").to_file(args.events)
  local value
  local ok, err = pcall(context.task, context, function()
    if context.json then
      show()
    end
    value = run_script(script, given, args, context)
  end)
  local fault = close_events and close_events()
  require("luarium.cli.main_task").note_open(context)
  local code = require("luarium.script").exit_code(not ok and err or nil)
  if fault and (ok or code == 0) then
    error(fault, 0)
  elseif fault then
    context:note("%s", fault.message)
  end
  if code then
    return code
  elseif not ok then
    error(err, 0)
  end
  local line = context.json and value ~= nil
    and require("luarium.json").encode_bytes({ event = "result",
      result = require("luarium.secret").redact_value(value) })
  if line then -- what has no form in JSON is the script's own affair
    context:print("%s", line)
  end
end

return {
  summary = "run a script",
  about = "`luarium run SCRIPT --help` shows the inputs that a script declares. What it collects of a sandbox goes to\n"
    .. "DIR/NAME, the name of the sandbox, or to DIR/ID when it has none; when another sandbox of that name was\n"
    .. "collected there, to DIR/NAME-ID. What was collected of the same sandbox before is replaced.",
  example = "luarium run scripts/agent_task.lua repo=https://example.com/app.git prompt='fix the tests' --out results",
  arguments = {
    { "script", about = "a Lua file; - is standard input" },
    { "inputs", type = "pair", many = true, optional = true, about = "NAME=VALUE" },
  },
  options = {
    { "-i --input", value = "FILE", about = "inputs from a JSON object; NAME=VALUE wins" },
    { "-o --out", value = "DIR", about = "where the script puts its results (default: luarium-out)" },
    { "--events", value = "FILE", about = "append every event to this file, one JSON object a line" },
    { "--busy-limit", value = "TIME", type = "seconds_or_none",
      about = "how long it may compute without waiting (default: 10s; 0: no limit): " .. duration.FORM },
  },
  help = script_help,
  run = function(args, context)
    context.busy_limit = args.busy_limit
    return run(args, context)
  end,
}
