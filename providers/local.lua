--- Sandboxes on this machine: a folder each, with its own HOME and TMPDIR and a clean environment. No isolation: a
--- command sees the machine as the user does. Everything started in a sandbox carries its id in the environment;
--- that is how destroy finds what is left.
local await = require("luarium.task").await
local config = require "luarium.config"
local errors = require "luarium.error"
local file_type = require "luarium.file_type"
local json = require "luarium.json"
local native = require "luarium.native"
local progress = require "luarium.provider.progress"
local provider = require "luarium.provider"
local states = require "luarium.provider.state"

local fs, process = native.fs, native.process

local PRIVATE = 448 -- 0700
local DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local function base_dir(self)
  return self.config.dir or config.state_dir() .. "/" .. self.definition.name
end

local function root_of(self, box)
  return base_dir(self) .. "/" .. box.external_id
end

local function gone(box)
  return errors.new("sandbox_gone", ("the sandbox %s no longer exists"):format(box.external_id))
end

--- The state is the first thing that destroy takes away.
local function exists(self, box)
  return fs.exists(root_of(self, box) .. "/state.json")
end

--- An error of the system, told apart from "the whole sandbox is gone".
local function explain(self, box, err)
  if err.kind == "not_found" and not exists(self, box) then
    return nil, gone(box)
  end
  return nil, err
end

local function read_state(self, external_id)
  if not external_id:match("^sbx_%w+$") then
    return nil, errors.new("invalid", ("%q is no sandbox of this provider"):format(external_id))
  end
  local text, err = await(fs.read_file(base_dir(self) .. "/" .. external_id .. "/state.json", { max = 1048576 }))
  if not text then
    return nil, err.kind == "not_found" and gone({ external_id = external_id }) or err
  end
  return states.decode(text, external_id)
end

local function write_state(self, external_id, state)
  return await(fs.write_file(base_dir(self) .. "/" .. external_id .. "/state.json", json.encode(state),
    { mode = 384, atomic = true }))
end

local function sweep(external_id)
  return await(process.sweep("LUARIUM_SANDBOX=" .. external_id))
end

--- Moves the folder away first: from then on it is gone for everybody, and nothing more can be started in it.
local function remove_sandbox(self, external_id)
  local root = base_dir(self) .. "/" .. external_id
  local doomed = root .. ".gone"
  local ok, err = await(fs.move(root, doomed))
  if not ok and err.kind == "conflict" and not fs.exists(root) then
    ok = true -- a destroy was cut off after its move, or another process is at it
  end
  if not ok and err.kind ~= "not_found" then
    return nil, err
  end
  ok, err = sweep(external_id)
  if not ok then
    return nil, err
  end
  ok, err = await(fs.remove(doomed, { recursive = true }))
  if not ok and err.kind ~= "not_found" then
    return nil, err
  end
  return true
end

local function create(self, spec)
  local root = base_dir(self) .. "/" .. spec.id
  local folders = { root = root, work = spec.cwd or root .. "/work", home = root .. "/home", tmp = root .. "/tmp" }
  for _, path in ipairs({ root, folders.home, folders.tmp, folders.work }) do
    local ok, err = await(fs.mkdir(path, { parents = true, mode = PRIVATE }))
    if not ok then
      return nil, err
    end
  end
  local now = native.loop.realtime()
  local state = {
    id = spec.id, name = spec.name, labels = spec.labels, created_at = now, work = folders.work,
    expires_at = spec.timeout and now + spec.timeout or nil,
  }
  local ok, err = write_state(self, spec.id, state)
  if not ok then
    return nil, err
  end
  return { external_id = spec.id, status = "running", cwd = folders.work, expires_at = state.expires_at }
end

local function get(self, external_id)
  local state, err = read_state(self, external_id)
  if not state then
    return nil, err
  end
  if state.expires_at and state.expires_at <= native.loop.realtime() then
    local ok, fault = remove_sandbox(self, external_id)
    if not ok then
      return nil, fault
    end
    return nil, gone({ external_id = external_id })
  end
  return states.describe(state)
end

