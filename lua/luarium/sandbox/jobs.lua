--- Jobs of a sandbox; see luarium.job.
local object = require "luarium.sandbox.object"

local Sandbox = object.methods

--- Starts a command that is detached from us, or finds the one that was started under the same key. It survives our
--- end and a lost connection; `attach` finds it again. A start of a key with another command, working directory or
--- input is a `conflict`; the environment may differ.
---@async
---@param command string|string[] as for exec
---@param options {key?: string, wait?: number, timeout?: number, cwd?: string, env?: table, stdin?: string|table,
---  user?: string, max_output?: integer, pty?: boolean, cols?: integer, rows?: integer}? wait: seconds in which a quick
---  command may end, so that its result comes with the start (default 0.5); timeout: seconds, held inside the sandbox;
---  stdin: bytes or { file = path }; max_output: bytes of each stream to keep (default 1 GiB); pty: on a terminal of
---  so many cols and rows (80, 24)
---@return luarium.Job
function Sandbox:job(command, options)
  return require("luarium.job").start(self, command, options)
end

--- Finds a job by its key. Raises `not_found` when there is none.
---@async
---@param key string
---@param options {user?: string}? whose job it is, where it was started with `user`
---@return luarium.Job
function Sandbox:attach(key, options)
  return require("luarium.job").attach(self, key, options)
end

--- The jobs there are, oldest first.
---@async
---@param options {user?: string}?
---@return luarium.JobStatus[]
function Sandbox:jobs(options)
  return require("luarium.job").list(self, options)
end
