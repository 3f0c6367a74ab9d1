--- A LÖVE game draws its sandboxes and keeps its frame rate: docs/embedding/love, on a screen of its own.
local json = require "luarium.json"
local lfs = require "lfs"
local program = require "spec.support.program"
local task = require "luarium.task"

local within = program.within(60)
local source = lfs.currentdir()
local example = source .. "/docs/embedding/love"

--- The example with eyes and a clock. It looks at the screen four times a second, as a PNG file would have it, and writes
--- the first picture on which enough rows work and the first on which none does any more.
local WATCHED = [[
local json = require "luarium.json"
dofile(EXAMPLE .. "/main.lua")
local update, now = love.update, love.timer.getTime
local frames, worst_step, worst_frame, began, last, due, pictures = 0, 0, 0, nil, nil, nil, {}
local COLOURS = { starting = { 140, 140, 153 }, working = { 51, 128, 230 }, done = { 64, 179, 89 }, failed = { 217, 64, 64 } }

local function write(name, text)
  local file = assert(io.open(DIR .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end

local function state_at(image, x, y)
  local pixel = { image:getPixel(x, y) }
  for name, colour in pairs(COLOURS) do
    local far = 0
    for i = 1, 3 do
      far = math.max(far, math.abs(pixel[i] * 255 - colour[i]))
    end
    if far <= 2 then
      return name
    end
  end
end

local function count(from_x, to_x, from_y, to_y, fits)
  local n = 0
  for y = from_y, to_y do
    for x = from_x, to_x do
      n = n + (fits(x, y) and 1 or 0)
    end
  end
  return n
end

--- What can be seen, from top to bottom: the square of each row, how long its bar is, how much is written.
local function look(image)
  local rows, before = {}, nil
  local function white(x, y)
    local r, g, b = image:getPixel(x, y)
    return r + g + b > 2.4
  end
  for y = 0, image:getHeight() - 1 do
    local state = state_at(image, 26, y)
    if state and before ~= state then
      rows[#rows + 1] = { state = state, name = count(44, 130, y, y + 19, white), line = count(440, 780, y, y + 19, white),
        bar = count(222, 418, y + 10, y + 10, function(x) return state_at(image, x, y + 10) == state end) }
    end
    before = state
  end
  return rows
end

local function count_state(rows, state)
  local n = 0
  for _, row in ipairs(rows) do
    n = n + (row.state == state and 1 or 0)
  end
  return n
end

local function keep(name, rows, file)
  write(name .. ".png", file:getString())
  pictures[name] = rows
end

local function leave()
  write("facts.json", json.encode({ frames = frames, seconds = now() - began, worst_step_ms = worst_step * 1000,
    worst_frame_ms = worst_frame * 1000, busy = pictures.busy, rest = pictures.rest }))
  love.keypressed("escape")
end

local function judge(image)
  local file = image:encode("png")
  local rows = look(love.image.newImageData(file))
  local working = count_state(rows, "working")
  if not pictures.busy and working >= 8 and rows[1].bar > 30 then
    keep("busy", rows, file)
    love.keypressed("space")
    io.stdout:write("busy\n")
    io.stdout:flush()
  elseif pictures.busy and #rows == 13 and working + count_state(rows, "starting") == 0 then
    keep("rest", rows, file)
    leave()
  end
  last = nil -- the looking is not the game's
end

function love.update(dt)
  love.timer.sleep((due or 0) - now()) -- there is no real screen to wait for
  local start = now()
  update(dt)
  began, due = began or start, start + 1 / 60
  worst_step = math.max(worst_step, now() - start)
  worst_frame = math.max(worst_frame, last and start - last or 0)
  last, frames = start, frames + 1
  if frames % 15 == 0 then
    love.graphics.captureScreenshot(judge)
  end
end
]]

local function with_screen(place, fn)
  local screen <close> = place:spawn({}, { timeout = 60,
    argv = { "Xvfb", "-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp" } })
  local display = program.read_until(screen, "%d+\n"):match("%d+")
  place.env.DISPLAY = ":" .. display
  place.env.LUA_PATH = source .. "/lua/?.lua;" .. source .. "/lua/?/init.lua;;"
  place.env.LUA_CPATH = source .. "/build/luajit/?.so;;"
  place:write("game/conf.lua", ("dofile(%q)"):format(example .. "/conf.lua"))
  place:write("game/main.lua", ("local EXAMPLE, DIR = %q, %q\n%s"):format(example, place.dir, WATCHED))
  fn({ argv = { "love", "game" }, merge = true })
end

local function states(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = row.state
    assert(row.name > 20 and row.line > 20, "nothing is written in row " .. i .. ": " .. json.encode(rows))
  end
  return list
end

describe("LÖVE", function()
  it("draws its sandboxes as they work, and keeps its frame rate", within(function(place)
    with_screen(place, function(options)
      local result = place:run({}, options)
      assert.equal(0, result.exit_code, result.stdout)
      local text = place:read("facts.json")
      local facts = json.decode(text)
      assert.equal(12, #states(facts.busy))
      assert(facts.busy[1].bar < 197, "the bar is full before the end")
      assert.same({ "done", "done", "done", "done", "failed", "done", "done", "done", "done", "failed", "done", "done",
        "done" }, states(facts.rest))
      assert.same({ 197, 98 }, { facts.rest[1].bar, facts.rest[5].bar })
      assert(facts.frames > facts.seconds * 60 / 4, "frames were lost: " .. text)
      assert(facts.worst_frame_ms < 500, "a frame was held up: " .. text)
      assert.equal(0, place:records())
    end)
  end))

  it("destroys what still works when it is left", within(function(place)
    with_screen(place, function(options)
      local game <close> = place:spawn({}, options)
      program.read_until(game, "busy\n")
      assert(place:records() >= 8)
      assert(game:kill("SIGTERM"))
      local rest = program.read_all(game)
      assert.equal(0, task.await(game:wait()).exit_code, rest)
      assert.equal(0, place:records())
    end)
  end))
end)
