--- Sandboxes on a host: a folder each, with its own HOME and TMPDIR, and everything that was started in it carrying its
--- id in the environment; that is how destroy finds what is left. A machine is a pool of connections and a base folder.
local errors = require "luarium.error"
local json = require "luarium.json"
local log = require "luarium.log"
local login = require "luarium.ssh.login"
local native = require "luarium.native"
local pool = require "luarium.ssh.pool"
local remote = require "luarium.ssh.remote"
local scripts = require "luarium.ssh.scripts"
local shell = require "luarium.provider.emulate.shell"
local states = require "luarium.provider.state"
local task = require "luarium.task"
local trim_end = require("luarium.text").trim_end

local await = task.await

local M = {}

local CREATE = 30 -- seconds that making a sandbox may take once it has begun, also when nobody wants it any more
local LOOK = 60 -- seconds that a look at what there is may take
local STATE_MAX = 67108864 -- bytes of the states of all sandboxes

---@class luarium.ssh.Machine
---@field pool luarium.ssh.Pool
---@field target luarium.ssh.Target
---@field base string where the sandboxes are; "": in the user's own folder
---@field ports table<integer, table>
---@field sockets table<luarium.ssh.Socket, boolean>
local Machine = {}
Machine.__index = Machine

---@param target luarium.ssh.Target
---@param base string?
---@return luarium.ssh.Machine
function M.new(target, base)
  return setmetatable({
    target = target, pool = pool.new(target), base = base or "", ports = {}, sockets = {},
  }, Machine)
end

--- Closes all connections, and the ports and sockets that lead through them.
function Machine:close()
  for _, entry in pairs(self.ports) do
    entry.forward:close()
  end
  self.ports = {}
  for socket in pairs(self.sockets) do
    socket:close()
  end
  self.pool:close()
end

local function gone(id)
  return errors.new("sandbox_gone", ("the sandbox %s no longer exists"):format(id))
end

local function check_id(id)
  if not id:match("^sbx_%w+$") then
    return nil, errors.new("invalid", ("%q is no sandbox of this provider"):format(id))
  end
  return true
end

local function too_slow(self, what, seconds)
  return errors.new("unavailable", ("%s: %s began it and did not end within %g s: does the disk of %s answer there?")
    :format(what, self.target.name, seconds, self.base ~= "" and self.base or "~/.luarium"), { retryable = true })
end

--- Runs a script; 3 is what each of them says when there is no such sandbox.
local function script(self, what, text, args, id, seconds)
  local result, err = remote.script(self.pool, text, args, { max_output = STATE_MAX, limit = seconds })
  if not result then
    return nil, err
  elseif result.timed_out then
    return nil, too_slow(self, what, seconds)
  elseif result.exit_code == 3 and id then
    return nil, gone(id)
  end
  err = shell.failure(what, result)
  if err then
    return nil, err
  end
  return result.stdout
end

-- ---- life ----

---@async
---@param spec table of create
---@return table? facts as create of a provider returns them; data has `root`
---@return luarium.Error? err
function Machine:create(spec)
  local now = native.loop.realtime()
  local state = {
    id = spec.id, name = spec.name, labels = spec.labels, created_at = now, work = spec.cwd,
    expires_at = spec.timeout and now + spec.timeout or nil,
  }
  local connection, err = self.pool:take()
  if not connection then
    return nil, err
  end
  self.pool:give_back(connection)
  spec.nothing_made = nil
  -- Not to be cut off: the host would go on, and the folder would appear when nobody looks for it any more.
  local ok, text
  ok, text, err = pcall(task.shield, CREATE + self.pool:patience(), script, self, "create", scripts.create,
    { self.base, spec.id, spec.cwd or "", json.encode(state) })
  if not ok then
    if task.cancel_reason() or not errors.is(text, "timeout") then
      error(text, 0)
    end
    return nil, too_slow(self, "create", CREATE)
  elseif not text then
    return nil, err
  end
  local root, work = text:match("^(/[^\n]*)\n(/[^\n]*)\n$")
  if not root then
    return nil, errors.new("protocol", "create: the host gave an answer that makes no sense")
  end
  return {
    external_id = spec.id, status = "running", cwd = work, expires_at = state.expires_at, data = { root = root },
  }
