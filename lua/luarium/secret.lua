--- Secrets are typed, so that they cannot be printed by accident, and every sink removes them by value.
local check = require "luarium.check"
local errors = require "luarium.error"
local native = require "luarium.native"

local M = {}

local values = setmetatable({}, { __mode = "k" }) -- secret -> its value; not a field, so that dumps cannot show it

---@class luarium.Secret
---@field name string what it is called in messages
local Secret = {}
local mt = { __index = Secret, __name = "luarium.Secret", __metatable = false }

function mt.__tostring(self)
  return "[secret " .. self.name .. "]"
end

mt.__concat = function()
  errors.raise("invalid", "a secret cannot be joined with text: pass it as it is, as a value of env, token or config")
end

local is_secret = setmetatable({}, { __mode = "k" })
check.is_secret = function(value)
  return type(value) == "table" and is_secret[value] == true
end
M.is = check.is_secret

-- ---- redaction ----

local known = {}       -- value or an encoded form of it -> replacement
local ordered = {}     -- the same, longest first
local MIN_LENGTH = 6   -- shorter values would turn ordinary text into noise

local function add_form(form, replacement)
  if #form >= MIN_LENGTH and not known[form] then
    known[form] = replacement
    ordered[#ordered + 1] = form
  end
end

local function url_encode(text)
  return (text:gsub("[^%w%-_%.~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

--- From now on this value is removed from whatever leaves through a sink.
---@param value string
---@param name string
function M.register(value, name)
  if #value < MIN_LENGTH or known[value] then
    return
  end
  local replacement = "[redacted " .. name .. "]"
  add_form(value, replacement)
  add_form(url_encode(value), replacement)
  local crypto = native.crypto
  if crypto then
    add_form((crypto.base64_encode(value):gsub("=+$", "")), replacement)
  end
  table.sort(ordered, function(a, b)
    return #a > #b
  end)
end

--- The text without any known secret.
---@param text string
---@return string
function M.redact(text)
  for _, form in ipairs(ordered) do
    local from = text:find(form, 1, true)
    if from then
      local parts, start = {}, 1
      while from do
        parts[#parts + 1] = text:sub(start, from - 1)
        parts[#parts + 1] = known[form]
        start = from + #form
        from = text:find(form, start, true)
      end
      parts[#parts + 1] = text:sub(start)
      text = table.concat(parts)
    end
  end
  return text
end

local MAX_DEPTH = 100 -- of what is told of in events and reports

local function redacted_copy(value, depth, copies)
  if type(value) == "string" then
    return M.redact(value)
  elseif M.is(value) then
    return tostring(value)
  elseif type(value) ~= "table" then
    return value
  elseif copies[value] then
    return copies[value]
  elseif depth > MAX_DEPTH then
    return "..."
  end
  local copy = {}
  copies[value] = copy
  for key, item in next, value do
    copy[type(key) == "string" and M.redact(key) or key] = redacted_copy(item, depth + 1, copies)
  end
  return setmetatable(copy, errors.is(value) and errors.mt or nil)
end

--- A copy of a table with every string redacted and every secret named; for events and reports.
---@param value any
---@return any
function M.redact_value(value)
  return redacted_copy(value, 0, {})
end

local MAX_CAUSES = 8

--- An error without secrets in its message and those of its causes; its data stays as it is.
---@param err any
---@param depth integer? for itself
---@return any
function M.redact_error(err, depth)
  depth = depth or 0
  if not errors.is(err) then
    return err
  elseif depth > MAX_CAUSES then
    return nil -- nobody looks that far
  end
  local message = type(err.message) == "string" and M.redact(err.message) or err.message
  local cause = M.redact_error(err.cause, depth + 1)
  if message == err.message and cause == err.cause then
    return err
  end
  local clean = errors.copy(err)
  clean.message, clean.cause = message, cause
  return clean
end

--- A redactor for a stream: a secret that is cut by a chunk border is still found. Call it with each chunk, and
--- with nil at the end; it returns what may go out.
---@return fun(chunk: string?): string
function M.stream_redactor()
  local held = ""
  return function(chunk)
    local text = held .. (chunk or "")
    held = ""
    if #ordered == 0 then
      return text
    end
    text = M.redact(text)
    if chunk then
      local keep = 0
      for _, form in ipairs(ordered) do
        for n = math.min(#form - 1, #text), keep + 1, -1 do
          if text:sub(-n) == form:sub(1, n) then
            keep = n
            break
          end
        end
      end
      held = text:sub(#text - keep + 1)
      text = text:sub(1, #text - keep)
    end
    return text
  end
end

-- ---- secrets ----

local function make(name, read)
  local secret = setmetatable({ name = name }, mt)
  is_secret[secret] = true
  values[secret] = read
  return secret
end

--- A secret with a value.
---@param value string
---@param name string? for messages
---@return luarium.Secret
function M.new(value, name)
  check.argument(value, "string", "secret", "the value")
  name = name or "value"
  M.register(value, name)
  return make(name, function()
    return value
  end)
end

--- A secret that is read from the environment when it is first used.
---@param variable string
---@param default string? used when the variable is not set; without it a missing variable is an error
---@return luarium.Secret
function M.env(variable, default)
  check.argument(variable, "text", "env", "the variable's name")
  return make(variable, function()
    local value = os.getenv(variable)
    if value == nil or value == "" then
      value = default
    end
    if value == nil then
      errors.raise("auth", ("the variable %s is not set: export %s=... and try again"):format(variable, variable),
        { name = "NO_VARIABLE" })
    end
    M.register(value, variable)
    return value
  end)
end

--- The value itself, for the one place that hands it over. Plain strings and nil pass unchanged.
---@param secret luarium.Secret|string|nil
---@return string?
function M.reveal(secret)
  if M.is(secret) then
    return values[secret]()
  end
  return secret
end

--- Whether its value can be had now.
---@return boolean
function Secret:available()
  return (pcall(values[self]))
end

return M
