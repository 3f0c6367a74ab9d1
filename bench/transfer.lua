--- Large files in and out, and large outputs: the speed of cp and cat, with flat memory.
local harness = require "bench.harness"

local M = { child = {} }

local MIB = 1048576
local GROWTH = 16 * MIB

local function size_of(context)
  return context.quick and 4 or 1024
end

--- One file for all cases, of bytes that compress badly and hold no holes.
local function big_file(context)
  local path = harness.folder .. "/big"
  if not harness.exists(path) then
    harness.capture(("head -c %d /dev/urandom >'%s' && sync '%s'"):format(size_of(context) * MIB, path, path))
  end
  return path
end

--- Runs fn and returns what it took, with the growth of resident memory over what there was before.
local function measured(mib, fn)
  local loop = require("luarium.native").loop
  collectgarbage()
  harness.reset_peak()
  local before, start = harness.resident(), loop.monotonic()
  local bytes = fn()
  local seconds = loop.monotonic() - start
  assert(bytes == mib * MIB, ("expected %d bytes, got %s"):format(mib * MIB, tostring(bytes)))
  return { speed = mib / seconds, growth = math.max(harness.peak() - before, 0) / MIB }
end

local function with_box(fn)
  local box = require("luarium").create { provider = "local" }
  local numbers = fn(box)
  box:destroy()
  return numbers
end

function M.child.upload(params)
  return with_box(function(box)
    return measured(params.mib, function()
      return box:upload(params.file, "big").bytes
    end)
  end)
end

function M.child.download(params)
  return with_box(function(box)
    box:upload(params.file, "big")
    harness.run { "sync" }
    return measured(params.mib, function()
      return box:download("big", params.target).bytes
    end)
  end)
end

function M.child.on_stdout(params)
  return with_box(function(box)
    return measured(params.mib, function()
      local bytes = 0
      local result = box:exec({ "cat", params.file }, { on_stdout = function(chunk)
        bytes = bytes + #chunk
      end })
      assert(result.exit_code == 0 and result.stdout_bytes == bytes, "the count of bytes is not true")
      return bytes
    end)
  end)
end

function M.child.read(params)
  return with_box(function(box)
    return measured(params.mib, function()
      local process = box:spawn({ "cat", params.file })
      local bytes = 0
      while true do
        local chunk = process:read()
        if not chunk then
          break
        end
        bytes = bytes + #chunk
      end
      assert(process:wait().exit_code == 0)
      process:close()
      return bytes
    end)
  end)
end

local function no_room(context)
  if harness.disk_available() < size_of(context) * MIB * 4 then
    return "not enough room in " .. harness.folder
  end
end

local function ours(name)
  return function(context)
    local target = harness.fresh("target")
    local file = big_file(context)
    harness.run { "sync" } -- nobody pays for the other side's dirty pages
    local numbers = harness.child("transfer", name, { mib = size_of(context), file = file, target = target })
    harness.run { "rm", "-f", target }
    return numbers
  end
end

local function copy_floor(context)
  local target, file = harness.fresh("target"), big_file(context)
  harness.run { "sync" }
  local seconds = harness.stopwatch { "cp", file, target }
  harness.run { "rm", "-f", target }
  return { speed = size_of(context) / seconds }
end

local function pipe_floor(context)
  local line = ("cat '%s' | cat >/dev/null"):format(big_file(context))
  return { speed = size_of(context) / harness.stopwatch { "sh", "-c", line } }
end

local function case(name, about, title, floor)
  return {
    name = name, about = about, reps = 5, warm = true, needs = no_room, ours = ours(name), floor = floor,
    rows = {
      { name = title, of = "speed", unit = "MiB/s", least = 0.9 },
      { name = "  memory growth", of = "growth", unit = "MiB", bound = GROWTH / MIB, exact = true },
    },
  }
end

M.cases = {
  case("upload", "a file of 1 GiB into a sandbox; peer: cp", "1 GiB in", copy_floor),
  case("download", "a file of 1 GiB out of a sandbox; peer: cp", "1 GiB out", copy_floor),
  case("on_stdout", "1 GiB of output through exec's on_stdout; peer: cat | cat", "1 GiB through on_stdout",
    pipe_floor),
  case("read", "1 GiB of output through spawn and read; peer: cat | cat", "1 GiB through spawn, read", pipe_floor),
}

return M
