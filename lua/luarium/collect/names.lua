--- Names that come out of a sandbox: matching them, showing them, and making paths of them that stay in their folder.
local utf8 = require "luarium.utf8"

local M = {}

local MAX_COMPONENT, MAX_PATH = 255, 3000

-- ---- patterns ----

local function has_magic(text)
  return text:find("[*?%[]") ~= nil
end
M.has_magic = has_magic

local function translate_class(pattern, i)
  local stop = pattern:find("]", i + 2, true)
  if not stop then
    return "%[", i
  end
  local inside = pattern:sub(i + 1, stop - 1)
  local negated = inside:match("^[!^]") ~= nil
  if negated then
    inside = inside:sub(2)
  end
  return "[" .. (negated and "^/" or "") .. inside:gsub("[%%%]%[%^]", "%%%0") .. "]", stop
end

--- Lua patterns for a glob: `*` and `?` stay within a folder, `**` crosses folders, `[a-z]` and `[!a-z]` are classes.
--- There are several where `**/` may also stand for nothing.
local function translate(glob)
  local variants = { "^" }
  local function add(text)
    for n, variant in ipairs(variants) do
      variants[n] = variant .. text
    end
  end
  local i = 1
  while i <= #glob do
    local c = glob:sub(i, i)
    if glob:sub(i, i + 2) == "**/" and #variants <= 16 then
      for n = 1, #variants do
        variants[#variants + 1] = variants[n]
        variants[n] = variants[n] .. ".*/"
      end
      i = i + 2
    elseif glob:sub(i, i + 1) == "**" then
      add(".*")
      i = i + 1
    elseif c == "*" then
      add("[^/]*")
    elseif c == "?" then
      add("[^/]")
    elseif c == "[" then
      local text, stop = translate_class(glob, i)
      add(text)
      i = stop
    else
      add((c:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")))
    end
    i = i + 1
  end
  add("$")
  return variants
end

---@class luarium.FilePattern
---@field text string as it was given
---@field root string where a search has to begin: the part without wildcards
---@field matches fun(path: string): boolean

--- A path or glob. A folder's own path stands for everything in it.
---@param text string
---@return luarium.FilePattern
function M.pattern(text)
  local plain = text:gsub("/+", "/"):gsub("^%./", ""):gsub("(.)/$", "%1")
  if not has_magic(plain) then
    local prefix = plain == "." and "" or plain .. "/"
    return { text = text, root = plain, matches = function(path)
      return path == plain or path:sub(1, #prefix) == prefix
    end }
  end
  local variants = translate(plain)
  local fixed = plain:match("^([^*?%[]*)/") or plain:sub(1, 1) == "/" and "/" or "."
  return { text = text, root = fixed == "" and "/" or fixed, matches = function(path)
    for _, variant in ipairs(variants) do
      if path:find(variant) then
        return true
      end
    end
    return false
  end }
end

-- ---- showing ----

-- One character of valid UTF-8 that is no control character.
local function printable_length(text, i)
  local a, b = text:byte(i, i + 1)
  if a < 32 or a == 127 or a == 194 and (b or 0) < 160 then
    return nil
  end
  return utf8.length(text, i)
end

--- The text as valid UTF-8 without control characters but line ends and tabs; other bytes become \xNN.
---@param text string
---@return string
function M.printable(text)
  if not text:find("[%z\1-\8\11-\31\127-\255]") then
    return text
  end
  local parts, i = {}, 1
  while i <= #text do
    local byte = text:byte(i)
    local n = (byte == 9 or byte == 10) and 1 or printable_length(text, i)
    parts[#parts + 1] = n and text:sub(i, i + n - 1) or ("\\x%02x"):format(byte)
    i = i + (n or 1)
  end
  return table.concat(parts)
end

-- ---- storing ----

--- One part of a path that is safe to store: control characters and "%" are written as %XX.
---@param text string
---@return string? nil when it cannot be a name
function M.component(text)
  if text == "" or text == "." or text == ".." or text:find("/", 1, true) then
    return nil
  end
  local safe = text:gsub("[%z\1-\31\127%%]", function(c)
    return ("%%%02X"):format(c:byte())
  end)
  return #safe <= MAX_COMPONENT and safe or nil
end

--- A relative path that cannot leave its folder.
---@param path string
---@return string? nil when it cannot be stored
function M.safe(path)
  local parts = {}
  for part in (path .. "/"):gmatch("([^/]*)/") do
    parts[#parts + 1] = M.component(part)
    if #parts == 0 or not M.component(part) then
      return nil
    end
  end
  local safe = table.concat(parts, "/")
  return #safe <= MAX_PATH and safe or nil
end

return M
