--- Sandboxes as the command line names them: by id, by the beginning or end of an id, or by name.
local check = require "luarium.check"
local errors = require "luarium.error"

local M = {}

local SHOWN = 5 -- sandboxes of one name that an error names

local function describe(record)
  return record.id .. (record.name and " (" .. record.name .. ")" or "")
end

local function pick(found, text, what)
  if #found == 1 then
    return found[1]
  elseif #found > 1 then
    local names = {}
    for i, record in ipairs(found) do
      names[i] = describe(record)
    end
    errors.raise("invalid", ("'%s' fits %d sandboxes by %s: %s"):format(text, #found, what,
      table.concat(names, ", ")), { data = { hint = "luarium ls" } })
  end
end

--- "expired" for one past its end, else its status.
---@param record luarium.SandboxRecord
---@return string
function M.status(record)
  local now = require("luarium.native").loop.realtime()
  if record.expires_at and record.expires_at <= now then
    return "expired"
  end
  return record.status
end

--- Says which records cannot be read.
---@param context luarium.cli.Context
---@param records luarium.SandboxRecord[]
function M.note_broken(context, records)
  for _, record in ipairs(records) do
    if record.fault then
      context:note("luarium: %s is broken: %s; `luarium destroy %s` removes it, and what carries its id", record.path,
        require("luarium.log").neutral(record.fault), record.id)
    end
  end
end

--- What machines are told of records.
---@param records luarium.SandboxRecord[]
---@return table list for JSON
function M.facts(records)
  local list = {}
  for i, record in ipairs(records) do
    list[i] = { id = record.id, name = record.name, provider = record.provider, external_id = record.external_id,
      status = M.status(record), created_at = record.created_at, expires_at = record.expires_at,
      labels = record.labels, cwd = record.cwd, path = record.path, fault = record.fault }
  end
  return require("luarium.json").array(list)
end

--- Names are addresses on the command line: raises `conflict` when a sandbox has this one.
---@async
---@param luarium table
---@param name string?
function M.check_free(luarium, name)
  local others = name and luarium.list({ name = name }) or {}
  if #others == 0 then
    return
  end
  local ids = {}
  for i, record in ipairs(others) do
    ids[i] = ("%s (%s)"):format(record.id, M.status(record))
  end
  errors.raise("conflict", ("%s called '%s' already: %s"):format(#others == 1 and "a sandbox is"
    or #others .. " sandboxes are", name, table.concat(ids, ", ", 1, math.min(#ids, SHOWN))),
    { name = "NAME_TAKEN" })
end

--- The result of a command that made a sandbox.
---@param context luarium.cli.Context
---@param box luarium.Sandbox
---@param ignored string[]? options that were given in vain
function M.print_made(context, box, ignored)
  local ok, err = pcall(function()
    if context.json then
      context:print_json({ id = box.id, name = box.name, provider = box.provider, external_id = box.external_id,
        status = box.status, cwd = box.cwd, expires_at = box.expires_at, ignored = ignored })
    else
      context:print("%s", box.id)
    end
  end)
  if not ok then -- nobody else would know its name
    context:note("luarium: made: %s", box.id)
    error(err, 0)
  end
end

--- Whether a word is long enough and begins the id, with or without its `sbx_`, or ends it, as displays show it.
---@param text string
---@param id string
---@return boolean
function M.is_part(text, id)
  return #text >= 4 and (id:sub(1, #text) == text or id:sub(5, 4 + #text) == text or id:sub(-#text) == text)
end

--- The record that a word names. Raises `not_found` with the nearest name.
---@async
---@param luarium table
---@param text string
---@return luarium.SandboxRecord
function M.find(luarium, text)
  local quick = luarium.list({ id = text })[1] or pick(luarium.list({ name = text }), text, "name")
  if quick then
    return quick -- thousands of others are not looked at
  end
  local prefixed, names = {}, {}
  for _, record in ipairs(luarium.list()) do
    if M.is_part(text, record.id) then
      prefixed[#prefixed + 1] = record
    end
    names[#names + 1] = record.name
  end
  local record = pick(prefixed, text, "a part of the id")
  if record then
    return record
  end
  local near = check.nearest(text, names)
  errors.raise("not_found", ("there is no sandbox '%s'%s"):format(text,
    near and (": did you mean '%s'?"):format(near) or ""), { data = { hint = "luarium ls" } })
end

--- The live sandbox that a word names.
---@async
---@return luarium.Sandbox
function M.open(luarium, text)
  return luarium.reconnect(M.find(luarium, text).id)
end

return M
