--- The connections to one host: opened when they are needed, each with as many commands at a time as the host allows.
local errors = require "luarium.error"
local in_time = require "luarium.task.in_time"
local login = require "luarium.ssh.login"
local native = require "luarium.native"
local scheduler = require "luarium.task.scheduler"
local task = require "luarium.task"
local text = require "luarium.ssh.text"

local M = {}

local PREFIX = native.crypto.hex_encode(native.crypto.random(8))
local SLOW = 0.03 -- seconds from asking for a shell to its first word
local CLEARING = 5 -- seconds that a host may take to clear away what ran before, while it refuses what is next
local PATIENCE = 2 -- seconds of the longest pause before another try
local SPARE_PATIENCE = 3 -- seconds that a connection may take which can be done without
local REFUSED = 300 -- seconds without another try after it was refused
local LINGER = 1 -- seconds that a connection beyond the first one stays without a command
local FIRST_WORD = 10 -- seconds that a login shell has at least until it begins the first command
local NEXT_WORD = 60 -- the same on a host where commands have begun before: it may be busy with many of them

---@class luarium.ssh.Connection
---@field session userdata
---@field sessions userdata[] the same, and those it goes through
---@field used integer commands that run over it
---@field limit integer commands that may
---@field pinned boolean? it stays open although no command runs: ports lead through it
---@field warm table? a shell that waits for a command
---@field full boolean? the host allows no more than run now
---@field borrowed boolean? only who borrowed it uses it

---@class luarium.ssh.Pool
---@field target luarium.ssh.Target
---@field connections luarium.ssh.Connection[]
---@field quickest number seconds that the start of a shell took at least; 0: not known yet
---@field orphans string[] cookies of commands that could not be killed yet
---@field quiet boolean? the login shell writes nothing to stderr by itself; nil: not known yet
---@field welcome boolean? the host has let us in before
---@field careful boolean? the login shell is none of Bourne's family
---@field bash boolean? it is bash
---@field borrowed integer connections that are borrowed
---@field refused_until number? before that none is made that can be done without
local Pool = {}
Pool.__index = Pool

---@param target luarium.ssh.Target
---@return luarium.ssh.Pool
function M.new(target)
  return setmetatable({
    target = target, connections = {}, lock = task.semaphore(1, "a connection to " .. target.name), waiting = {},
    orphans = {}, shells = 0, quickest = 0, borrowed = 0,
  }, Pool)
end

-- ---- connections that nobody uses ----

local function disarm(connection)
  if connection.timer then
    scheduler.forget(connection.timer)
    connection.timer:cancel()
    connection.timer = nil
  end
end

--- Closes it and what it goes through.
local function close(connection)
  disarm(connection)
  for _, session in ipairs(connection.sessions) do
    session:close()
  end
end

local function drop(self, connection)
  close(connection)
  for i, other in ipairs(self.connections) do
    if other == connection then
      table.remove(self.connections, i)
      return
    end
  end
end

local function arm(self, connection)
  disarm(connection)
  if connection.pinned then
    return
  end
  local first = self.connections[1] == connection
  local seconds = first and self.target.idle or LINGER
  local op = native.loop.sleep(seconds, true)
  connection.timer = op
  scheduler.on_complete(op, function()
    if connection.timer == op then
      connection.timer = nil
      if first or self.connections[1] ~= connection then
        drop(self, connection)
      else
        arm(self, connection) -- it has become the first one meanwhile
      end
    end
  end)
end

-- ---- connecting ----

--- Those that still live; the others are forgotten.
local function alive(self)
  for i = #self.connections, 1, -1 do
    if self.connections[i].session:look() then
      close(self.connections[i])
      table.remove(self.connections, i)
    end
  end
  return self.connections
end

local function free_one(self)
  local best
  for _, connection in ipairs(alive(self)) do
    local free = connection.used < connection.limit and not connection.full and not connection.borrowed
    if free and (not best or connection.used > best.used) then
      best = connection
    end
  end
  return best
end

