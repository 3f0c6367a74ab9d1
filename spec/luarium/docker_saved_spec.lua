--- Snapshots and volumes of a real docker, through the public API.
local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local dockerd = require "spec.support.dockerd"
local luarium = require "luarium"
local peer = require "spec.support.peer"
local saved = require "spec.support.saved"

local engine = peer("docker: snapshots and volumes", dockerd, { prepare = boxes.configure })
if not engine then
  return
end

describe("docker: snapshots and volumes", function()
  it("are saved, listed and deleted; the image begins another sandbox", async(120, function()
    saved.snapshots("docker")
    luarium.with({ provider = "docker" }, function(box)
      box:write_file("made", "before")
      box:snapshot("base")
    end)
    local entry = luarium.snapshots("docker")[1]
    assert.is_true(entry.size > 0)
    for _, image in ipairs({ entry.image, entry.id }) do
      luarium.with({ provider = "docker", image = image }, function(box)
        assert.equal("before", box:read_file("made"))
      end)
    end
    luarium.delete_snapshot("docker", "base")
  end))

  it("volumes; one in use stays", async(60, function()
    saved.volumes("docker")
    luarium.with({ provider = "docker", volumes = { "data:/data" } }, function()
      luarium.volume("docker", "data")
      assert.truthy(saved.fails("conflict", luarium.delete_volume, "docker", "data"):find("in use", 1, true))
    end)
    luarium.delete_volume("docker", "data")
  end))
end)
