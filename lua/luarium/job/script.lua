--- What runs inside the sandbox: a POSIX sh text for each of the modes start, read, status, list, kill and remove, for
--- what is asked of terminals, and one for the supervisor that a start leaves. They need the tools that GNU and busybox
--- share, and Linux's /proc.
---
--- A job is a folder that only its user can enter, and a link to it, named by its key.
---   spec    fingerprint of the command, when it was started, what it is called
---   owner   the supervisor: pid and its birth, boot id, start, deadline, cookie
---   leader  the command: pid and its birth
---   out err what it wrote, only ever appended to; from: bytes before these offsets were given up
---   exit    how it ended; note: what the shell said about a signal
---   flags   late: by its time limit; over: for too much output; full: output may be missing; closing: no more comes;
---           out:WHO err:WHO the first of them writes down, after who did was killed
---   kill    a signal that was asked for from another pid namespace; probe: room on the disk
---   beat    the watcher's pulse, and its lock or pid namespace
---   out.tap err.tap  who writes down after that; -: nobody any more
--- luarium.job.script.terminal tells of those that have a terminal.
local answer = require "luarium.job.script.answer"
local basics = require "luarium.job.script.basics"
local folder = require "luarium.job.script.folder"
local modes = require "luarium.job.script.modes"
local output = require "luarium.job.script.output"
local start = require "luarium.job.script.start"
local supervisor = require "luarium.job.script.supervisor"
local terminal = require "luarium.job.script.terminal"
local tree = require "luarium.job.script.tree"

local M = {}

--- Exit codes of the script beside those of luarium.provider.emulate.shell.
M.codes = { missing = 60, other = 61, busy = 62, short = 63, nowhere = 64, gone = 65, no_terminal = 66, ended = 67 }

--- Without comments and indentation: it travels with every call.
local function compact(...)
  local text = ("\nshift\nnewline='\n'\nunset CDPATH\n" .. table.concat({ ... })):gsub("\n[ ]*#[^\n]*", "")
    :gsub("\n[ ]+", "\n"):gsub("\n\n+", "\n")
  return (text:gsub("^\n", ""))
end

--- What each mode runs, and the supervisor.
---@type table<string, string>
M.texts = {
  supervise = compact(basics, tree, supervisor),
  start = compact(basics, folder, tree, answer, output, start),
  read = compact(basics, folder, tree, answer, output, modes.read),
  status = compact(basics, folder, answer, modes.status),
  list = compact(basics, folder, answer, modes.list),
  kill = compact(basics, folder, tree, answer, modes.kill),
  remove = compact(basics, folder, tree, modes.remove),
  connect = compact(basics, folder, terminal.connect),
  write = compact(basics, folder, terminal.write),
  resize = compact(basics, folder, answer, terminal.resize),
}

local holder = compact(terminal.holder)

--- The command line that runs another one on a terminal.
---@param argv string[]
---@return string[]
function M.on_terminal(argv)
  local words = { argv[1]:sub(1, 1) == "-" and "(exec env --" or "(exec" }
  for _, word in ipairs(argv) do
    words[#words + 1] = "'" .. word:gsub("'", "'\\''") .. "'"
  end
  return { "sh", "-c", 'eval "$1"', "luarium", holder,
    terminal.before .. table.concat(words, " ") .. ")" .. terminal.after }
end

--- The command line of a mode.
---@param mode string a key of M.texts
---@param ... string
---@return string[] argv
function M.argv(mode, ...)
  local argv = { "sh", "-c", 'eval "$1"', "luarium", M.texts[mode] }
  if mode == "start" then
    argv[#argv + 1] = M.texts.supervise
  end
  for _, word in ipairs({ ... }) do
    argv[#argv + 1] = word
  end
  return argv
end

return M
