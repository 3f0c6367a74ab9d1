--- Hosts as they may be: with closed standard streams, few descriptors, many threads, calls from anywhere.
local async = require "spec.support.async"
local embedding = require "spec.support.embedding"
local luarium = require "luarium"
local native = require "luarium.native"
local nginx = require "spec.support.nginx"
local state = require "spec.support.state"
local task = require "luarium.task"

local WORK = [[
local luarium = require "luarium"
luarium.with({}, function(box)
  local result = box:exec("cat; echo to stderr >&2", { stdin = "to stdin" })
  assert(result.stdout == "to stdin" and result.stderr == "to stderr\n")
  box:write_file("file", "text")
  assert(box:read_file("file") == "text")
end)]]

local function within(fn)
  return async(120, fn)
end

describe("a host with closed standard streams", function()
  local names = { [0] = "input", "output", "error" }
  for _, closed in ipairs({ "<&-", ">&-", "2>&-", "<&- >&- 2>&-" }) do
    it("is told so (" .. closed .. ") and goes on", within(function()
      local report, result = embedding.script(WORK, "exec " .. closed)
      assert.equal(0, result.exit_code, result.stderr)
      local first = closed:find("^>") and 1 or closed:find("^2") and 2 or 0
      assert.truthy(report:find(("error: luarium: standard %s (descriptor %d) is closed"):format(names[first], first), 1,
        true), report)
      assert.truthy(report:find("\n0 left\n", 1, true), report)
    end))
  end

  it("may close them later, as a daemon does", within(function()
    local report, result = embedding.script([[require("luarium").task.step(0)
      host.close_standard_streams()
      for _ = 1, 3 do
    ]] .. WORK .. " end")
    assert.equal(0, result.exit_code)
    assert.equal("0 is closed\n1 is closed\n2 is closed\n0 left\n", report)
  end))
end)

describe("a host with few descriptors", function()
  for _, limit in ipairs({ 5, 6, 8, 10, 16, 32 }) do
    it(("gets an error and no abort with %d"):format(limit), within(function()
      local report, result = embedding.script(WORK, "ulimit -n " .. limit)
      assert.equal(0, result.exit_code, result.stderr)
      assert.truthy(report:find("0 left\n", 1, true), report)
      if limit < 16 then
        assert.truthy(report:find("^error: [^\n]*: Too many open files\n"), report)
      elseif limit == 32 then
        assert.equal("0 left\n", report)
      end
    end))
  end
end)

describe("a host that may have no more threads", function()
  it("gets an error and no abort, and goes on when it may", within(function()
    local report, result = embedding.script([[
      local luarium, native = require "luarium", require "luarium.native"
      host.limit_threads(true)
      local function refused(op, err)
        if op then
          op, err = luarium.task.await(op)
        end
        assert(not op and err.kind == "quota" and err.message:find("cannot start worker threads", 1, true), tostring(err))
      end
      refused(native.fs.stat("/"))
      refused(native.fs.read_file("script.lua"))
      refused(native.process.run({ argv = { "true" } }))
      refused(native.process.spawn({ argv = { "true" } }))
      assert(not luarium.try(luarium.create, {}))
      host.limit_threads(false)]] .. WORK, "chmod 777 .")
    assert.equal("0 left\n", report)
    assert.equal("", result.stderr)
    assert.equal(0, result.exit_code)
  end))
end)

--- What C calls return, from everywhere they may be made by mistake.
local CALLS = [[
local nan, inf = 0/0, math.huge
local function refused(why, count, message)
  assert(count == -1, tostring(count))
  assert(tostring(message):find(why, 1, true), tostring(message))
end

-- Before anybody has required the library.
assert(host.step(0) == 0 and host.fd() > 2 and host.next_wakeup() == -1)

local luarium = require "luarium"
local start = luarium.task.start
for _, seconds in ipairs({ nan, -1, -inf }) do
  refused("step: expected a budget in seconds", host.step(seconds))
end
local sleeper = start(luarium.sleep, 1000)
assert(host.step(inf) == 1 and host.step(1e308) == 1)          -- a step never waits, whatever its budget
local worker = start(function()
  refused("for the host's own loop", host.step(0))
  refused("no task may call it", host.close(1))
  return host.fd(), host.next_wakeup()
end)
host.step(0)
local ok, fd, wakeup = worker:result()
assert(ok and fd == luarium.task.fd() and wakeup > 900, tostring(fd))
local called = false
start(function() end):on_done(function()
  refused("for the host's own loop", host.step(0))
  refused("between tasks", host.close(1))
  called = true
end)
host.step(0)
assert(called)
coroutine.wrap(function()
  assert(host.step(0) == 1 and host.fd() == fd and host.next_wakeup() > 900)
end)()
start(function() end)
local hooked = false
debug.sethook(function()
  if debug.getinfo(2, "n").name == "run_ready" then
    debug.sethook()
    refused("while it is at work", host.close(1))
    hooked = true
  end
end, "c")
host.step(0)
assert(hooked)
for _, seconds in ipairs({ nan, -1, -inf, 1e10 }) do
  refused("expected seconds", host.close(seconds))
end
assert(not sleeper:done() and luarium.task.live() == 1)        -- none of these has cancelled anything
coroutine.wrap(function()
  assert(host.close(inf) == 0)
end)()
assert(sleeper:done() and host.close(1) == 0 and host.close(nan) == 0)
assert(host.fd() == -1 and host.next_wakeup() == -1)
refused("was closed in this Lua state", host.step(0))
for _, call in ipairs({ luarium.create, luarium.sleep, start }) do
  local done, err = pcall(call, call ~= luarium.create and (call == start and print or 0) or {})
  assert(not done and err.kind == "conflict" and err.message:find("was closed", 1, true), tostring(err))
end
]]

describe("the calls of luarium.h", function()
  it("have a defined result from everywhere, with every number, and after the close", within(function()
    local report, result = embedding.script(CALLS)
    assert.equal("0 left\n", report)
    assert.equal("", result.stderr)
  end))

  it("close a state for good that has never worked", within(function()
    local report = embedding.script([[
      assert(host.close(1) == 0)
      local done, err = pcall(require("luarium").sleep, 0)
      assert(not done and err.kind == "conflict", tostring(err))]])
    assert.equal("0 left\n", report)
  end))
end)

describe("a host with ten threads", function()
  local server
  setup(function()
    local missing = nginx.missing()
    assert(not missing, missing)
    server = nginx.start({})
  end)
  teardown(function()
    server:stop()
  end)

  it("has a state in each, and fifty sandboxes", within(function()
    state.with(function(folder)
      local options = embedding.options(folder, "embedding_threads", { timeout = 100 })
      table.insert(options.argv, "10")
      table.insert(options.env, "URL=" .. server.url "/hello")
      local result = assert(task.await(native.process.run(options)))
      assert.equal("", result.stderr)
      assert.equal("0 of 10 failed\n", result.stdout)
      assert.same({}, luarium.list())
    end)
  end))
end)
