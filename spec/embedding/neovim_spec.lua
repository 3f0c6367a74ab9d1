--- Neovim runs sandboxes on its own loop: docs/embedding/neovim.
local json = require "luarium.json"
local lfs = require "lfs"
local program = require "spec.support.program"

local within = program.within(60)
local source = lfs.currentdir()

local SCRIPT = [[
local sandboxes = require "sandboxes"
local ticks, worst, last = 0, 0, vim.loop.hrtime()
local clock = vim.loop.new_timer()
clock:start(5, 5, function()
  local now = vim.loop.hrtime()
  ticks, worst, last = ticks + 1, math.max(worst, now - last), now
end)
local task, buffer = sandboxes.exec("for i in 1 2 3 4 5 6 7 8 9 10; do seq 200; sleep 0.05; done")
local started = vim.loop.hrtime()
task:on_done(function()
  clock:stop()
  local ok, result = task:result()
  local lines = vim.api.nvim_buf_get_lines(buffer, 0, -1, true)
  local file = io.open("result.json", "w")
  file:write(vim.fn.json_encode({ ok = ok, exit_code = ok and result.exit_code or tostring(result), ticks = ticks,
    worst_ms = worst / 1e6, lines = #lines, first = lines[1], last = lines[#lines],
    seconds = (vim.loop.hrtime() - started) / 1e9 }))
  file:close()
  vim.schedule(function() -- on_done is called between tasks, where no step may be made
    if os.getenv("LEAVE_BUSY") then
      sandboxes.exec("sleep 1000")
      require("luarium").task.step(0.05)
    end
    vim.cmd("qa!")
  end)
end)
]]

local function run(place, env)
  place:write("script.lua", SCRIPT)
  for key, value in pairs(env or {}) do
    place.env[key] = value
  end
  place.env.LUA_PATH = source .. "/lua/?.lua;" .. source .. "/lua/?/init.lua;;"
  place.env.LUA_CPATH = source .. "/build/luajit/?.so;;"
  return place:run({}, { argv = { "nvim", "--headless", "-u", "NONE", "-i", "NONE",
    "--cmd", "set rtp+=" .. source .. "/docs/embedding/neovim", "-c", "luafile script.lua" }, merge = true })
end

describe("Neovim", function()
  it("stays responsive while a sandbox works, and gets its output into a buffer", within(function(place)
    local result = run(place)
    assert.equal(0, result.exit_code, result.stdout)
    local facts = json.decode(place:read("result.json"))
    assert.same({ true, 0, 2002, "1", "[exit code 0]" }, { facts.ok, facts.exit_code, facts.lines, facts.first, facts.last })
    assert(facts.ticks * 0.005 > facts.seconds / 4, "the editor's own timer starved: " .. place:read("result.json"))
    assert.equal(0, place:records())
  end))

  it("destroys what still works when it is left", within(function(place)
    local result = run(place, { LEAVE_BUSY = "1" })
    assert.equal(0, result.exit_code, result.stdout)
    assert.equal(0, place:records())
  end))
end)
