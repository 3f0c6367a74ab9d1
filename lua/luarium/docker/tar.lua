--- The little of tar that single files and folders need: a header is written, a stream with one file is read.
local errors = require "luarium.error"

local M = {}

local BLOCK = 512
local MAX_SIZE = 8589934591 -- eleven octal digits
local WHOLE = 9007199254740992 -- what both kinds of Lua have whole numbers up to
local EXTENDED = 1048576 -- bytes that the extended headers of one entry may have

local function pad(size)
  return (BLOCK - size % BLOCK) % BLOCK
end

local function octal(value, digits)
  return ("%0" .. digits .. "o"):format(value) .. "\0"
end

local function header(name, mode, size, kind)
  local fields = { name .. ("\0"):rep(100 - #name), octal(mode, 7), octal(0, 7), octal(0, 7), octal(size, 11),
    octal(0, 11), "        ", kind, ("\0"):rep(100), "ustar\0" .. "00", ("\0"):rep(32), ("\0"):rep(32), octal(0, 7),
    octal(0, 7), ("\0"):rep(155), ("\0"):rep(12) }
  local text, sum = table.concat(fields), 0
  for i = 1, BLOCK do
    sum = sum + text:byte(i)
  end
  return text:sub(1, 148) .. ("%06o\0 "):format(sum) .. text:sub(157)
end

--- A record of an extended header: its length counts itself.
local function record(key, value)
  local rest = " " .. key .. "=" .. value .. "\n"
  local length = #rest + 1
  while #tostring(length) + #rest ~= length do
    length = #tostring(length) + #rest
  end
  return length .. rest
end

--- What stands before the bytes of an entry.
---@param name string any length, without a slash in front
---@param mode integer
---@param size integer
---@param kind "file"|"dir"
---@return string? bytes nil when the entry is too large for this
function M.entry(name, mode, size, kind)
  if size > MAX_SIZE then
    return nil
  end
  local flag, front, short = kind == "dir" and "5" or "0", "", name
  if #name > 99 or name:find("[\128-\255]") then
    local extended = record("path", name)
    front = header("pax", 420, #extended, "x") .. extended .. ("\0"):rep(pad(#extended))
    short = "long"
  end
  return front .. header(short, mode, size, flag)
end

--- What stands behind the bytes of the last entry.
---@param size integer of that entry
---@return string
function M.finish(size)
  return ("\0"):rep(pad(size) + 2 * BLOCK)
end

-- ---- reading ----

local function malformed()
  errors.raise("protocol", "the engine sent an archive that makes no sense")
end

--- A size that is one: a whole number that a file can have.
local function checked(size)
  if not size or size > WHOLE then
    malformed()
  end
  return size
end

local function number(text)
  if text:byte(1) >= 128 then -- base 256
    local value = text:byte(1) % 128
    for i = 2, #text do
      value = checked(value) * 256 + text:byte(i)
    end
    return checked(value)
  end
  return checked(tonumber(text:match("^%s*([0-7]*)"), 8) or 0)
end

--- Reads an archive whose first entry must be a regular file, and gives its bytes as they come.
---@param read fun(): string? the next bytes of the archive; nil at the end
---@return fun(): string? next_bytes
---@return integer size
function M.single_file(read)
  local held = ""
  local function take(count)
    local parts, size = { held }, #held
    while size < count do
      local bytes = read()
      if not bytes then
        errors.raise("unavailable", "the engine's archive was cut", { retryable = true })
      end
      parts[#parts + 1] = bytes
      size = size + #bytes
    end
    local text = table.concat(parts)
    held = text:sub(count + 1)
    return text:sub(1, count)
  end
  local size, extended_size
  local extended = 0
  repeat
    local block = take(BLOCK)
    local kind = block:sub(157, 157)
    size = number(block:sub(125, 136))
    if kind == "x" or kind == "g" or kind == "L" or kind == "K" then
      extended = extended + size
      if extended > EXTENDED then
        malformed()
      end
      local text = take(size + pad(size)):sub(1, size)
      local told = kind == "x" and text:match("%f[%d]%d+ size=(%d+)\n")
      extended_size = told and checked(tonumber(told)) or extended_size
    elseif kind ~= "0" and kind ~= "\0" then
      return nil
    end
  until kind == "0" or kind == "\0"
  size = extended_size or size
  local left = size
  return function()
    if left == 0 then
      return nil
    end
    if held == "" then
      held = read() or errors.raise("unavailable", "the engine's archive was cut", { retryable = true })
    end
    local bytes = #held > left and held:sub(1, left) or held
    held = held:sub(#bytes + 1)
    left = left - #bytes
    return bytes
  end, size
end

return M
