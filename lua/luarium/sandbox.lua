--- The sandbox as users see it. Everything here raises error objects; providers below return nil, err.
local check = require "luarium.check"
local config = require "luarium.config"
local contract = require "luarium.provider.contract"
local errors = require "luarium.error"
local event = require "luarium.event"
local native = require "luarium.native"
local registry = require "luarium.registry"
local scheduler = require "luarium.task.scheduler"
local secret = require "luarium.secret"
local task = require "luarium.task"

local M = {}

--- Seconds that destroying a sandbox may take when its task is already being cancelled.
M.destroy_budget = 120

---@class luarium.Sandbox
---@field id string durable: `luarium.reconnect(id)` finds it again from any process
---@field name string?
---@field provider string the configured name
---@field external_id string the vendor's id
---@field status string "running", "stopped", "destroyed" ...
---@field labels table<string, string>
---@field cwd string the working directory, where relative paths start
---@field created_at number seconds since the epoch
---@field expires_at number? when it ends by itself
---@field env table<string, string>
---@field data table
local Sandbox = {}
local mt = { __index = Sandbox, __name = "luarium.Sandbox" }
M.methods = Sandbox

local live = setmetatable({}, { __mode = "v" }) -- id -> object, so that one process has one object per sandbox
local instances = setmetatable({}, { __mode = "k" }) -- sandbox -> provider instance

--- Raises with the operation's name and without secrets. The reason of a cancelled task passes as it is: scopes know it
--- by identity.
local function raise(err, op)
  if err == task.cancel_reason() then
    error(err, 0)
  end
  if errors.is(err) and not err.op and op then
    err = err:wrap(op)
  end
  error(secret.redact_error(err), 0)
end

-- ---- create, reconnect, list ----

local function reveal_map(map)
  local plain, sources = {}, {}
  for key, value in pairs(map or {}) do
    if secret.is(value) then
      plain[key] = secret.reveal(value)
      sources[key] = value.name
    else
      plain[key] = tostring(value)
    end
    if key == "" or key:find("[=%z]") or plain[key]:find("\0", 1, true) then
      errors.raise("invalid", ("env: %q cannot be an environment variable"):format(key))
    end
  end
  return plain, sources
end

local function check_offer(instance, options)
  local definition = instance.definition
  local fine = { provider = true, name = true, env = true, labels = true, timeout = true, options = true }
  for _, list in ipairs({ definition.accepts or {}, definition.ignores or {} }) do
    for _, key in ipairs(list) do
      fine[key] = true
    end
  end
  for _, key in ipairs(check.keys(options)) do
    if not fine[key] then
      errors.raise("unsupported", ("create: provider '%s' cannot do `%s`: leave it out or choose another provider "
        .. "(`luarium providers` shows what each can do)"):format(instance.name, key), { provider = instance.name })
    end
  end
end

local function attach(record, instance, env)
  local box = setmetatable({
    id = record.id, name = record.name, provider = record.provider, external_id = record.external_id,
    status = record.status, labels = record.labels or {}, cwd = record.cwd, data = record.data or {},
    created_at = record.created_at, expires_at = record.expires_at, env = env,
  }, mt)
  instances[box] = instance
  live[box.id] = box
  return box
end

local function disarm(box)
  if box.lifetime then
    scheduler.forget(box.lifetime)
    box.lifetime:cancel()
    box.lifetime = nil
  end
end

--- Ends the sandbox when its time is over, where the vendor does not do it.
local function arm(box)
  disarm(box)
  if not box.expires_at or instances[box].definition.owns_lifetime then
    return
  end
  local seconds = math.max(0, box.expires_at - native.loop.realtime())
  local op, err = native.loop.sleep(seconds, true)
  if not op then
    raise(err, "create")
  end
  box.lifetime = op
  scheduler.on_complete(op, function()
    if box.lifetime == op then
      box.lifetime = nil
      task.spawn_detached("end of life of " .. box.id, function()
        event.emit("sandbox.expired", { sandbox = box.id, name = box.name })
        box:destroy()
      end)
    end
  end)
end

