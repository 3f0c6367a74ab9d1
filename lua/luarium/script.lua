--- Scripts: loading them as text into an environment of their own, their declared inputs, running them.
---
--- A script is plain statements, or returns { description =, inputs = { name = row }, run = function(input, run) }.
local ascii = require "luarium.ascii"
local compat = require "luarium.compat"
local duration = require "luarium.duration"
local errors = require "luarium.error"
local task = require "luarium.task"

local M = {}

---@class luarium.Script
---@field path string as given, for messages
---@field folder string where its own modules are looked for
---@field chunk function
---@field env table its globals

---@class luarium.ScriptInput
---@field type "text"|"number"|"integer"|"boolean"|"seconds"|"list"|"table"|"secret"
---@field required boolean?
---@field default any?
---@field about string?

---@class luarium.ScriptRun what a script's run function gets beside its inputs
---@field out string the folder for results; it is made when something is written
---@field script string path of the script
local Run = {}
Run.__index = Run

---@param path string of the script
---@param out string
---@return luarium.ScriptRun
function M.new_run(path, out)
  return setmetatable({ out = out, script = path }, Run)
end

--- Writes a file of results, without any known secret. A table becomes JSON.
---@async
---@param name string relative to the folder for results
---@param content string|table
---@return string path
function Run:write(name, content)
  local text = content
  if type(content) == "table" then
    local encoded, fault = require("luarium.json").encode(content)
    text = encoded and encoded .. "\n" or error(fault, 0)
  end
  local path = self.out .. "/" .. name
  local ok, err = task.await(require("luarium.native").fs.write_file(path, require("luarium.secret").redact(text),
    { parents = true, atomic = true }))
  if not ok then
    error(err, 0)
  end
  return path
end

-- ---- reading ----

local function read(path)
  local text, reason
  if path == "-" then
    text, reason = io.stdin:read("*a")
  else
    text, reason = require("luarium.text").of_file(path)
  end
  if not text then
    errors.raise("not_found", ("the script %s cannot be read: %s"):format(path, reason),
      { data = { hint = "luarium help run" } })
  end
  return (text:gsub("^\239\187\191", ""):gsub("^#[^\n]*", "")) -- no byte order mark, no #! line
end

--- A script's text as a function. Raises `not_found` or `invalid`.
---@param path string "-" is standard input
---@param env table its globals
---@return function
function M.compile(path, env)
  local text = read(path)
  if text:sub(1, 1) == "\27" then
    errors.raise("invalid", ("%s: expected Lua text, this is compiled code"):format(path))
  end
  local chunk, message = load(text, "@" .. path, "t", env)
  if not chunk then
    errors.raise("invalid", message, { name = "SYNTAX" })
  end
  return chunk
end

--- Where a script looks for modules of its own.
---@param path string
---@return string
function M.folder_of(path)
  return path:match("^(.*)/[^/]*$") or "."
end

--- The file of a module beside the script, or nil.
---@param folder string
---@param name string
---@return string?
function M.beside(folder, name)
  for _, pattern in ipairs({ "/%s.lua", "/%s/init.lua" }) do
    local path = folder .. pattern:format((name:gsub("%.", "/")))
    local file = io.open(path, "rb")
    if file then
      file:close()
      return path
    end
  end
end

local function shallow_copy(from)
  local copy = {}
  for key, value in pairs(from) do
    copy[key] = value
  end
  return copy
end

local asked -- the error that os.exit raised: a script that catches it, or whose event handler did it, ends all the same

--- Ends the script as os.exit does, but with its cleanup.
local function exit(code)
  if code == nil or code == true then
    code = 0
  elseif code == false then
    code = 1
  elseif not compat.is_integer(code) then
    errors.raise("invalid", ("os.exit: expected true, false or a whole number, got %s"):format(tostring(code)))
  end
  local err = errors.new("cancelled", "the script called os.exit", { name = "EXIT", data = { code = code } })
  asked = asked or err
  if M.main then
    task.cancel(M.main, asked)
  end
  error(asked, 0)
end

--- The code that a script gave to os.exit, when it was called or is what the error stands for.
---@param err any
---@return integer? code
function M.exit_code(err)
  local exited = asked or err
  if (err == nil or errors.is(err, "cancelled") and err.name == "EXIT") and errors.is(exited)
    and type(exited.data) == "table" and compat.is_integer(exited.data.code) then
    return math.floor(exited.data.code)
  end
end

--- Modules beside the script share its globals; any other comes from the usual places.
local function make_require(folder, env, get_api)
  local loaded = {}
  return function(name)
    if name == "luarium" then
      return get_api()
    end
    if loaded[name] == nil then
      local path = type(name) == "string" and not package.loaded[name] and M.beside(folder, name)
      if not path then
        return require(name)
      end
      loaded[name] = true -- a module that requires itself in a circle gets this
      local value = M.compile(path, env)(name, path)
      if value ~= nil then
        loaded[name] = value
      end
    end
    return loaded[name]
  end
