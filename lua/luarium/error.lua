--- Error objects and the registry of their kinds. Natives make the same objects: they share this metatable.
local native = require "luarium.native"

---@class luarium.Error
---@field kind string one of the registry below
---@field message string one line: what was wrong, what was expected, what to do
---@field op string? the operation that failed, such as "docker.create"
---@field provider string?
---@field status integer? the vendor's status
---@field code integer? the system's code
---@field name string? its symbolic name, such as "ENOENT"
---@field retryable boolean? trying the same again may help
---@field retry_after number? seconds
---@field cause any the error behind this one
---@field data table? what else is known, such as partial output
---@field traceback string?
local Error = {}
local mt = native.loop.error_metatable()
mt.__index = Error
mt.__name = "luarium.Error"

local M = { mt = mt }

--- Every kind there is, with what it tells the caller.
M.kinds = {
  invalid = "the call or its arguments are wrong",
  not_found = "what was named does not exist",
  conflict = "it exists already, or is in a state that forbids this",
  auth = "the credentials are missing or refused",
  quota = "a limit of the account, the machine or the caller is reached",
  rate_limited = "too many calls; retry_after tells when to come back",
  timeout = "the time given was not enough",
  cancelled = "somebody asked for it to stop",
  unavailable = "the other side cannot be reached now",
  sandbox_gone = "the sandbox no longer exists",
  unsupported = "this provider cannot do that",
  io = "the system refused a file or stream operation",
  protocol = "the other side sent something malformed or forbidden",
  internal = "a script or Luarium itself failed",
}

--- Any value as text. A value's own __tostring may fail or give something else.
local function text_of(value)
  if type(value) == "string" then
    return value
  end
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or "a " .. type(value)
end

--- The message that a table of the script's own carries, if it does; its __index may fail.
---@param value any
---@return string?
function M.message_of(value)
  if type(value) ~= "table" then
    return nil
  end
  local ok, message = pcall(function()
    return value.message
  end)
  return ok and type(message) == "string" and message or nil
end

--- Makes an error object without raising it.
---@param kind string
---@param message string
---@param fields table? further fields of luarium.Error
---@return luarium.Error
function M.new(kind, message, fields)
  assert(M.kinds[kind], "unknown error kind")
  local err = {}
  for key, value in pairs(fields or {}) do
    err[key] = value
  end
  err.kind, err.message = kind, text_of(message)
  return setmetatable(err, mt)
end

--- Whether a value is one of our error objects, of the given kind if one is given.
---@param value any
---@param kind string?
---@return boolean
function M.is(value, kind)
  return getmetatable(value) == mt and (kind == nil or value.kind == kind)
end

--- Raises an error object.
---@param kind string
---@param message string
---@param fields table?
function M.raise(kind, message, fields)
  error(M.new(kind, message, fields), 0)
end

--- Raised when Lua itself could not get memory; made beforehand, because then there is none to make it.
M.out_of_memory = M.new("quota", "not enough memory", { traceback = "(there was no memory for a traceback)" })

--- Whether a value is what Lua raises when it could not get memory.
---@param value any
---@return boolean
function M.is_out_of_memory(value)
  return value == "not enough memory"
end

--- Turns any error value into an error object; objects pass unchanged.
---@param value any
---@return luarium.Error
function M.from(value)
  if M.is(value) then
    return value
  elseif M.is_out_of_memory(value) then
    return M.out_of_memory
  end
  return M.new("internal", M.message_of(value) or text_of(value), { cause = type(value) ~= "string" and value or nil })
end

--- The same error in an object of its own.
---@param err luarium.Error
---@return luarium.Error
function M.copy(err)
  local copy = {}
  for key, value in next, err do
    copy[key] = value
  end
  return setmetatable(copy, mt)
end

local texts = { "op", "provider", "name", "place", "traceback" }
local numbers = { "status", "code", "retry_after" }

--- Any error value as an error object that whoever reports it can rely on: scripts may put anything into its fields.
---@param value any
---@return luarium.Error
function M.normal(value)
  local err = M.copy(M.from(value))
  local kind = rawget(err, "kind")
  err.kind = type(kind) == "string" and M.kinds[kind] and kind or "internal"
  err.message = text_of(rawget(err, "message"))
  for _, key in ipairs(texts) do
    err[key] = type(err[key]) == "string" and err[key] or nil
  end
  for _, key in ipairs(numbers) do
    local number = err[key]
    err[key] = type(number) == "number" and number - number == 0 and number or nil -- neither NaN nor infinite
  end
  err.retryable = err.retryable == true or nil
  err.data = type(err.data) == "table" and err.data or nil
  return err
end

--- A message handler for xpcall: strings become objects, and objects learn where they were raised. Tables of
--- the script's own pass unchanged.
function M.handler(value)
  if type(value) == "table" and not M.is(value) then
    return value
  end
  if type(value) == "string" and value:find("attempt to call", 1, true) then
    value = require("luarium.advice").improve(value)
  end
  local err = M.from(value)
  if not err.traceback and err.kind ~= "cancelled" then
    err.traceback = debug.traceback("", 2):gsub("^\n", "")
  end
  return err
end

---@param kind string
---@return boolean
function Error:is(kind)
  return self.kind == kind
end

--- The same error seen from a layer further up: op is put in front, fields are added, the first one is the cause.
---@param op string
---@param fields table?
---@return luarium.Error
function Error:wrap(op, fields)
  local err = {}
  for key, value in pairs(self) do
    err[key] = value
  end
  for key, value in pairs(fields or {}) do
    err[key] = value
  end
  err.op, err.cause = op, self
  return setmetatable(err, mt)
end

--- What is known beside the message: where it was raised, and the errors behind it.
---@param err luarium.Error
---@return string
function M.details(err)
  local lines = { type(err.traceback) == "string" and err.traceback or nil }
  local cause, depth = err.cause, 0
  while cause ~= nil and depth < 8 do
    lines[#lines + 1] = "caused by: " .. (not M.is(cause) and M.message_of(cause) or text_of(cause))
    cause = type(cause) == "table" and rawget(cause, "cause") or nil
    depth = depth + 1
  end
  return table.concat(lines, "\n")
end

--- All that is known, over several lines.
---@return string
function Error:trace()
  local details = M.details(self)
  return ("%s [%s]%s"):format(tostring(self), text_of(self.kind), details ~= "" and "\n" .. details or "")
end

function mt.__tostring(self)
  local message = text_of(self.message)
  return type(self.op) == "string" and self.op .. ": " .. message or message
end

return M
