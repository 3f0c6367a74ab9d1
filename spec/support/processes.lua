--- What the specs of processes share.
local lfs = require "lfs"
local native = require "luarium.native"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local await, loop, process = task.await, native.loop, native.process

local M = {}

local cookie_count = 0

--- A cookie that no other test and no other run of the tests has.
function M.new_cookie()
  cookie_count = cookie_count + 1
  return ("LUARIUM_SPEC=%d-%.6f"):format(cookie_count, loop.realtime())
end

function M.slurp(path)
  local file = io.open(path)
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

--- valgrind gives a child its own memory and limits.
M.under_valgrind = M.slurp("/proc/self/maps"):find("valgrind", 1, true) ~= nil

--- Seconds that anything may take longer than it should: the machine may be busy. Benchmarks measure how exact times are.
M.slack = 5

--- Children need not run under the sanitizers that the host may run under.
function M.without_sanitizers(opts)
  if os.getenv("LD_PRELOAD") and not opts.env then
    opts.env = { "PATH=" .. os.getenv("PATH") }
  end
  return opts
end

function M.run(opts)
  local result, err = await(process.run(M.without_sanitizers(opts)))
  return assert(result, err and err.message)
end

function M.sh(script, opts)
  opts = opts or {}
  opts.argv = { "sh", "-c", script }
  return M.run(opts)
end

function M.spawn(opts)
  local p, err = process.spawn(M.without_sanitizers(opts))
  return assert(p, err and err.message)
end

--- Everything that p still has to say, per stream.
function M.read_all(p, max)
  local out = { stdout = {}, stderr = {} }
  while true do
    local bytes, stream = await(p:read(max))
    if not bytes then
      return table.concat(out.stdout), table.concat(out.stderr), stream
    end
    table.insert(out[stream], bytes)
  end
end

--- Reads until the output ends with text.
function M.expect(p, text)
  local seen = ""
  while not seen:find(text, 1, true) do
    local bytes = await(p:read())
    assert(bytes, "ended before '" .. text .. "': " .. seen)
    seen = seen .. bytes
  end
  return seen
end

function M.state_of(pid)
  local text = M.slurp("/proc/" .. pid .. "/stat")
  return text and text:match("%) (%a)")
end

function M.is_alive(pid)
  local state = M.state_of(pid)
  return state ~= nil and state ~= "Z" and state ~= "X"
end

function M.expect_gone(cookie)
  until_true("nothing left with " .. cookie, function()
    return #await(process.find(cookie)) == 0
  end)
end

function M.expect_dead(pid)
  until_true("the death of " .. pid, function()
    return not M.is_alive(pid)
  end)
end

function M.children_of_host()
  local found = {}
  for tid in lfs.dir("/proc/self/task") do
    for pid in (M.slurp("/proc/self/task/" .. tid .. "/children") or ""):gmatch("%d+") do
      found[#found + 1] = pid
    end
  end
  return found
end

function M.tmpname(finally)
  local name = os.tmpname()
  finally(function()
    os.remove(name)
  end)
  return name
end

function M.write_file(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

return M
