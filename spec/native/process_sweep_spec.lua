local async = require "spec.support.async"
local support = require "spec.support.processes"
local native = require "luarium.native"
local task = require "luarium.task"

local await, loop, process = task.await, native.loop, native.process
local new_cookie = support.new_cookie
local run = support.run
local spawn = support.spawn
local expect = support.expect
local is_alive = support.is_alive
local slack = support.slack

describe("process.sweep", function()
  it("finds nothing where nothing is", async(function()
    local cookie = new_cookie()
    assert.same({}, await(process.find(cookie)))
    assert.equal(0, await(process.sweep(cookie)))
  end))

  it("ends what carries exactly the cookie", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sleep", "60" }, cookie = cookie .. "1" }
    local q = spawn { argv = { "sleep", "60" }, cookie = cookie }
    local found = await(process.find(cookie))
    assert.equal(1, #found)
    assert.equal(q:pid(), found[1].pid)
    assert.equal("sleep", found[1].comm)
    assert.is_truthy(found[1].state:match("^[RSD]$"))
    assert.equal(1, await(process.sweep(cookie)))
    assert.equal("SIGKILL", await(q:wait()).signal)
    assert.is_true(is_alive(p:pid()))
    p:close()
    q:close()
  end))

  it("ends descendants that cleaned their environment", async(function()
    local cookie = new_cookie()
    local p = spawn {
      argv = { "sh", "-c", "env -i setsid sh -c 'echo $$; sh -c \"sleep 60; :\"; :'; :" },
      cookie = cookie,
    }
    local pid = expect(p, "\n"):match("%d+")
    assert.equal(1, #await(process.find(cookie)))
    assert.is_true(await(process.sweep(cookie)) >= 2)
    assert.is_false(is_alive(pid))
    p:close()
  end))

  it("keeps up with processes that start others", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sh", "-c", "echo; while :; do setsid sh -c 'sleep 60' & sleep 0.001; done" },
      cookie = cookie, limits = { nproc = 10000 } }
    await(p:read())
    task.sleep(0.05)
    assert.is_true(await(process.sweep(cookie)) > 2)
    assert.same({}, await(process.find(cookie)))
    p:close()
  end))

  it("serves many at once", async(30, function()
    local list = {}
    for i = 1, 100 do
      list[i] = { cookie = new_cookie() }
      list[i].p = i % 2 == 0 and spawn { argv = { "sleep", "60" }, cookie = list[i].cookie }
    end
    local from = loop.monotonic()
    task.map(list, function(entry)
      assert.equal(entry.p and 1 or 0, await(process.sweep(entry.cookie)))
    end, { concurrency = 100 })
    assert.is_true(loop.monotonic() - from < 2 + slack)
    for _, entry in ipairs(list) do
      if entry.p then
        entry.p:close()
      end
    end
  end))

  it("may be asked twice for the same", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sleep", "60" }, cookie = cookie }
    local ops = { process.sweep("A=blocker"), process.sweep(cookie), process.sweep(cookie) }
    await(ops[1])
    assert.equal(1, await(ops[2]) + await(ops[3]))
    assert.is_false(is_alive(p:pid()))
    p:close()
  end))

  it("can be cancelled", async(function()
    local op = process.sweep(new_cookie())
    op:cancel()
    local n, err = await(op)
    assert.is_nil(n)
    assert.equal("cancelled", err.kind)
  end))
end)

describe("a host of its own", function()
  --- Runs a script in a fresh interpreter, with something like `env --ignore-signal` before it.
  local function host(script, ...)
    local argv = { ... }
    argv[#argv + 1] = rawget(_G, "jit") and "luajit" or "lua5.4"
    argv[#argv + 1] = "-e"
    argv[#argv + 1] = script
    local env = { "PATH=" .. os.getenv("PATH"), "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath,
      "LD_PRELOAD=" .. (os.getenv("LD_PRELOAD") or ""), "ASAN_OPTIONS=" .. (os.getenv("ASAN_OPTIONS") or "") }
    return run { argv = argv, env = env }
  end

  it("takes its processes with it when it is closed", async(function()
    local cookie = new_cookie()
    local r = host(([[
      local process = require("luarium.native").process
      keep = process.spawn { argv = { "sh", "-c", "setsid sleep 60 & sleep 60" }, cookie = %q }
      op = process.run { argv = { "sleep", "60" }, cookie = %q }
      local task = require("luarium.task")
      while #task.await(process.find(%q)) < 4 do
        task.sleep(0.01)
      end
    ]]):format(cookie, cookie, cookie))
    assert.equal("", r.stderr)
    assert.equal(0, r.exit_code)
    assert.same({}, await(process.find(cookie)))
  end))

  it("does not hand ignored signals down, and survives a broken pipe", async(function()
    local script = [[
      local process, await = require("luarium.native").process, require("luarium.task").await
      local r = await(process.run { argv = { "grep", "SigIgn", "/proc/self/status" } })
      io.write(r.stdout)
      r = await(process.run { argv = { "true" }, stdin = ("x"):rep(1e6) })
      io.write(r.exit_code, "\n")
    ]]
    assert.equal("SigIgn:\t0000000000000000\n0\n",
      host(script, "env", "--ignore-signal=PIPE", "--ignore-signal=USR1").stdout)
    assert.equal("SigIgn:\t0000000000000000\n0\n", host(script, "env", "--default-signal=PIPE").stdout)
  end))

  it("is told when it ignores the end of its children", async(function()
    local r = host([[
      local process, await = require("luarium.native").process, require("luarium.task").await
      local r, err = await(process.run { argv = { "sleep", "0.02" } })
      print(r, err.kind, (err.message:match("SIGCHLD")))
      r = await(process.run { argv = { "sleep", "60" }, timeout = 0.05 })
      print(r.timed_out, r.signal)
    ]], "env", "--ignore-signal=CHLD")
    assert.equal("nil\tinternal\tSIGCHLD\ntrue\tSIGKILL\n", r.stdout)
  end))
end)
