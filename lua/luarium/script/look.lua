--- What a script declares, found without letting it do anything: its statements run where nothing has an effect.
--- They may still go on for ever, in a pattern say, or take all memory, or change Lua's own tables. So another process
--- looks, and it ends after a time whatever they do; what it answers is checked as a stranger's data.
local errors = require "luarium.error"
local json = require "luarium.json"
local script = require "luarium.script"

local M = {}

local LOOK_STEPS = 20000000      -- instructions; a declaration needs far fewer
local MEMORY = 512 * 1024 * 1024 -- bytes of address space
local NO_MEMORY = "not enough memory" -- Lua's own error
local MAX_ANSWER = 1024 * 1024   -- bytes
local MAX_DEFAULT = 200          -- bytes of a default that are shown

---@class luarium.script.Row
---@field type string
---@field required boolean
---@field about string?
---@field default string? as text
---@field computed boolean there is a default, and the script makes it when it runs

---@class luarium.script.Declaration
---@field description string?
---@field inputs table<string, luarium.script.Row>

-- ---- the process that looks ----

--- A value that can be indexed, called and computed with, and does nothing.
local function make_hole()
  local hole, mt = {}, {}
  local function itself()
    return hole
  end
  for _, name in ipairs({ "index", "call", "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv", "band", "bor",
    "bxor", "shl", "shr", "bnot" }) do
    mt["__" .. name] = itself
  end
  mt.__newindex = function() end
  mt.__len = function()
    return 0
  end
  mt.__concat = function()
    return ""
  end
  mt.__tostring = mt.__concat
  mt.__lt = function()
    return false
  end
  mt.__le = mt.__lt
  mt.__close = mt.__newindex
  mt.__pairs = function()
    return function() end
  end
  return setmetatable(hole, mt)
end

--- Globals in which nothing can be done: what touches the world is replaced by the hole.
local function inert_environment(folder, hole)
  local env = {}
  for _, name in ipairs({ "assert", "error", "getmetatable", "math", "next", "pairs", "pcall", "rawequal", "rawget",
    "rawlen", "rawset", "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "unpack", "utf8",
    "xpcall", "_VERSION" }) do
    env[name] = _G[name]
  end
  env._G = env
  local nothing = { __index = function()
    return hole
  end }
  env.os = setmetatable({ getenv = os.getenv, time = os.time, date = os.date, clock = os.clock }, nothing)
  env.ipairs = function(list)
    return ipairs(list == hole and {} or list)
  end
  local loaded = {}
  env.require = function(name)
    if loaded[name] == nil then
      loaded[name] = hole
      local path = script.beside(folder, name)
      if path then
        local value = script.compile(path, env)(name, path)
        loaded[name] = value == nil and true or value
      end
    end
    return loaded[name]
  end
  return setmetatable(env, nothing)
end

--- The value that the script's statements return; nil when they raise or wait, and why when they go on for too long.
local function run_inertly(path, hole)
  local chunk = script.compile(path, inert_environment(script.folder_of(path), hole))
  local co, endless = coroutine.create(chunk), nil
  debug.sethook(co, function()
    endless = "its statements compute for long when they are looked at"
    error(endless, 0)
  end, "", LOOK_STEPS)
  local ok, value = coroutine.resume(co, hole, hole)
  if ok and coroutine.status(co) == "dead" then
    return value
  end
  return nil, endless or value == NO_MEMORY and "looking at it takes too much memory" or nil
end

local function default_text(value)
  local text = type(value) == "table" and json.encode(value) or tostring(value)
  return #text > MAX_DEFAULT and text:sub(1, MAX_DEFAULT) .. "..." or text
end

local function text_or_nil(value)
  return type(value) == "string" and value or nil
end

local function look(path)
  local hole = make_hole()
  local declared, why = run_inertly(path, hole)
  if rawequal(declared, hole) or not script.is_declaration(declared) then
    return { unknown = why }
  end
  local inputs = {}
  for name, row in pairs(script.rows(declared.inputs, path)) do
    local computed = rawequal(row.default, hole)
    inputs[name] = { type = row.type, required = row.required and true or false, about = text_or_nil(row.about),
      computed = computed, default = row.default ~= nil and not computed and default_text(row.default) or nil }
  end
  return { declaration = { description = text_or_nil(declared.description), inputs = inputs } }
end

--- The answer of the process that looks, as JSON.
---@param path string
---@return string
function M.answer(path)
  local ok, result = pcall(look, path)
  if not ok and errors.is(result) then
    result = { fault = { kind = result.kind, message = result.message, name = result.name,
      hint = result.data and result.data.hint } }
  elseif not ok then
    result = { unknown = "looking at it failed: " .. tostring(result) }
  end
  return assert(json.encode(result))
end

-- ---- the process that asks ----

--- A row as it should be, or nil.
local function checked_row(row)
  if type(row) ~= "table" or type(row.type) ~= "string" then
    return nil
  end
  return { type = row.type, required = row.required == true, computed = row.computed == true,
    about = text_or_nil(row.about), default = text_or_nil(row.default) }
end

local function checked(declaration)
  if type(declaration) ~= "table" or type(declaration.inputs) ~= "table" then
    return nil
  end
  local inputs = {}
  for name, row in pairs(declaration.inputs) do
    inputs[tostring(name)] = checked_row(row)
  end
  return { description = text_or_nil(declaration.description), inputs = inputs }
end

local function raise(fault)
  errors.raise(errors.kinds[fault.kind] and fault.kind or "invalid", tostring(fault.message),
    { name = text_or_nil(fault.name), data = { hint = text_or_nil(fault.hint) } })
end

local function why_not(result, seconds)
  if result.timed_out then
    return ("looking at it did not end within %g seconds"):format(seconds)
  elseif result.truncated then
    return ("it says more than %d bytes"):format(MAX_ANSWER)
  end
  local said = result.signal or result.stderr:match("^[^\n]+")
  return "looking at it failed" .. (said and ": " .. said:sub(1, 200) or "")
end

--- What a script declares. Raises `not_found` or `invalid` when it cannot be read or its declaration is wrong. Only for
--- the program `luarium`, as it is started again.
---@async
---@param path string "-" is standard input
---@param seconds integer that it may take
---@return luarium.script.Declaration? declaration nil: it declares nothing, or that is not known
---@return string? why it is not known
function M.describe(path, seconds)
  local result, err = require("luarium.task").await(require("luarium.native").process.run({
    argv = { "/proc/self/exe", "__look", path }, stdin = path == "-" and io.read("*a") or nil, timeout = seconds,
    limits = { cpu = seconds + 1, as = MEMORY, core = 0 }, max_output = MAX_ANSWER,
  }))
  if not result then
    error(err, 0)
  end
  local answer = result.exit_code == 0 and not result.truncated and json.decode_plain(result.stdout)
  if type(answer) ~= "table" then
    return nil, why_not(result, seconds)
  elseif type(answer.fault) == "table" then
    raise(answer.fault)
  end
  return checked(answer.declaration), text_or_nil(answer.unknown)
end

return M
