--- The record of every sandbox: written before the sandbox is asked for, gone when it is known to be gone. One private
--- JSON file each, so that any process can list and reconnect.
local check = require "luarium.check"
local config = require "luarium.config"
local errors = require "luarium.error"
local json = require "luarium.json"
local native = require "luarium.native"
local scheduler = require "luarium.task.scheduler"

local await = scheduler.await
local fs = native.fs

local M = {}

---@class luarium.SandboxRecord
---@field id string
---@field provider string the configured name
---@field adapter string
---@field external_id string?
---@field status "creating"|"running"|"stopped"|"destroying"
---@field name string?
---@field labels table<string, string>
---@field created_at number seconds since the epoch
---@field expires_at number?
---@field cwd string?
---@field data table? what the provider needs to reconnect
---@field origin {adapter: string?, config: string?}? see luarium.provider.origin
---@field place string? where the provider led to when it made the sandbox
---@field env table<string, string>? without secrets
---@field secret_env table<string, string>? name in the sandbox -> variable of ours to read it from
---@field path string? of one that is broken
---@field fault string? why it is broken

--- The provider of a record that cannot be read.
M.UNKNOWN = "?"

local TIME = { type = "number", min = 0, max = 1e11 } -- seconds since the epoch

local MAX_RECORD = 1048576 -- bytes
local STALE = 10 -- seconds after which what a write left beside the records has no writer any more

local made = {}

local function folder()
  local path = config.state_dir() .. "/sandboxes"
  if not made[path] then
    for _, dir in ipairs({ config.state_dir(), path }) do
      local ok, err = await(fs.mkdir(dir, { parents = true, mode = 448 })) -- 0700
      if not ok then
        error(err:wrap("state folder"), 0)
      end
    end
    made[path] = true
  end
  return path
end

local function file_of(id)
  return folder() .. "/" .. id .. ".json"
end

local FIELDS = {
  provider = { type = "text", required = true }, status = { type = "text", required = true }, adapter = "text",
  external_id = "text", name = "text", labels = "map", created_at = TIME, expires_at = TIME, cwd = "text",
  data = "table", origin = "map", place = "text", env = "map", secret_env = "map",
}

--- What is wrong with the record of an id, or nil. No value is shown: it may be anybody's.
local function fault_of(record, id)
  if type(record) ~= "table" or record.id ~= id then
    return "this is no record of that sandbox"
  end
  for _, name in ipairs(check.keys(FIELDS)) do
    local fault = check.field(record, name, FIELDS[name])
    if fault then
      return fault
    end
  end
end

--- Whether a text can be the id of a sandbox.
---@param id any
---@return boolean
function M.is_id(id)
  return type(id) == "string" and id:match("^sbx_%w+$") ~= nil and #id <= 64
end

--- Writes a record. Raises when it cannot be kept.
---@async
---@param record luarium.SandboxRecord
function M.put(record)
  local text, fault = json.encode(record)
  if not text then -- what the provider gave to be kept is no plain data
    error(fault:wrap("sandbox record"), 0)
  end
  local path = file_of(record.id)
  local ok, err = await(fs.write_file(path, text, { mode = 384, atomic = true })) -- 0600
  if not ok and err.kind == "not_found" then -- the state folder was deleted behind our back
    made = {}
    ok, err = await(fs.write_file(file_of(record.id), text, { mode = 384, atomic = true }))
  end
  if not ok then
    error(err:wrap("sandbox record"), 0)
  end
end

--- The record that a text is.
local function parse(id, text)
  local record, fault = json.decode_plain(text)
  if not fault then
    fault = fault_of(record, id)
    fault = fault and errors.new("protocol", "it is damaged: " .. fault)
  end
  if fault then
    return nil, fault
  end
  record.labels = record.labels or {}
  return record
end

--- The record of an id, or nil.
---@async
---@param id string
---@return luarium.SandboxRecord?
function M.get(id)
  if not M.is_id(id) then
    errors.raise("invalid", ("%q is no sandbox id: one looks like sbx_01h2..."):format(tostring(id)))
  end
  local text, err = await(fs.read_file(file_of(id), { max = MAX_RECORD }))
  if not text then
    if err.kind == "not_found" then
      return nil
    end
    error(err:wrap("sandbox record"), 0)
  end
  local record, fault = parse(id, text)
  if not record then
    error(fault:wrap("sandbox record " .. file_of(id)), 0)
  end
  return record
end

local function broken(id, err)
  return { id = id, provider = M.UNKNOWN, status = "broken", labels = {}, path = file_of(id), fault = err.message }
end

--- As get, but one that is damaged is told of too, so that it can be destroyed.
---@async
---@param id string
---@return luarium.SandboxRecord?
function M.find(id)
  local ok, record = pcall(M.get, id)
  if not ok and not errors.is(record, "protocol") then
    error(record, 0)
  end
  return ok and record or not ok and broken(id, record) or nil
end

--- As find, and whatever keeps one from being read is told with it: the others are wanted all the same.
---@param id string
---@param text string? what is in the file, when that is known
local function find_among_others(id, text)
  if text and M.is_id(id) then
    local known, fault = parse(id, text)
    return known or broken(id, fault)
  end
  local ok, record = pcall(M.get, id)
  local task = scheduler.current()
  if not ok and (not errors.is(record) or task and scheduler.cancel_reason(task) == record) then
    error(record, 0)
  end
  return ok and record or not ok and broken(id, record) or nil
end

--- Removes what a writer that was killed left. One that was only slow writes again: see put.
local function remove_stale(entry)
  if entry.name:match("^%.luarium%-tmp%-%x+$") and entry.mtime < native.loop.realtime() - STALE then
    await(fs.remove(folder() .. "/" .. entry.name))
  end
end

--- Removes a record; one that is gone already is fine.
---@async
---@param id string
function M.delete(id)
  local ok, err = await(fs.remove(file_of(id)))
  if not ok and err.kind ~= "not_found" then
    error(err:wrap("sandbox record"), 0)
  end
end

--- Whether the text of a record may have this text as a value. Decoding is what takes time with thousands of them.
local function may_have(text, value)
  return text:find(value, 1, true) ~= nil or value:find("/", 1, true) ~= nil
    or text:find("\\[^/]") ~= nil -- or in another notation
end

--- All records, oldest first.
---@async
---@param mentioned string? only those that may have this value in a field, for a caller that looks closer
---@return luarium.SandboxRecord[]
function M.list(mentioned)
  local entries, err = await(fs.ls(folder(), { read = MAX_RECORD })) -- one by one, thousands would take seconds
  if not entries then
    if err.kind == "not_found" then
      return {}
    end
    error(err:wrap("sandbox records"), 0)
  end
  local records = {}
  for _, entry in ipairs(entries) do
    local id = entry.name:match("^(sbx_%w+)%.json$")
    local wanted = id and not (mentioned and entry.bytes and not may_have(entry.bytes, mentioned))
    local record = wanted and find_among_others(id, entry.bytes) -- nil when it was deleted meanwhile
    if record then
      records[#records + 1] = record
    end
    remove_stale(entry)
  end
  table.sort(records, function(a, b)
    return a.id < b.id
  end)
  return records
end

return M
