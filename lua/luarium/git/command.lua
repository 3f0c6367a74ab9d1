--- Git commands: the environment they run in, the credential helper that hands a token to one of them, and what
--- their complaints mean. Nothing here runs anything.
local ascii = require "luarium.ascii"
local check = require "luarium.check"
local errors = require "luarium.error"
local log = require "luarium.log"
local secret = require "luarium.secret"

local M = {}

--- No command may ask a person, and messages are in English so that they can be told apart.
M.environment = {
  GIT_TERMINAL_PROMPT = "0", GIT_ASKPASS = "", SSH_ASKPASS = "", SSH_ASKPASS_REQUIRE = "never",
  GIT_EDITOR = "true", GIT_MERGE_AUTOEDIT = "no", LC_ALL = "C",
}

-- ---- credentials ----

-- The values come from the environment of this one command, so that no argument and no file ever holds them.
local HELPER = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' "
  .. "\"$LUARIUM_GIT_USERNAME\" \"$LUARIUM_GIT_TOKEN\"; }; f"

---@class luarium.GitCredentials
---@field origin string the only server that is answered
---@field token luarium.Secret
---@field username string

local function refuse(...)
  errors.raise("invalid", string.format(...))
end

--- Credentials for one server. A plain text becomes a secret, so that it is redacted from here on. Raises `invalid`
--- when the address cannot take a token.
---@param address luarium.GitUrl
---@param options {token?: luarium.Secret|string, username?: string, allow_http?: boolean}
---@param where string
---@return luarium.GitCredentials?
function M.credentials(address, options, where)
  local token, username = options.token, options.username
  if address.password then
    if token then
      refuse("%s: the address contains a password and there is a token too: take it out of the address", where)
    end
    token, username = secret.new(address.password, "git password"), username or address.username
    log.warn(where .. ": the password in the repository's address was taken out of it and is used for this command "
      .. "only: pass it as token = luarium.env \"NAME\"")
  end
  if token == nil then
    return nil
  end
  if address.scheme ~= "https" and address.scheme ~= "http" then
    refuse("%s: a token works with https addresses only: leave it out, or use the https address", where)
  elseif address.scheme == "http" and not address.loopback and not options.allow_http then
    refuse("%s: the token would travel unencrypted over http: use https, or pass allow_http = true", where)
  end
  local value = secret.reveal(token)
  if value == "" or value:find("[%z\r\n]") then
    refuse("%s: the token is empty or has a line break in it", where)
  end
  username = username or address.username or "x-access-token"
  if username:find("[%z\r\n]") then
    refuse("%s: option 'username': a line break cannot be part of it", where)
  end
  if not secret.is(token) then
    token = secret.new(token, "git token")
  end
  secret.register(username .. ":" .. value, token.name) -- as it looks in a header, in base64
  return { origin = address.origin, token = token, username = username }
end

