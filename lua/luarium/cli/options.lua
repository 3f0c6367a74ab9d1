--- Options and arguments of the commands: rows in, a table of values out; and the help that is made of the same rows.
local duration = require "luarium.duration"

local M = {}

---@class luarium.cli.Row
---@field [1] string "-n --name" or the name of an argument
---@field value string? what the option takes, as the help shows it
---@field bare boolean? the value may be missing: it comes behind =, and is true else
---@field many boolean? it may be given several times, or an argument takes several words
---@field optional boolean? an argument that may be missing
---@field type string? "count", "positive" (whole numbers from 0 and 1), "port", "number", "size" (512m), "seconds"
---  (90s, 1.5h), "seconds_or_none" (also 0), "name" (of a sandbox), "pair" (NAME=VALUE), "env" (also NAME alone: a
---  secret from our environment)
---@field choices string[]?
---@field about string

--- Options that every command has.
---@type luarium.cli.Row[]
M.global = {
  { "--provider", value = "NAME", about = "which provider (default: LUARIUM_PROVIDER, the configured one, local)" },
  { "--config", value = "FILE", about = "read this configuration instead of luarium.lua" },
  { "--state-dir", value = "DIR", about = "where the records of sandboxes are kept" },
  { "--json", about = "machine-readable output and errors" },
  { "-q --quiet", about = "results and errors only" },
  { "-v --verbose", about = "more: debug lines, tracebacks" },
  { "--color", value = "WHEN", choices = { "auto", "always", "never" }, about = "auto, always or never" },
  { "-h --help", about = "show this" },
}

--- Ends the program with a message about how it was called.
---@param message string
---@param hint string? a command that helps
function M.usage_error(message, hint)
  require("luarium.error").raise("invalid", message, { name = "USAGE", data = { hint = hint } })
end

