--- A session of statements: each is read whole, run as a part of the main task, and what it returns is shown.
local compat = require "luarium.compat"
local errors = require "luarium.error"
local format = require "luarium.cli.format"
local inspect = require "luarium.inspect"
local native = require "luarium.native"
local report = require "luarium.cli.report"
local scan = require "luarium.cli.repl_scan"
local script = require "luarium.script"
local task = require "luarium.task"

local M = {}

local MAX_STATEMENT = 4194304 -- bytes; whoever sends more meant to send a file
local SHORT = 4096 -- bytes of a statement that is compiled at each line, so that its faults are told at once

local PROMPT, CONTINUED = "> ", ">> "

---@class luarium.cli.Session
---@field context luarium.cli.Context
---@field env table the globals
---@field interactive boolean a person types: prompts are shown and a failure ends nothing
---@field lines string[] of a statement that is not whole yet
---@field size integer bytes of them
---@field scan luarium.cli.Scan of them
---@field statement string the one that was taken last
local Session = {}
Session.__index = Session

---@param context luarium.cli.Context
---@param interactive boolean
---@return luarium.cli.Session
function M.new(context, interactive)
  local env = script.environment(".", function()
    return context:api()
  end)
  context.reads_lines = interactive
  local self = setmetatable({ context = context, env = env, interactive = interactive, statement = "" }, Session)
  self:drop()
  return self
end

--- Forgets the lines of a statement that is not whole.
function Session:drop()
  self.lines, self.size, self.scan = {}, 0, scan.new()
end

--- Whether the next line begins a statement.
---@return boolean
function Session:is_empty()
  return #self.lines == 0
end

--- What there is of a statement that is not whole.
---@return string
function Session:pending()
  return self:is_empty() and "" or table.concat(self.lines, "\n") .. "\n"
end

---@return string
function Session:prompt()
  return self:is_empty() and PROMPT or CONTINUED
end

local function ask(self)
  if self.interactive then
    io.stdout:write(self:prompt())
  end
  io.stdout:flush()
end

--- A text as code: an expression, statements, or nil when more is needed.
---@return function? chunk
---@return string? fault
local function compile(text, env)
  local expression = text:gsub("^%s*=", "")
  local chunk = load("return " .. expression, "=line", "t", env)
  if chunk then
    return chunk
  end
  local fault
  chunk, fault = load(text, "=line", "t", env)
  if chunk then
    return chunk
  end
  return nil, not fault:find("<eof>'?$") and fault or nil
end

--- Runs a function so that Ctrl-C ends it alone.
local function call(self, fn, ...)
  local results
  local args = compat.pack(...)
  task.scope(function(scope)
    local asked = false
    self.context.interrupt = function(reason)
      local first = not asked
      if first then
        asked = true
        scope:cancel(reason)
      end
      return first -- again: the program itself is meant
    end
    results = compat.pack(xpcall(fn, errors.handler, compat.unpack(args, 1, args.n)))
    self.context.interrupt = nil
  end, "line")
  return results
end

--- Shows what a statement returned; that may take long too, or fail.
local function show(self, results)
  if results.n < 2 then
    return nil
  end
  self.env._ = results[2]
  local shown = call(self, inspect.inspect_all, results, 2, results.n)
  if not shown[1] then
    return self:fail(shown[2])
  end
  self.context:print("%s", require("luarium.secret").redact(shown[2]))
end

--- Refuses a statement without an end.
---@param rest string what is to be added to it
function Session:check_size(rest)
  if self.size + #rest > MAX_STATEMENT then
    errors.raise("invalid", ("a statement has at most %d bytes"):format(MAX_STATEMENT),
      { data = { hint = "luarium run FILE" } })
  end
end

--- Adds a line; returns the statement when it is whole, or its fault, or neither.
local function add(self, line)
  self.lines[#self.lines + 1] = line
  self.size = self.size + #line + 1
  self.scan:feed(line)
  if self.size > SHORT and self.scan:is_open() then
    return nil
  end
  local text = table.concat(self.lines, "\n")
  local chunk, fault = compile(text, self.env)
  if chunk or fault then
    self.statement = text
    self:drop()
  end
  return chunk, fault
end

--- Adds a line, and runs the statement when it is whole.
---@async
---@param line string
---@return integer? code the session is over
---@return boolean? failed
function Session:take(line)
  if self:is_empty() then
    self.statement = ""
    if not line:find("%S") then
      return nil
    elseif self.interactive and (line == "exit" or line == "quit") and rawget(self.env, line) == nil then
      return 0
    end
  end
  local chunk, fault = add(self, line)
  if fault then
    return self:fail(errors.new("invalid", fault, { name = "SYNTAX" }))
  elseif chunk then
    local results = call(self, chunk)
    if results[1] then
      results = compat.pack(xpcall(show, errors.handler, self, results)) -- a value may not be able to tell itself
    end
    if not results[1] then
      return self:fail(results[2])
    end
    return script.exit_code()
  end
end

--- What a failure means: the end of the session, or a message.
---@param err any
---@return integer? code
---@return boolean failed
function Session:fail(err)
  local code = script.exit_code(err)
  if code then
    return code, false
  elseif task.cancel_reason() then
    error(err, 0)
  end
  code = report.failure(err, self.context)
  return not self.interactive and code or nil, true
end

--- Without a terminal the last line may end without a newline, and what is not whole then is a fault.
function Session:finish(rest)
  local code = self:take(rest)
  if not code and not self:is_empty() then
    local _, fault = compile(self:pending(), self.env)
    code = self:fail(errors.new("invalid", fault or "the input ended within a statement", { name = "SYNTAX" }))
  end
  return code
end

--- Ctrl-C while nothing runs: what was typed is dropped.
local function drop_typed(self)
  self.context.interrupt = function()
    self:drop()
    io.stdout:write("\n")
    ask(self)
    return true
  end
end

local function next_chunk(self, input)
  if self.interactive then
    drop_typed(self)
  end
  local bytes, err = task.await(input:read())
  self.context.interrupt = nil
  if err then
    error(err, 0)
  end
  return bytes
end


--- Reads standard input, as it is or as the terminal gives it, to its end or until a statement ends the session.
---@async
---@return integer code
function Session:run()
  local input, err = native.input.open(0)
  if not input then
    error(err, 0)
  end
  local rest, code = "", nil
  ask(self)
  while not code do
    local bytes = next_chunk(self, input)
    if not bytes then
      code = self:finish(rest) or 0
      break
    end
    rest = rest .. bytes
    self:check_size(rest)
    rest, code = format.whole_lines(rest, function(line)
      local over = self:take(line)
      if not over then
        ask(self)
      end
      return over
    end)
  end
  input:close()
  return code
end

return M
