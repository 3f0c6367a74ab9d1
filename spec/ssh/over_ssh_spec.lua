--- A vendor that only gives machines, through luarium.provider.over_ssh: its adapter is about 80 lines.
local async = require "spec.support.async"
local config = require "luarium.config"
local conformance = require "luarium.conformance"
local luarium = require "luarium"
local peer = require "spec.support.peer"
local scratch = require "spec.support.scratch"
local state = require "spec.support.state"
local vm_service = require "spec.support.vm_service"

require "spec.support.vm_vendor"

local service = peer("ssh: machines of a vendor", vm_service)
if not service then
  return
end

local function with_vendor(fn)
  state.with(function()
    luarium.configure({ providers = { vm = service:provider() } })
    local ok, err = pcall(fn)
    config.reset()
    assert(ok, err)
  end)
end

describe("ssh: machines of a vendor", function()
  it("pass the conformance suite", async(400, function()
    local failed = {}
    state.with(function()
      local report = conformance.run({
        provider = service:provider(), require = { "spec.support.vm_vendor" }, heavy = false,
        on_result = function(result)
          if result.status == "failed" then
            failed[#failed + 1] = ("%s: %s: %s"):format(result.topic, result.name, result.reason)
          end
        end,
      })
      assert.are.equal("", table.concat(failed, "\n"))
      assert.is_true(report.passed > 150, "checks that passed: " .. report.passed)
      config.reset()
    end)
    assert.are.equal(0, service:machines())
  end))

  it("are told apart from those that are gone", async(60, function()
    with_vendor(function()
      local box = luarium.create({ provider = "vm" })
      assert.are.equal("here\n", box:exec("echo here").stdout)
      scratch.sh(("curl -s -X DELETE -H 'Authorization: Bearer the key of the test' %s/machines/%s"):format(service.url,
        box.external_id))
      local ok, err = pcall(box.exec, box, "echo still here")
      assert.is_false(ok)
      assert.are.equal("sandbox_gone", err.kind)
    end)
  end))

  it("that never let us in are given back", async(60, function()
    with_vendor(function()
      local given = service:provider()
      scratch.sh(("ssh-keygen -q -t ed25519 -N '' -f %s/wrong"):format(service.dir))
      given.key = service.dir .. "/wrong"
      luarium.configure({ providers = { wrong = given } })
      local ok, err = pcall(luarium.create, { provider = "wrong" })
      assert.is_false(ok)
      assert.are.equal("auth", err.kind)
      assert.are.equal(0, service:machines())
    end)
  end))
end)