--- Starts the shell that the next command will find waiting, where starting one takes long: it costs the host more than
--- a command that comes with its own.
local function warm_up(self, connection)
  if self.quickest < SLOW or self.closed or connection.warm or connection.full
    or connection.used >= connection.limit - 1 then
    return
  end
  self.shells = self.shells + 1
  local marker = ("lum%s.%d"):format(PREFIX, self.shells)
  local channel = connection.session:exec({ command = text.waiting, marker = marker, marks_stderr = not self.quiet })
  connection.warm = channel and { channel = channel, marker = marker, marks_stderr = not self.quiet }
end

--- A host that has let us in turns others away for a moment when many come at once (MaxStartups of sshd).
local function let_in(self)
  local pause = 0.1
  local sessions, err
  repeat
    sessions, err = login.connect(self.target)
    if sessions or not self.welcome or err.name ~= "SSH_TURNED_AWAY" then
      break
    end
    task.sleep(pause)
    pause = 2 * pause
  until pause > PATIENCE
  self.welcome = self.welcome or sessions ~= nil
  return sessions, err
end

local function connect(self, try)
  local sessions, err = try(self)
  if not sessions then
    return nil, err
  end
  local connection = { session = sessions[1], sessions = sessions, used = 0, limit = self.target.max_sessions }
  if self.closed then
    close(connection)
    return nil, errors.new("unavailable", "ssh: the provider was closed")
  end
  table.insert(self.connections, connection)
  arm(self, connection)
  return connection
end

--- One at a time: hosts drop connections when many come at once before they have proven who they are.
local function connect_in_turn(self, wanted)
  return self.lock:with(function()
    local connection = free_one(self)
    if connection or not wanted() then
      return connection, nil
    end
    return connect(self, let_in)
  end)
end

local function wake(self)
  local first = table.remove(self.waiting, 1)
  if first then
    first:set()
  end
end

--- Waits until somebody gives a place back.
local function queue_up(self)
  local event = task.event("a free connection to " .. self.target.name)
  table.insert(self.waiting, event)
  local ok, err = pcall(event.wait, event)
  for i, other in ipairs(self.waiting) do
    if other == event then
      table.remove(self.waiting, i)
    end
  end
  if not ok then
    if event.is_set then
      wake(self) -- the place is somebody else's
    end
    error(err, 0)
  end
end

--- A connection with a free place, which is taken. Urgent: without waiting for other commands to end.
---@async
---@param urgent boolean?
---@return luarium.ssh.Connection? connection
---@return luarium.Error? err
function Pool:take(urgent)
  while true do
    local connection = free_one(self)
    if not connection then
      local function wanted()
        return urgent or #alive(self) < self.target.connections
      end
      if wanted() then
        local err
        connection, err = connect_in_turn(self, wanted)
        if err then
          return nil, err
        end
      else
        queue_up(self)
      end
    end
    if connection and not connection.session:error() then
      disarm(connection)
      connection.used = connection.used + 1
      return connection
    end
  end
end

---@param connection luarium.ssh.Connection
function Pool:give_back(connection)
  connection.used = connection.used - 1
  connection.full = false
  if connection.used == 0 and not self.closed and not connection.session:error() then
    arm(self, connection)
  end
  wake(self)
end

-- ---- connections of their own ----

local function idle_one(self)
  for i, connection in ipairs(alive(self)) do
    if i > 1 and connection.used == 0 and not (connection.pinned or connection.warm or connection.borrowed) then
      return connection
    end
  end
end

local function connect_quickly(self)
  if native.loop.monotonic() < (self.refused_until or 0) then
    return nil
  end
  local sessions
  in_time(SPARE_PATIENCE, function()
    sessions = login.connect(self.target)
  end)
  if not sessions then
    self.refused_until = native.loop.monotonic() + REFUSED
  end
  return sessions
end

--- A connection that nobody else uses until it is released, beside the first one, which is left to commands. nil: none
--- can be had now.
---@async
---@return luarium.ssh.Connection?
function Pool:borrow()
  return self.lock:with(function()
    if self.closed or self.borrowed >= self.target.transfers then
      return nil
    end
    local connection = idle_one(self)
    if not connection and #self.connections < self.target.connections then
      connection = connect(self, connect_quickly)
    end
    if connection then
      disarm(connection)
      connection.borrowed, connection.used = true, connection.used + 1
      self.borrowed = self.borrowed + 1
    end
    return connection
  end)
