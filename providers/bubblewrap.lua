--- Sandboxes on this machine with real isolation: the local provider's folders and processes, seen through bwrap. A
--- command gets its own file system view, its own processes, an unprivileged user, and a network only on request. File
--- operations go through exec, so that a hostile link in the sandbox means nothing on the host.
local base = require "luarium.providers.local"
local compat = require "luarium.compat"
local config = require "luarium.config"
local exec_over_spawn = require("luarium.provider.emulate.exec").exec_over_spawn
local errors = require "luarium.error"
local native = require "luarium.native"
local provider = require "luarium.provider"
local task = require "luarium.task"

local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
local HOME, WORK = "/home/sandbox", "/work"

--- What of the host a command may read; those that do not exist are left out.
local SYSTEM = {
  "/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/alternatives", "/etc/ca-certificates", "/etc/hosts",
  "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/nsswitch.conf",
  "/etc/protocols", "/etc/resolv.conf", "/etc/services", "/etc/ssl",
}

--- Who the user is, for programs that ask: without it `whoami`, `ssh` and `git commit` fail. The host's own users are
--- not shown.
local IDENTITY = {
  passwd = "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    .. "sandbox:x:1000:1000:Sandbox:" .. HOME .. ":/bin/sh\n"
    .. "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
  group = "root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n",
  mailname = "localhost\n", -- git's default address is made of it
}

local function host_root(self, box)
  return (self.config.dir or config.state_dir() .. "/bubblewrap") .. "/" .. box.external_id
end

