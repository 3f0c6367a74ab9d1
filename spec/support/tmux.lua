--- A real terminal: tmux runs the program, keys are sent to it, and its screen is read back.
local native = require "luarium.native"
local task = require "luarium.task"

local await = task.await
local M = {}

---@class spec.Tmux
local Tmux = {}
Tmux.__index = Tmux

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

function Tmux:call(...)
  local result = assert(await(native.process.run({ argv = { "tmux", "-S", self.socket, "-f", "/dev/null", ... },
    env = { "PATH=" .. os.getenv("PATH"), "LANG=C.UTF-8", "TERM=xterm" }, timeout = 20 })))
  if result.exit_code ~= 0 then
    error("tmux " .. table.concat({ ... }, " ") .. ": " .. result.stderr, 2)
  end
  return result.stdout
end

--- Sends texts and keys ("Enter", "C-c", "Up") as they are typed.
function Tmux:keys(...)
  for _, key in ipairs({ ... }) do
    self:call("send-keys", "-t", "spec", key)
  end
end

--- A text and Enter.
function Tmux:enter(text)
  self:call("send-keys", "-t", "spec", "-l", text)
  self:keys("Enter")
end

--- What the screen shows, without blanks at the ends of lines.
function Tmux:screen()
  return (self:call("capture-pane", "-p", "-t", "spec"):gsub("[ ]+\n", "\n"))
end

--- Reads the screen until it has the pattern, and returns it.
function Tmux:see(pattern)
  local screen
  for _ = 1, 500 do
    screen = self:screen()
    if screen:find(pattern) then
      return screen
    end
    task.sleep(0.02)
  end
  error(("the screen never showed %q:\n%s"):format(pattern, screen), 2)
end

--- Reads the screen until the pattern is gone.
function Tmux:see_no(pattern)
  local screen
  for _ = 1, 500 do
    screen = self:screen()
    if not screen:find(pattern) then
      return screen
    end
    task.sleep(0.02)
  end
  error(("the screen went on showing %q:\n%s"):format(pattern, screen), 2)
end

function Tmux:resize(columns, rows)
  self:call("resize-window", "-t", "spec", "-x", tostring(columns), "-y", tostring(rows))
end

--- Calls fn(tmux) with a terminal that runs `sh` in the place's folder, where `luarium` is the program.
---@param place spec.Place
---@param columns integer
---@param rows integer
---@param fn fun(tmux: spec.Tmux)
function M.with(place, columns, rows, fn)
  local self = setmetatable({ socket = place.dir .. "/tmux" }, Tmux)
  local words = { "cd", quote(place.dir), "&&", "exec", "env", "-i", "TERM=screen", "PS1='ready> '",
    "PATH=" .. quote(place.program:match("^(.*)/") .. ":" .. os.getenv("PATH")) }
  for _, pair in ipairs(place:options({}).env) do
    if not pair:find("^TERM=") and not pair:find("^PATH=") then
      words[#words + 1] = quote(pair)
    end
  end
  words[#words + 1] = "sh"
  self:call("new-session", "-d", "-s", "spec", "-x", tostring(columns), "-y", tostring(rows),
    table.concat(words, " "))
  local ok, err = pcall(function()
    self:see("^ready>")
    fn(self)
  end)
  task.shield(20, function()
    self:call("kill-server")
  end)
  if not ok then
    error(err, 0)
  end
end

return M
