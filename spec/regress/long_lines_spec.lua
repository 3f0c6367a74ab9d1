--- Output in one long line: patterns that start anew at each byte made seconds or hours of it. The bounds here are far
--- above what is needed and far below that.
local async = require "spec.support.async"
local boxes = require "luarium.cli.display.boxes"
local luarium = require "luarium"
local progress = require "luarium.progress"
local state = require "spec.support.state"

describe("long lines", function()
  it("do not hold the display up", function()
    local shown = boxes.new(function()
      return 0
    end)
    shown:on_operation({ event = "sandbox.exec", phase = "start", span = 1, sandbox = "sbx_1", name = "a" }, false)
    local began = os.clock()
    for _ = 1, 20 do
      shown:on_output({ sandbox = "sbx_1", text = ("x"):rep(1990) .. "\rb" })
      shown:on_output({ sandbox = "sbx_1", text = ("x"):rep(300000) })
      shown:on_output({ sandbox = "sbx_1", text = "\n" .. ("\r \n"):rep(1000) .. "last\n" })
    end
    assert.equal("last", shown.list[1].last)
    assert.truthy(os.clock() - began < 5)
  end)

  it("do not hold up the error of a command that failed", async(30, function()
    state.with(function()
      luarium.with({}, function(box)
        local began = os.clock()
        local _, err = luarium.try(box.exec, box, "head -c 300000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2; exit 1",
          { check = true })
        assert.truthy(err.message:find("exited with 1: end$"), err.message)
        _, err = luarium.try(box.exec, box, "head -c 300000 /dev/zero | tr '\\0' x; exit 1", { check = true })
        assert.truthy(err.message:find("exited with 1: x+$") and #err.message < 500)
        assert.truthy(os.clock() - began < 5)
      end)
    end)
  end))

  it("strange amounts of a provider's progress become something that can be shown", function()
    local describe_amount = require("luarium.cli.display.describe").bar
    local off = require("luarium.event").on("progress", function(record)
      record.first, record.since = 0, 0
      assert.truthy(#describe_amount(record, "create", 2) < 200)
    end)
    local report, told = progress.reporter({ what = "create" }), pcall
    for _, done in ipairs({ -1e8, 0 / 0, 1 / 0, 1.5, "a", {}, 100 }) do
      for _, total in ipairs({ 1, -1, 0 / 0, 1 / 0, "b", 100000 }) do
        assert(told(report, done, total, {}, 7))
        report(0, 0, "other")
      end
    end
    off()
    assert.equal("0 B", require("luarium.cli.format").size(0.5))
  end)
end)
