--- Tells, a line at a time, of Lua text that certainly is not a whole statement yet, so that a long one need not be
--- compiled anew at each of its lines. What it is not sure of, it leaves to the compiler.
local M = {}

local function set(words)
  local found = {}
  for word in words:gmatch("%S+") do
    found[word] = true
  end
  return found
end

local opens = set("function if repeat for while ( { [")
local closes = set("end until ) } ]")

-- Something follows these. Not ">": it also ends `local x <const>`.
local awaits = set("and or not in local goto = + - * / % ^ # & ~ | < , . .. :")

---@class luarium.cli.Scan
---@field depth integer blocks and brackets that are open
---@field loops integer `for` and `while` whose `do` is still to come
---@field level string? signs within the brackets of the long string or comment that is open
---@field last string? the last token
---@field unsure boolean?
local Scan = {}
Scan.__index = Scan

---@return luarium.cli.Scan
function M.new()
  return setmetatable({ depth = 0, loops = 0 }, Scan)
end

--- Passes over a long string or comment; nil when it goes on beyond the line.
local function pass_long(self, line, at)
  local _, stop = line:find("]" .. self.level .. "]", at, true)
  if not stop then
    return nil
  end
  self.level = nil
  return stop + 1
end

local function pass_quoted(self, line, at)
  local quote = line:sub(at, at)
  at = at + 1
  while true do
    local found = line:find("[\\" .. quote .. "]", at)
    if not found then
      self.unsure = true -- it goes on in the next line, or is a fault
      return nil
    elseif line:sub(found, found) == quote then
      self.last = "string"
      return found + 1
    end
    at = found + 2
  end
end

local function count(self, token)
  if opens[token] then
    self.depth = self.depth + 1
    self.loops = self.loops + ((token == "for" or token == "while") and 1 or 0)
  elseif closes[token] then
    self.depth = self.depth - 1
  elseif token == "do" and self.loops > 0 then
    self.loops = self.loops - 1
  elseif token == "do" then
    self.depth = self.depth + 1
  end
  self.last = token
end

--- Passes over what begins at a place; nil at the end of the line.
local function pass(self, line, at)
  at = line:find("%S", at)
  if not at then
    return nil
  end
  local comment = line:match("^%-%-()", at)
  local level, inside = line:match("^%[(=*)%[()", comment or at)
  if level then
    self.level, self.last = level, comment and self.last or "string"
    return pass_long(self, line, inside)
  elseif comment then
    return nil
  elseif line:find("^[\"']", at) then
    return pass_quoted(self, line, at)
  end
  local token = line:match("^[%a_][%w_]*", at) or line:match("^%.?%d[%w%.]*", at) or line:match("^%.+", at)
    or line:match("^::", at) or line:sub(at, at)
  count(self, token)
  return at + #token
end

--- Takes the next line.
---@param line string without its end
function Scan:feed(line)
  local at = 1
  if self.level then
    at = pass_long(self, line, 1)
  end
  while at and not self.unsure do
    at = pass(self, line, at)
  end
end

--- Whether more must come.
---@return boolean
function Scan:is_open()
  return not self.unsure and (self.level ~= nil or self.depth > 0 or awaits[self.last or ""] == true)
end

return M