--- Options of git, to be put before the command's name: a list of "name=value" for `-c`.
---@param credentials luarium.GitCredentials?
---@param hooks boolean? run the repository's hooks although a token is in their environment
---@return string[]
function M.config(credentials, hooks)
  local list = { "protocol.ext.allow=never" }
  if credentials then
    list[#list + 1] = "credential.helper=" -- forgets those that are configured, also for one address only
    list[#list + 1] = ("credential.%s.helper=%s"):format(credentials.origin, HELPER)
    if not hooks then
      list[#list + 1] = "core.hooksPath=/dev/null"
    end
  end
  return list
end

--- The environment of one command. Secrets stay secrets; whoever starts the command reveals them.
---@param credentials luarium.GitCredentials?
---@param more table<string, string>?
---@return table<string, string|luarium.Secret>
function M.env(credentials, more)
  local env = {}
  for _, map in ipairs({ M.environment, more or {} }) do
    for key, value in pairs(map) do
      env[key] = value
    end
  end
  if credentials then
    env.LUARIUM_GIT_USERNAME, env.LUARIUM_GIT_TOKEN = credentials.username, credentials.token
  end
  return env
end

--- The whole argv.
---@param config string[] from M.config
---@param ... string|string[] the command and its arguments; lists are spread
---@return string[]
function M.argv(config, ...)
  local argv = { "git" }
  for _, setting in ipairs(config) do
    argv[#argv + 1] = "-c"
    argv[#argv + 1] = setting
  end
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    for _, item in ipairs(type(part) == "table" and part or { part }) do
      argv[#argv + 1] = item
    end
  end
  return argv
end

--- A word that the shell takes as it is.
---@param text string
---@return string
function M.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- ---- arguments ----

--- Refuses what git would take for an option, or could not be a name of anything.
---@param value any
---@param where string
---@param name string
---@return string
function M.ref(value, where, name)
  check.argument(value, "text", where, name)
  if value == "" or value:sub(1, 1) == "-" or value:find("[%c%s]") then
    refuse("%s: %s: %q cannot be the name of a branch, tag or commit", where, name, value)
  end
  return value
end

-- ---- complaints ----

local INSTALL = "git is not installed in the sandbox: install it first (apt-get install -y git, apk add git, "
  .. "dnf install -y git) or use an image that has it"

-- Looked through in this order; the text is in small letters.
local complaints = {
  { "no space left on device", "io", name = "ENOSPC" },
  { "disk quota exceeded", "io", name = "EDQUOT" },
  { "dubious ownership", "conflict", hint = "the folder belongs to another user of the sandbox" },
  { "the requested url returned error: 429", "rate_limited", retryable = true },
  { "authentication failed", "auth" },
  { "could not read username", "auth",
    hint = "the server wants a login: the repository is private or does not exist; pass token = luarium.env \"NAME\"" },
  { "could not read password", "auth" },
  { "http basic: access denied", "auth" },
  { "invalid username or password", "auth" },
  { "invalid credentials", "auth" },
  { "returned error: 40[13]", "auth" },
  { "permission denied %(", "auth" },
  { "permission to .* denied", "auth" },
  { "host key verification failed", "auth", hint = "add the server's key to known_hosts" },
  { "certificate verif", "auth", hint = "the server's TLS certificate is not trusted" },
  { "ssl certificate problem", "auth", hint = "the server's TLS certificate is not trusted" },
  { "is not an empty directory", "conflict" },
  { "index%.lock': file exists", "conflict", retryable = true, hint = "another git command is at work there" },
  { "unable to create .*%.lock': file exists", "conflict", retryable = true },
  { "%[rejected%]", "conflict", hint = "the remote has commits that are not here: fetch first, or use force" },
  { "%[remote rejected%]", "conflict" },
  { "would be overwritten", "conflict" },
  { "patch does not apply", "conflict" },
  { "patch failed", "conflict" },
  { "already exists in", "conflict" },
  { "a branch named .* already exists", "conflict" },
  { "no valid patches in input", "invalid" },
  { "corrupt patch", "invalid" },
  { "is not a valid branch name", "invalid" },
  { "transport '.*' not allowed", "invalid" },
  { "remote branch .* not found", "not_found" },
  { "couldn't find remote ref", "not_found" },
  { "no such remote", "not_found" },
  { "repository .*not found", "not_found" },
  { "repository .* does not exist", "not_found" },
  { "does not appear to be a git repository", "not_found" },
  { "not a git repository", "not_found" },
  { "returned error: 404", "not_found" },
  { "cannot change to ", "not_found" },
  { "pathspec '.*' did not match", "not_found" },
  { "src refspec .* does not match any", "not_found" },
  { "unknown revision", "not_found" },
  { "bad revision", "not_found" },
  { "not a commit", "not_found" },
  { "not a valid object name", "not_found" },
  { "bad object", "not_found" },
  { "invalid reference", "not_found" },
  { "could not resolve host", "unavailable", retryable = true,
    hint = "does the sandbox have a network? bubblewrap needs network = true" },
  { "failed to connect", "unavailable", retryable = true },
  { "couldn't connect", "unavailable", retryable = true },
  { "connection refused", "unavailable", retryable = true },
  { "connection reset", "unavailable", retryable = true },
  { "timed out", "unavailable", retryable = true },
  { "network is unreachable", "unavailable", retryable = true },
  { "returned error: 5%d%d", "unavailable", retryable = true },
  { "the remote end hung up", "unavailable", retryable = true },
  { "early eof", "unavailable", retryable = true },
  { "rpc failed", "unavailable", retryable = true },
  { "unable to access", "unavailable", retryable = true },
}

local STDERR_KEPT = 8192

--- The line that says it best.
local function headline(text)
  local last, rejected, fault
  for line in text:gmatch("[^\r\n]+") do
    if line:find("%S") then
      last = line
    end
    if not fault and (line:match("^fatal: ") or line:match("^error: ")) then
      fault = line:gsub("^%a+: ", "")
    end
    rejected = rejected or line:match("^%s*!%s*(.*%[.*rejected%].*)$")
  end
  local line = rejected or fault or last or ""
  return #line > 300 and line:sub(1, 297) .. "..." or line
end

local function find_complaint(text)
  text = ascii.lower(text)
  for _, row in ipairs(complaints) do
    if text:find(row[1]) then
      return row
    end
  end
end

--- Turns the result of a git command that failed into an error.
---@param op string such as "git.clone"
---@param result luarium.ExecResult
---@param hint string? what to try, where the complaint itself suggests nothing
---@return luarium.Error
function M.explain(op, result, hint)
  local stderr = secret.redact(result.stderr or "")
  local data = { exit_code = result.exit_code, signal = result.signal,
    stderr = #stderr > STDERR_KEPT and stderr:sub(-STDERR_KEPT) or stderr }
  local function fail(kind, message, fields)
    fields = fields or {}
    fields.op, fields.data = op, data
    return errors.new(kind, message, fields)
  end
  if result.timed_out then
    return fail("timeout", ("git was stopped after %.1f s"):format(result.duration or 0), { retryable = true })
  elseif result.exit_code == 127 or result.exit_code == 126 and stderr:find("git", 1, true) then
    return fail("unsupported", INSTALL, { name = "NO_GIT" })
  end
  local row = find_complaint(stderr) or { nil, "io", name = "EXIT" }
  local line = secret.hide_passwords(log.neutral(headline(stderr)))
  if line == "" then
    line = result.signal and "git was killed by " .. result.signal
      or "git exited with " .. tostring(result.exit_code) .. " and said nothing"
  end
  hint = row.hint or hint
  return fail(row[2], hint and ("%s (%s)"):format(line, hint) or line, { name = row.name, retryable = row.retryable })
end

return M
