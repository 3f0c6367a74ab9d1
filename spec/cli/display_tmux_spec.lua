--- The live display on real terminals, as a person sees it.
local program = require "spec.support.program"
local tmux = require "spec.support.tmux"

local within = program.within(90)

--- So many sandboxes that write their name and wait for a file.
local function script(count)
  return ([[
    local names, go = {}, os.getenv("HOME") .. "/go"
    for i = 1, %d do names[i] = ("box%%02d"):format(i) end
    luarium.map(names, function(name)
      local box <close> = luarium.create { name = name, env = { NAME = name, GO = go } }
      box:exec("echo says $NAME; while [ ! -e $GO ]; do sleep 0.05; done")
    end, { concurrency = %d })]]):format(count, count)
end

for _, size in ipairs({ { 80, 24 }, { 200, 50 } }) do
  it(("the live display at %dx%d has totals, a line a sandbox, and fits after a resize"):format(size[1], size[2]),
    within(function(place)
      place:write("script.lua", script(size[2]))
      tmux.with(place, size[1], size[2], function(terminal)
        terminal:enter("clear; luarium run script.lua; echo ended $?")
        terminal:see(("\n%d sandboxes, %d at work; %d operations done; [%%d.]+s\n"):format(size[2],
          size[2], size[2]))
        local screen = terminal:see("box%d%d +%d+s  exec echo says[^\n]*  says box%d%d\n")
        assert.truthy(screen:find("%.%.%. and %d+ more\n"), screen)
        terminal:resize(60, 20)
        screen = terminal:see("sandboxes[^\n]*\n" .. ("box%d%d[^\n]*\n"):rep(16) .. "%.%.%. and "
          .. (size[2] - 16) .. " more\n")
        local _, headers = screen:gsub("%d+ sandboxes, ", "")
        assert.equal(1, headers, screen)
        place:write("go", "")
        screen = terminal:see("\nended 0\n")
        assert.falsy(screen:find("sandboxes,", 1, true), screen)
      end)
    end))
end

it("the live display leaves nothing behind when the terminal becomes narrower and wraps it", within(function(place)
  place:write("script.lua", script(4))
  tmux.with(place, 120, 30, function(terminal)
    terminal:enter("clear; luarium run script.lua; echo ended $?")
    terminal:see(("box%d%d +%d+s  exec echo says[^\n]*  says box%d%d\n"):rep(4))
    terminal:resize(50, 30)
    terminal:resize(44, 30)
    local screen = terminal:see("\nbox04[^\n]*says box04\n\n*$")
    local _, lines = screen:gsub("box01 ", "")
    assert.equal(1, lines, screen)
    place:write("go", "")
    terminal:see("\nended 0\n")
  end)
end))
