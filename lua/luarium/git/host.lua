--- Runs git on this machine, for the mirrors.
local await = require("luarium.task").await
local command = require "luarium.git.command"
local native = require "luarium.native"
local progress = require "luarium.git.progress"
local run = require "luarium.git.run"
local secret = require "luarium.secret"

local M = {}

-- What of our own environment git may need. Nothing that would point it at a repository, such as GIT_DIR.
local passed = {
  "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND",
  "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
  "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
  "ALL_PROXY", "no_proxy", "NO_PROXY", "KRB5CCNAME",
}

local function environment(credentials)
  local list = {}
  for _, name in ipairs(passed) do
    local value = os.getenv(name)
    if value then
      list[#list + 1] = name .. "=" .. value
    end
  end
  for name, value in pairs(command.env(credentials)) do
    list[#list + 1] = name .. "=" .. secret.reveal(value)
  end
  return list
end

-- A process of this machine in the shape that providers give theirs.
local Process = {}
Process.__index = Process

for _, name in ipairs({ "read", "wait" }) do
  Process[name] = function(self)
    return await(self.native[name](self.native))
  end
end

for _, name in ipairs({ "kill", "close", "close_stdin" }) do
  Process[name] = function(self, ...)
    return self.native[name](self.native, ...)
  end
end

local function run_telling(options, on_progress)
  local timeout, max_output = options.timeout, options.max_output
  options.timeout, options.max_output = nil, nil
  local handle, err = native.process.spawn(options)
  if not handle then
    return nil, err
  end
  local result
  result, err = require("luarium.provider.emulate.exec").to_end(setmetatable({ native = handle }, Process),
    { timeout = timeout, max_output = max_output, on_stderr = progress.reader(on_progress) }, native.loop.monotonic())
  if result then
    result.stderr = progress.strip(result.stderr)
  end
  return result, err
end

--- Runs git to its end.
---@async
---@param op string for errors
---@param arguments string[]
---@param options {credentials?: luarium.GitCredentials, timeout?: number, max_output?: integer,
---  fine?: (fun(result: table): boolean), on_progress?: luarium.OnProgress}? on_progress goes with --progress
---@return table? result as of native.process.run
---@return luarium.Error? err
function M.git(op, arguments, options)
  options = options or {}
  local config = command.config(options.credentials)
  if not options.credentials then
    config[#config + 1] = "credential.helper=" -- only a token that was given counts, not what this machine keeps
  end
  local given = {
    argv = command.argv(config, arguments), env = environment(options.credentials),
    timeout = options.timeout or run.network_timeout, max_output = options.max_output or run.max_output,
    cwd = "/",
  }
  local result, err
  if options.on_progress then
    result, err = run_telling(given, options.on_progress)
  else
    result, err = await(native.process.run(given))
  end
  if not result then
    return nil, err
  end
  local ok, problem = pcall(run.check, op, result, options)
  if not ok then
    return nil, problem
  end
  return result
end

return M
