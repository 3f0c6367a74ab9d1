--- Large files in parts over connections of their own, each with a thread: one session of libssh2 keeps one core busy
--- with ciphering and reaches less than the machine could. Where a host lets no more connections in, or lacks something
--- that this needs, nothing is done here, and the file goes the usual way.
local emulate = require "luarium.provider.emulate.exec"
local errors = require "luarium.error"
local native = require "luarium.native"
local shell = require "luarium.provider.emulate.shell"
local task = require "luarium.task"

local M = {}

local MIB = 1048576
local GRACE = 5 -- seconds for killing the command of a part that was given up
local PART_LEAST, PART_MOST = 16 * MIB, 128 * MIB -- bytes
local BLOCK = 131072 -- bytes that dd reads at a time: parts are a multiple, but for the end

--- Bytes of a file from where it is worth the connections.
M.LEAST = 64 * MIB

--- Tells which file is there, and in which state.
local LOOK = [[
need stat
stat -L -c '%i %s %y' "$1"
]]

local SEND = [[
need dd
exec dd if="$1" bs="$2" skip="$3" count="$4"
]]

--- Large ones first, since each has a command of its own, and small ones at the end, so that nobody waits long for the
--- last one.
local function parts_of(size, lanes)
  local parts, offset = {}, 0
  while offset < size do
    local left = size - offset
    local share = math.ceil(left / (2 * lanes) / MIB) * MIB
    local length = math.min(left, math.max(PART_LEAST, math.min(PART_MOST, share)))
    parts[#parts + 1] = { offset = offset, length = length }
    offset = offset + length
  end
  return parts
end

--- Moves the bytes of a part. Fewer than there should be are for the command's end to explain.
local function haul(process, file, up, part, tell)
  local moved = 0
  while moved < part.length do
    local count, more = process:haul(file, up, part.offset + moved, part.length - moved)
    if not count then
      error(more, 0)
    end
    moved = moved + count
    if count > 0 then
      tell(count)
    end
    if not more then
      break
    end
  end
  return moved
end

---@class luarium.ssh.Haul
---@field box luarium.BoxRecord
---@field file userdata of native.fs: a reader for the way up, a writer for the way down
---@field up boolean
---@field script string of a part
---@field args fun(part: {offset: number, length: number}): string[]
---@field tell fun(count: integer) bytes that were moved

--- The host has let us in once more and runs nothing there.
local function is_refusal(err)
  return err.name == "SSH_REFUSED" or err.name == "SSH_SHELL"
end

--- Runs the command of a part over a connection.
---@return integer? moved bytes; nil: nothing was done, the connection is of no use
---@return table result of exec
local function run_part(machine, connection, job, part)
  local started = native.loop.monotonic()
  local process, err = machine:spawn(job.box, { argv = shell.argv(job.script, job.args(part)) }, {
    cwd = "/", over = connection,
  })
  if not process and is_refusal(err) then
    return nil
  elseif not process then
    error(err, 0)
  end
  local ok, moved = pcall(haul, process, job.file, job.up, part, job.tell)
  if not ok then
    pcall(task.shield, GRACE, process.close, process)
    error(moved, 0)
  end
  local result
  result, err = emulate.to_end(process, {}, started)
  if not result then
    error(err, 0)
  end
  return moved, result
end

--- Moves all parts of a file; each connection takes the next one.
---@async
---@param machine luarium.ssh.Machine
---@param size integer bytes of the file
---@param job luarium.ssh.Haul
---@param check fun(part: table, moved: integer, result: table) raises when the part is not whole
---@return boolean ok false: not all could be moved, for want of connections
local function move(machine, size, job, check)
  local parts = parts_of(size, machine.target.transfers)
  local left = #parts -- that are not whole yet
  local lanes = math.min(left, machine.target.transfers)
  local over = task.event("the parts of a file")
  local function work(connection)
    while parts[1] do
      local part = table.remove(parts, 1)
      local moved, result = run_part(machine, connection, job, part)
      if not moved then
        table.insert(parts, part)
        return
      end
      check(part, moved, result)
      left = left - 1
    end
  end
  local function lane()
    local connection = machine.pool:borrow()
    if connection then
      local ok, err = pcall(work, connection)
      machine.pool:release(connection)
      if not ok then
        error(err, 0)
      end
    end
    lanes = lanes - 1
    if lanes == 0 or left == 0 then
      over:set()
    end
  end
  task.scope(function(scope)
    for _ = 1, lanes do
      scope:spawn(lane)
    end
    over:wait()
    scope:cancel("all parts are there") -- who still connects is not needed
  end, "parts of a file")
  return left == 0
end

--- Whether a file may go this way.
---@param machine luarium.ssh.Machine
---@return boolean
function M.wanted(machine)
  return machine.target.transfers > 1
end

--- Sends a file into one that is there already.
---@async
---@param machine luarium.ssh.Machine
---@param what string for messages
---@param job luarium.ssh.Haul without `up`
---@param size integer
---@return boolean? ok false: not all could be sent, for want of connections
---@return luarium.Error? err
function M.send(machine, what, job, size)
  job.up = true
  return move(machine, size, job, function(part, moved, result)
    local err = shell.failure(what, result)
    if moved < part.length and (not err or err.name == "EPIPE") then
      errors.raise("io", what .. ": the file has become shorter meanwhile", { name = "EPIPE" })
    elseif err then
      error(err, 0)
    end
  end)
end

local function look(self, box, path)
  local result, err = shell.exec(self, box, LOOK, { path })
  if not result then
    return nil, err
  end
  return result.exit_code == 0 and result.stdout or ""
end

local DECLINED = errors.new("conflict", "the file is not the same any more")

--- Fetches a file, as `fetch` of luarium.LargeFiles. A file that changes meanwhile is fetched the usual way: its parts
--- would be of different times, or of different files.
---@async
---@param self luarium.ProviderInstance
---@param machine luarium.ssh.Machine
---@param box luarium.BoxRecord
---@param from string
---@param sink {writer: userdata, total: integer, poured: fun(count: integer)}
---@return boolean? ok
---@return luarium.Error? err
function M.fetch(self, machine, box, from, sink)
  local before, err = look(self, box, from)
  if not before then
    return nil, err
  elseif before:match("^%d+ (%d+) ") ~= shell.number(sink.total) then
    return false
  end
  local job = { box = box, file = sink.writer, up = false, script = SEND, tell = sink.poured, args = function(part)
    return {
      from, shell.number(BLOCK), shell.number(part.offset / BLOCK), shell.number(math.ceil(part.length / BLOCK)),
    }
  end }
  local ok, done = pcall(move, machine, sink.total, job, function(part, moved, result)
    if moved < part.length or result.exit_code ~= 0 then
      error(DECLINED, 0)
    end
  end)
  if not ok and done ~= DECLINED then
    error(done, 0)
  elseif not (ok and done) then
    return false
  end
  local after
  after, err = look(self, box, from)
  if not after then
    return nil, err
  end
  return after == before
end

return M
