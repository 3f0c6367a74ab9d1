--- Assertions of the conformance suite. A failure is a text that shows what was found and what was wanted, with the
--- place of the check in front.
local check = require "luarium.check"
local errors = require "luarium.error"

local M = {}

local SHOWN = 160 -- bytes of a value in a message

local function quote(text)
  return '"' .. text:gsub('[%c"\\\128-\255]', function(c)
    if c == "\n" then
      return "\\n"
    elseif c == '"' or c == "\\" then
      return "\\" .. c
    end
    return ("\\x%02x"):format(c:byte())
  end) .. '"'
end

local function show(value, depth)
  if type(value) == "string" then
    if #value > SHOWN then
      return ("%s... (%d bytes)"):format(quote(value:sub(1, SHOWN)), #value)
    end
    return quote(value)
  elseif errors.is(value) then
    return ("error %s: %s"):format(value.kind, tostring(value))
  elseif type(value) == "table" and (depth or 0) < 4 then
    local parts = {}
    for _, key in ipairs(check.sorted_keys(value)) do
      parts[#parts + 1] = ("%s = %s"):format(tostring(key), show(value[key], (depth or 0) + 1))
      if #parts == 24 then
        parts[#parts + 1] = "..."
        break
      end
    end
    return "{" .. table.concat(parts, ", ") .. "}"
  end
  return tostring(value)
end
M.show = show

--- Ends the check as failed.
---@param message string
---@param level integer? whose place is named; 1 is the caller
function M.fail(message, level)
  error(message, (level or 1) + 1)
end

local function differ(got, want)
  if type(got) == "string" and type(want) == "string" and math.max(#got, #want) > SHOWN then
    local at = 1
    while got:byte(at) == want:byte(at) do
      at = at + 1
    end
    return ("%d bytes instead of %d, the first difference is at byte %d: got %s, wanted %s"):format(#got, #want, at,
      show(got:sub(at, at + 40)), show(want:sub(at, at + 40)))
  end
  return ("got %s, wanted %s"):format(show(got), show(want))
end

--- Plain values: the same type and value.
---@param got any
---@param want any
---@param what string
function M.equal(got, want, what)
  if got ~= want then
    M.fail(("%s: %s"):format(what, differ(got, want)), 2)
  end
end

local function same(got, want, path)
  if type(got) ~= "table" or type(want) ~= "table" then
    if got ~= want then
      return path, got, want
    end
    return nil
  end
  for key, item in pairs(want) do
    local where, a, b = same(got[key], item, path .. "." .. tostring(key))
    if where then
      return where, a, b
    end
  end
  for key, item in pairs(got) do
    if want[key] == nil then
      return path .. "." .. tostring(key), item, nil
    end
  end
end

--- Tables: the same keys with the same values, at every depth.
function M.same(got, want, what)
  local where, a, b = same(got, want, what)
  if where then
    M.fail(("%s: %s"):format(where, differ(a, b)), 2)
  end
end

--- The fields of `want`; others are not looked at.
function M.fields(got, want, what)
  if type(got) ~= "table" then
    M.fail(("%s: got %s, wanted a table"):format(what, show(got)), 2)
  end
  for key, item in pairs(want) do
    local where, a, b = same(got[key], item, what .. "." .. tostring(key))
    if where then
      M.fail(("%s: %s"):format(where, differ(a, b)), 2)
    end
  end
end

--- A condition with a value behind it.
function M.yes(condition, what, got)
  if not condition then
    M.fail(got == nil and what or ("%s: got %s"):format(what, show(got)), 2)
  end
end

function M.contains(got, text, what)
  if type(got) ~= "string" or not got:find(text, 1, true) then
    M.fail(("%s: got %s, wanted a text with %s in it"):format(what, show(got), show(text)), 2)
  end
end

function M.lacks(got, text, what)
  local at = type(got) == "string" and got:find(text, 1, true)
  if type(got) ~= "string" or at then
    M.fail(("%s: got %s, wanted a text without %s"):format(what,
      show(at and got:sub(math.max(1, at - 40), at + 80) or got), show(text)), 2)
  end
end

function M.matches(got, pattern, what)
  if type(got) ~= "string" or not got:find(pattern) then
    M.fail(("%s: got %s, wanted one that matches %s"):format(what, show(got), pattern), 2)
  end
end

function M.between(got, low, high, what)
  if type(got) ~= "number" or got < low or got > high then
    M.fail(("%s: got %s, wanted a number from %g to %g"):format(what, show(got), low, high), 2)
  end
end

local function is_one_of(kind, kinds)
  for _, allowed in ipairs(kinds) do
    if kind == allowed then
      return true
    end
  end
  return false
end

--- That fn raises an error object of this kind (or one of these), whose message has all of these texts in it.
---@param kind string|string[]
---@param fn function
---@param ... string texts that the message must hold
---@return luarium.Error err
function M.raises(kind, fn, ...)
  local kinds = type(kind) == "table" and kind or { kind }
  local wanted = table.concat(kinds, " or ")
  local ok, err = pcall(fn)
  if ok then
    M.fail(("got a return, wanted an error of kind %s; it returned %s"):format(wanted, show(err)), 2)
  elseif not errors.is(err) then
    M.fail(("got %s, wanted an error object of kind %s"):format(show(err), wanted), 2)
  elseif not is_one_of(err.kind, kinds) then
    M.fail(("got an error of kind %s (%s), wanted %s"):format(err.kind, tostring(err), wanted), 2)
  end
  for i = 1, select("#", ...) do
    local text = select(i, ...)
    if not tostring(err):find(text, 1, true) then
      M.fail(("the error's message: got %s, wanted one that names %s"):format(show(tostring(err)), show(text)), 2)
    end
  end
  return err
end

--- A result of exec that went well and printed exactly this.
---@param result luarium.ExecResult
---@param stdout string
---@param what string?
function M.prints(result, stdout, what)
  what = what or "the command"
  if result.exit_code ~= 0 or result.timed_out or result.signal then
    M.fail(("%s: got exit code %s, signal %s, timed out %s, stderr %s; wanted exit code 0"):format(what,
      tostring(result.exit_code), tostring(result.signal), tostring(result.timed_out), show(result.stderr)), 2)
  elseif result.stdout ~= stdout then
    M.fail(("%s: stdout: %s"):format(what, differ(result.stdout, stdout)), 2)
  end
end

return M
