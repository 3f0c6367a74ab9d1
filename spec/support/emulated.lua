--- A provider that can only run commands: everything else is emulated. It runs them in a folder of this machine,
--- with the shell and tools of one of several kinds, and as another user when asked.
local emulate = require "luarium.provider.emulate"
local native = require "luarium.native"
local provider = require "luarium.provider"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local M = {}

local await, process = task.await, native.process
local SYSTEM = "/usr/local/bin:/usr/bin:/bin"

local function is_installed(program)
  return os.execute("command -v " .. program .. " >/dev/null 2>&1") == (_VERSION == "Lua 5.4" or 0)
end

--- The kinds of shell and tools that are installed: { name, prepare(folder of programs) -> PATH }.
M.kinds = {}

local function kind(name, program, prepare)
  if is_installed(program) then
    M.kinds[#M.kinds + 1] = { name = name, prepare = prepare }
  else
    print("skipped: the emulation under " .. name .. ": " .. program .. " is not installed")
  end
end

kind("dash and GNU tools", "dash", function(folder)
  scratch.sh("ln -s $(command -v dash) " .. folder .. "/sh")
  return folder .. ":" .. SYSTEM
end)

kind("bash and GNU tools", "bash", function(folder)
  scratch.sh("ln -s $(command -v bash) " .. folder .. "/sh")
  return folder .. ":" .. SYSTEM
end)

kind("busybox alone", "busybox", function(folder)
  scratch.sh("busybox --install -s " .. folder)
  return folder
end)

local function native_options(self, box, command, options)
  local argv = {}
  for _, arg in ipairs(self.state.as or {}) do
    argv[#argv + 1] = arg
  end
  for _, arg in ipairs(command.argv) do
    argv[#argv + 1] = arg
  end
  local env = { "PATH=" .. self.state.path, "LANG=C.UTF-8" }
  for _, added in ipairs({ self.state.env or {}, options.env or {} }) do
    for key, value in pairs(added) do
      env[#env + 1] = key .. "=" .. value
    end
  end
  local stdin = options.stdin
  return {
    argv = argv, env = env, cwd = options.cwd or box.cwd, stdin = type(stdin) == "string" and stdin or nil,
    stdin_file = type(stdin) == "table" and stdin.file or nil, timeout = options.timeout,
    max_output = options.max_output, merge = options.merge,
    pty = options.pty, cols = options.cols, rows = options.rows,
  }
end

local Process = {}
Process.__index = Process

for _, name in ipairs({ "read", "wait" }) do
  Process[name] = function(self, ...)
    return await(self.native[name](self.native, ...))
  end
end

--- What comes after the cut is lost, and the command finds its stdin closed, as when a connection is.
function Process:write(bytes)
  if self.cut then
    bytes = bytes:sub(1, self.cut)
    self.cut = self.cut - #bytes
  end
  return bytes == "" or await(self.native:write(bytes))
end

for _, name in ipairs({ "close_stdin", "kill", "resize", "close" }) do
  Process[name] = function(self, ...)
    return self.native[name](self.native, ...)
  end
end

local function spawn(self, box, command, options)
  local handle, err = process.spawn(native_options(self, box, command, options))
  if not handle then
    return nil, err
  end
  self.state.spawned = (self.state.spawned or 0) + 1
  return setmetatable({ native = handle, pid = handle:pid(), cut = self.state.cut }, Process)
end

local function nothing()
  return {}
end

local base = {
  summary = "commands only", docs = "spec/support/emulated.lua",
  create = nothing, get = nothing, destroy = nothing,
  list = function(self)
    return self.state.records or {}
  end,
  spawn = spawn,
}

local function define(name, exec)
  local definition = { name = name, exec = exec }
  for key, value in pairs(base) do
    definition[key] = value
  end
  provider.register(provider.define(definition))
end

define("emulated_spawn", nil)
define("emulated_exec", function(self, box, command, options)
  if options.on_stdout or options.on_stderr or type(options.stdin) == "function" then
    return emulate.exec_over_spawn(self, box, command, options)
  end
  self.state.runs = (self.state.runs or 0) + 1
  return await(process.run(native_options(self, box, command, options)))
end)

--- An instance with a folder to work in; give it back with M.drop.
---@param options {kind: table?, adapter: string?, user: boolean?}? user: run as nobody
---@return table world {instance, box, dir, call = function(operation, ...)}; instance.state.cut: bytes after which
---  what is written to a process is lost
function M.new(options)
  options = options or {}
  local top = scratch.make()
  local programs, dir = top .. "/programs", top .. "/box"
  scratch.sh(("mkdir %s %s && chmod 755 %s %s && chmod 777 %s"):format(programs, dir, top, programs, dir))
  local instance = provider.open("emulated", options.adapter or "emulated_exec", {})
  instance.state.path = (options.kind or M.kinds[1]).prepare(programs)
  if options.user then
    local setpriv = scratch.sh("command -v setpriv")
    instance.state.as = { setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--" }
  end
  local box = { id = "sbx_1", external_id = "1", cwd = dir, env = {}, data = {} }
  return {
    top = top, dir = dir, programs = programs, instance = instance, box = box,
    call = function(operation, ...)
      return instance:call(operation, box, ...)
    end,
  }
end

--- Waits until what was cut off has cleaned up after itself: the search for what killed commands left behind, which
--- holds descriptors meanwhile, and the removal of temporary files and folders in a folder.
---@async
---@param folder string?
function M.settle(folder)
  assert(await(process.sweep("LUARIUM_SPEC=settle")))
  while folder and scratch.sh("ls -A " .. folder):find(".luarium-", 1, true) do
    task.sleep(0.01)
  end
end

function M.drop(world)
  world.instance:close()
  scratch.drop(world.top)
end

return M
