--- Runs one git command in a sandbox. Complaints become error objects that name what to do.
local command = require "luarium.git.command"
local errors = require "luarium.error"
local progress = require "luarium.git.progress"
local sandbox_command = require "luarium.sandbox.command"

local M = {}

--- Seconds that a command may take when the caller says nothing: with and without a server.
M.network_timeout = 1800
M.local_timeout = 300

--- Bytes of output that a command may produce.
M.max_output = 67108864

---@class luarium.GitRun
---@field credentials luarium.GitCredentials? reach this command and no other
---@field hooks boolean? run hooks although there is a token
---@field config string[]? more "name=value" for `-c`
---@field env table<string, string|luarium.Secret>?
---@field stdin string|table|function|nil
---@field timeout number? seconds
---@field max_output integer? bytes
---@field fine (fun(result: luarium.ExecResult): boolean)? says that a failure is none
---@field hint string?
---@field shown string? what people are told that runs, when `op` and the arguments do not say it
---@field on_progress luarium.OnProgress? when the command was given --progress

--- "git push origin main": without the options, which are ours.
local function words_of(arguments)
  local words = { "git" }
  for _, argument in ipairs(arguments) do
    words[#words + 1] = argument:sub(1, 1) ~= "-" and argument or nil
  end
  return table.concat(words, " ")
end

local function exec(box, argv, options, shown)
  local result = sandbox_command.exec(box, argv, {
    cwd = options.cwd, env = command.env(options.credentials, options.env), stdin = options.stdin,
    timeout = options.timeout or M.local_timeout, max_output = options.max_output or M.max_output,
    on_stderr = options.on_progress and progress.reader(options.on_progress),
  }, options.shown or shown)
  if options.on_progress then
    result.stderr = progress.strip(result.stderr)
  end
  return result
end

--- Raises what a finished command complained about.
---@param op string
---@param result luarium.ExecResult
---@param options luarium.GitRun
---@return luarium.ExecResult
function M.check(op, result, options)
  if result.timed_out or result.exit_code ~= 0 and not (options.fine and options.fine(result)) then
    error(command.explain(op, result, options.hint), 0)
  elseif result.truncated then
    errors.raise("quota", ("git wrote %d bytes, the limit is %d"):format(
      math.max(result.stdout_bytes or 0, result.stderr_bytes or 0), options.max_output or M.max_output), { op = op })
  end
  return result
end

--- `git -C path ...`
---@async
---@param box luarium.Sandbox
---@param path string the repository
---@param op string such as "git.push", for errors
---@param arguments string[]
---@param options luarium.GitRun?
---@return luarium.ExecResult
function M.git(box, path, op, arguments, options)
  options = options or {}
  local config = command.config(options.credentials, options.hooks)
  for _, setting in ipairs(options.config or {}) do
    config[#config + 1] = setting
  end
  local argv = command.argv(config, "-C", box:path(path), arguments)
  return M.check(op, exec(box, argv, options, words_of(arguments)), options)
end

--- A POSIX shell script whose function `g` is git with these settings. The arguments are $1, $2 ...
---@async
---@param box luarium.Sandbox
---@param op string
---@param script string
---@param arguments string[]
---@param options luarium.GitRun?
---@return luarium.ExecResult
function M.script(box, op, script, arguments, options)
  options = options or {}
  local words = {}
  for _, setting in ipairs(command.config(options.credentials, options.hooks)) do
    words[#words + 1] = "-c " .. command.quote(setting)
  end
  local text = ("command -v git >/dev/null 2>&1 || exit 127\ng() { git %s \"$@\"; }\n%s"):format(
    table.concat(words, " "), script)
  local argv = { "/bin/sh", "-c", text, "luarium" }
  for _, argument in ipairs(arguments) do
    argv[#argv + 1] = argument
  end
  local result = exec(box, argv, options, (op:gsub("%.", " ")))
  if result.exit_code == 66 then -- what our scripts say when the repository's folder is not there
    errors.raise("not_found", ("there is no folder %s that can be entered"):format(arguments[1]), { op = op })
  end
  return M.check(op, result, options)
end

return M
