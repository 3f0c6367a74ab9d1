--- A sandbox that is a folder with the shell and tools of one kind, for specs that look at jobs from outside.
local emulated = require "spec.support.emulated"
local errors = require "luarium.error"
local luarium = require "luarium"
local native = require "luarium.native"
local object = require "luarium.sandbox.object"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local M = {}

local monotonic = native.loop.monotonic

--- Calls fn, which must raise an error of this kind, and returns that.
function M.raises(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "nothing was raised")
  assert(errors.is(err), tostring(err))
  assert(err.kind == kind, tostring(err))
  return err
end

--- Waits until fn() is true, and returns that.
---@async
function M.until_true(what, fn, seconds)
  local deadline = monotonic() + (seconds or 30)
  while true do
    local value = fn()
    if value then
      return value
    end
    assert(monotonic() < deadline, ("%s: not within %g s"):format(what, seconds or 30))
    task.sleep(0.01)
  end
end

--- How many processes have the word among their arguments.
M.count = require("luarium.conformance.context").host_processes

--- An argument that no other process has.
function M.word()
  return "word" .. native.crypto.hex_encode(native.crypto.random(6))
end

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
