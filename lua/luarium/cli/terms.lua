--- Errors in the terms of the command line: who typed `luarium exec` has called no function and given no option table.
local contract = require "luarium.provider.contract"

local M = {}

--- Commands whose users write calls themselves.
local OF_SCRIPTS = { run = true, repl = true, ["provider test"] = true }

-- What stands in front of messages beside the operations of providers.
local CALLS = { reconnect = true, job = true, jobs = true, attach = true, path = true }

local function is_call(word)
  return CALLS[word] or contract.by_name[word] ~= nil or word:find("^job:%l+$") ~= nil
    or word:find("^git%.[%l_]+$") ~= nil or word:find("^process[.:]%l[%l_]*$") ~= nil
end

--- Texts that are advice for scripts, and what they are here.
local PHRASES = {
  { "create{ ports = { (%d+) } }", "make it with `luarium create --port %1`" },
  { "create it with network = true", "make it with `luarium create --network on`" },
  { "create it with a longer timeout", "make it with a longer --timeout" },
  { "use exec with on_stdout and stdin", "use `luarium exec`" },
  { "use exec without pty", "use `luarium exec` without --tty" },
  { "box:jobs%(%) lists", "`luarium jobs` lists" },
  { "'snapshot_list'", "'snapshots'" }, { "'snapshot_delete'", "'snapshots --delete'" },
  { "'volume_list'", "'volumes'" }, { "'volume_delete'", "'volumes --delete'" },
}

--- "--port" for "ports", where the command has such an option.
local function option_of(command, word)
  for _, name in ipairs({ word, (word:gsub("s$", "")) }) do
    local long = "--" .. name:gsub("_", "-")
    for _, row in ipairs(command.options or {}) do
      if (" " .. row[1] .. " "):find(" " .. long .. " ", 1, true) then
        return long
      end
    end
  end
end

local function with_options(command, text)
  local function named(before, word)
    local long = option_of(command, word)
    return long and before .. long or nil
  end
  text = text:gsub("(option )'([%l_]+)'", named):gsub("()`([%l_]+)`", function(_, word)
    return named("", word)
  end)
  return (text:gsub("^([%l_]+)([: ])", function(word, after) -- "ports: ...", "cwd '/x': ..."
    local long = (after == ":" or word == "cwd") and option_of(command, word)
    return long and long .. after or nil
  end))
end

--- The message of an error, as the user of a command is told it.
---@param err luarium.Error
---@param command luarium.cli.Command? nil before it is known
---@return string
function M.message(err, command)
  local whole = tostring(err)
  if not command or OF_SCRIPTS[command.name] or err.name == "USAGE" then
    return whole
  end
  local op, text, head = err.op, err.message, nil
  if type(op) == "string" then
    local provider = err.provider
    head = provider and op:sub(1, #provider + 1) == provider .. "." and provider or is_call(op) and command.name or op
  end
  local word, rest = text:match("^([%a_][%w_.:]*): (.+)$")
  while word and (is_call(word) or word == head) do
    head, text = head or command.name, rest
    word, rest = text:match("^([%a_][%w_.:]*): (.+)$")
  end
  if head == err.provider and text:find("^provider '") then -- it is named already
    head = command.name
  end
  text = with_options(command, text)
  for _, phrase in ipairs(PHRASES) do
    text = text:gsub(phrase[1], phrase[2])
  end
  return head and head .. ": " .. text or text
end

return M
