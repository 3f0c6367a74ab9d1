--- Secrets are typed, so that they cannot be printed by accident, and every sink removes them by value.
local ascii = require "luarium.ascii"
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
local longest = 0      -- bytes of the first of them
local MIN_LENGTH = 6   -- shorter values would turn ordinary text into noise
local MIN_LINE = 12    -- of a value of several lines: others may be anything
local MIN_ENCODED = 8  -- of a part of a longer text in base64

local function add_form(form, replacement, min)
  if #form >= (min or MIN_LENGTH) and not known[form] then
    known[form] = replacement
    ordered[#ordered + 1] = form
  end
end

local function url_encode(text, format)
  return (text:gsub("[^%w%-_%.~]", function(c)
    return format:format(c:byte())
  end))
end

local json_escapes = { ["\""] = "\\\"", ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\b"] = "\\b",
  ["\f"] = "\\f" }

local function json_escape(text)
  return (text:gsub("[%c\"\\]", function(c)
    return json_escapes[c] or ("\\u%04x"):format(c:byte())
  end))
end

--- In a longer text that is encoded as a whole a value begins at any of three places of a group of bytes, and its first
--- and last characters then depend on its neighbours.
local function add_base64(value, replacement)
  local encode = native.crypto.base64_encode
  local function add(text, min)
    add_form(text, replacement, min)
    add_form((text:gsub("+", "-"):gsub("/", "_")), replacement, min)
  end
  add((encode(value):gsub("=+$", "")))
  for before = 0, 2 do
    local size = before + #value
    local text = encode(("\0"):rep(before) .. value):sub(1, math.floor(size * 8 / 6))
    add(text:sub(before == 0 and 1 or before + 2), MIN_ENCODED)
  end
end

--- Lines of keys are shown with other line ends, or with something in front of each. Their marks are no secret.
local function add_lines(value, replacement)
  local lines = {}
  for line in value:gmatch("[^\r\n]+") do
    lines[#lines + 1] = not line:find("^%-%-%-%-%-") and line or nil
  end
  for _, line in ipairs(lines) do
    add_form(line, replacement, #lines > 1 and MIN_LINE or MIN_LENGTH)
  end
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
  add_form(url_encode(value, "%%%02X"), replacement)
  add_form(url_encode(value, "%%%02x"), replacement)
  local escaped = json_escape(value)
  add_form(escaped, replacement)
  add_form((escaped:gsub("/", "\\/")), replacement)
  if native.crypto then
    add_base64(value, replacement)
  end
  add_lines(value, replacement)
  table.sort(ordered, function(a, b)
    return #a > #b
  end)
  longest = #ordered[1]
end

--- The same for the value of a header, and for the token in it: an answer may repeat that alone.
---@param value string such as "Bearer TOKEN"
---@param name string
function M.register_header(value, name)
  M.register(value, name)
  local scheme, token = value:match("^%s*(%a[%w%-]*)%s+(%S+)%s*$")
  if not token then
    return
  end
  M.register(token, name)
  local login = ascii.lower(scheme) == "basic" and native.crypto and native.crypto.base64_decode(token)
  local password = login and login:match("^[^:]*:(.+)$")
  if password then
    M.register(password, name)
  end
end

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- The same for the password in an address, if there is one.
---@param url string such as "http://user:password@host"
---@param name string
function M.register_url(url, name)
  local userinfo = url:match("^%a[%w+.-]*://([^/?#]*)@") or url:match("^([^/?#]*)@")
  local user, password = (userinfo or ""):match("^([^:]*):(.+)$")
  if password then
    M.register(password, name)
    M.register(decode(password), name)
    M.register(decode(user) .. ":" .. decode(password), name)
  end
end

--- An address fit for messages: without what may be a password in it, also when it is malformed, and without its query.
---@param url string
---@return string
function M.shown_url(url)
  local scheme, rest = url:match("^(%a[%w+.-]*://)(.*)$")
  rest = rest or url
  local hidden, host = rest:match("^(.*)@(.*)$")
  if hidden then
    rest = (hidden:find(":", 1, true) and "[hidden]@" or hidden .. "@") .. host
  end
  return (scheme or "") .. rest:gsub("[?#].*$", "")
end

--- A text in which addresses have no passwords: for complaints of others, which repeat what they were given.
---@param text string
---@return string
function M.hide_passwords(text)
  return (text:gsub("://([^/%s:@]*):[^/%s@]*@", "://%1:[hidden]@"))
end

--- Where the earliest known form begins, and which; the longest of those that begin there.
local function next_match(text, at, places)
  local first, form
  for _, other in ipairs(ordered) do
    local found = places[other]
    if found == nil or found and found < at then
      found = #text - at + 1 >= #other and text:find(other, at, true) or false
      places[other] = found
    end
    if found and (not first or found < first) then
      first, form = found, other
    end
  end
  return first, form
end

--- Where at the end of a text a form may have begun that is not whole yet; nil: nowhere.
local function beginning(text, at)
  local earliest
  for _, form in ipairs(ordered) do
    local from = math.max(at, #text - #form + 2)
    local found = text:find(form:sub(1, 1), from, true)
    while found and (not earliest or found < earliest) do
      if text:sub(found) == form:sub(1, #text - found + 1) then
        earliest = found
      end
      found = text:find(form:sub(1, 1), found + 1, true)
    end
  end
  return earliest
end

--- Replaces what is known, from left to right. Unless the text is all there is, its end may be kept back.
---@return string clean
---@return string rest
local function replace(text, is_all)
  local parts, at, places = {}, 1, {}
  while true do
    local first, form = next_match(text, at, places)
    if at == 1 and not first and is_all then
      return text, ""
    end
    local unsure = not is_all and (not first or first > #text - longest) and beginning(text, at)
    if unsure and (not first or unsure <= first) then
      parts[#parts + 1] = text:sub(at, unsure - 1)
      return table.concat(parts), text:sub(unsure)
    elseif not first then
      parts[#parts + 1] = text:sub(at)
      return table.concat(parts), ""
    end
    parts[#parts + 1] = text:sub(at, first - 1)
    parts[#parts + 1] = known[form]
    at = first + #form
  end
end

--- The text without any known secret.
---@param text string
---@return string
function M.redact(text)
  return (replace(text, true))
end

--- The beginning of a text, for a message. Secrets go first: of one that is cut the rest would stay.
---@param text string
---@param bytes integer
---@return string
function M.excerpt(text, bytes)
  return M.redact(text):sub(1, bytes)
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

--- A redactor for a stream: a secret that is cut by a chunk border is still found, and the result is that of the
--- whole text. Call it with each chunk, and with nil at the end; it returns what may go out.
---@return fun(chunk: string?): string
function M.stream_redactor()
  local held = ""
  return function(chunk)
    local clean
    clean, held = replace(held .. (chunk or ""), chunk == nil)
    return clean
  end
end

-- ---- secrets ----

local warned = false

--- Says once that a value is too short to be found again without harm to ordinary text.
local function warn_of_short(value, name)
  if not warned and #value > 0 and #value < MIN_LENGTH then
    warned = true
    require("luarium.log").warn(("the secret %s has fewer than %d bytes: such short ones are not removed from output, "
      .. "logs and messages"):format(name, MIN_LENGTH))
  end
end

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
  warn_of_short(value, name)
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
    warn_of_short(value, variable)
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
