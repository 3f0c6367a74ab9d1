--- How failures look: one line that says what, one that says what to do, and the exit code.
local errors = require "luarium.error"

local M = {}

local hints = {
  auth = "check the key, token or password that was used",
  conflict = "`luarium ls` shows what there is",
  internal = "run it again with -v for the traceback",
  not_found = "check the name and the path",
  protocol = "the other side is to blame: keep what it sent and tell its makers",
  quota = "`luarium ls` shows what is in use; `luarium destroy` frees it",
  rate_limited = "wait a little and try again",
  sandbox_gone = "`luarium ls` shows the sandboxes there are",
  timeout = "give it more time, or look for what hangs with -v",
  unavailable = "is the service up and reachable? `luarium doctor` looks for common causes",
  unsupported = "`luarium providers` shows what each provider can do",
}

-- Where the usual hint is about something else.
local hints_by_command = {
  attach = { conflict = "`luarium jobs BOX` shows how they are" },
  cp = { conflict = false },
  jobs = { conflict = "`luarium jobs BOX` shows how they are; --kill ends one" },
}

local hints_by_name = {
  EEXIST = "something else of that name is in the way",
  EAGAIN = "raise the limits of processes and memory (`ulimit -u`, `ulimit -v`), or wait until some are free",
  EACCES = "check who owns the path, and its mode",
  ENOSPC = "free some space; `luarium doctor` shows the disk of the state folder",
  JOB_DIFFERS = "`luarium jobs BOX` shows the jobs there are, and with --remove JOB forgets one",
  EMFILE = "raise the limit with `ulimit -n`; `luarium doctor` shows it",
  NAME_TAKEN = "choose another name, or `luarium destroy` the one that has it",
  NOT_CONFIGURED = "set the variable named above, or put the key into luarium.lua",
  SSH_LOGIN = "`ssh -v` to the same host shows what OpenSSH makes of it",
  REGISTRY_LOGIN = "`docker login REGISTRY`, or registries = { [\"REGISTRY\"] = { username = ..., password = ... } } "
    .. "of the provider in luarium.lua",
  REGISTRY_AWAY = "the engine cannot reach the registry: look at its network, or name an image that it has",
}

-- Their messages say what to do already.
local no_hint = {
  NO_VARIABLE = true, NO_GIT = true, SSH_HOST_KEY_CHANGED = true, SSH_HOST_KEY_REVOKED = true,
  SSH_HOST_KEY_UNKNOWN = true, SYNTAX = true, ADAPTER_EXPOSED = true, ADAPTER_GONE = true, CONFIGURED_ELSEWHERE = true,
  PLACE_CHANGED = true, UNFINISHED = true, PAUSED = true, STOPPED = true, NOT_PUBLISHED = true,
}

local signal_codes = { SIGHUP = 129, SIGINT = 130, SIGTERM = 143 }

--- The exit code that an error stands for.
---@param err luarium.Error
---@param context table
---@return integer
function M.code(err, context)
  if err.name == "USAGE" then
    return 2
  elseif err.kind == "cancelled" and signal_codes[err.name] then
    return signal_codes[err.name]
  elseif err.kind == "timeout" then
    return 124
  end
  return context.failed_code or 1
end

local function hint_of(err, context)
  local hint = err.data and rawget(err.data, "hint")
  if type(hint) == "string" then
    return "try `" .. hint .. "`"
  elseif err.kind == "internal" and (context.verbose or context.reads_lines) then
    return nil -- it is shown, or there is nothing to run again
  elseif err.kind == "cancelled" or no_hint[err.name or ""] then
    return nil
  end
  local own = hints_by_command[context.command and context.command.name or ""]
  if own and own[err.kind] ~= nil then
    return own[err.kind] or nil
  end
  return hints_by_name[err.name or ""] or hints[err.kind]
end

--- Text from anywhere, fit for a terminal; line ends stay.
local function clean(text)
  local secret = require "luarium.secret"
  return require("luarium.log").neutral_lines(secret.hide_passwords(secret.redact(text)))
end
M.clean = clean

--- So much of a text that it does not flood the terminal. Secrets go first: of one that is cut the rest would stay.
local function bounded(text, max_bytes, max_lines)
  local secret = require "luarium.secret"
  text = secret.hide_passwords(secret.redact(text))
  local shown, stop = text:sub(1, max_bytes), 0
  for _ = 1, max_lines do
    stop = stop and shown:find("\n", stop + 1, true)
  end
  shown = stop and shown:sub(1, stop - 1) or shown
  return #shown < #text and ("%s ... (%d bytes)"):format(clean(shown), #text) or clean(shown)
end

local function one_line(text)
  return text and (bounded(text, 1000, 1000):gsub("\n", " "))
end

--- Writes a failure to standard error and returns the exit code.
---@param value any what was raised
---@param context table
---@return integer
function M.failure(value, context)
  local err = errors.normal(value)
  if err.name == "EPIPE" and context.writes_through then
    return 141 -- whoever read our output went away, as `head` does: no news
  elseif err.name == "SIGINT" and context.endless and not context.json then
    return M.code(err, context) -- the usual way out of what has no end of its own
  end
  local code = context.signal_code or M.code(err, context)
  local message = bounded(require("luarium.cli.terms").message(err, context.command), 4000, 20)
  local place, hint = one_line(err.place), one_line(hint_of(err, context))
  local stderr = require("luarium.cli.writer").of(2)
  io.stdout:flush()
  if context.json then
    local json = require "luarium.json"
    stderr:push(json.encode_bytes({ error = {
      kind = err.kind, message = message, place = place, name = one_line(err.name), op = one_line(err.op),
      provider = one_line(err.provider), retryable = err.retryable or false, hint = hint, exit_code = code,
    } }) .. "\n")
    return code
  end
  stderr:push("luarium: " .. message .. (place and " (" .. place .. ")" or "") .. "\n")
  if context.verbose then
    stderr:push(bounded(errors.details(err), 40000, 400) .. "\n")
  end
  if hint then
    stderr:push("hint: " .. hint .. "\n")
  end
  return code
end

return M