local function list(self)
  local entries, err = await(fs.ls(base_dir(self)))
  if not entries then
    if err.kind == "not_found" then
      return {}
    end
    return nil, err
  end
  local found = {}
  for _, entry in ipairs(entries) do
    if entry.name:match("^sbx_%w+$") then
      local state = read_state(self, entry.name)
      -- Without a state it was cut off while it was made: it is listed all the same, so that it can be destroyed.
      found[#found + 1] = state and states.describe(state)
        or { external_id = entry.name, status = "broken", labels = {} }
    elseif entry.name:match("^sbx_%w+%.gone$") then -- a destroy that runs, or was cut off
      found[#found + 1] = { external_id = entry.name:sub(1, -6), status = "destroying", labels = {} }
    end
  end
  return found
end

local exec_count = 0
local exec_prefix = native.crypto.hex_encode(native.crypto.random(8))

--- The environment of a command as a list; the cookies come first, where a scan finds them soonest.
local function environment(self, box, extra, pty)
  local root = root_of(self, box)
  exec_count = exec_count + 1
  local cookie = ("LUARIUM_EXEC=%s-%d"):format(exec_prefix, exec_count)
  local merged = {
    PATH = os.getenv("PATH") or DEFAULT_PATH, HOME = root .. "/home", TMPDIR = root .. "/tmp",
    LANG = "C.UTF-8", USER = os.getenv("USER"), LOGNAME = os.getenv("LOGNAME"), SHELL = "/bin/sh",
    TERM = pty and (os.getenv("TERM") or "xterm-256color") or nil,
  }
  for key, value in pairs(extra or {}) do
    merged[key] = value
  end
  local env = { "LUARIUM_SANDBOX=" .. box.external_id, cookie }
  for key, value in pairs(merged) do
    env[#env + 1] = key .. "=" .. value
  end
  return env, cookie
end

local function process_options(self, box, command, options)
  if options.user then
    local text = "provider '%s' runs everything as one user: leave out `user`, or use docker or ssh"
    return nil, errors.new("unsupported", text:format(self.definition.name))
  end
  local env, cookie = environment(self, box, options.env, options.pty)
  local stdin = options.stdin
  return {
    argv = command.argv, env = env, cookie = cookie, cwd = options.cwd or box.cwd,
    stdin = type(stdin) == "string" and stdin or nil,
    stdin_file = type(stdin) == "table" and stdin.file or nil,
    timeout = options.timeout, max_output = options.max_output, merge = options.merge,
    pty = options.pty, cols = options.cols, rows = options.rows, free_terminal = options.free_terminal,
  }
end

local function exec(self, box, command, options)
  local native_options, err = process_options(self, box, command, options)
  if not native_options then
    return nil, err
  end
  local result
  result, err = await(process.run(native_options))
  if not result then
    return explain(self, box, err)
  end
  if result.exit_code == 127 and not exists(self, box) then
    return nil, gone(box)
  end
  return result
end

--- The native process with its operations waited for.
local Process = {}
Process.__index = Process

function Process:read(max)
  return await(self.native:read(max))
end

function Process:write(bytes)
  return await(self.native:write(bytes))
end

function Process:wait()
  return await(self.native:wait())
end

for _, name in ipairs({ "close_stdin", "kill", "resize", "close" }) do
  Process[name] = function(self, ...)
    return self.native[name](self.native, ...)
  end
end

local function spawn(self, box, command, options)
  local native_options, err = process_options(self, box, command, options)
  if not native_options then
    return nil, err
  end
  local handle
  handle, err = process.spawn(native_options)
  if not handle then
    return explain(self, box, err)
  end
  return setmetatable({ native = handle, pid = handle:pid(), cookie = native_options.cookie }, Process)
end

--- A file operation on the host's own path.
local function on_file(start)
  return function(self, box, ...)
    local value, err = await(start(...))
    if value == nil and err then
      return explain(self, box, err)
    end
    return value
  end
end

--- Whether something may be read or replaced by a copy: a FIFO would be waited for, a device replaced by a file.
local function check_kind(path)
  local kind = fs.type(path)
  if file_type[kind or ""] then
    return nil, errors.new("invalid", ("%s: not a regular file or folder but a %s"):format(path, file_type[kind]))
  end
  return true
end

--- Up and down are the same copy: both paths are on this machine. A link that is named is followed, but for one here
--- that a download replaces.
local function transfer(links)
  return function(self, box, from, to, options)
    local source, err = await(fs.realpath(from))
    local target = links == "keep" and await(fs.realpath(to)) or to
    local result = source
    for _, path in ipairs({ source or from, target }) do
      if result then
        result, err = check_kind(path)
      end
    end
    if result then
      result, err = await(fs.mkdir(target:match("^(.*/)[^/]+/*$") or ".", { parents = true }))
    end
    if result then
      local given = { exclude = options.exclude, links = links }
      result, err = progress.await(options.on_progress, fs.copy(source, target, given))
    end
    if not result then
      return explain(self, box, err)
    end
    return result
  end
end

return provider.define {
  name = "local",
  summary = "a folder and processes on this machine; no isolation",
  docs = "docs/providers.md#local",
  config = {
    dir = { about = "where the sandboxes are kept; default: the state folder" },
  },
  accepts = { "cwd" },
  ignores = { "image", "cpu", "memory", "disk", "options" },
  gives = { "network", "ports" },
  unsupported = {
    stop = "destroy it; its processes are yours",
  },

  place = base_dir,
  create = create,
  get = get,
  list = list,
  destroy = function(self, box)
    return remove_sandbox(self, box.external_id)
  end,
  exec = exec,
  spawn = spawn,
  pty = true,
  extend = function(self, box, seconds)
    local state, err = read_state(self, box.external_id)
    if not state then
      return nil, err
    end
    state.expires_at = native.loop.realtime() + seconds
    local ok, fault = write_state(self, box.external_id, state)
    if not ok then
      return nil, fault
    end
    return { expires_at = state.expires_at }
  end,
  url = function(_, _, port)
    return { url = ("http://127.0.0.1:%d"):format(port) }
  end,

  host_path = function(_, _, path)
    return path
  end,

  read_file = on_file(function(path, options)
    return fs.read_file(path, options)
  end),
  write_file = on_file(function(path, bytes, options)
    return fs.write_file(path, bytes, { mode = options.mode, append = options.append, parents = true,
      atomic = not options.append })
  end),
  stat = on_file(function(path, options)
    return fs.stat(path, options)
  end),
  ls = on_file(function(path)
    return fs.ls(path)
  end),
  mkdir = on_file(function(path, options)
    return fs.mkdir(path, options)
  end),
  move = on_file(function(from, to)
    return fs.move(from, to)
  end),
  remove = on_file(function(path, options)
    return fs.remove(path, options)
  end),
  upload = transfer("keep"),
  download = transfer("refuse_outside"),
}
