--- What a shell offers at the word under the cursor. The scripts of `luarium completion` ask for it with
--- `luarium __complete -- WORD ... CURRENT`; each line of the answer is a candidate, a tab and what it is; the line
--- ":files" asks the shell for file names. It is found by another process of ours: the folder's luarium.lua and what it
--- names may go on for ever or take all memory, and somebody has only pressed a key.
local cli = require "luarium.cli"
local duration = require "luarium.duration"
local log = require "luarium.log"
local native = require "luarium.native"
local options = require "luarium.cli.options"
local task = require "luarium.task"

local M = {}

local LOOK_SECONDS = 2 -- at a script; somebody has pressed a key and waits
local SECONDS = 5       -- for all of it
local MEMORY = 512 * 1024 * 1024  -- bytes of address space
local MAX_ANSWER = 4 * 1024 * 1024 -- bytes; ten thousand sandboxes fit

---@class luarium.cli.Candidates
---@field current string the word so far
local Candidates = {}
Candidates.__index = Candidates

function Candidates:add(word, about)
  if word:sub(1, #self.current) == self.current and not self.seen[word] then
    self.seen[word] = true
    self[#self + 1] = word .. "\t" .. log.neutral(about or "")
  end
end

function Candidates:files()
  self.wants_files = true
end

-- ---- what there is ----

local function each_record(fn)
  for _, record in ipairs(require("luarium.registry").list()) do
    fn(record)
  end
end

--- Whether a name is one word for every shell, and nothing else.
local function is_word(name)
  return name:find("^[%w_.@%%+,-]+$") ~= nil and not name:find("^[-%%@+]")
end

local function add_boxes(out, suffix)
  each_record(function(record)
    local about = record.provider .. ", " .. tostring(record.status)
    local name = record.name
    name = name and is_word(name) and name or nil
    if name then
      out:add(name .. suffix, record.id .. ", " .. about)
    end
    if not name or #out.current > 0 then
      out:add(record.id .. suffix, (record.name and record.name .. ", " or "") .. about)
    end
  end)
end

--- Asks the sandbox, which may be far away: not for long.
local function add_jobs(out, given)
  local luarium = require "luarium"
  luarium.timeout(2, function()
    local box = require("luarium.cli.boxes").open(luarium, given)
    for _, status in ipairs(box:jobs()) do
      out:add(status.key, status.state .. ", " .. status.command)
    end
  end)
end

local MAX_ENTRIES = 2000 -- of a folder

--- What is in the folder of a sandbox that the word has come to: BOX:FOLDER/BEGINNING. It may be far away, too.
local function add_paths(out, box_name, path)
  local folder, beginning = path:match("^(.*/)([^/]*)$")
  folder, beginning = folder or "", beginning or path
  local luarium = require "luarium"
  luarium.timeout(2, function()
    local box = require("luarium.cli.boxes").open(luarium, box_name)
    for i, entry in ipairs(box:ls(folder == "" and "." or folder)) do
      local hidden = entry.name:sub(1, 1) == "." and beginning:sub(1, 1) ~= "."
      if i > MAX_ENTRIES then
        return
      elseif is_word(entry.name) and not hidden then
        out:add(("%s:%s%s%s"):format(box_name, folder, entry.name, entry.type == "dir" and "/" or ""), entry.type)
      end
    end
  end)
end

--- One end of a copy: a path here, a sandbox, or a path in it.
local function add_ends(out)
  local box_name, path = out.current:match("^([^/:]+):(.*)$")
  if box_name then
    return add_paths(out, box_name, path)
  end
  add_boxes(out, ":")
  out:files()
end

local function add_providers(out)
  local config = require "luarium.config"
  for name, adapter in pairs(config.configured()) do
    out:add(name, "configured, " .. adapter)
  end
  for _, name in ipairs(require("luarium.provider").names()) do
    out:add(name, "adapter")
  end
end

--- A number without its unit goes on with one.
local function add_durations(out)
  for _, unit in ipairs(duration.parse(out.current) and out.current:find("%d$") and duration.units or {}) do
    out:add(out.current .. unit[1], unit[2])
  end
end

--- Asks the provider, which may be far away, for what it keeps.
local function add_saved(out, list)
  local luarium = require "luarium"
  luarium.timeout(2, function()
    for _, entry in ipairs(luarium[list](out.provider)) do
      if is_word(entry.name) then
        out:add(entry.name, entry.id)
      end
    end
  end)
end

local function add_inputs(out, script)
  local ok, declared = pcall(require("luarium.script.look").describe, script, LOOK_SECONDS)
  for name, row in pairs(ok and declared and declared.inputs or {}) do
    if not name:find("[^%w_.-]") then
      out:add(name .. "=", row.about or row.type)
    end
  end
  out:files()
end

local arguments = {
  box = function(out) add_boxes(out, "") end,
  seconds = function(out) add_durations(out) end,
  job = function(out, given) add_jobs(out, given[1]) end,
  from = add_ends,
  to = add_ends,
  script = function(out) out:files() end,
  inputs = function(out, given) add_inputs(out, given[1]) end,
  command = function(out)
    for _, name in ipairs(cli.commands) do
      out:add((name:match("^%S+")), cli.command(name).summary)
    end
  end,
  shell = function(out)
    for _, name in ipairs({ "bash", "zsh", "fish" }) do
      out:add(name)
    end
  end,
}

local values = {
  SNAPSHOT = function(out) add_saved(out, "snapshots") end,
  VOLUME = function(out) add_saved(out, "volumes") end,
  FILE = function(out) out:files() end,
  DIR = function(out) out:files() end,
}

-- ---- where the cursor is ----

local function add_options(out, command)
  for _, rows in ipairs({ command and command.options or {}, options.global }) do
    for _, row in ipairs(rows) do
      local long = row[1]:match("%-%-%S+") or row[1]:match("%S+")
      out:add(long, row.about)
    end
  end
end

local function add_value(out, row, given)
  for _, choice in ipairs(row.choices or {}) do
    out:add(choice)
  end
  if row[1] == "--provider" then
    add_providers(out)
  elseif row.value == "JOB" and given[1] then
    add_jobs(out, given[1])
  elseif row.type == "seconds" or row.type == "seconds_or_none" then
    add_durations(out)
  elseif values[row.value] then
    values[row.value](out)
  end
end

local function add_commands(out, group)
  for _, name in ipairs(cli.commands) do
    local first, second = name:match("^(%S+) ?(%S*)$")
    if group and first == group then
      out:add(second, cli.command(name).summary)
    elseif not group then
      out:add(first, second == "" and cli.command(name).summary or "commands for authors of providers")
    end
  end
end

--- The command among the words, the words that follow its name without options, and whether "--" was among them.
local function parse(words)
  local name, given, ended, command = nil, {}, false, nil
  local at = 1
  while words[at] do
    local word = words[at]
    if word == "--" then
      ended = true
    elseif not ended and word:sub(1, 1) == "-" and #word > 1 then
      at = at + (options.takes_value(word, command) and 1 or 0)
    elseif not command then
      name = name and name .. " " .. word or word
      for _, known in ipairs(cli.commands) do
        command = command or known == name and cli.command(known) or nil
      end
    else
      given[#given + 1] = word
    end
    at = at + 1
  end
  return command, name, given, ended
end

local function add_argument(out, command, given, ended)
  if command.passthrough and #given >= 1 then
    return out:files() -- somebody else's command line
  end
  local rows = command.arguments or {}
  local row = rows[#given + 1] or rows[#rows]
  if not row or #given >= #rows and not row.many then
    return
  end
  if row[1] == "name" and command.name == "provider test" then
    return add_providers(out)
  elseif arguments[row[1]] then
    arguments[row[1]](out, given)
  end
  if not ended and out.current:sub(1, 1) == "-" then
    add_options(out, command)
  end
end

local function fill(out, words)
  local command, name, given, ended = parse(words)
  local last = words[#words]
  if last and not ended and options.takes_value(last, command) then
    return add_value(out, options.row(last, command), given)
  end
  local option, value = out.current:match("^(%-%-[^=]+)=(.*)$")
  local row = option and not ended and options.row(option, command)
  if row and row.value then
    local inner = setmetatable({ current = value, seen = {}, provider = out.provider }, Candidates)
    add_value(inner, row, given)
    for _, line in ipairs(inner) do
      out[#out + 1] = option .. "=" .. line
    end
    return
  end
  if not ended and out.current:sub(1, 1) == "-" then
    return add_options(out, command)
  elseif not command then
    return add_commands(out, name)
  end
  add_argument(out, command, given, ended)
end

--- The answer for a command line whose last word is the one under the cursor, as text. For the process that looks.
---@param words string[] without the program's own name
---@return string
function M.answer(words)
  local current = table.remove(words) or ""
  local out = setmetatable({ current = current, seen = {} }, Candidates)
  pcall(function()
    local config = require "luarium.config"
    for i, word in ipairs(words) do
      if word == "--state-dir" and words[i + 1] then
        config.configure({ state_dir = words[i + 1] })
      elseif word == "--provider" then
        out.provider = words[i + 1]
      end
    end
    pcall(config.load)
    fill(out, words)
  end)
  table.sort(out)
  if out.wants_files then
    out[#out + 1] = ":files"
  end
  return #out > 0 and table.concat(out, "\n") .. "\n" or ""
end

-- ---- the process that asks ----

--- The lines that a shell may have: candidates that go on with what was typed in nothing but the characters of a word,
--- and the request for files. What a provider has printed into the answer is none.
local function checked(answer, current)
  local lines = {}
  for line in answer:gmatch("[^\n]+") do
    local word, about = line:match("^([^\t]*)\t(.*)$")
    if line == ":files" then
      lines[#lines + 1] = line
    elseif word and word:sub(1, #current) == current and not word:find("[^%w_.@%%+,:=/-]", #current + 1) then
      lines[#lines + 1] = word .. "\t" .. log.neutral(about)
    end
  end
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or ""
end

--- Takes the looking process along when a signal ends us, whatever it hangs in.
local function end_at_signals(main)
  require("luarium.cli.signals").each(function(name)
    task.cancel(main, "interrupted by SIG" .. name)
  end, "INT", "TERM", "HUP")
end

--- The same from another process, in bounded time: nothing when that is over.
---@param words string[] without the program's own name
---@return string
function M.ask(words)
  local argv = { "/proc/self/exe", "__candidates", "--" }
  for _, word in ipairs(words) do
    argv[#argv + 1] = word
  end
  local ok, result = pcall(task.run, function()
    task.spawn_detached("signals", end_at_signals, task.current())
    return task.await(native.process.run({ argv = argv, timeout = SECONDS, max_output = MAX_ANSWER,
      limits = { cpu = SECONDS + 1, as = MEMORY, core = 0 } }))
  end)
  local whole = ok and result and result.exit_code == 0 and not result.truncated
  return whole and checked(result.stdout, words[#words] or "") or ""
end

return M
