--- Being stopped in the middle of every operation: the call ends, nothing is left running, nothing half made.
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local sandbox = require "luarium.sandbox"
local task = require "luarium.task"

local fs, monotonic = native.fs, native.loop.monotonic
local topic, check = require("luarium.conformance.topic").new("cancel")

local MIB = 1048576

--- How long to let an operation run before it is stopped: early, in the middle, late.
local MOMENTS = { 0, 0.001, 0.005, 0.02, 0.08 }

--- Runs fn and stops it after so many seconds; returns whether it had ended before, and its result.
local function stopped_after(c, seconds, fn)
  local began = monotonic()
  local ok, result = pcall(task.timeout, seconds, fn)
  if not ok then
    expect.raises("timeout", function()
      error(result, 0)
    end)
  end
  expect.between(monotonic() - began, 0, c:bound(seconds + 2), "seconds until the call had ended")
  return ok, result
end

local function expect_usable(c)
  expect.prints(c.box:exec("echo usable"), "usable\n", "the sandbox afterwards")
end

check("exec", function(c)
  local beat = c:beat()
  local caught
  task.scope(function(scope)
    local child = scope:spawn(function()
      local ok, err = pcall(c.box.exec, c.box, beat.code .. " & sleep 30")
      caught = not ok and err
      error(err, 0)
    end)
    beat:await_start()
    task.cancel(child, "enough")
  end)
  expect.yes(caught, "the call was ended")
  expect.equal(caught.kind, "cancelled", "kind of the error")
  expect.contains(tostring(caught), "enough", "the error")
  beat:expect_dead("the command")
  expect_usable(c)
end)

check("exec at any moment", function(c)
  for _, seconds in ipairs(MOMENTS) do
    local beat = c:beat()
    stopped_after(c, seconds, function()
      c.box:exec(beat.code)
    end)
    beat:expect_gone("the command stopped after " .. seconds .. " s")
  end
  expect_usable(c)
end)

check("spawn and its read", { needs = { "spawn" } }, function(c)
  for _, seconds in ipairs(MOMENTS) do
    local beat = c:beat()
    local process
    stopped_after(c, seconds, function()
      process = c.box:spawn(beat.code)
      process:read()
    end)
    if process then
      process:close()
    end
    beat:expect_gone("the process stopped after " .. seconds .. " s")
  end
  expect_usable(c)
end)

check("read_file", function(c)
  local path = c:dir() .. "/file"
  local bytes = ("0123456789abcdef"):rep(MIB / 2)
  c.box:write_file(path, bytes)
  for _, seconds in ipairs(MOMENTS) do
    local ok, got = stopped_after(c, seconds, function()
      return c.box:read_file(path)
    end)
    expect.equal(not ok or got == bytes, true, "what was read is whole")
  end
  expect_usable(c)
end)

check("write_file leaves the old content or the new", function(c)
  local dir = c:dir()
  local path, bytes = dir .. "/file", ("x"):rep(8 * MIB)
  for _, seconds in ipairs(MOMENTS) do
    c.box:write_file(path, "old")
    stopped_after(c, seconds, function()
      c.box:write_file(path, bytes)
    end)
    local size = c.box:stat(path).size
    expect.yes(size == 3 or size == #bytes, "the size is that of the old or the new content", size)
    expect.equal(#c.box:ls(dir), 1, "entries beside it")
  end
  expect_usable(c)
end)

check("upload leaves all or nothing of a file", function(c)
  local dir, here = c:dir(), c:host_dir()
  c:host(fs.write_file(here .. "/from", ("y"):rep(16 * MIB)))
  for _, seconds in ipairs(MOMENTS) do
    local ok = stopped_after(c, seconds, function()
      c.box:upload(here .. "/from", dir .. "/up")
    end)
    local entries = c.box:ls(dir)
    if ok or #entries > 0 then
      expect.equal(#entries, 1, "entries")
      expect.fields(entries[1], { name = "up", size = 16 * MIB }, "the entry")
      c.box:remove(dir .. "/up")
    end
  end
  expect_usable(c)
end)

check("download leaves all or nothing of a file", function(c)
  local dir, here = c:dir(), c:host_dir()
  c:sh('head -c 16777216 /dev/zero >"$1/large"', dir)
  for _, seconds in ipairs(MOMENTS) do
    local ok = stopped_after(c, seconds, function()
      c.box:download(dir .. "/large", here .. "/down")
    end)
    local entries = c:host(fs.ls(here))
    if ok or #entries > 0 then
      expect.equal(#entries, 1, "entries here")
      expect.fields(entries[1], { name = "down", size = 16 * MIB }, "the entry here")
      c:host(fs.remove(here .. "/down"))
    end
  end
  expect_usable(c)
end)

check("download of a tree", function(c)
  local dir, here = c:dir(), c:host_dir()
  c:sh('cd "$1" && i=0; while [ $i -lt 300 ]; do echo $i >f$i; i=$((i+1)); done', dir)
  for i, seconds in ipairs(MOMENTS) do
    local target = here .. "/" .. i
    local ok = stopped_after(c, seconds, function()
      c.box:download(dir, target)
    end)
    if ok then
      expect.equal(#c:host(fs.ls(target)), 300, "entries here")
    end
  end
  for _, entry in ipairs(c:host(fs.ls(here))) do
    expect.matches(entry.name, "^[1-5]$", "what is left here")
  end
  expect_usable(c)
end)

check("create leaves no sandbox and no record", { own = true }, function(c)
  local mark = c:unique()
  for _, seconds in ipairs(MOMENTS) do
    local ok, box = stopped_after(c, seconds, function()
      return sandbox.create(c:options({ labels = { mark = mark } }))
    end)
    if ok then
      box:destroy()
    end
    expect.equal(#sandbox.list({ labels = { mark = mark } }), 0, "records after " .. seconds .. " s")
    for _, entry in ipairs(c:ask("list")) do
      expect.yes((entry.labels or {}).mark ~= mark, "a sandbox is left at the provider", entry.external_id)
    end
  end
end)

check("destroy is not stopped half-way", { own = true }, function(c)
  local box = c:create()
  local beat = c:beat({ box = box, stubborn = true, quiet = true })
  box:exec(beat.code .. " & until [ -s '" .. beat.file .. "' ]; do sleep 0.02; done")
  pcall(task.timeout, 0, box.destroy, box)
  expect.equal(box.status, "destroyed", "status")
  beat:expect_gone("after destroy")
end)

check("a scope that ends early takes its commands along", function(c)
  local beats = { c:beat(), c:beat(), c:beat() }
  local ok = pcall(task.scope, function(scope)
    for _, beat in ipairs(beats) do
      scope:spawn(function()
        c.box:exec(beat.code)
      end)
    end
    for _, beat in ipairs(beats) do
      beat:await_start()
    end
    error("the scope fails", 0)
  end)
  expect.equal(ok, false, "the scope ended well")
  for _, beat in ipairs(beats) do
    beat:expect_dead("a command")
  end
  expect_usable(c)
end)

return topic
