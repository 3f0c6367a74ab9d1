--- What is the same of snapshots and volumes with every provider that has them, through the public API.
local assert = require "luassert"
local errors = require "luarium.error"
local luarium = require "luarium"

local M = {}

--- The message of the error of this kind that fn raises.
function M.fails(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert(errors.is(err, kind), ("expected kind %s, got %s"):format(kind, errors.is(err) and err:trace() or tostring(err)))
  return err.message
end

local function names(list)
  local found = {}
  for i, entry in ipairs(list) do
    found[i] = entry.name
  end
  table.sort(found)
  return found
end

function M.snapshots(name)
  luarium.with({ provider = name }, function(box)
    box:write_file("made", "before")
    local first = box:snapshot("first")
    assert.equal("first", first.name)
    assert.same({ "first", "second" }, { "first", box:snapshot("second").name })
    assert.truthy(M.fails("conflict", box.snapshot, box, "first"):find("there is one named 'first' already", 1, true))
    local list = luarium.snapshots(name)
    assert.same({ "first", "second" }, names(list))
    for _, entry in ipairs(list) do
      assert.truthy(entry.name ~= "first" or entry.id == first.id)
      assert.equal("number", type(entry.created_at))
    end
    luarium.delete_snapshot(name, "second")
    assert.same({ "first" }, names(luarium.snapshots(name)))
    luarium.delete_snapshot(name, first.id)
    assert.same({}, luarium.snapshots(name))
    M.fails("not_found", luarium.delete_snapshot, name, "first")
    M.fails("not_found", luarium.delete_snapshot, name, first.id)
  end)
end

function M.volumes(name)
  local made = luarium.volume(name, "data")
  assert.equal("data", made.name)
  assert.same(made.id, luarium.volume(name, "data").id)
  luarium.volume(name, "more")
  assert.same({ "data", "more" }, names(luarium.volumes(name)))
  luarium.delete_volume(name, made.id)
  luarium.delete_volume(name, "more")
  assert.same({}, luarium.volumes(name))
  M.fails("not_found", luarium.delete_volume, name, "data")
end

return M
