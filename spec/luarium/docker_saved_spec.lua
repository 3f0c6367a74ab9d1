--- Snapshots and volumes of a real docker, through the public API.
local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local dockerd = require "spec.support.dockerd"
local luarium = require "luarium"
local peer = require "spec.support.peer"
local program = require "spec.support.program"
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

  it("and the states of a sandbox, by commands", async(120, function()
    program.with(function(place)
      place:write("luarium.lua", ("return { default = 'docker', providers = { docker = { 'docker', host = %q, "
        .. "image = %q } } }"):format(engine.host, engine.image))
      place:ok({ "create", "--name", "demo" })
      place:ok({ "exec", "demo", "echo kept >made" })
      for _, command in ipairs({ "stop", "start", "pause", "resume" }) do
        place:ok({ command, "demo" })
      end
      assert.equal("kept\n", place:ok({ "exec", "demo", "cat made" }))
      local id = place:ok({ "snapshot", "demo" }):match("%S+")
      place:ok({ "create", "--name", "again", "--image", id })
      assert.equal("kept\n", place:ok({ "exec", "again", "cat made" }))
      place:ok({ "fork", "demo", "--name", "copy" })
      assert.equal("kept\n", place:ok({ "exec", "copy", "cat made" }))
      assert.matches("%d MiB", place:ok({ "snapshots" }))
      place:ok({ "destroy", "--all", "--yes" })
      place:ok({ "snapshots", "--delete", id })
      assert.equal("[]\n", place:ok({ "snapshots", "--json" }))
    end)
  end))
end)
