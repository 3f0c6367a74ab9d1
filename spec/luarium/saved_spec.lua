--- Snapshots and volumes through the public API, over folders: no right and no engine is needed.
local async = require "spec.support.async"
local event = require "luarium.event"
local luarium = require "luarium"
local saved = require "spec.support.saved"
local state = require "spec.support.state"

require "spec.support.saving_provider"

local fails = saved.fails

describe("snapshots and volumes", function()
  local function over_folders(fn)
    return async(20, function()
      state.with(function()
        fn("saving")
      end)
    end)
  end

  it("of folders: states are saved, listed and deleted", over_folders(saved.snapshots))
  it("of folders: volumes are made, listed and deleted", over_folders(saved.volumes))

  it("are the default provider's when none is named, and are told as events", over_folders(function()
    luarium.configure({ default = "saving" })
    local told = {}
    local offs = { event.on("volume", function(record)
      told[#told + 1] = ("%s %s %s"):format(record.event, record.phase, tostring(record.volume))
    end) }
    luarium.volume(nil, "data")
    assert.equal("data", luarium.volumes()[1].name)
    luarium.delete_volume(nil, "data")
    offs[1]()
    assert.same({ "volume.make start data", "volume.make stop data", "volume.list start nil", "volume.list stop nil",
      "volume.delete start data", "volume.delete stop data" }, told)
  end))

  it("and a copy has a folder of its own", over_folders(function(name)
    luarium.with({ provider = name }, function(box)
      box:write_file("file", "first")
      local copy = box:fork({ name = "copy" })
      box:write_file("file", "second")
      assert.equal("first", copy:read_file("file"))
      assert.is_true(copy.cwd ~= box.cwd)
      copy:destroy()
    end)
  end))

  it("teach what to use where there are none", over_folders(function()
    for _, case in ipairs({
      { luarium.snapshots, "provider 'local' has no 'snapshot_list': keep your own list" },
      { luarium.delete_snapshot, "provider 'local' has no 'snapshot_delete': use the vendor's own tool" },
      { luarium.volumes, "provider 'local' has no 'volume_list': keep your own list" },
      { luarium.volume, "provider 'local' has no 'volume': upload into each sandbox" },
      { luarium.delete_volume, "provider 'local' has no 'volume_delete': use the vendor's own tool" },
    }) do
      assert.equal(case[2], fails("unsupported", case[1], "local", "x"))
    end
  end))

  it("refuse wrong arguments", over_folders(function(name)
    fails("invalid", luarium.snapshots, {})
    fails("invalid", luarium.snapshots, "nonsense")
    fails("invalid", luarium.delete_snapshot, name)
    fails("invalid", luarium.delete_volume, name, 5)
    fails("invalid", luarium.volume, name, nil)
  end))
end)
