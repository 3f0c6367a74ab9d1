--- A sandbox that is a folder with the shell and tools of one kind, for specs that look at jobs from outside.
local emulated = require "spec.support.emulated"
local errors = require "luarium.error"
local luarium = require "luarium"
local marked = require "spec.support.marked"
local native = require "luarium.native"
local object = require "luarium.sandbox.object"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local M = {}

--- Calls fn, which must raise an error of this kind, and returns that.
function M.raises(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "nothing was raised")
  assert(errors.is(err), tostring(err))
  assert(err.kind == kind, tostring(err))
  return err
end

M.until_true = require "spec.support.until_true"
M.count, M.word = marked.count, marked.word

--- A sandbox whose HOME is in its folder; give it back with M.drop.
---@param options table? of spec.support.emulated
---@return table world also sandbox, home, folder(key), record(key, name)
function M.new(options)
  local world = emulated.new(options)
  world.home = world.dir .. "/home"
  scratch.sh(("mkdir -m 777 %s"):format(world.home))
  world.instance.state.env = { HOME = world.home }
  world.sandbox = object.attach({ id = "sbx_" .. native.crypto.ulid():lower(), provider = "emulated",
    external_id = "1", status = "running", cwd = world.dir, labels = {} }, world.instance, {})
  function world.folder(key)
    return world.home .. "/.luarium/jobs/" .. key
  end
  function world.record(key, name)
    return scratch.read(world.folder(key) .. "/" .. name)
  end
  --- The pid of the command, when it has begun; of the supervisor.
  function world.leader(key)
    return world.record(key, "leader"):match("^= (%d+)")
  end
  function world.owner(key)
    return world.record(key, "owner"):match("^%d+")
  end
  return world
end

--- Ends what a failed test has left.
function M.drop(world)
  task.run(function()
    for _, status in ipairs(luarium.try(world.sandbox.jobs, world.sandbox) or {}) do
      luarium.try(function()
        world.sandbox:attach(status.key):kill()
      end)
    end
  end)
  emulated.drop(world)
end

return M
