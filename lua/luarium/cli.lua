--- The command line. Each command is a file in luarium/cli/commands; what all of them share is here: finding the
--- command, the global options, exit codes and how errors look.
local compat = require "luarium.compat"

local M = {}

--- The commands, in the order of the help. A name of two words is a command of a group.
M.commands = {
  "run", "repl", "create", "ls", "top", "logs", "exec", "jobs", "attach", "shell", "cp", "url", "stop", "start",
  "pause", "resume", "extend", "snapshot", "fork", "destroy", "snapshots", "volumes", "providers", "provider new",
  "provider test", "doctor", "completion", "version", "help",
}

--- Exit codes. `exec` passes the code of the command itself.
M.codes = { ok = 0, failed = 1, usage = 2, timeout = 124, luarium = 125, interrupted = 130 }

--- Seconds that a slow reader of our output is given when a signal has ended the program.
M.patience = 0.5

local groups = { provider = true }

---@class luarium.cli.Command
---@field name string
---@field summary string one line
---@field about string? a paragraph
---@field example string
---@field arguments table[]? rows of luarium.cli.options
---@field options table[]?
---@field passthrough boolean? whatever follows the first argument belongs to somebody else
---@field failed_code integer? exit code when Luarium itself fails
---@field help fun(words: string[], command: table): string?  help that depends on the words
---@field run fun(args: table, context: luarium.cli.Context): integer?

--- The command of a name. Its file is only read now.
---@param name string
---@return luarium.cli.Command
function M.command(name)
  local command = require("luarium.cli.commands." .. name:gsub(" ", "_"))
  command.name = name
  return command
end

--- Whether a word begins a command, and its full name.
local function find_command(words, at)
  local name = words[at]
  if groups[name] then
    local full = name .. " " .. (words[at + 1] or "")
    for _, known in ipairs(M.commands) do
      if known == full then
        return full, 2
      end
    end
    return nil, 1, name
  end
  for _, known in ipairs(M.commands) do
    if known == name then
      return name, 1
    end
  end
end

local function unknown_command(word, group)
  local check = require "luarium.check"
  local options = require "luarium.cli.options"
  local candidates = {}
  for _, name in ipairs(M.commands) do
    local first, second = name:match("^(%S+) (%S+)$")
    if group == (second and first) then
      candidates[#candidates + 1] = second or name
    end
  end
  local shown = group and group .. " " or ""
  local list = table.concat(candidates, ", ")
  if not word then
    options.usage_error(("%s: expected one of %s"):format(group, list), "luarium help")
  end
  if not group and word:match("%.lua$") then
    options.usage_error(("there is no command '%s'"):format(word), "luarium run " .. word)
  end
  local near = check.nearest(word, candidates)
  options.usage_error(("there is no command '%s%s'%s"):format(shown, word,
    near and (": did you mean '%s%s'?"):format(shown, near) or " (there are: " .. list .. ")"), "luarium help")
end

--- Takes the command out of the words; options may stand before it.
---@return string? name
---@return string[] rest
local function split(words)
  local options = require "luarium.cli.options"
  local at = 1
  while words[at] and words[at]:sub(1, 1) == "-" and words[at] ~= "-" do
    if words[at] == "--" then
      break
    end
    at = at + (options.takes_value(words[at]) and 2 or 1)
  end
  local word = words[at]
  if not word then
    return nil, words
  end
  local name, used, group = find_command(words, at)
  if not name then
    local following = words[at + 1]
    if group and (following == "--help" or following == "-h") then
      return "help", {}
    elseif group then
      unknown_command(following and following:sub(1, 1) ~= "-" and following or nil, group)
    end
    unknown_command(word)
  end
  local rest = {}
  for i, other in ipairs(words) do
    if i < at or i >= at + used then
      rest[#rest + 1] = other
    end
  end
  return name, rest
end

local function wants_json(words)
  for _, word in ipairs(words) do
    if word == "--" then
      return false
    elseif word == "--json" then
      return true
    end
  end
  return false
end

local function dispatch(words)
  local options = require "luarium.cli.options"
  local name, rest = split(words)
  if not name then
    local others, wanted = {}, "help"
    for _, word in ipairs(rest) do
      if word == "--version" or word == "-V" then
        wanted = "version"
      elseif word ~= "--help" and word ~= "-h" then
        others[#others + 1] = word
      end
    end
    options.parse({ name = "", arguments = {}, options = {} }, others) -- complains about what it does not know
    name, rest = wanted, wanted == "version" and others or {}
  end
  local command = M.command(name)
  if options.wants_help(command, rest) then
    local text = command.help and command.help(rest, command) or options.help(command)
    M.context = require("luarium.cli.context").new({ json = wants_json(words) }, command)
    return M.context:write(text)
  end
  local args = options.parse(command, rest)
  local context = require("luarium.cli.context").new(args, command)
  M.context = context
  return command.run(args, context)
end

--- Runs the command line and returns the exit code of the process.
---@param argv string[]
---@return integer
function M.main(argv)
  local words = {}
  for i = 1, #argv do
    words[i] = argv[i]
  end
  if words[1] == "__complete" then -- a shell asks what may follow
    io.stdout:write(require("luarium.cli.complete").ask({ compat.unpack(words, 3) }))
    return M.codes.ok
  elseif words[1] == "__candidates" then -- we ourselves ask, for the shell
    io.stdout:write(require("luarium.cli.complete").answer({ compat.unpack(words, 3) }))
    return M.codes.ok
  elseif words[1] == "__look" then -- we ourselves ask what a script declares
    io.stdout:write(require("luarium.script.look").answer(words[2] or ""))
    return M.codes.ok
  end
  local ok, code = xpcall(dispatch, function(value)
    return require("luarium.error").handler(value)
  end, words)
  if not ok then
    code = require("luarium.cli.report").failure(code, M.context or { json = wants_json(words) })
  end
  local written = io.stdout:flush()
  if M.context then
    M.context:finish()
  end
  local signal_code = M.context and M.context.signal_code
  local writer = package.loaded["luarium.cli.writer"]
  written = (not writer or writer.finish(signal_code and M.patience)) and written
  code = signal_code or code
  if not written and (code or 0) == 0 then
    code = M.codes.failed -- the reader went away, or the disk is full
  end
  return code or M.codes.ok
end

return M
