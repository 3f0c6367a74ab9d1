--- Options and arguments of the commands: rows in, an argparse parser and a table of values out.
local format = require "luarium.cli.format"

local M = {}

---@class luarium.cli.Row
---@field [1] string "-n --name" or the name of an argument
---@field value string? what the option takes, as the help shows it
---@field many boolean? it may be given several times, or an argument takes several words
---@field optional boolean? an argument that may be missing
---@field type string? "number", "seconds", "pair" (KEY=VALUE)
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

--- Whether the word is an option among these rows whose value is the next word.
---@param word string
---@param rows luarium.cli.Row[]
---@return boolean
function M.takes_value(word, rows)
  for _, row in ipairs(rows) do
    if row.value then
      for _, flag in ipairs(flags_of(row)) do
        if flag == word then
          return true
        end
      end
    end
  end
  return false
end

local function all_rows(command)
  local rows = {}
  for _, list in ipairs({ command.options or {}, M.global }) do
    for _, row in ipairs(list) do
      rows[#rows + 1] = row
    end
  end
  return rows
end

--- Where the words of somebody else begin: after the first argument and our options.
local function split_passthrough(command, words)
  if not command.passthrough then
    return words, {}
  end
  local rows, at, seen = all_rows(command), 1, 0
  while words[at] do
    local word = words[at]
    if word == "--" then
      at = at + 1
      break
    elseif word:sub(1, 1) == "-" and word ~= "-" then
      at = at + (M.takes_value(word, rows) and 2 or 1)
    elseif seen == 1 then
      break
    else
      seen, at = 1, at + 1
    end
  end
  local ours, theirs = {}, {}
  for i, word in ipairs(words) do
    if i >= at then
      theirs[#theirs + 1] = word
    elseif not (i == at - 1 and word == "--") then
      ours[#ours + 1] = word
    end
  end
  return ours, theirs
end

---@return boolean
function M.wants_help(command, words)
  local ours = split_passthrough(command, words)
  for _, word in ipairs(ours) do
    if word == "--" then
      return false
    elseif word == "--help" or word == "-h" then
      return true
    end
  end
  return false
end

local converters = {
  number = function(text)
    local n = tonumber(text)
    if not n then
      return nil, ("expected a number, got '%s'"):format(text)
    end
    return n
  end,
  seconds = function(text)
    local n = tonumber(text)
    if not n or n ~= n or n < 0 or n > 315360000 then
      return nil, ("expected seconds, got '%s'"):format(text)
    end
    return n
  end,
  pair = function(text)
    local key, value = text:match("^([^=]+)=(.*)$")
    if not key then
      return nil, ("expected KEY=VALUE, got '%s'"):format(text)
    end
    return { key, value }
  end,
}

local function target_of(row)
  local flags = flags_of(row)
  return (flags[#flags]:gsub("^%-+", ""):gsub("%-", "_"))
end

local function add_option(parser, row)
  if not row.value then
    parser:flag(row[1]):target(target_of(row))
    return
  end
  local option = parser:option(row[1]):target(target_of(row)):argname(row.value)
  if row.type then
    option:convert(converters[row.type])
  end
  if row.choices then
    option:choices(row.choices)
  end
  if row.many then
    option:count("*")
  end
end

local function make_parser(command)
  local parser = require("argparse")("luarium " .. command.name):add_help(false)
  for _, row in ipairs(command.arguments or {}) do
    local argument = parser:argument(row[1])
    argument:args(row.many and (row.optional and "*" or "+") or row.optional and "?" or 1)
    if row.type then
      argument:convert(converters[row.type])
    end
  end
  for _, row in ipairs(all_rows(command)) do
    add_option(parser, row)
  end
  return parser
end

--- The values of a command line; wrong ones raise a usage error.
---@param command luarium.cli.Command
---@param words string[]
---@return table args
function M.parse(command, words)
  local ours, theirs = split_passthrough(command, words)
  local ok, args = make_parser(command):pparse(ours)
  if not ok then
    local message = args:gsub("%s+$", ""):gsub("\nDid you mean", ": did you mean")
    M.usage_error((command.name ~= "" and command.name .. ": " or "") .. message,
      ("luarium help %s"):format(command.name):gsub(" $", ""))
  end
  args.rest = theirs
  return args
end

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
    lines[#lines + 1] = { "  " .. flags .. (row.value and " " .. row.value or ""), row.about }
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
---@return string
function M.help(command)
  local arguments = {}
  for _, row in ipairs(command.arguments or {}) do
    arguments[#arguments + 1] = { "  " .. M.placeholder(row), row.about }
  end
  local text = M.usage(command) .. "\n\n" .. paragraph(command.summary) .. paragraph(command.about)
  if #arguments > 0 then
    text = text .. "Arguments:\n" .. format.table(arguments) .. "\n"
  end
  if #(command.options or {}) > 0 then
    text = text .. "Options:\n" .. format.table(M.option_lines(command.options)) .. "\n"
  end
  return text .. "Options of every command:\n" .. format.table(M.option_lines(M.global))
    .. "\nExample:\n  " .. command.example:gsub("\n", "\n  ") .. "\n"
end

return M
