--- luarium providers
local json = require "luarium.json"
local format = require "luarium.cli.format"

local marks = { native = "native", emulated = "emulated", unsupported = "-" }

--- The adapters that load; those that do not are reported, not hidden.
local function load_all(provider)
  local found, broken = {}, {}
  for _, name in ipairs(provider.names()) do
    local ok, definition = pcall(provider.load, name)
    if ok then
      found[#found + 1] = definition
    else
      broken[#broken + 1] = { name = name, error = tostring(definition) }
    end
  end
  return found, broken
end

local function configured(config)
  local by_adapter = {}
  for name, adapter in pairs(config.configured()) do
    by_adapter[adapter] = by_adapter[adapter] or {}
    table.insert(by_adapter[adapter], name)
    table.sort(by_adapter[adapter])
  end
  return by_adapter
end

local function as_json(context, provider, found, broken, names)
  local list = {}
  for i, definition in ipairs(found) do
    list[i] = { name = definition.name, summary = definition.summary, docs = definition.docs,
      configured = json.array(names[definition.name] or {}), capabilities = provider.capabilities(definition) }
  end
  context:print_json({ providers = json.array(list), broken = json.array(broken) })
end

local function matrix(provider, found)
  local contract = require "luarium.provider.contract"
  local head = { "" }
  for _, definition in ipairs(found) do
    head[#head + 1] = definition.name
  end
  local rows = { head }
  for _, operation in ipairs(contract.operations) do
    local row = { operation.name }
    for _, definition in ipairs(found) do
      row[#row + 1] = marks[provider.capability(definition, operation.name)]
    end
    rows[#rows + 1] = row
  end
  return format.table(rows)
end

return {
  summary = "show what each provider can do",
  about = "native: the provider's own; emulated: built from its other operations; -: not there.",
  example = "luarium providers --json | jq '.providers[].name'",
  run = function(_, context)
    context:api()
    local provider = require "luarium.provider"
    local found, broken = load_all(provider)
    local names = configured(require("luarium.config"))
    if context.json then
      return as_json(context, provider, found, broken, names)
    end
    context:write(matrix(provider, found))
    local rows = {}
    for _, definition in ipairs(found) do
      local list = names[definition.name]
      rows[#rows + 1] = { definition.name, (definition.summary or "")
        .. (list and " (configured as " .. table.concat(list, ", ") .. ")" or "") }
    end
    context:write("\n" .. format.table(rows))
    for _, item in ipairs(broken) do
      context:note("%s cannot be loaded: %s", item.name, item.error)
    end
  end,
}