end

local function read_state(self, id)
  local ok, err = check_id(id)
  if not ok then
    return nil, err
  end
  local text
  text, err = script(self, "get", scripts.get, { self.base, id }, id, LOOK)
  if not text then
    return nil, err
  end
  return states.decode(text, id)
end

---@async
---@param id string
---@return table? facts
---@return luarium.Error? err
function Machine:get(id)
  local state, err = read_state(self, id)
  if not state then
    return nil, err
  elseif state.expires_at and state.expires_at <= native.loop.realtime() then
    local ok, fault = self:destroy(id)
    if not ok then
      return nil, fault
    end
    return nil, gone(id)
  end
  return states.describe(state)
end

---@async
---@return table[]? facts
---@return luarium.Error? err
function Machine:list()
  local text, err = script(self, "list", scripts.list, { self.base }, nil, LOOK)
  if not text then
    return nil, err
  end
  local found = {}
  for line in text:gmatch("[^\n]+") do
    local id, suffix, state = line:match("^(sbx_%w+)(%.?%w*) (.*)$")
    if suffix == ".gone" then -- a destroy that runs, or was cut off
      found[#found + 1] = { external_id = id, status = "destroying", labels = {} }
    elseif id and suffix == "" then
      local value = states.decode(state, id)
      -- Without a state it was cut off while it was made: it is listed all the same, so that it can be destroyed.
      found[#found + 1] = value and states.describe(value)
        or { external_id = id, status = "broken", labels = {} }
    end
  end
  return found
end

---@async
---@param id string
---@return boolean? ok
---@return luarium.Error? err
function Machine:destroy(id)
  local ok, err = check_id(id)
  if not ok then
    return nil, err
  end
  ok, err = script(self, "destroy", scripts.destroy, { self.base, id })
  if not ok then
    return nil, err
  end
  return true
end

---@async
---@param id string
---@param seconds number
---@return {expires_at: number}? result
---@return luarium.Error? err
function Machine:extend(id, seconds)
  local state, err = read_state(self, id)
  if not state then
    return nil, err
  end
  state.expires_at = native.loop.realtime() + seconds
  local ok
  ok, err = script(self, "extend", scripts.update, { self.base, id, json.encode(state) }, id, LOOK)
  if not ok then
    return nil, err
  end
  return { expires_at = state.expires_at }
end

-- ---- commands ----

local function command_of(box, command, options)
  if options.user then
    return nil, errors.new("unsupported", "the ssh provider runs everything as the user it logs in as: leave out "
      .. "`user`, or configure another provider with that user")
  end
  return {
    argv = command.argv, env = options.env, cookie = "LUARIUM_SANDBOX=" .. box.external_id, root = box.data.root,
    cwd = options.cwd or box.cwd, merge = options.merge, pty = options.pty, cols = options.cols,
    rows = options.rows, over = options.over,
  }
end

--- A sandbox whose record has no data: its folder is asked for.
local function with_root(self, box)
  if box.data and box.data.root then
    return box
  end
  local text, err = script(self, "get", scripts.locate, { self.base, box.external_id }, box.external_id,
    LOOK)
  if not text then
    return nil, err
  end
  box.data = box.data or {}
  box.data.root = text:gsub("\n$", "")
  return box
end

local function named(box, err)
  if errors.is(err, "sandbox_gone") then
    return gone(box.external_id)
  end
  return err
end

---@async
---@param box luarium.BoxRecord
---@param command {argv: string[]}
---@param options table
---@param window integer? bytes of output that may be under way
---@return table? result of exec
---@return luarium.Error? err
function Machine:exec(box, command, options, window)
  local there, err = with_root(self, box)
  if not there then
    return nil, err
  end
  local wanted
  wanted, err = command_of(box, command, options)
  if not wanted then
    return nil, err
  end
  wanted.window = window
  local result
  result, err = remote.run(self.pool, wanted, options)
  return result, named(box, err)
end

---@async
---@return luarium.ssh.Process? process
---@return luarium.Error? err
function Machine:spawn(box, command, options)
  local there, err = with_root(self, box)
  if not there then
    return nil, err
  end
  local wanted
  wanted, err = command_of(box, command, options)
  if not wanted then
    return nil, err
  end
  wanted.timeout = options.timeout
  local process
  process, err = remote.start(self.pool, wanted)
  return process, named(box, err)
end

-- ---- ports and sockets ----

--- A local port that leads to one of the host. Made again when its connection was lost.
---@async
---@param _ luarium.BoxRecord ports are the machine's, not the sandbox's
---@param port integer
---@return {url: string, held: true}? result
---@return luarium.Error? err
function Machine:url(_, port)
  local entry = self.ports[port]
  if entry and entry.connection.session:error() then
    entry.forward:close()
    entry = nil
  end
  if not entry then
    local forward, connection = self.pool:forward(port)
    if not forward then
      return nil, connection
    end
    entry = { forward = forward, connection = connection }
    self.ports[port] = entry
  end
  return { url = ("http://127.0.0.1:%d"):format(entry.forward:port()), held = true }
end

---@class luarium.ssh.Socket
---@field path string a unix socket on this machine
local Socket = {}
Socket.__index = Socket

--- Whether connections to it can still get through.
---@return boolean
function Socket:alive()
  return not self.closed and not self.sessions[1]:error()
end

function Socket:close()
  if self.closed then
    return
  end
  self.closed = true
  self.machine.sockets[self] = nil
  self.forward:close()
  for _, session in ipairs(self.sessions) do
    session:close()
  end
  os.remove(self.folder) -- empty: the socket went with the forward
end

--- A unix socket here whose connections lead to a unix socket of the host, for instance that of docker. It has a
--- connection to the host of its own, so that it takes no places from commands; each use is one of sshd's sessions.
---@async
---@param options {socket: string} a path on the host
---@return luarium.ssh.Socket? socket
---@return luarium.Error? err
function Machine:forward(options)
  local probe, err = remote.script(self.pool, "true", {}) -- the way of the login shell is known after that
  if not probe then
    return nil, err
  end
  local request = remote.request(self.pool, scripts.dial, { options.socket })
  if not request then
    return nil, errors.new("invalid", "ssh: forward: the socket's path has bytes that are not ASCII")
  end
  local folder
  folder, err = await(native.fs.mkdtemp((os.getenv("XDG_RUNTIME_DIR") or os.getenv("TMPDIR") or "/tmp") .. "/luarium-"))
  if not folder then
    return nil, err
  end
  local sessions, forward
  sessions, err = login.connect(self.target)
  if sessions then
    request.path = folder .. "/socket"
    forward, err = sessions[1]:forward(request)
  end
  local socket = setmetatable({ path = folder .. "/socket", folder = folder, sessions = sessions or {},
    forward = forward, machine = self }, Socket)
  if not forward then
    for _, session in ipairs(socket.sessions) do
      session:close()
    end
    os.remove(folder)
    return nil, err
  end
  self.sockets[socket] = true
  return socket
end

--- What the host says when a connection to one of its unix sockets is tried, or nil when one can be made.
---@async
---@param options {socket: string}
---@return string? words
function Machine:dial_failure(options)
  local result = remote.script(self.pool, scripts.dial, { options.socket })
  if result and result.exit_code ~= 0 then
    local words = trim_end(log.neutral(result.stderr)):sub(-300)
    return words ~= "" and words or ("exit code %d"):format(result.exit_code)
  end
end

return M
