--- An adapter with saved states, volumes and stops that needs no right and no engine: folders of this machine. Requiring
--- it registers it; a program finds it in its folder of adapters.
local M = {}

M.text = [=[
local base = require "luarium.providers.local"
local config = require "luarium.config"
local errors = require "luarium.error"
local native = require "luarium.native"
local provider = require "luarium.provider"
local task = require "luarium.task"

local await, fs = task.await, native.fs

local function folder(kind)
  return config.state_dir() .. "/saving/" .. kind
end

local function id_of(name)
  return "id-" .. native.crypto.sha256(name):sub(1, 12)
end

local function list(kind)
  return function()
    local entries, err = await(fs.ls(folder(kind)))
    if not entries then
      return err.kind == "not_found" and {} or nil, err
    end
    local found = {}
    for i, entry in ipairs(entries) do
      found[i] = { name = entry.name, id = id_of(entry.name), created_at = entry.mtime }
    end
    return found
  end
end

local function delete(kind)
  return function(_, name)
    local ok, err = await(fs.remove(folder(kind) .. "/" .. name, { recursive = true }))
    if not ok and err.kind == "not_found" then
      err = errors.new("not_found", ("there is no %s named '%s'"):format(kind, name))
    end
    return ok, err
  end
end

local function copy(from, to)
  local ok, err = await(fs.mkdir(to:match("^(.*)/"), { parents = true }))
  if ok then
    ok, err = await(fs.copy(from, to, {}))
  end
  return ok, err
end

local definition = {}
for key, value in pairs(base) do
  definition[key] = value
end
definition.name, definition.summary, definition.unsupported = "saving", "local, with saved states and volumes", nil

local function flag(name)
  return function(_, box)
    return await(fs.write_file(folder("status") .. "/" .. box.external_id, name, { parents = true }))
  end
end
definition.stop, definition.start = flag("stopped"), flag("running")
definition.pause, definition.resume = flag("paused"), flag("running")

function definition.snapshot(_, box, name)
  local path = folder("snapshot") .. "/" .. name
  if await(fs.stat(path)) then
    return nil, errors.new("conflict", ("snapshot: there is one named '%s' already"):format(name))
  end
  local ok, err = copy(box.cwd, path)
  return ok and { name = name, id = id_of(name) } or nil, err
end
definition.snapshot_list, definition.snapshot_delete = list("snapshot"), delete("snapshot")

function definition.fork(self, box, options)
  local made, err = base.create(self, { id = options.id, name = options.name, labels = {} })
  if not made then
    return nil, err
  end
  local ok, fault = await(fs.remove(made.cwd, { recursive = true }))
  if ok then
    ok, fault = copy(box.cwd, made.cwd)
  end
  return ok and made or nil, fault
end

function definition.volume(_, name)
  local ok, err = await(fs.mkdir(folder("volume") .. "/" .. name, { parents = true }))
  return ok and { name = name, id = id_of(name) } or nil, err
end
definition.volume_list, definition.volume_delete = list("volume"), delete("volume")

return provider.define(definition)
]=]

--- Puts the adapter into the folder of a program's project.
---@param place spec.Place
function M.write(place)
  place:write("providers/saving.lua", M.text)
end

require("luarium.provider").register(assert(load(M.text, "=saving"))())

return M
