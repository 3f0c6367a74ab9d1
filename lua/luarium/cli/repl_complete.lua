--- What the user of `luarium repl` may have begun to type: names of globals, fields, methods and keywords. Nothing of
--- the user's is run: tables are read raw, and of metatables only __index tables are followed.
local M = {}

local MAX_TEXT = 65536    -- bytes before the cursor; who pastes more needs no help with names
local MAX_KEYS = 50000    -- looked at in all
local MAX_PATH = 64       -- names in an expression
local MAX_DEPTH = 16      -- of __index
local MAX_NAMES = 200     -- listed

local keywords = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not",
  "or", "repeat", "return", "then", "true", "until", "while",
}

local is_keyword = {}
for _, word in ipairs(keywords) do
  is_keyword[word] = true
end

-- ---- reading what was typed ----

--- The end of a long string or comment that begins at a place, or nil when it goes on beyond the text.
local function skip_long(text, at, level)
  local _, stop = text:find("]" .. level .. "]", at, true)
  return stop and stop + 1
end

local function skip_quoted(text, at, quote)
  while true do
    local found = text:find("[\\\n" .. quote .. "]", at)
    local char = found and text:sub(found, found)
    if not found then
      return nil
    elseif char ~= "\\" then
      return found + 1
    end
    at = found + 2
  end
end

--- Passes over one string or comment at a place.
---@return integer? after where it ends; nil: not within the text
---@return string? value of a plain string
local function skip(text, at)
  local comment = text:match("^%-%-()", at)
  local level, inside = text:match("^%[(=*)%[()", comment or at)
  if level then
    return skip_long(text, inside, level)
  elseif comment then
    local stop = text:find("\n", comment, true)
    return stop and stop + 1
  end
  local after = skip_quoted(text, at + 1, text:sub(at, at))
  return after, after and text:sub(at + 1, after - 2)
end