local function wrap(self, box, command, options)
  local root = host_root(self, box)
  local argv = {
    "bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
    "--unshare-cgroup-try", "--hostname", "sandbox", "--bind", root .. "/root", "/",
  }
  local function add(...)
    for _, argument in ipairs({ ... }) do
      argv[#argv + 1] = argument
    end
  end
  for _, path in ipairs(SYSTEM) do
    add("--ro-bind-try", path, path)
  end
  for _, path in ipairs(self.config.mounts or {}) do
    add("--ro-bind", path, path)
  end
  add("--bind", root .. "/work", WORK, "--bind", root .. "/home", HOME, "--bind", root .. "/tmp", "/tmp",
    "--proc", "/proc", "--dev", "/dev", "--chdir", options.cwd or WORK)
  if not (box.data and box.data.network) then
    add("--unshare-net")
  end
  add("--")
  if options.pty then -- the terminal is the program's, so that Ctrl-C reaches it and not bwrap
    add("setsid", "-c")
  end
  -- A shell says 127 and 126 for programs that cannot run, where bwrap says 1.
  add("/bin/sh", "-c", 'exec "$@"', "sh")
  add(compat.unpack(command.argv))
  return { argv = argv }
end

local function inner_options(self, box, options)
  local inner = {}
  for key, value in pairs(options) do
    inner[key] = value
  end
  inner.env = { PATH = PATH, HOME = HOME, TMPDIR = "/tmp", USER = "sandbox", LOGNAME = "sandbox" }
  for key, value in pairs(options.env or {}) do
    inner.env[key] = value
  end
  inner.cwd, inner.free_terminal = host_root(self, box), options.pty
  return inner
end

--- What bwrap itself complained about, in the contract's terms.
local function interpret(box, result, options)
  local complaint = result.exit_code == 1 and result.stderr:match("^bwrap: ([^\n]*)")
  if complaint then
    if complaint:find("Can't chdir", 1, true) then
      return nil, errors.new("not_found", ("the working directory %s does not exist"):format(options.cwd or WORK),
        { name = "ENOENT" })
    elseif complaint:find("Can't find source path", 1, true) or complaint:find("Can't bind mount", 1, true) then
      return nil, errors.new("sandbox_gone", ("the sandbox %s no longer exists"):format(box.external_id))
    elseif complaint:find("namespace", 1, true) or complaint:find("setting up uid map", 1, true) then
      return nil, errors.new("unsupported", "bwrap cannot make a namespace here (" .. complaint
        .. "): allow unprivileged user namespaces, or use another provider")
    end
  end
  return result
end

local function is_inner(entry)
  return entry.comm ~= "bwrap"
end

--- Signals go to the command, not to the bwrap around it; SIGKILL ends the namespace.
local function kill(process, signal)
  if signal == nil or signal == "KILL" or signal == "SIGKILL" then
    return process.native:kill("KILL")
  end
  local found, err = task.await(native.process.find(process.cookie))
  local argv = { "kill", "-s", (tostring(signal):gsub("^SIG", "")), "--" }
  for _, entry in ipairs(found or {}) do
    argv[#argv + 1] = is_inner(entry) and tostring(entry.pid) or nil
  end
  if not found or #argv == 4 then
    return found and true or nil, err
  end
  local result
  result, err = task.await(native.process.run({ argv = argv, env = { "PATH=" .. PATH } }))
  return result and true, err
end

local function spawn(self, box, command, options)
  local process, err = base.spawn(self, box, wrap(self, box, command, options), inner_options(self, box, options))
  if process then
    process.kill = kill
  end
  return process, err
end

local function run(self, box, command, options)
  if options.on_stdout or options.on_stderr or type(options.stdin) == "function" then
    return exec_over_spawn(self, box, command, options)
  end
  return base.exec(self, box, wrap(self, box, command, options), inner_options(self, box, options))
end

local function exec(self, box, command, options)
  local result, err = run(self, box, command, options)
  if not result then
    return nil, err
  elseif result.exit_code == 127 and result.stderr:find("^luarium: bwrap: not found") then
    return nil, errors.new("unsupported", "bwrap is not installed: apt-get install bubblewrap")
  end
  return interpret(box, result, options)
end

--- What the sandbox has at / beside the folders of the local provider.
local function make_root(self, external_id)
  local root = host_root(self, { external_id = external_id }) .. "/root"
  local ok, err = task.await(native.fs.mkdir(root, { mode = 448 }))
  for name, text in pairs(ok and IDENTITY or {}) do
    if ok then
      ok, err = task.await(native.fs.write_file(root .. "/etc/" .. name, text, { parents = true, mode = 420 }))
    end
  end
  if ok then
    return true
  end
  return nil, err
end

local function seen_from_inside(facts)
  facts.cwd = WORK
  return facts
end

return provider.define {
  name = "bubblewrap",
  summary = "processes on this machine, isolated by bwrap",
  docs = "docs/providers.md#bubblewrap",
  config = {
    dir = { about = "where the sandboxes are kept; default: the state folder" },
    mounts = { type = "strings", about = "more folders of the host that may be read" },
  },
  accepts = { "network" },
  ignores = { "image", "cpu", "memory", "disk", "options" },
  unsupported = { stop = "destroy it", url = "create it with network = true and use http://127.0.0.1:PORT" },

  place = base.place,
  create = function(self, spec)
    if type(spec.network) == "string" then
      spec.nothing_made = true
      return nil, errors.new("unsupported", ("there is no network '%s' here: true shares that of this machine, "
        .. "false or nothing is none"):format(spec.network))
    end
    local made, err = base.create(self, spec)
    if not made then
      return nil, err
    end
    local ok, fault = make_root(self, made.external_id)
    if not ok then
      return nil, fault
    end
    made.cwd, made.data = WORK, { network = spec.network == true or nil }
    return made
  end,
  get = function(self, external_id)
    local facts, err = base.get(self, external_id)
    return facts and seen_from_inside(facts), err
  end,
  list = function(self)
    local found, err = base.list(self)
    for _, facts in ipairs(found or {}) do
      seen_from_inside(facts)
    end
    return found, err
  end,
  destroy = base.destroy,
  extend = base.extend,
  exec = exec,
  streams = true,
  folds_signals = true,
  ends_all = true, -- with the namespace
  spawn = spawn,
  pty = true,
}
