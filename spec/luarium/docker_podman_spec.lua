local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local config = require "luarium.config"
local conformance = require "luarium.conformance"
local event = require "luarium.event"
local peer = require "spec.support.peer"
local podman = require "spec.support.podman"
local sandbox = require "luarium.sandbox"
local until_true = require "spec.support.until_true"

local engine = peer("docker over podman", podman, { prepare = boxes.configure })
if not engine then
  return
end

describe("docker over podman", function()
  -- the others say nothing about the engine that these do not, and take five minutes
  for _, topic in ipairs({ "exec", "time", "process", "terminal", "transfer", "life" }) do
    it("conforms: " .. topic, async(300, function()
      local report = conformance.run({ provider = "docker", filter = "^" .. topic .. ":", heavy = false })
      for _, result in ipairs(report.results) do
        assert.is_true(result.status ~= "failed", result.name .. ": " .. tostring(result.reason))
      end
      assert.is_true(report.passed > 5)
    end))
  end

  it("tells of the end of one that nobody talks to", async(60, function()
    local told
    local off = event.on("sandbox.gone", function(record)
      told = record
    end)
    local box = sandbox.create({ provider = "docker" })
    engine:ask("POST", "/containers/" .. box.external_id .. "/kill")
    until_true("the end of the sandbox", function()
      return told
    end)
    off()
    assert.equal(box.id, told.sandbox)
    assert.is_truthy(told.error.message:find("exit code 137", 1, true), told.error.message)
    assert.same({}, engine:containers())
  end))

  it("is known for what it is, and leaves nothing", async(60, function()
    sandbox.with({ provider = "docker", memory = 67108864, network = false }, function(box)
      assert.is_true(config.provider("docker").state.engine.podman)
      assert.equal("lo\n", box:exec("ls /sys/class/net").stdout)
    end)
    assert.same({}, engine:containers())
  end))
end)
