-- Sandboxes on the screen of a game, which keeps its frame rate:
--   love docs/embedding/love
-- Space starts one more; Escape leaves, and what still works is destroyed.
local luarium = require "luarium"

local STEPS, ROW, PER_FRAME = 20, 40, 0.004 -- of a frame's 16 ms, the sandboxes may have four
local COLOURS = {
  starting = { 0.55, 0.55, 0.60 }, working = { 0.20, 0.50, 0.90 },
  done = { 0.25, 0.70, 0.35 }, failed = { 0.85, 0.25, 0.25 },
}
local rows = {}

--- A few slow steps, each at a pace of its own; every fifth worker stumbles half-way.
local function command(number)
  return ("for n in $(seq %d); do echo step $n; sleep 0.%02d; [ $n != %d ] || exit 1; done"):format(
    STEPS, 10 + number * 7 % 20, number % 5 == 0 and STEPS / 2 or 0)
end

local function start()
  local number = #rows + 1
  local row = { name = "worker " .. number, state = "starting", line = "", step = 0 }
  rows[number] = row
  local task = luarium.task.start(luarium.with, {}, function(box)
    row.state = "working"
    box:exec(command(number), { check = true, merge = true, on_stdout = function(text)
      row.line = text:match("([^\n]*)\n*$")
      row.step = tonumber(row.line:match("%d+")) or row.step
    end })
  end)
  task:on_done(function()
    local ok, err = task:result()
    row.state = ok and "done" or "failed"
    row.line = ok and row.line or tostring(err):match("[^\n]*")
  end)
end

function love.load()
  love.graphics.setBackgroundColor(0.10, 0.11, 0.14)
  for _ = 1, 12 do
    start()
  end
end

function love.update()
  luarium.task.step(PER_FRAME)
end

local function draw_row(row, y)
  love.graphics.setColor(COLOURS[row.state])
  love.graphics.rectangle("fill", 20, y + 6, 12, 20)
  love.graphics.rectangle("fill", 220, y + 6, 200 * row.step / STEPS, 20)
  love.graphics.rectangle("line", 220, y + 6, 200, 20)
  love.graphics.setColor(1, 1, 1)
  love.graphics.print(row.name, 44, y + 9)
  love.graphics.print(row.state, 140, y + 9)
  love.graphics.printf(row.line, 440, y + 9, 340)
end

function love.draw()
  for i, row in ipairs(rows) do
    draw_row(row, 40 + (i - 1) * ROW)
  end
  love.graphics.setColor(1, 0.8, 0.2) -- this one shows whether the frames come evenly
  love.graphics.circle("fill", 400 + 360 * math.sin(love.timer.getTime() * 2), 22, 8)
  love.graphics.print(love.timer.getFPS() .. " frames a second", 20, love.graphics.getHeight() - 30)
end

function love.keypressed(key)
  if key == "space" then
    start()
  elseif key == "escape" then
    love.event.quit()
  end
end

function love.quit()
  luarium.task.shutdown(5)
end