local function record_of(box, status)
  local plain, sources = {}, box.secret_env or {}
  for key, value in pairs(box.env) do
    if not sources[key] then
      plain[key] = value
    end
  end
  return {
    id = box.id, name = box.name, provider = box.provider, adapter = instances[box].definition.name,
    external_id = box.external_id, status = status or box.status, labels = box.labels, cwd = box.cwd,
    data = box.data, created_at = box.created_at, expires_at = box.expires_at, env = plain, secret_env = sources,
  }
end

--- After a create that did not end well: whatever carries our id at the vendor is destroyed.
local function remove_leftover(instance, record)
  local found = instance:call("list") or {}
  for _, entry in ipairs(found) do
    local labels = entry.labels or {}
    if entry.external_id == record.id or entry.name == record.id or labels["luarium.id"] == record.id then
      local ok, err = instance:call("destroy", { id = record.id, external_id = entry.external_id, data = {}, env = {} })
      if not ok then
        return nil, err
      end
    end
  end
  return true
end

local function give_up(instance, record, err)
  local ok, gone = pcall(task.shield, M.destroy_budget, remove_leftover, instance, record)
  if ok and gone then
    task.shield(M.destroy_budget, registry.delete, record.id)
  end
  raise(err, "create")
end

local function make(options, instance, id)
  local env, sources = reveal_map(options.env)
  local labels = {}
  for key, value in pairs(options.labels or {}) do
    labels[key] = tostring(value)
  end
  local record = {
    id = id, provider = instance.name, adapter = instance.definition.name, status = "creating", name = options.name,
    labels = labels, created_at = native.loop.realtime(),
    expires_at = options.timeout and native.loop.realtime() + options.timeout or nil,
  }
  registry.put(record)
  local spec = {}
  for key, value in pairs(options) do
    spec[key] = value
  end
  spec.id, spec.env, spec.labels, spec.provider = id, env, labels, nil
  local ok, made, err = xpcall(instance.call, errors.handler, instance, "create", spec)
  if not ok or not made then
    give_up(instance, record, not ok and made or err)
  end
  record.external_id, record.cwd, record.data = made.external_id, made.cwd, made.data
  record.status, record.expires_at = made.status or "running", made.expires_at or record.expires_at
  local box = attach(record, instance, env)
  box.secret_env = sources
  local kept, fault = pcall(function()
    registry.put(record_of(box))
    arm(box)
  end)
  if not kept then
    task.shield(M.destroy_budget, box.destroy, box)
    raise(fault, "create")
  end
  return box
end

--- Makes a sandbox. Close it (`local box <close> = ...`, `box:destroy()`, or use `with`).
---@async
---@param options table|string|nil a table, or the provider's name
---@return luarium.Sandbox
function M.create(options)
  if type(options) == "string" then
    options = { provider = options }
  end
  options = check.options(options, contract.create_options, "create")
  local instance = config.provider(options.provider)
  check_offer(instance, options)
  local id = "sbx_" .. native.crypto.ulid():lower()
  local fields = { sandbox = id, name = options.name, provider = instance.name }
  return event.span("sandbox.create", fields, make, options, instance, id)
end

--- Makes a sandbox, calls fn with it and destroys it however fn ends.
---@async
---@param options table|string|nil as for create
---@param fn fun(box: luarium.Sandbox): ...
---@return any ... what fn returned
function M.with(options, fn)
  check.argument(fn, "function", "with", "the function")
  return task.scope(function(scope)
    local box = M.create(options)
    scope:defer(box.destroy, box)
    return fn(box)
  end, "with")
end

--- Finds a sandbox again by its id, from any process that shares the state folder.
---@async
---@param id string
---@return luarium.Sandbox
function M.reconnect(id)
  check.argument(id, "text", "reconnect", "the id")
  if live[id] and live[id].status ~= "destroyed" then
    return live[id]
  end
  local record = registry.get(id)
  if not record then
    errors.raise("sandbox_gone", ("reconnect: there is no sandbox %s (`luarium ls` shows those there are)"):format(id))
  end
  local instance = config.provider(record.provider)
  if not record.external_id then
    errors.raise("conflict", ("reconnect: the sandbox %s was never finished: destroy it with `luarium destroy %s`")
      :format(id, id))
  end
  local facts, err = instance:call("get", record.external_id, record.data or {})
  if not facts then
    if errors.is(err, "sandbox_gone") then
      registry.delete(id)
    end
    raise(err, "reconnect")
  end
  record.status = facts.status or record.status
  record.expires_at = facts.expires_at or record.expires_at
  local env = record.env or {}
  for key, variable in pairs(record.secret_env or {}) do
    env[key] = os.getenv(variable)
    if env[key] then
      secret.register(env[key], variable)
    end
  end
  local box = attach(record, instance, env)
  box.secret_env = record.secret_env
  arm(box)
  return box
