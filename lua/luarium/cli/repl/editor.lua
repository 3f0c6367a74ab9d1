--- The terminal of a session: lines with editing, history and completion, and what others print meanwhile above them.
local complete = require "luarium.cli.repl.complete"
local format = require "luarium.cli.format"
local history = require "luarium.cli.repl.history"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

---@class luarium.cli.Editor
local Editor = {}
Editor.__index = Editor

local function follow_size(self)
  local op = native.signal.wait("WINCH")
  while op and not self.closed do
    local name, next_op = task.await(op)
    if not name or self.closed then
      return
    end
    self.line:resized()
    op = next_op
  end
end

--- Opens the editor on the terminal.
---@async
---@param folder string the state folder, for the history
---@param env table the globals, for completion
---@return luarium.cli.Editor? editor nil where lines cannot be edited
function M.open(folder, env)
  if os.getenv("TERM") == "dumb" or (os.getenv("TERM") or "") == "" then
    return nil
  end
  local line = native.line.open(0, 1)
  if not line then
    return nil
  end
  local self = setmetatable({ line = line, env = env }, Editor)
  local lines
  self.history, lines = history.open(folder)
  for _, text in ipairs(lines) do
    line:remember(text)
  end
  task.spawn_detached("size", follow_size, self)
  return self
end

--- Names in columns, as wide as the terminal.
local function columns(names)
  local width = 0
  for _, name in ipairs(names) do
    width = math.max(width, #name + 2)
  end
  local per_line = math.max(1, math.floor((native.tty.size(1) or 80) / math.max(1, width)))
  local lines, rows = {}, math.ceil(#names / per_line)
  for row = 1, rows do
    local cells = {}
    for at = row, #names, rows do
      cells[#cells + 1] = at + rows <= #names and format.pad(names[at], width) or names[at]
    end
    lines[row] = table.concat(cells)
  end
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or ""
end

--- Waits for a line.
---@async
---@param prompt string
---@return "typed"|"end"|"interrupt"|"too long" event
---@return string text
function Editor:read(prompt)
  while true do
    self.reading = true
    local event, text = task.await(self.line:read(prompt))
    self.reading = false
    if event == nil then
      error(text, 0)
    elseif event ~= "complete" then
      return event, text
    end
    local insert, names = complete.complete(text, self.env)
    self.line:answer(insert, columns(names))
  end
end

--- Writes above the line that is being edited; false: nothing is.
---@param text string
---@return boolean
function Editor:print(text)
  return self.reading and self.line:print(text) or false
end

--- Keeps a line that has run.
---@async
---@param text string
function Editor:remember(text)
  local kept = self.history:add(text)
  if kept then
    self.line:remember(kept)
  end
end

--- Gives the terminal back as it was.
function Editor:close()
  if not self.closed then
    self.closed = true
    self.line:close()
  end
end

return M
