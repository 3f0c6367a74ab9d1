--- A FIFO for specs of descriptors that are given to the process.
local lfs = require "lfs"
local native = require "luarium.native"
local task = require "luarium.task"

local await = task.await
local M = {}

--- The number of a descriptor of ours that was opened last on this path.
function M.descriptor_of(path)
  for fd in lfs.dir("/proc/self/fd") do
    if lfs.symlinkattributes("/proc/self/fd/" .. fd, "target") == path then
      return assert(tonumber(fd))
    end
  end
end

--- Calls fn with a file that is open for both directions on a FIFO, which it may close, and with its descriptor.
---@async
---@param fn fun(file: file*, fd: integer)
function M.with(fn)
  local dir = assert(await(native.fs.mkdtemp("/tmp/luarium-spec-")))
  local path = dir .. "/fifo"
  os.execute("mkfifo " .. path)
  local file = assert(io.open(path, "r+"))
  file:setvbuf("no")
  local ok, err = pcall(fn, file, M.descriptor_of(path))
  if io.type(file) == "file" then
    file:close()
  end
  await(native.fs.remove(dir, { recursive = true }))
  assert(ok, err)
end

return M
