--- What a program has switched on at a terminal, as its output tells: to undo it when we leave a program that goes on,
--- and to do it again when we come back. And its last screenful, made fit to be shown once more.
local M = {}

local ALTERNATE = { [47] = true, [1047] = true, [1049] = true } -- screens
local ON_FROM_THE_START = { [7] = true, [25] = true }           -- lines wrap, the cursor is seen

--- Others are not remembered: cursor keys, mouse, focus, paste, synchronized output.
local REMEMBERED = { [1] = true, [6] = true, [7] = true, [9] = true, [25] = true, [47] = true, [1000] = true,
  [1001] = true, [1002] = true, [1003] = true, [1004] = true, [1005] = true, [1006] = true, [1007] = true,
  [1015] = true, [1016] = true, [1047] = true, [1049] = true, [2004] = true, [2026] = true }

local LONGEST = 64 -- bytes of a sequence that is looked at

---@class luarium.cli.TerminalModes
---@field modes table<integer, boolean> that are not as they are from the start
---@field keys table<string, string> what was asked of the keyboard, and how
---@field held string the beginning of a sequence
local Modes = {}
Modes.__index = Modes

---@return luarium.cli.TerminalModes
function M.new()
  return setmetatable({ modes = {}, keys = {}, held = "" }, Modes)
end

function Modes:set(numbers, on)
  for number in numbers:gmatch("%d+") do
    number = #number < 6 and tonumber(number)
    if REMEMBERED[number] then
      self.modes[number] = on ~= (ON_FROM_THE_START[number] or false) or nil
    end
  end
end

function Modes:control(parameters, final)
  local prefix = parameters:sub(1, 1)
  if prefix == "?" and (final == "h" or final == "l") then
    self:set(parameters, final == "h")
  elseif prefix == ">" and (final == "u" or final == "m") then
    local off = final == "m" and not parameters:find("^>%d+;0*[1-9]")
    self.keys[final] = not off and parameters or nil
  elseif prefix == "<" and final == "u" then
    self.keys.u = nil
  elseif final == "r" and parameters:find("^[%d;]*$") then
    self.region = parameters ~= "" or nil
  elseif final == "q" and parameters:find("^%d* $") then
    self.style = parameters
  elseif final == "p" and parameters == "!" then
    self:forget()
  end
end

function Modes:forget()
  self.modes, self.keys, self.region, self.style, self.keypad = {}, {}, nil, nil, nil
end

--- Takes note of output as it comes.
---@param text string
function Modes:feed(text)
  text = self.held .. text
  self.held = ""
  local at = text:find("\27", 1, true)
  while at do
    local kind = text:sub(at + 1, at + 1)
    if kind == "[" then
      local parameters, final = text:sub(at + 2, at + LONGEST):match("^([ -?]*)([@-~])")
      if final then
        self:control(parameters, final)
      elseif #text - at < LONGEST then
        self.held = not text:find("\27", at + 1, true) and text:sub(at) or ""
      end
    elseif kind == "=" or kind == ">" then
      self.keypad = kind == "=" or nil
    elseif kind == "c" then
      self:forget()
    elseif kind == "" then
      self.held = "\27"
    end
    at = text:find("\27", at + 1, true)
  end
end

local function sorted(modes)
  local list = {}
  for number in pairs(modes) do
    list[#list + 1] = number
  end
  table.sort(list)
  return list
end

--- What brings a terminal that is as it was from the start to where the program had it.
---@return string
function Modes:enter()
  local parts = {}
  for _, number in ipairs(sorted(self.modes)) do
    local letter = ON_FROM_THE_START[number] and "l" or "h"
    if ALTERNATE[number] then
      table.insert(parts, 1, ("\27[?%d%s\27[H\27[2J"):format(number, letter))
    else
      parts[#parts + 1] = ("\27[?%d%s"):format(number, letter)
    end
  end
  for final, parameters in pairs(self.keys) do
    parts[#parts + 1] = "\27[" .. parameters .. final
  end
  parts[#parts + 1] = self.keypad and "\27=" or ""
  parts[#parts + 1] = self.style and "\27[" .. self.style .. "q" or ""
  return table.concat(parts)
end

--- What brings it back, also from within a sequence without an end.
---@return string
function Modes:leave()
  local parts = { "\27\\", self.keys.u and "\27[<9u" or "", self.keys.m and "\27[>4m" or "",
    self.keypad and "\27>" or "", self.style and "\27[0 q" or "", self.region and "\0277\27[r\0278" or "" }
  local screen = ""
  for _, number in ipairs(sorted(self.modes)) do
    local sequence = ("\27[?%d%s"):format(number, ON_FROM_THE_START[number] and "h" or "l")
    if ALTERNATE[number] then
      screen = screen .. sequence
    else
      parts[#parts + 1] = sequence
    end
  end
  return table.concat(parts) .. screen .. "\27[4l\27(B\27)B\15\27[0m"
end

-- ---- what was shown before ----

local KEPT_CONTROLS = { ["\n"] = true, ["\r"] = true, ["\t"] = true, ["\b"] = true }
local MOST = 16384 -- bytes that are shown again

--- Where the last screenful begins: behind the last change between the screens, at the last time it was cleared, or so
--- many lines before the end.
local function beginning(text, rows)
  local from = math.max(1, #text - MOST + 1)
  if from > 1 then
    local line = text:find("\n", from, true)
    from = line and line + 1 or text:find("[^\128-\191]", from) or from
  end
  for number in pairs(ALTERNATE) do
    for at in text:gmatch("\27%[%?" .. number .. "[hl]()", 1) do
      from = math.max(from, at)
    end
  end
  for at in text:gmatch("()\27%[2J") do
    from = math.max(from, at)
  end
  local at = #text
  for _ = 1, rows do
    while at >= from and text:byte(at) ~= 10 do
      at = at - 1
    end
    at = at - 1
  end
  return math.max(from, at + 2)
end

--- A control sequence when it only draws or moves. Modes are entered apart; a question would be answered a second time,
--- and the program would take the answer for keys.
local function drawn(text, at)
  local parameters, final, after = text:match("^%[([ -?]*)([@-~])()", at)
  if not final then
    return "", at + 1
  end
  local keep = parameters:find("^[%d;:]*$") and final:find("[ABCDEFGHJKLMPSTXZ@`abdefgmrsu]")
  return keep and "\27[" .. parameters .. final or "", after
end

local function escape(text, at)
  local kind = text:sub(at, at)
  if kind == "[" then
    return drawn(text, at)
  elseif kind:find("[%]PX^_]") then -- a title, a question: up to its end
    local after = text:match("^[^\7\27]*()", at + 1)
    local mark = text:match("^\7", after) or text:match("^\27\\", after) or ""
    return "", after + #mark
  elseif kind:find("[()]") then
    local set, after = text:match("^(.[%w<=>])()", at)
    return set and "\27" .. set or "", after or at + 1
  end
  return kind:find("[78DEM]") and "\27" .. kind or "", kind == "\27" and at or at + 1
end

--- The last screenful of what a program has written, without anything but what can be seen.
---@param text string the end of its output
---@param rows integer of the screen
---@return string
function M.screenful(text, rows)
  local parts, at = {}, beginning(text, rows)
  while at <= #text do
    local plain, after = text:match("^([^%z\1-\31\127]*)()", at)
    parts[#parts + 1] = plain
    local char = text:sub(after, after)
    at = after + 1
    if char == "\27" then
      parts[#parts + 1], at = escape(text, at)
    elseif KEPT_CONTROLS[char] then
      parts[#parts + 1] = char
    end
  end
  return table.concat(parts)
end

return M
