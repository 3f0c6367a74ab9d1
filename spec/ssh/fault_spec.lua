--- A connection that is cut or falls silent at every stage: each call ends, in the right kind of error or well, and
--- nothing survives on the host.
local async = require "spec.support.async"
local config = require "luarium.config"
local errors = require "luarium.error"
local luarium = require "luarium"
local marked = require "spec.support.marked"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local proxies = require "spec.support.proxy"
local scratch = require "spec.support.scratch"
local ssh = require "luarium.ssh"
local sshd = require "spec.support.sshd"
local state = require "spec.support.state"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local server = peer("ssh: faults", sshd)
if not server then
  return
end

--- Options to reach the server through a proxy; silence is noticed soon.
local function through(proxy, more)
  local options = server:provider(more)
  options.port, options.host_key = proxy.port, server:fingerprint()
  options.keepalive, options.connect_timeout = options.keepalive or 0.3, options.connect_timeout or 2
  return options
end

--- Runs fn(box, proxy) with a sandbox behind a proxy, which is told something first.
local function behind_proxy(fn, more, first)
  state.with(function()
    local proxy = proxies.start(server.port)
    if first then
      proxy:say(first)
    end
    luarium.configure({ providers = { host = through(proxy, more) } })
    local ok, err = pcall(luarium.with, { provider = "host" }, function(box)
      fn(box, proxy)
    end)
    config.reset()
    proxy:stop()
    assert(ok, err)
  end)
end

--- A command that runs until it is killed, and can be found.
local function lasting(text)
  return { "sh", "-c", "trap '' HUP TERM; while :; do sleep 0.1; done", text }
end

local function within(seconds, fn, ...)
  local began = native.loop.monotonic()
  local ok, value = pcall(task.timeout, seconds, fn, ...)
  assert(native.loop.monotonic() - began < seconds, "it did not end by itself")
  return ok, value
end

describe("ssh: while connecting", function()
  -- Bytes from the server: its banner has 40 or so, the exchange of keys 2,000, login 1,000 more.
  for _, action in ipairs({ "cut", "stall" }) do
    for _, bytes in ipairs({ 1, 30, 300, 1500, 2000, 2400 }) do
      it(("%s after %d bytes"):format(action, bytes), async(30, function()
        local proxy = proxies.start(server.port)
        proxy:say(("after %d %s"):format(bytes, action))
        local given = through(proxy, { connect_timeout = 1 })
        given[1] = nil
        local host = assert(ssh.open(given))
        local ok, connection, err = pcall(task.timeout, 10, host.pool.take, host.pool)
        assert(ok, connection)
        if connection then
          host.pool:give_back(connection)
        else
          assert.is_true(errors.is(err, "unavailable"), err.kind .. ": " .. err.message)
          assert.is_true(err.retryable)
        end
        host:close()
        proxy:stop()
      end))
    end
  end

  it("somebody who says nothing, and somebody who says something else", async(30, function()
    for _, words in ipairs({ "sleep 30", "printf 'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'; cat >/dev/null" }) do
      local dir = scratch.make()
      local port = math.random(20000, 30000)
      local process = assert(native.process.spawn({
        argv = { "socat", ("TCP-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr"):format(port), "SYSTEM:" .. words },
      }))
      local host = assert(ssh.open({
        host = "127.0.0.1", port = port, ssh_config = false, agent = false, key = dir .. "/none", connect_timeout = 1,
      }))
      until_true("it listens", function()
        local _, err = host.pool:take()
        return err and not err.message:find("cannot connect", 1, true) and errors.is(err, "unavailable")
      end)
      host:close()
      process:close()
      scratch.drop(dir)
    end
  end))

  it("being cancelled at any moment leaves nothing behind", async(60, function()
    for _, seconds in ipairs({ 0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05 }) do
      local given = server:provider()
      given[1] = nil
      local host = assert(ssh.open(given))
      pcall(task.timeout, seconds, host.pool.take, host.pool)
      host:close()
    end
  end))
end)