end

---@param connection luarium.ssh.Connection
function Pool:release(connection)
  connection.borrowed = nil
  self.borrowed = self.borrowed - 1
  self:give_back(connection)
end

--- The borrowed connection, or any other one.
local function take(self, urgent, over)
  if not over then
    return self:take(urgent)
  end
  local err = over.session:error()
  if err then
    return nil, err
  end
  over.used = over.used + 1
  return over
end

--- The shell that waits on a connection; the next one is started.
---@param connection luarium.ssh.Connection
---@return {channel: userdata, marker: string, marks_stderr: boolean}?
function Pool:take_shell(connection)
  local warm = connection.warm
  connection.warm = nil
  warm_up(self, connection)
  return warm
end

--- Remembers how long a shell took to start. The quickest counts: others were slow because the host was busy.
---@param seconds number
function Pool:note_start(seconds)
  self.quickest = self.quickest == 0 and seconds or math.min(self.quickest, seconds)
end

--- Seconds within which a login shell must begin a command.
---@return number
function Pool:patience()
  return math.max(self.target.connect_timeout, self.quickest > 0 and NEXT_WORD or FIRST_WORD)
end

--- Waits until the command has begun. A login shell may be stuck for ever in what it reads when it starts.
local function begin(self, channel)
  local seconds = self:patience()
  local started, err
  if in_time(seconds, function()
    started, err = task.await(channel:start())
  end) then
    return started, err
  end
  return nil, errors.new("unavailable", ("ssh: the login shell on %s did not begin our command within %g s: does "
    .. "`ssh %s true` end there? See what the shell reads when it starts and the ForceCommand of its sshd; a shell "
    .. "that is only slow needs a larger connect_timeout"):format(self.target.name, seconds, self.target.host),
    { name = "SSH_SILENT", retryable = true })
end

--- Asks for a command on some connection. A connection that turns out to be dead, or that is full, is replaced as long
--- as the host cannot have run anything.
---@async
---@param request fun(connection: luarium.ssh.Connection): userdata?, luarium.Error? gives a channel
---@param urgent boolean?
---@param over luarium.ssh.Connection? borrowed: no other is tried
---@return userdata? channel
---@return luarium.ssh.Connection|luarium.Error|table connection_or_err what is left of a command that may run all the
---  same is { channel, connection, err, raised }
function Pool:open(request, urgent, over)
  local lost, give_up = 0, nil
  while true do
    local connection, err = take(self, urgent, over)
    if not connection then
      return nil, err
    end
    local channel, started
    channel, err = request(connection)
    if channel then
      local ok, failure = pcall(function()
        started, err = begin(self, channel)
      end)
      if started then
        return channel, connection
      end
      if not ok or channel:asked() and err.name ~= "SSH_SHELL" then
        return nil, { channel = channel, connection = connection, raised = not ok and failure or nil, err = err }
      end
      channel:close()
    end
    self:give_back(connection)
    if err.name == "SSH_REFUSED" and connection.used > 0 and not over then
      connection.full = true
    elseif err.name == "SSH_REFUSED" and native.loop.monotonic() < (give_up or math.huge) then
      give_up = give_up or native.loop.monotonic() + CLEARING
      task.sleep(0.05)
    elseif err.name == "SSH_LOST" and lost < 2 and not over then
      lost = lost + 1
    else
      return nil, err
    end
  end
end

--- A local port that leads to one of the host; it lives as long as its connection.
---@async
---@param port integer
---@return userdata? forward with port() and close()
---@return luarium.ssh.Connection|luarium.Error connection_or_err
function Pool:forward(port)
  local connection, err = self:take(true)
  if not connection then
    return nil, err
  end
  local forward
  forward, err = connection.session:forward({ host = "127.0.0.1", port = port })
  connection.pinned = connection.pinned or forward ~= nil
  self:give_back(connection)
  if not forward then
    return nil, err
  end
  return forward, connection
end

--- Closes all connections.
function Pool:close()
  self.closed = true
  while self.connections[1] do
    drop(self, self.connections[1])
  end
  while self.waiting[1] do
    wake(self)
  end
end

return M