end

--- The globals of a script, made anew: Lua's own, with those replaced that would go around the scheduler.
---@param folder string where its modules are looked for
---@param get_api fun(): table makes the global `luarium` when it is first asked for
---@return table
function M.environment(folder, get_api)
  local env = shallow_copy(_G)
  env._G = env
  env.arg = nil
  env.os = shallow_copy(os)
  env.os.exit = exit
  env.coroutine = shallow_copy(coroutine)
  env.coroutine.create, env.coroutine.resume, env.coroutine.wrap = task.create, task.resume, task.wrap
  env.require = make_require(folder, env, get_api)
  return setmetatable(env, { __index = function(_, key)
    if key == "luarium" then
      local api = get_api()
      rawset(env, "luarium", api)
      return api
    end
    return _G[key]
  end })
end

--- Loads a script without running it. Raises `not_found` or `invalid`.
---@param path string "-" is standard input
---@param get_api (fun(): table)? makes the global `luarium` when the script first asks for it
---@return luarium.Script
function M.load(path, get_api)
  local folder = M.folder_of(path)
  local env = M.environment(folder, get_api or function()
    return require "luarium"
  end)
  return { path = path, folder = folder, env = env, chunk = M.compile(path, env) }
end

-- ---- inputs ----

local types = {
  text = "text", number = "a number", integer = "a whole number", boolean = "true or false", seconds = duration.FORM,
  list = "a list (give it several times, or as JSON)", table = "a JSON object",
  secret = "env:VARIABLE, and the variable set",
}

local converters = {
  text = function(text)
    return text
  end,
  number = tonumber,
  seconds = duration.parse,
  integer = tonumber,
  boolean = function(text)
    local values = { ["true"] = true, yes = true, ["1"] = true, ["false"] = false, no = false, ["0"] = false }
    return values[ascii.lower(text)]
  end,
  list = function(text)
    if text:match("^%s*%[") then
      return require("luarium.json").decode_plain(text)
    end
    return { text }
  end,
  table = function(text)
    return (require("luarium.json").decode_plain(text))
  end,
  secret = function(text)
    local variable = text:match("^env:([%w_]+)$")
    return variable and os.getenv(variable) and require("luarium.secret").env(variable)
  end,
}

local function fits(kind, value)
  local is_table = type(value) == "table"
  if kind == "text" then
    return type(value) == "string"
  elseif kind == "number" then
    return type(value) == "number"
  elseif kind == "seconds" then
    return type(value) == "number" and value >= 0
  elseif kind == "integer" then
    return compat.is_integer(value)
  elseif kind == "boolean" then
    return type(value) == "boolean"
  elseif kind == "list" then
    return require("luarium.check").is_list(value)
  elseif kind == "secret" then
    return require("luarium.secret").is(value)
  end
  return is_table
end

--- Declared inputs in one form. Raises `invalid` when the declaration itself is wrong.
---@param declared table?
---@param path string for messages
---@return table<string, luarium.ScriptInput>
function M.rows(declared, path)
  local rows = {}
  if declared ~= nil and type(declared) ~= "table" then
    errors.raise("invalid", ("%s: inputs: expected a table, got %s"):format(path, type(declared)))
  end
  for name, row in pairs(declared or {}) do
    row = type(row) == "string" and { type = row } or row
    if type(name) ~= "string" or type(row) ~= "table" or not types[row.type or "text"] then
      local check = require "luarium.check"
      errors.raise("invalid", ("%s: inputs.%s: expected a type (%s) or { type =, required =, default =, about = }")
        :format(path, tostring(name), table.concat(check.keys(types), ", ")))
    end
    rows[name] = { type = row.type or "text", required = row.required, default = row.default, about = row.about }
  end
  return rows
end

local written = { seconds = true, secret = true } -- in JSON too: "30m", "env:TOKEN"

--- A value given as text becomes one of the declared type; other values are as they came from JSON.
local function convert(row, given)
  if not given.text and written[row.type] and type(given.value) == "string" then
    return converters[row.type](given.value)
  elseif not given.text then
    return given.value
  elseif row.type == "list" and #given.texts > 1 then
    return given.texts
  end
  return converters[row.type](given.text)
end

--- Whole numbers as integers, where Lua has them: JSON and "5.0" bring floats.
local function whole(row, value)
  local to_integer = row.type == "integer" and rawget(math, "tointeger") -- Lua 5.4 only
  return to_integer and to_integer(value) or value
end