--- The text as a list of tokens: names as { name = }, plain strings and numbers as { value = }, all else as { sign = }.
--- nil: it ends within a string or a comment.
local function tokens_of(text)
  local tokens, at = {}, 1
  while at <= #text do
    local name, after = text:match("^([%a_][%w_]*)()", at)
    local blank = text:match("^%s+()", at)
    if blank then
      at = blank
    elseif name then
      tokens[#tokens + 1] = { name = name, stop = after - 1 }
      at = after
    elseif text:find("^%-%-", at) or text:find("^[\"']", at) or text:find("^%[=*%[", at) then
      local value
      local comment = text:find("^%-%-", at)
      at, value = skip(text, at)
      if not at then
        return nil
      elseif not comment then
        tokens[#tokens + 1] = { value = value and not value:find("\\", 1, true) and value, sign = "string" }
      end
    elseif text:find("^%.?%d", at) then
      local number, stop = text:match("^([%w%.]+)()", at)
      tokens[#tokens + 1] = { value = tonumber(number), sign = "number" }
      at = stop
    else
      local dots, stop = text:match("^(%.+)()", at)
      tokens[#tokens + 1] = { sign = dots or text:sub(at, at) }
      at = stop or at + 1
    end
  end
  return tokens
end

local function sign_at(tokens, i)
  return tokens[i] and tokens[i].sign
end

--- Reads backwards from a token an expression of names, fields and plain indexes: `a.b["c"][1]`.
---@return any[]? path its names, the global first; nil: it is something else
local function path_before(tokens, last)
  local path, i = {}, last
  while #path < MAX_PATH do
    local token = tokens[i]
    if token and token.name and not is_keyword[token.name] then
      table.insert(path, 1, token.name)
      if sign_at(tokens, i - 1) ~= "." then
        return sign_at(tokens, i - 1) ~= ":" and path or nil
      end
      i = i - 2
    elseif sign_at(tokens, i) == "]" and sign_at(tokens, i - 2) == "[" and tokens[i - 1].value then
      table.insert(path, 1, tokens[i - 1].value)
      i = i - 3
    else
      return nil
    end
  end
  return nil
end

-- ---- looking at values ----

--- The table behind a metatable's __index, when it is one.
local function index_of(value)
  local mt = debug.getmetatable(value)
  local index = type(mt) == "table" and rawget(mt, "__index")
  return type(index) == "table" and index or nil
end

--- Calls fn with the value's own table and those that its __index leads to.
local function each_table(value, fn)
  local at = type(value) == "table" and value or index_of(value)
  for _ = 1, MAX_DEPTH do
    if not at or fn(at) ~= nil then
      return
    end
    at = index_of(at)
  end
end

local function field(value, key)
  local found
  each_table(value, function(t)
    found = rawget(t, key)
    return found
  end)
  return found
end

--- The library itself: asking the environment for it would read the configuration.
local function global(env, name)
  local value = field(env, name)
  if value == nil then
    value = rawget(_G, name)
  end
  if value == nil and name == "luarium" then
    value = require "luarium"
  end
  return value
end

local function value_at(env, path)
  local value = global(env, path[1])
  for i = 2, #path do
    if value == nil then
      return nil
    end
    value = field(value, path[i])
  end
  return value
end

-- ---- collecting ----

---@class luarium.cli.Names
---@field prefix string
---@field list string[]
---@field seen table<string, boolean>
---@field left integer keys that may still be looked at
local Names = {}
Names.__index = Names

--- Only names can be typed here, and nothing else is shown: keys of a table may be anything.
function Names:add(name)
  if type(name) == "string" and #name <= 100 and name:sub(1, #self.prefix) == self.prefix
    and name:find("^[%a_][%w_]*$") and not self.seen[name] then
    self.seen[name] = true
    self.list[#self.list + 1] = name
  end
end

---@param wanted (fun(value: any): boolean)?
function Names:add_keys(t, wanted)
  local key, value = next(t)
  while key ~= nil and self.left > 0 do
    self.left = self.left - 1
    if not wanted or wanted(value) then
      self:add(key)
    end
    key, value = next(t, key)
  end
end

local function can_be_called(value)
  if type(value) == "function" then
    return true
  end
  local mt = debug.getmetatable(value)
  return type(mt) == "table" and type(value) ~= "string" and rawget(mt, "__call") ~= nil
end

local function add_fields(names, value, wanted)
  each_table(value, function(t)
    names:add_keys(t, wanted)
  end)
end

local function add_names(names, env, tokens)
  for _, word in ipairs(keywords) do
    names:add(word)
  end
  names:add("luarium")
  add_fields(names, env)
  names:add_keys(_G)
  for i = 1, #tokens do -- locals and parameters of the statement so far
    names:add(not is_keyword[tokens[i].name] and tokens[i].name)
  end
end

--- Methods that the result of a call, say, may have.
local function add_any_methods(names)
  require("luarium.advice").each_method(function(name)
    names:add(name)
  end)
end

local function collect(env, tokens, prefix)
  local names = setmetatable({ prefix = prefix, list = {}, seen = {}, left = MAX_KEYS }, Names)
  local separator = sign_at(tokens, #tokens)
  if separator ~= "." and separator ~= ":" then
    add_names(names, env, tokens)
    return names.list
  end
  local path = path_before(tokens, #tokens - 1)
  local value = path and value_at(env, path)
  if value ~= nil then
    add_fields(names, value, separator == ":" and can_be_called or nil)
  elseif not path and separator == ":" then
    add_any_methods(names)
  end
  return names.list
end

local function common_start(list)
  local first = list[1]
  local length = #first
  for i = 2, #list do
    while first:sub(1, length) ~= list[i]:sub(1, length) do
      length = length - 1
    end
  end
  return first:sub(1, length)
end

--- Names in columns, read downwards.
---@param list string[]
---@param width integer of the screen
---@return string
function M.columns(list, width)
  local widest = 0
  for _, name in ipairs(list) do
    widest = math.max(widest, #name)
  end
  local across = math.max(1, math.floor((width + 1) / (widest + 2)))
  local rows = math.ceil(#list / across)
  local lines = {}
  for row = 1, rows do
    local cells = {}
    for i = row, #list, rows do
      cells[#cells + 1] = list[i] .. (i + rows <= #list and (" "):rep(widest - #list[i]) or "")
    end
    lines[row] = table.concat(cells, "  ")
  end
  return table.concat(lines, "\n")
end

--- What Tab does at the end of a text.
---@param env table the globals
---@param text string the statement up to the cursor
---@return string insert what is certain; may be empty
---@return string[] list what there is to choose from, when nothing is certain
---@return integer more how many are left out of the list
function M.complete(env, text)
  local backwards = text:sub(-MAX_TEXT):reverse() -- a pattern for the last line would take quadratic time
  if not backwards:match("^[^\n]*"):find("%S") then
    return "  ", {}, 0
  end
  local tokens = #text <= MAX_TEXT and tokens_of(text)
  if not tokens then
    return "", {}, 0
  end
  local last, prefix = tokens[#tokens], ""
  if last and last.name and last.stop == #text then
    prefix = last.name
    tokens[#tokens] = nil
  end
  local list = collect(env, tokens, prefix)
  if #list == 0 then
    return "", {}, 0
  end
  local insert = common_start(list):sub(#prefix + 1)
  if insert ~= "" or #list == 1 then
    return insert, {}, 0
  end
  table.sort(list)
  local more = math.max(0, #list - MAX_NAMES)
  for i = #list, MAX_NAMES + 1, -1 do
    list[i] = nil
  end
  return "", list, more
end

return M
