--- `luarium repl` on a terminal with libedit: lines are edited, completed and remembered, and what tasks print
--- meanwhile goes above the line.
local compat = require "luarium.compat"
local format = require "luarium.cli.format"
local history = require "luarium.cli.repl_history"
local native = require "luarium.native"
local signals = require "luarium.cli.signals"
local task = require "luarium.task"

local await = task.await

local M = {}

---@class luarium.cli.Editor
---@field context luarium.cli.Context
---@field line luarium.native.Line
---@field history luarium.cli.History
---@field undo fun()[] put back what was replaced
---@field closed boolean?
local Editor = {}
Editor.__index = Editor

-- ---- what others write ----

local function replace(self, owner, name, make)
  local original = owner[name]
  owner[name] = make(original)
  self.undo[#self.undo + 1] = function()
    owner[name] = original
  end
end

--- A function that writes to the terminal, with the line out of its way.
local function around(self, write)
  return function(...)
    if self.closed then
      return write(...)
    end
    self.line:hide()
    local results = compat.pack(pcall(write, ...))
    io.stdout:flush()
    self.line:show()
    if not results[1] then
      error(results[2], 0)
    end
    return compat.unpack(results, 2, results.n)
  end
end

--- The whole program's, not the session's alone: notes and messages of the library come in between as well.
local function guard_output(self)
  local function guarded(write)
    return around(self, write)
  end
  replace(self, _G, "print", guarded)
  replace(self, io, "write", guarded)
  replace(self, os, "execute", guarded)
  replace(self, debug.getmetatable(io.stdout).__index, "write", function(write)
    local aside = around(self, write)
    return function(file, ...)
      if file == io.stdout or file == io.stderr then
        return aside(file, ...)
      end
      return write(file, ...)
    end
  end)
end

-- ---- opening and closing ----

local function state_folder(context)
  pcall(context.settings, context) -- a fault in them is told when they are used
  return context.state_dir or require("luarium.config").state_dir()
end

--- An editor, or nil where lines are better left to the terminal. The globals `print`, `io.write` and the like are
--- replaced until it is closed, so it must be there before the session's environment is made.
---@async
---@param context luarium.cli.Context
---@return luarium.cli.Editor?
function M.open(context)
  if require("luarium.cli.dumb")() then
    return nil
  end
  local line, err = native.line.open(0, 1, history.MAX_ENTRIES)
  if not line then
    if context.verbose then
      context:note("luarium: %s", err.message)
    end
    return nil
  end
  local self = setmetatable({ context = context, line = line, undo = {}, history = history.new(state_folder(context)) },
    Editor)
  for _, text in ipairs(self.history:load()) do
    line:remember(text)
  end
  guard_output(self)
  context.edits_lines = true
  context.close_display = function()
    self:close()
  end
  return self
end

--- Restores the terminal. May be called again.
function Editor:close()
  for i = #self.undo, 1, -1 do
    self.undo[i]()
  end
  self.undo, self.closed, self.context.edits_lines = {}, true, nil
  self.line:close()
end

-- ---- editing ----

local function answer(session, text, cursor)
  local before = text:sub(1, cursor)
  local ok, insert, list, more = pcall(require("luarium.cli.repl_complete").complete, session.env,
    session:pending() .. before)
  if not ok then
    return "", "" -- no name is worth an error in the middle of a line
  end
  local shown = require("luarium.cli.repl_complete").columns(list, (native.tty.size(1)) or 80)
  return insert, more > 0 and ("%s\n... (%d more)"):format(shown, more) or shown
end

--- The next event that is no question.
local function read(self, session)
  local op, err = self.line:read(session:prompt())
  while op do
    local event, text, cursor = await(op)
    if not event then
      error(text, 0)
    elseif event ~= "complete" then
      return event, text
    end
    op, err = self.line:answer(answer(session, text, cursor))
  end
  error(err, 0)
end

--- What SIGINT does while no statement runs: the same as the key. It may also come late, when the statement that it
--- was meant for has just ended.
local function drop_on_interrupt(self)
  self.context.interrupt = function()
    self.line:drop()
    return true
  end
end

local function remember(self, statement)
  if statement:find("%S") then
    self.line:remember(statement)
    task.shield(2, self.history.append, self.history, statement)
  end
end

--- Runs a line; a statement is kept when it has ended, because only then its secrets are known.
local function take_line(self, session, line)
  session:check_size(line)
  local results = compat.pack(pcall(session.take, session, line))
  drop_on_interrupt(self)
  if session:is_empty() then
    remember(self, session.statement)
  end
  if not results[1] then
    error(results[2], 0)
  end
  return results[2], results[3]
end

--- What was edited or pasted at once may be several lines. A failure drops those that follow.
local function take_lines(self, session, text)
  local code, failed
  format.whole_lines(text .. "\n", function(line)
    code, failed = take_line(self, session, line)
    return code or failed
  end)
  return code
end

local function follow_terminal(line)
  signals.each(function()
    line:redraw()
  end, "WINCH", "CONT")
end

local function run(self, session)
  drop_on_interrupt(self)
  while true do
    local event, text = read(self, session)
    local code
    if event == "end" then
      return session:finish("") or 0
    elseif event == "dropped" then
      session:drop()
    else
      code = take_lines(self, session, text)
    end
    if code then
      return code
    end
  end
end

--- Lets the user edit lines until the session is over.
---@async
---@param session luarium.cli.Session
---@return integer code
function Editor:run(session)
  local ok, result = pcall(task.scope, function(scope)
    scope:spawn(follow_terminal, self.line)
    local code = run(self, session)
    scope:cancel()
    return code
  end, "editor")
  self.context.interrupt = nil
  self:close()
  if not ok then
    error(result, 0)
  end
  return result
end

return M
