--- Runs the body of a test as a task with a time limit, and fails it when it leaves anything behind: a task, an
--- operation, a libuv handle, a file descriptor.
local lfs = require "lfs"
local native = require "luarium.native"
local task = require "luarium.task"

local loop = native.loop

local function fds()
  local seen = {}
  for fd in lfs.dir("/proc/self/fd") do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
    if tonumber(fd) and target and not target:find("/fd$") then -- the listing's own handle
      seen[fd] = target
    end
  end
  return seen
end

local function new_fds(before)
  local found = {}
  for fd, target in pairs(fds()) do
    if before[fd] ~= target then
      found[#found + 1] = fd .. " -> " .. target
    end
  end
  table.sort(found)
  return found
end

local flush = rawget(_G, "jit") and rawget(_G, "jit").flush

--- Lets what is closing finish closing, until no more is left than `alive` operations and `handles` handles.
local function quiesce(alive, handles)
  local deadline = loop.monotonic() + 15
  repeat
    task.sleep(0.001)
    native.http.close_idle() -- does nothing while another request is under way
    if flush then
      flush() -- compiled code keeps what it has seen from the collector
    end
    collectgarbage()
    collectgarbage()
    task.step(0)
    local _, alive_now, handles_now = loop.counts()
  until alive_now <= alive and handles_now <= handles or loop.monotonic() > deadline
end

local function run(limit, body)
  quiesce(math.huge, math.huge)
  local tasks_before = task.live()
  local _, alive_before, handles_before = loop.counts()
  local before = fds()
  local ok, err = pcall(task.run, task.timeout, limit, body)
  if not ok then
    error(type(err) == "table" and err.trace and err:trace() or err, 0)
  end
  quiesce(alive_before, handles_before)
  local inflight, alive, handles = loop.counts()
  assert(task.live() <= tasks_before, "tasks left behind:\n" .. task.dump())
  assert(alive <= alive_before, ("operations left behind: %d, in flight: %d"):format(alive - alive_before, inflight))
  assert(handles <= handles_before, "libuv handles left behind: " .. handles - handles_before)
  local left, deadline = new_fds(before), loop.monotonic() + 5
  while #left > 0 and loop.monotonic() < deadline do -- a scan of an earlier test's cleanup may be under way
    task.sleep(0.01)
    left = new_fds(before)
  end
  assert(#left == 0, "file descriptors left behind: " .. table.concat(left, ", "))
end

--- The limits tell what hangs: a machine that has much else to do takes longer than the specs count with.
local PATIENCE = 3

--- async(fn) or async(seconds, fn)
return function(limit, body)
  if not body then
    limit, body = 10, limit
  end
  return function()
    run(limit * PATIENCE, body)
  end
end