end

local function matches(record, filter)
  if filter.provider and record.provider ~= filter.provider or filter.name and record.name ~= filter.name then
    return false
  end
  for key, value in pairs(filter.labels or {}) do
    if (record.labels or {})[key] ~= tostring(value) then
      return false
    end
  end
  return true
end

--- The records of all sandboxes, oldest first. Nothing is asked of the vendors.
---@async
---@param filter {provider?: string, name?: string, labels?: table<string, string>}?
---@return luarium.SandboxRecord[]
function M.list(filter)
  filter = check.options(filter, { provider = "text", name = "text", labels = "map" }, "list")
  local found = {}
  for _, record in ipairs(registry.list()) do
    if matches(record, filter) then
      found[#found + 1] = record
    end
  end
  return found
end

-- ---- the object ----

---@return luarium.ProviderInstance
function M.instance_of(box)
  return instances[box]
end

local function require_alive(box, op)
  if box.status == "destroyed" then
    errors.raise("sandbox_gone", ("%s: the sandbox %s was destroyed"):format(op, box.id), { provider = box.provider })
  elseif box.destroying then -- or what is started meanwhile could outlive it
    errors.raise("sandbox_gone", ("%s: the sandbox %s is being destroyed"):format(op, box.id),
      { provider = box.provider })
  end
end

--- Calls an operation of the provider; raises its error. A sandbox found gone is remembered as gone.
local function call(box, operation, ...)
  require_alive(box, operation)
  local value, err = instances[box]:call(operation, box, ...)
  if value == nil and err then
    if errors.is(err, "sandbox_gone") then
      disarm(box)
      box.status = "destroyed"
      task.shield(M.destroy_budget, registry.delete, box.id)
    end
    raise(err, operation)
  end
  return value
end
M.call = call

local function span(box, operation, fields, ...)
  fields.sandbox, fields.name, fields.provider = box.id, box.name, box.provider
  return event.span("sandbox." .. operation, fields, call, box, operation, ...)
end

--- A path made absolute in the sandbox.
---@param path string
---@return string
function Sandbox:path(path)
  check.argument(path, "text", "path", "the path")
  if path == "" then
    errors.raise("invalid", "the path is empty; \".\" is the working directory")
  end
  return path:sub(1, 1) == "/" and path or self.cwd .. "/" .. path
end

local function command_of(command, where)
  if type(command) == "string" then
    check.argument(command, "text", where, "the command")
    return { argv = { "/bin/sh", "-c", command }, shell = command }
  end
  check.argument(command, "strings", where, "the command")
  if #command == 0 or command[1] == "" then
    errors.raise("invalid", where .. ": the command is empty: expected a text for the shell or a list of arguments")
  end
  for i, argument in ipairs(command) do
    if argument:find("\0", 1, true) then
      errors.raise("invalid", ("%s: argument %d contains a NUL byte"):format(where, i))
    end
  end
  return { argv = command }
end

local function describe(command)
  local text = secret.redact(command.shell or table.concat(command.argv, " "))
  return #text > 200 and text:sub(1, 197) .. "..." or text
end

local STREAMED_OUTPUT = 262144 -- kept of a stream that a callback gets whole

--- Output events for displays: whole chunks, only when somebody listens.
local function tee(box, stream, callback)
  if not event.wanted("output") then
    return callback
  end
  local redact = secret.stream_redactor()
  return function(chunk)
    event.emit("output", { sandbox = box.id, name = box.name, stream = stream, text = redact(chunk) })
    if callback then
      callback(chunk)
    end
  end
end

local function exec_options(box, options, where)
  options = check.options(options, contract.exec_options, where)
  local env = {}
  for key, value in pairs(box.env) do
    env[key] = value
  end
  for key, value in pairs((reveal_map(options.env))) do
    env[key] = value
  end
  if type(options.stdin) == "table" and type(options.stdin.file) ~= "string" then
    errors.raise("invalid", where .. ": option 'stdin': expected bytes, { file = path } or a function")
  end
  local streamed = options.on_stdout or options.on_stderr
  return {
    cwd = options.cwd and box:path(options.cwd) or box.cwd, env = env, stdin = options.stdin, user = options.user,
    timeout = options.timeout, max_output = options.max_output or streamed and STREAMED_OUTPUT or nil,
    pty = options.pty, cols = options.cols, rows = options.rows, merge = options.merge,
    on_stdout = options.on_stdout, on_stderr = options.on_stderr,
  }
end

local function check_result(command, result)
  if result.timed_out then
    errors.raise("timeout", ("exec: `%s` was stopped after %.1f s"):format(describe(command), result.duration or 0),
      { data = result })
  elseif result.exit_code ~= 0 then
    local how = result.signal and "was killed by " .. result.signal or "exited with " .. tostring(result.exit_code)
    local text = result.stderr ~= "" and result.stderr or result.stdout or ""
    local last = text:match("([^\n]*)\n*$") or ""
    errors.raise("io", ("exec: `%s` %s%s"):format(describe(command), how,
      last ~= "" and ": " .. secret.redact(last):sub(1, 300) or ""), { name = "EXIT", data = result })
  end
  return result
end

event.summaries["sandbox.exec"] = function(result)
  return { exit_code = result.exit_code, signal = result.signal, timed_out = result.timed_out,
    stdout_bytes = result.stdout_bytes, stderr_bytes = result.stderr_bytes }
end

---@class luarium.ExecResult
---@field exit_code integer? nil when a signal or the timeout ended it
---@field ok boolean exit_code is 0
---@field signal string? such as "SIGKILL"
---@field stdout string the bytes kept; front and back when there were more than max_output
---@field stderr string
---@field stdout_bytes integer how many there were
---@field stderr_bytes integer
---@field truncated boolean some were dropped
---@field timed_out boolean
---@field held_open boolean? a background process still held the output
---@field oom boolean? killed for want of memory, where the provider can tell
---@field duration number seconds

--- Runs a command to its end. A text goes through the shell, a list is an argv without one. A command that fails is a
--- result, not an error, unless `check` is set.
---@async
---@param command string|string[]
---@param options {cwd?: string, env?: table, stdin?: string|table|function, user?: string, timeout?: number,
---  max_output?: integer, pty?: boolean, cols?: integer, rows?: integer, on_stdout?: fun(chunk: string),
---  on_stderr?: fun(chunk: string), check?: boolean, merge?: boolean}? timeout in seconds, max_output in bytes a stream
---@return luarium.ExecResult
function Sandbox:exec(command, options)
  command = command_of(command, "exec")
  local given = exec_options(self, options, "exec")
  given.on_stdout = tee(self, "stdout", given.on_stdout)
  given.on_stderr = tee(self, "stderr", given.on_stderr)
  local result = span(self, "exec", { command = describe(command) }, command, given)
  result.ok = result.exit_code == 0 and not result.timed_out
  if options and options.check then
    check_result(command, result)
  end
  return result
end

---@class luarium.Process
local Process = {}
local process_mt = { __index = Process, __name = "luarium.Process" }

for _, name in ipairs({ "read", "write", "close_stdin", "wait", "kill", "resize" }) do
  Process[name] = function(self, ...)
    local handle = self.handle
    if not handle then
      errors.raise("invalid", "process:" .. name .. ": the process was closed")
    end
    local value, second = handle[name](handle, ...)
    if value == nil and errors.is(second) then
      raise(second, "process." .. name)
    end
    return value, second
  end
end

--- Kills what is left of it and gives back its streams. May be called again.
function Process:close()
  local handle = self.handle
  self.handle = nil
  if handle then
    handle:close()
  end
end

process_mt.__close = Process.close
process_mt.__gc = Process.close

--- Starts a live process: read() -> bytes, "stdout"|"stderr" or nil at the end; write, close_stdin, wait, kill, resize,
--- close.
---@async
---@param command string|string[]
---@param options table? as for exec, without callbacks
---@return luarium.Process
function Sandbox:spawn(command, options)
  command = command_of(command, "spawn")
  local given = exec_options(self, options, "spawn")
  local handle = span(self, "spawn", { command = describe(command) }, command, given)
  return setmetatable({ handle = handle, pid = handle.pid }, process_mt)
end

-- ---- files ----

local function file_method(operation, template)
  return function(self, path, options)
    options = check.options(options, template, operation)
    return span(self, operation, { path = path }, self:path(path), options)
  end
end

local READ_LIMIT = 67108864

--- The bytes of a file. `max` bounds how many are accepted (default 64 MiB).
---@async
---@param path string
---@param options {offset?: integer, length?: integer, max?: integer}? bytes
---@return string
function Sandbox:read_file(path, options)
  options = check.options(options, { offset = "size", length = "size", max = "size" }, "read_file")
  return span(self, "read_file", { path = path }, self:path(path), {
    offset = options.offset, length = options.length, max = options.max or READ_LIMIT,
  })
end

--- Entries of a folder, sorted by name: {name, type, size, mode, mtime, target}.
Sandbox.ls = file_method("ls", {})
--- {type, size, mode, mtime, target}; follows links unless follow = false.
Sandbox.stat = file_method("stat", { follow = "boolean" })
--- Makes a folder; with parents = true also those above it, and one that exists is fine.
Sandbox.mkdir = file_method("mkdir", { parents = "boolean", mode = "size" })
--- Deletes a file, a link or an empty folder; with recursive = true a whole tree.
Sandbox.remove = file_method("remove", { recursive = "boolean" })

--- Makes or replaces a file, with the folders above it.
---@async
---@param path string
---@param bytes string
---@param options {mode?: integer, append?: boolean}?
function Sandbox:write_file(path, bytes, options)
  check.argument(bytes, "string", "write_file", "the content")
  options = check.options(options, { mode = "size", append = "boolean" }, "write_file")
  return span(self, "write_file", { path = path, bytes = #bytes }, self:path(path), bytes, options)
end

---@async
---@return boolean
function Sandbox:exists(path)
  local ok, err = pcall(self.stat, self, path, { follow = false })
  if not ok and not errors.is(err, "not_found") then
    error(err, 0)
  end
  return ok
end

--- Renames. An existing file is replaced, an existing folder is a conflict.
---@async
function Sandbox:move(from, to)
  return span(self, "move", { path = from, to = to }, self:path(from), self:path(to))
end

local transfer_options = { exclude = "strings", on_progress = "function" }

--- Copies a local file or tree to exactly this path in the sandbox.
---@async
---@param from string a local path
---@param to string
---@param options {exclude?: string[], on_progress?: fun(done: integer, total: integer)}?
---@return {files: integer, bytes: integer, skipped: table}
function Sandbox:upload(from, to, options)
  check.argument(from, "text", "upload", "the local path")
  options = check.options(options, transfer_options, "upload")
  return span(self, "upload", { path = to, from = from }, from, self:path(to), options)
end

--- Copies a file or tree of the sandbox to exactly this local path. Links that lead out of the tree are skipped and
--- listed in the result.
---@async
---@return {files: integer, bytes: integer, skipped: table}
function Sandbox:download(from, to, options)
  check.argument(to, "text", "download", "the local path")
  options = check.options(options, transfer_options, "download")
  return span(self, "download", { path = from, to = to }, self:path(from), to, options)
end

-- ---- git, results ----

--- Clones a repository; see luarium.git.
---@async
---@param url string
---@param options table?
function Sandbox:clone(url, options)
  return require("luarium.git").clone(self, url, options)
end

--- The repository at a path of the sandbox.
---@param path string?
---@param options {url?: string, base?: string}?
function Sandbox:git(path, options)
  return require("luarium.git").open(self, path or ".", options)
end

--- Collects diff, files, logs and a report into a local folder; see luarium.collect.
---@async
---@param options table
function Sandbox:collect(options)
  return require("luarium.collect").collect(self, options)
end

-- ---- life ----

---@param operation string
---@return string|false capability "native", "emulated" or false
function Sandbox:can(operation)
  local capability = instances[self]:can(operation)
  return capability ~= "unsupported" and capability
end

--- Facts from the provider: {external_id, status, labels, created_at, expires_at, ...}.
---@async
function Sandbox:info()
  require_alive(self, "info")
  local facts, err = instances[self]:call("get", self.external_id, self.data)
  if not facts then
    raise(err, "info")
  end
  return facts
end

local function set_status(operation, status)
  return function(self)
    local result = span(self, operation, {})
    self.status = status
    registry.put(record_of(self))
    return result
  end
end

Sandbox.start = set_status("start", "running")
Sandbox.stop = set_status("stop", "stopped")
Sandbox.pause = set_status("pause", "paused")
Sandbox.resume = set_status("resume", "running")
Sandbox.archive = set_status("archive", "archived")
Sandbox.recover = set_status("recover", "running")

--- Moves its end of life to so many seconds from now.
---@async
---@param seconds number
function Sandbox:extend(seconds)
  check.argument(seconds, "seconds", "extend", "the time")
  local result = span(self, "extend", { seconds = seconds }, seconds)
  self.expires_at = type(result) == "table" and result.expires_at or native.loop.realtime() + seconds
  registry.put(record_of(self))
  arm(self)
end

--- The address of a port in the sandbox.
---@async
---@param port integer
---@return string url
---@return table? headers that requests must carry
function Sandbox:url(port)
  check.argument(port, "integer", "url", "the port")
  if port < 1 or port > 65535 then
    errors.raise("invalid", ("url: expected a port from 1 to 65535, got %s"):format(tostring(port)))
  end
  local result = span(self, "url", { port = port }, port)
  return result.url, result.headers
end

---@async
---@param name string
function Sandbox:snapshot(name)
  check.argument(name, "text", "snapshot", "the name")
  return span(self, "snapshot", { snapshot = name }, name)
end

---@async
---@return luarium.Sandbox
function Sandbox:fork(options)
  local made = span(self, "fork", {}, check.options(options, { name = "text" }, "fork"))
  local record = record_of(self)
  record.id = "sbx_" .. native.crypto.ulid():lower()
  record.external_id, record.data, record.name = made.external_id, made.data, options and options.name
  local box = attach(record, instances[self], self.env)
  registry.put(record_of(box))
  return box
end

local function destroy(box)
  registry.put(record_of(box, "destroying"))
  local ok, err = instances[box]:call("destroy", box)
  if not ok and not errors.is(err, "sandbox_gone") and not errors.is(err, "not_found") then
    raise(err, "destroy")
  end
  registry.delete(box.id)
  box.status = "destroyed"
end

--- Ends the sandbox and everything in it. Destroying it again does nothing. Works also while its task is cancelled.
---@async
function Sandbox:destroy()
  if self.status == "destroyed" then
    return
  end
  if self.destroying then
    return self.destroying:wait()
  end
  disarm(self)
  self.destroying = task.event("the end of " .. self.id)
  local ok, err = pcall(task.shield, M.destroy_budget, event.span, "sandbox.destroy",
    { sandbox = self.id, name = self.name, provider = self.provider }, destroy, self)
  self.destroying:set()
  self.destroying = nil
  if not ok then
    error(err, 0)
  end
end

Sandbox.close = Sandbox.destroy
mt.__close = function(self)
  self:destroy()
end

function mt.__tostring(self)
  return ("sandbox %s%s (%s, %s)"):format(self.id, self.name and " " .. self.name or "", self.provider, self.status)
end

--- Destroys a sandbox by its id, also one that was never finished or whose provider cannot be asked for it.
---@async
---@param id string
---@return boolean existed
function M.destroy(id)
  local record = registry.get(id)
  if not record then
    return false
  end
  if live[id] and live[id].status ~= "destroyed" then
    live[id]:destroy()
    return true
  end
  local instance = config.provider(record.provider)
  if record.external_id then
    local box = attach(record, instance, record.env or {})
    box.secret_env = record.secret_env
    box:destroy()
  else
    local ok, err = remove_leftover(instance, record)
    if not ok then
      raise(err, "destroy")
    end
    registry.delete(id)
  end
  return true
end

return M