local function flags_of(row)
  local list = {}
  for flag in row[1]:gmatch("%S+") do
    list[#list + 1] = flag
  end
  return list
end

--- The key of an option's value: its last name, "--state-dir" as state_dir.
local function target_of(row)
  return (row[1]:match("(%S+)$"):gsub("^%-+", ""):gsub("%-", "_"))
end

--- Every row by each of its names.
local function by_flag(command)
  local rows = {}
  for _, list in ipairs({ M.global, command and command.options or {} }) do
    for _, row in ipairs(list) do
      for _, flag in ipairs(flags_of(row)) do
        rows[flag] = row
      end
    end
  end
  return rows
end

local MOST_BYTES = 2 ^ 53 -- all that a number holds exactly
local UNITS = { [""] = 1, k = 1024, m = 1024 ^ 2, g = 1024 ^ 3, t = 1024 ^ 4 }

local converters = {
  count = function(text)
    return #text <= 15 and text:match("^%d+$") and tonumber(text) or nil, "a whole number"
  end,
  positive = function(text)
    return #text <= 15 and text:match("^%d*[1-9]%d*$") and tonumber(text) or nil, "a whole number, at least 1"
  end,
  seconds = function(text)
    local n = duration.parse(text)
    return n and n > 0 and n or nil, "more than 0 " .. duration.FORM
  end,
  port = function(text)
    local n = #text <= 5 and text:match("^%d+$") and tonumber(text)
    return n and n >= 1 and n <= 65535 and n or nil, "a port from 1 to 65535"
  end,
  number = function(text)
    local n = #text <= 15 and text:match("^[%d.]+$") and tonumber(text)
    return n and n > 0 and n or nil, "a number, more than 0"
  end,
  size = function(text)
    local n, unit = text:lower():match("^(%d+%.?%d*)([kmgt]?)$")
    local bytes = n and math.floor(tonumber(n) * UNITS[unit]) or 0
    return bytes > 0 and bytes <= MOST_BYTES and bytes or nil, "more than 0 bytes, or such as 512m or 2g"
  end,
  seconds_or_none = function(text)
    return duration.parse(text), duration.FORM
  end,
  name = function(text)
    local check = require "luarium.check"
    return check.is_name(text) and text or nil, check.NAME
  end,
  pair = function(text)
    local key, value = text:match("^([^=]+)=(.*)$")
    return key and { key, value }, "KEY=VALUE"
  end,
  key = function(text)
    local char = text:lower():match("^ctrl%-([%l%[%]\\^_@])$")
    return char and string.char(char:upper():byte() % 32) or text == "none" and "" or nil,
      "ctrl-LETTER, one of ctrl-@ ctrl-[ ctrl-\\ ctrl-] ctrl-^ ctrl-_, or none"
  end,
  env = function(text)
    local key, value = text:match("^([%a_][%w_]*)=(.*)$")
    if not key and text:match("^[%a_][%w_]*$") then
      key, value = text, require("luarium.secret").env(text)
    end
    return key and { key, value }, "NAME=VALUE, or the NAME of a variable of ours"
  end,
}

-- ---- reading words ----

local Reader = {}
Reader.__index = Reader

function Reader:fail(...)
  local name = self.command.name
  M.usage_error((name ~= "" and name .. ": " or "") .. string.format(...),
    (("luarium help %s"):format(name):gsub(" $", "")))
end

function Reader:convert(row, label, text)
  if row.type then
    local value, expected = converters[row.type](text)
    if value == nil then
      self:fail("%s: expected %s, got '%s'", label, expected, text)
    end
    return value
  end
  if text == "" then
    self:fail("%s is empty", label)
  end
  for _, choice in ipairs(row.choices or { text }) do
    if choice == text then
      return text
    end
  end
  self:fail("%s: expected one of %s, got '%s'", label, table.concat(row.choices, ", "), text)
end

function Reader:store(row, flag, text)
  local target = target_of(row)
  if not row.value then
    self.args[target] = true
    return
  end
  local value = text == nil or self:convert(row, "option " .. flag, text)
  if row.many then
    table.insert(self.args[target], value)
  else
    self.args[target] = value
  end
end

function Reader:unknown(flag)
  local check = require "luarium.check"
  local long = {}
  for name in pairs(self.rows) do
    long[#long + 1] = #name > 2 and name or nil
  end
  local near = check.nearest(flag, long)
  self:fail("unknown option '%s'%s", flag, near and (": did you mean '%s'?"):format(near) or "")
end

--- Takes the option at the current word, and the word after it when that is its value.
function Reader:option()
  local word = self.words[self.at]
  local flag, text = word:match("^(%-%-[^=]+)=(.*)$")
  flag = flag or word
  local row = self.rows[flag]
  if not row and not text and word:match("^%-%w.") then -- -qv, -nNAME
    flag, text = word:sub(1, 2), word:sub(3)
    row = self.rows[flag]
    if row and not row.value then
      self:store(row, flag)
      self.words[self.at] = "-" .. text
      return self:option()
    end
  end
  if not row then
    self:unknown(flag)
  elseif row.value and not row.bare and not text then
    self.at = self.at + 1
    text = self.words[self.at]
    if not text then
      self:fail("option %s needs its %s", flag, row.value)
    end
  elseif not row.value and text then
    self:fail("option %s takes no value", flag)
  end
  self:store(row, flag, text)
end

local function copy_from(words, first)
  local list = {}
  for i = first, #words do
    list[#list + 1] = words[i]
  end
  return list
end

--- Options go into args, other words into `given`; what belongs to somebody else into args.rest.
function Reader:read()
  local given, ended = {}, false
  while self.words[self.at] do
    local word = self.words[self.at]
    if word == "--" and not ended then
      ended = true
    elseif word:sub(1, 1) == "-" and word ~= "-" and not ended then
      self:option()
    elseif self.command.passthrough and #given == 1 then
      self.args.rest = copy_from(self.words, self.at)
      break
    else
      given[#given + 1] = word
    end
    self.at = self.at + 1
  end
  return given
end

function Reader:arguments(given)
  local at = 1
  for _, row in ipairs(self.command.arguments or {}) do
    local name, many = row[1], {}
    if not given[at] and not row.optional then
      self:fail("%s is missing", M.placeholder(row))
    end
    while given[at] and (row.many or #many == 0) do
      many[#many + 1] = self:convert(row, name, given[at])
      at = at + 1
    end
    self.args[name] = row.many and many or many[1]
  end
  if given[at] then
    self:fail("'%s' is too much", given[at])
  end
end

--- The values of a command line; wrong ones raise a usage error.
---@param command luarium.cli.Command
---@param words string[]
---@return table args
function M.parse(command, words)
  local self = setmetatable({ command = command, words = copy_from(words, 1), at = 1, args = { rest = {} },
    rows = by_flag(command) }, Reader)
  for _, row in ipairs(command.options or {}) do
    if row.many then
      self.args[target_of(row)] = {}
    end
  end
  self:arguments(self:read())
  return self.args
end

--- Whether the word is an option whose value is the next word.
---@param word string
---@param command luarium.cli.Command? without it: among the options of every command
---@return boolean
function M.takes_value(word, command)
  local row = by_flag(command)[word]
  return row ~= nil and row.value ~= nil and not row.bare
end

--- The row of an option.
---@param word string
---@param command luarium.cli.Command?
---@return luarium.cli.Row?
function M.row(word, command)
  return by_flag(command)[word]
end

--- Whether help is asked for, among the words that are ours.
---@param command luarium.cli.Command
---@param words string[]
---@return boolean
function M.wants_help(command, words)
  local seen, at = 0, 1
  while words[at] and words[at] ~= "--" do
    local word = words[at]
    if word == "--help" or word == "-h" then
      return true
    elseif word:sub(1, 1) ~= "-" then
      seen = seen + 1
      if command.passthrough and seen == 2 then
        return false
      end
    elseif M.takes_value(word, command) then
      at = at + 1
    end
    at = at + 1
  end
  return false
end

-- ---- help ----

local function paragraph(text)
  return text and text .. "\n\n" or ""
end

--- An argument as the usage line shows it: BOX, [BOX ...], NAME ...
---@param row luarium.cli.Row
---@return string
function M.placeholder(row)
  local name = row[1]:upper() .. (row.many and " ..." or "")
  return row.optional and "[" .. name .. "]" or name
end

--- Options as rows of a table: "-n, --name NAME", what it is.
---@param rows luarium.cli.Row[]
---@return string[][]
function M.option_lines(rows)
  local lines = {}
  for _, row in ipairs(rows) do
    local flags = row[1]:gsub(" ", ", ")
    if flags:sub(1, 2) == "--" then
      flags = "    " .. flags
    end
    local value = row.bare and "[=" .. row.value .. "]" or row.value and " " .. row.value or ""
    lines[#lines + 1] = { "  " .. flags .. value, row.about }
  end
  return lines
end

---@param command luarium.cli.Command
---@return string
function M.usage(command)
  local words = { "Usage: luarium " .. command.name .. " [OPTIONS]" }
  for _, row in ipairs(command.arguments or {}) do
    words[#words + 1] = M.placeholder(row)
  end
  words[#words + 1] = command.passthrough
  return table.concat(words, " ")
end

--- The help of a command.
---@param command luarium.cli.Command
---@param more string? a section of its own, before the options
---@return string
function M.help(command, more)
  local format = require "luarium.cli.format"
  local arguments = {}
  for _, row in ipairs(command.arguments or {}) do
    arguments[#arguments + 1] = { "  " .. M.placeholder(row), row.about }
  end
  local text = M.usage(command) .. "\n\n" .. paragraph(command.summary) .. paragraph(command.about)
  if #arguments > 0 then
    text = text .. "Arguments:\n" .. format.table(arguments) .. "\n"
  end
  text = text .. (more or "")
  if #(command.options or {}) > 0 then
    text = text .. "Options:\n" .. format.table(M.option_lines(command.options)) .. "\n"
  end
  return text .. "Options of every command:\n" .. format.table(M.option_lines(M.global))
    .. "\nExample:\n  " .. command.example:gsub("\n", "\n  ") .. "\n"
end

return M
