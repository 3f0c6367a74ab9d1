--- Valid UTF-8, a character at a time; Lua 5.4's own library is not in LuaJIT.
local M = {}

local function continues(text, from, to)
  for i = from, to do
    local byte = text:byte(i)
    if not byte or byte < 128 or byte > 191 then
      return false
    end
  end
  return true
end

--- How many bytes the character at i has, or nil when it is none.
---@param text string
---@param i integer
---@return integer? bytes
function M.length(text, i)
  local a, b = text:byte(i, i + 1)
  if a < 128 then
    return 1
  elseif a >= 194 and a <= 223 then
    return continues(text, i + 1, i + 1) and 2 or nil
  elseif a >= 224 and a <= 239 and continues(text, i + 1, i + 2) then
    return (a ~= 224 or b >= 160) and (a ~= 237 or b < 160) and 3 or nil
  elseif a >= 240 and a <= 244 and continues(text, i + 1, i + 3) then
    return (a ~= 240 or b >= 144) and (a ~= 244 or b < 144) and 4 or nil
  end
end

--- How many bytes at the end of a text may be the beginning of a character whose rest is still to come.
---@param text string
---@return integer bytes 0 to 3
function M.unfinished(text)
  for count = 1, math.min(3, #text) do
    local byte = text:byte(-count)
    if byte < 128 or byte > 191 then
      local length = (byte < 194 or byte > 244) and 1 or byte >= 240 and 4 or byte >= 224 and 3 or 2
      return length > count and count or 0
    end
  end
  return 0
end

local function replacement_character()
  return "\239\191\189"
end

--- The text with U+FFFD, or what `replace` makes of it, in place of each byte that belongs to no character.
---@param text string
---@param replace (fun(byte: integer): string)?
---@return string
function M.replace_invalid(text, replace)
  replace = replace or replacement_character
  local parts, from = {}, 1
  local i = text:find("[\128-\255]")
  while i do
    local length = M.length(text, i)
    if not length then
      parts[#parts + 1] = text:sub(from, i - 1) .. replace(text:byte(i))
      from = i + 1
    end
    i = text:find("[\128-\255]", i + (length or 1))
  end
  return table.concat(parts) .. text:sub(from)
end

local native_length = rawget(_G, "utf8") and rawget(_G, "utf8").len -- Lua 5.4 only

--- Whether a whole text is valid.
---@param text string
---@return boolean
function M.is_valid(text)
  if native_length then
    return native_length(text) ~= nil
  end
  local i = text:find("[\128-\255]")
  while i do
    local length = M.length(text, i)
    if not length then
      return false
    end
    i = text:find("[\128-\255]", i + length)
  end
  return true
end

return M
