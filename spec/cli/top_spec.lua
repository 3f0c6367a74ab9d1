--- `luarium top` on a real terminal.
local json = require "luarium.json"
local program = require "spec.support.program"
local tmux = require "spec.support.tmux"

local within = program.within(60, function(place)
  for i = 1, 12 do
    place:ok({ "create", "--name", ("box%02d"):format(i), "--timeout", "3000", "-l", "n=" .. i })
  end
end)

describe("luarium top", function()
  it("shows every sandbox, sees new ones and gone ones, scrolls, and gives the terminal back", within(function(place)
    tmux.with(place, 80, 24, function(terminal)
      terminal:enter("echo before; luarium top")
      local screen = terminal:see("^12 sandboxes.*box12")
      assert.truthy(screen:find("\nsbx_%w+ +box01 +local +running +[%d.]+s +[%d.]+s +4%dm%d%ds +n~\n"), screen)
      place:ok({ "destroy", "box01" })
      screen = terminal:see("^11 sandboxes")
      assert.falsy(screen:find("box01", 1, true), screen)
      terminal:resize(80, 8)
      screen = terminal:see_no("box08")
      assert.truthy(screen:find("box02", 1, true) and screen:find("box07", 1, true), screen)
      terminal:keys("j")
      terminal:see_no("box02")
      terminal:keys("G")
      terminal:see("box12")
      terminal:call("send-keys", "-t", "spec", "-l", "jjq") -- typed at once
      screen = terminal:see("before\nready>")
      assert.falsy(screen:find("box12", 1, true), screen)
      terminal:enter("stty -a | grep -c -w -e -icanon -e -echo")
      terminal:see("\n0\nready>")
    end)
  end))

  it("prints a table on a terminal that cannot be moved about in", within(function(place)
    tmux.with(place, 80, 40, function(terminal)
      for _, unknown in ipairs({ "TERM=dumb", "TERM=", "-u TERM" }) do
        terminal:enter("clear; env " .. unknown .. " luarium top --label n=3; echo code=$?")
        terminal:see("^ID +NAME [^\n]*\n[^\n]*\nsbx_%w+ +box03 .*\ncode=0\n")
      end
    end)
  end))

  it("prints a table without a terminal, and a list for machines", within(function(place)
    local text = place:ok({ "top", "--label", "n=3" })
    assert.truthy(text:find("^ID +NAME +PROVIDER +STATUS +AGE +IDLE +LEFT +LABELS\nsbx_%w+ +box03 [^\n]*\n$"), text)
    assert.equal(12, #json.decode(place:ok({ "top", "--json" })))
  end))
end)