describe("ssh: a command whose connection", function()
  for _, action in ipairs({ "cut", "stall" }) do
    local name = action == "cut" and "is cut" or "falls silent"

    it(name .. " ends as unavailable, and is killed", async(60, function()
      behind_proxy(function(box, proxy)
        local mark = marked.word()
        local ok, err
        task.scope(function(scope)
          scope:spawn(function()
            ok, err = within(40, box.exec, box, lasting(mark))
          end)
          until_true("it runs", function()
            return marked.count(mark) > 0
          end)
          proxy:say(action)
          until_true("the call has ended", function()
            return ok ~= nil
          end, 40)
          proxy:say("go")
        end)
        assert.is_false(ok)
        assert.are.equal("unavailable", err.kind)
        assert.is_truthy(err.message:find("the connection to 127.0.0.1 port %d+ "), err.message)
        assert.are.equal("usable\n", box:exec("echo usable").stdout) -- which kills what could not be reached before
        until_true("nothing survives", function()
          return marked.count(mark) == 0
        end)
      end, { keepalive = action == "cut" and 5 or 1 })
    end))

    it(name .. " in the middle of output: what is missing is told", async(60, function()
      behind_proxy(function(box, proxy)
        proxy:say("after 3000000 " .. action)
        local seen = 0
        local ok, err
        task.scope(function(scope)
          scope:spawn(function()
            ok, err = within(40, box.exec, box, "head -c 20000000 /dev/zero", { on_stdout = function(chunk)
              seen = seen + #chunk
            end })
          end)
          task.sleep(2)
          proxy:say("go")
        end)
        assert.is_false(ok)
        assert.are.equal("unavailable", err.kind)
        assert.is_true(seen < 20000000)
      end)
    end))

    it(name .. " in the middle of an upload leaves the old content", async(60, function()
      behind_proxy(function(box, proxy)
        local dir = scratch.make()
        scratch.write(dir .. "/from", ("x"):rep(33554432))
        box:write_file("kept", "old")
        proxy:say("delay 30") -- so that it takes a second
        local ok, err
        task.scope(function(scope)
          scope:spawn(function()
            ok, err = within(40, box.upload, box, dir .. "/from", "kept")
          end)
          task.sleep(0.3)
          proxy:say(action)
          task.sleep(1.5)
          proxy:say("go")
        end)
        scratch.drop(dir)
        assert.is_false(ok)
        assert.are.equal("unavailable", err.kind)
        assert.are.equal("old", box:read_file("kept"))
        assert.are.equal(1, #box:ls("."))
      end)
    end))
  end

  it("falls silent is stopped by its timeout all the same", async(60, function()
    behind_proxy(function(box, proxy)
      local mark = marked.word()
      local began = native.loop.monotonic()
      local result
      task.scope(function(scope)
        scope:spawn(function()
          result = box:exec(lasting(mark), { timeout = 1 })
        end)
        until_true("it runs", function()
          return marked.count(mark) > 0
        end)
        proxy:say("stall")
      end)
      assert.is_true(result.timed_out)
      assert.is_true(native.loop.monotonic() - began < 10)
      proxy:say("go")
      assert.are.equal("usable\n", box:exec("echo usable").stdout)
      until_true("nothing survives", function()
        return marked.count(mark) == 0
      end)
    end, { keepalive = 60 })
  end))

  it("was closed while nobody used it: the next command does not notice", async(60, function()
    behind_proxy(function(box, proxy)
      for _, action in ipairs({ "cut", "close", "cut" }) do
        assert.are.equal("before\n", box:exec("echo before").stdout)
        proxy:say(action)
        until_true("the connection is gone", function()
          local _, open = proxy:count()
          return open == 0
        end)
        assert.are.equal("after\n", box:exec("echo after").stdout)
      end
    end)
  end))

  it("comes slowly loses nothing", async(60, function()
    behind_proxy(function(box)
      local result = box:exec("seq 1 50000; echo end >&2; exit 4")
      assert.are.equal(288894, #result.stdout)
      assert.are.equal("end\n", result.stderr)
      assert.are.equal(4, result.exit_code)
      local bytes = native.crypto.random(1048576):rep(12)
      local dir = scratch.make()
      scratch.write(dir .. "/from", bytes)
      box:upload(dir .. "/from", "large")
      box:download("large", dir .. "/back")
      assert.is_true(scratch.read(dir .. "/back") == bytes)
      assert.are.equal(1, #box:ls("."))
      scratch.drop(dir)
    end, { keepalive = 5 }, "delay 15")
  end))

  --- The cut may only now reach the connection that this takes.
  local function patiently(box, method, ...)
    local ok, value = pcall(box[method], box, ...)
    if not ok and value.kind == "unavailable" then
      return box[method](box, ...)
    end
    return ok and value or error(value, 0)
  end

  it("is cut at any moment of a large upload in parts leaves nothing half made", async(90, function()
    behind_proxy(function(box, proxy)
      local dir = scratch.make()
      scratch.write(dir .. "/from", ("y"):rep(33554432))
      for _, seconds in ipairs({ 0.01, 0.04, 0.08, 0.12, 0.3, 0.5 }) do
        local ok, err
        task.scope(function(scope)
          scope:spawn(function()
            ok, err = within(40, box.upload, box, dir .. "/from", "large")
          end)
          task.sleep(seconds)
          proxy:say("cut")
        end)
        if ok then -- it was over before, or the connection was replaced before anything was asked for
          assert.are.equal(33554432, patiently(box, "stat", "large").size)
          box:remove("large")
        else
          assert.are.equal("unavailable", err.kind)
        end
        assert.are.same({}, patiently(box, "ls", "."), "after " .. seconds .. " s")
      end
      scratch.drop(dir)
    end, { keepalive = 5 }, "delay 15")
  end))
end)

describe("ssh: a tree whose connection is cut on the way up", function()
  it("is not there or whole, wherever the cut was", async(90, function()
    behind_proxy(function(box, proxy)
      local dir = scratch.make()
      scratch.sh(("mkdir %s/tree && cd %s/tree && for i in $(seq 400); do head -c 20000 /dev/zero >$i; done"):format(
        dir, dir))
      for _, bytes in ipairs({ 1, 300000, 1000000, 3000000, 8000000, 8410000 }) do
        local ok, err
        task.scope(function(scope)
          scope:spawn(function()
            ok, err = within(40, box.upload, box, dir .. "/tree", "tree", { on_progress = function(done)
              if done >= bytes and bytes > 0 then
                bytes = 0
                proxy:say("cut")
              end
            end })
          end)
        end)
        local there = scratch.sh(("ls -A %s"):format(box.cwd))
        if ok then
          assert.are.equal("tree", there)
        else
          assert.are.equal("unavailable", err.kind)
          assert.is_truthy(err.message:find("is complete", 1, true), err.message)
        end
        until_true("what was left is cleared away", function()
          local names = box:ls(".")
          return #names == 0 or #names == 1 and names[1].name == "tree"
        end)
        if #box:ls(".") == 1 then
          assert.are.equal(400, #box:ls("tree"))
          box:remove("tree", { recursive = true })
        end
      end
      scratch.drop(dir)
    end, { keepalive = 5 }, "delay 2")
  end))
end)

describe("ssh: the host", function()
  it("is down: destroying says so, and the record stays", async(60, function()
    state.with(function()
      local other = sshd.start()
      luarium.configure({ providers = { host = other:provider({ connect_timeout = 2 }) } })
      local box = luarium.create({ provider = "host" })
      local home = scratch.make()
      scratch.sh(("cp -a %s/home/.luarium %s/"):format(other.dir, home))
      other:stop()
      local ok, err = pcall(box.destroy, box)
      assert.is_false(ok)
      assert.are.equal("unavailable", err.kind)
      assert.are.equal(1, #luarium.list())
      scratch.drop(home)
      config.reset()
    end)
  end))

  it("has a command that ignores SIGTERM, and one that left its session", async(60, function()
    behind_proxy(function(box)
      local mark = marked.word()
      local result = box:exec(("(setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 0.1; done' %s </dev/null "
        .. ">/dev/null 2>&1 &); trap '' TERM; while :; do sleep 0.1; done"):format(mark), { timeout = 0.5 })
      assert.is_true(result.timed_out)
      until_true("nothing survives", function()
        return marked.count(mark) == 0
      end)
    end)
  end))
end)