--- What was given for a secret, without its value: what does not look like a variable may be one.
local function shown_secret(given)
  local variable = tostring(given.text or given.value):match("^env:([A-Z_][A-Z0-9_]*)$")
  return variable and variable .. ", which is not set" or "something else"
end

local function shown(given)
  local value = given.text or given.value
  if type(value) == "table" then
    return "a table"
  elseif type(value) == "number" then
    return ("%.14g"):format(value) -- JSON brings 3 as 3.0
  end
  value = tostring(value)
  return "'" .. (#value > 60 and value:sub(1, 57) .. "..." or value) .. "'"
end

--- Checks what was given against the declaration; one error lists every fault.
---@param rows table<string, luarium.ScriptInput>
---@param given table<string, {text: string?, texts: string[]?, value: any}>
---@param path string
---@return table<string, any> input
function M.inputs(rows, given, path)
  local check = require "luarium.check"
  local faults, input = {}, {}
  for _, name in ipairs(check.keys(given)) do
    if not rows[name] then
      local near = check.nearest(name, check.keys(rows))
      faults[#faults + 1] = ("unknown input '%s'%s"):format(name, near and (": did you mean '" .. near .. "'?")
        or next(rows) and " (there are: " .. table.concat(check.keys(rows), ", ") .. ")" or "")
    end
  end
  for _, name in ipairs(check.keys(rows)) do
    local row = rows[name]
    if given[name] then
      local value = convert(row, given[name])
      if value == nil or not fits(row.type, value) then
        faults[#faults + 1] = ("'%s': expected %s, got %s"):format(name, types[row.type],
          (row.type == "secret" and shown_secret or shown)(given[name]))
      end
      input[name] = whole(row, value)
    elseif row.default ~= nil then
      input[name] = row.default
    elseif row.required then
      faults[#faults + 1] = ("'%s' is missing: expected %s%s"):format(name, types[row.type],
        row.about and " (" .. row.about .. ")" or "")
    end
  end
  if #faults > 0 then
    errors.raise("invalid", path .. ": " .. table.concat(faults, "; "),
      { name = "USAGE", data = { hint = ("luarium run %s --help"):format(path) } })
  end
  return input
end

--- The inputs of a script that declares none: texts as they are.
local function undeclared(given)
  local input = {}
  for name, item in pairs(given) do
    input[name] = item.text or item.value
  end
  return input
end

-- ---- running ----

--- Whether what a script returned says what it needs, rather than being a result.
---@param value any
---@return boolean
function M.is_declaration(value)
  return type(value) == "table" and (type(value.run) == "function" or type(value.inputs) == "table")
end

--- Where in the script, or in a module beside it, the error came from.
local function place(folder)
  for level = 3, 60 do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return nil
    end
    local path = info.source:match("^@(.*)$")
    if path and M.folder_of(path) == folder and info.currentline > 0 then
      return path .. ":" .. info.currentline
    end
  end
end

local function handler(script)
  return function(value)
    if errors.is(value) then
      if value.kind == "cancelled" or value.place then
        return value
      end
      local err = errors.copy(value)
      err.place = place(script.folder)
      err.traceback = err.traceback or debug.traceback(nil, 2)
      return err
    end
    local message
    if type(value) == "string" then
      message = require("luarium.advice").improve(value)
    elseif value == nil then
      message = "the script raised nil"
    else
      message = errors.message_of(value) or "the script raised " .. require("luarium.inspect").line(value)
    end
    local where = place(script.folder)
    if where and message:find(where, 1, true) then
      where = nil -- it says so itself
    end
    return errors.new("internal", message, { name = "SCRIPT", place = where, traceback = debug.traceback(nil, 2),
      cause = type(value) == "table" and value or nil })
  end
end

--- Runs a loaded script: its statements, then, when it returns a declaration, its run function.
---@async
---@param script luarium.Script
---@param given table<string, {text: string?, texts: string[]?, value: any}>
---@param run luarium.ScriptRun
---@return any ... what the script or its run function returned
function M.run(script, given, run)
  M.main, asked = task.current(), nil
  local plain = undeclared(given)
  script.env.input = plain
  local function body()
    local results = compat.pack(script.chunk(plain, run))
    local declared = results[1]
    if not M.is_declaration(declared) then
      return compat.unpack(results, 1, results.n)
    end
    if type(declared.run) ~= "function" then
      errors.raise("invalid", ("%s: run: expected a function, got %s"):format(script.path, type(declared.run)))
    end
    script.env.input = nil
    return declared.run(M.inputs(M.rows(declared.inputs, script.path), given, script.path), run)
  end
  local results = compat.pack(xpcall(body, handler(script)))
  if not results[1] or asked then
    error(not results[1] and results[2] or asked, 0)
  end
  return compat.unpack(results, 2, results.n)
end

return M
