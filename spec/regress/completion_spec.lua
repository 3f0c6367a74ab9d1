--- Folders in which a key pressed for completion would do harm: what is in them may never end, and say anything.
local native = require "luarium.native"
local program = require "spec.support.program"
local task = require "luarium.task"

local within = program.within(90)

local function offered(place, ...)
  return place:ok({ "__complete", "--", ... })
end

describe("completion in a folder", function()
  local endless = {
    { "whose configuration computes for ever", "while true do pcall(function() while true do end end) end" },
    { "whose configuration is in a pattern for ever", "return { default = ('a'):rep(1e5):match('.-.-.-b') }" },
    { "whose configuration takes all memory", "local t = {} while true do t[#t + 1] = ('x'):rep(1e8) end" },
  }
  for _, case in ipairs(endless) do
    it(case[1] .. " ends", within(function(place)
      assert.truthy(offered(place, "ls", "--js"):find("^%-%-json\t"))
      place:write("luarium.lua", case[2])
      offered(place, "ls", "--js")
    end))
  end

  it("whose configuration nobody writes ends, also at a signal", within(function(place)
    place:run({}, { argv = { "mkfifo", "luarium.lua" } })
    assert.equal("", offered(place, "ls", "--js"))
    local asking = place:spawn({ "__complete", "--", "ls", "--js" })
    local looking
    repeat
      task.sleep(0.02)
      looking = place:run({}, { argv = { "pgrep", "-P", tostring(asking:pid()), "-f", "__candidates" } }).stdout:match("%d+")
    until looking
    asking:kill("INT")
    assert.equal(0, task.await(asking:wait()).exit_code)
    asking:close()
    repeat
      task.sleep(0.02)
    until not task.await(native.fs.stat("/proc/" .. looking))
  end))

  it("whose provider prints offers no word that a shell would run", within(function(place)
    place:write("luarium.lua", "return { default = 'evil', provider_path = { 'providers' } }")
    place:write("providers/evil.lua", [==[
      print("one\ttext\n$(touch x)\ttext\n`touch x`\ttext\nno tab\na b\ttext\ntwo\tesc \27[31m\nx;y\ttext")
      return nil]==])
    assert.equal("one\ttext\ntwo\tesc \\x1b[31m\n", offered(place, "snapshots", "--delete", ""))
  end))
end)
