--- Large files in parts over connections of their own: whole or not there, wherever it is disturbed, and the usual way
--- where the host does not take part.
local async = require "spec.support.async"
local config = require "luarium.config"
local luarium = require "luarium"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local processes = require "spec.support.processes"
local scratch = require "spec.support.scratch"
local sshd = require "spec.support.sshd"
local state = require "spec.support.state"
local task = require "luarium.task"
local proxies = require "spec.support.proxy"

local LEAST = 67108864 -- bytes that count as large
local sh = scratch.sh

local server = peer("ssh: large files", sshd)
if not server then
  return
end

--- Runs fn(world) with a sandbox on the host and a file `from` of so many random bytes. world.most is the largest number
--- of connections that a transfer has borrowed so far.
local function on_host(host, size, fn, more)
  local world = { dir = scratch.make(), most = 0 }
  sh(("head -c %d /dev/urandom >%s/from"):format(size, world.dir))
  local ok, err = pcall(state.with, function()
    luarium.configure({ providers = { host = host:provider(more) } })
    local done, failure = pcall(luarium.with, { provider = "host" }, function(box)
      world.box, world.pool = box, config.provider("host").state.machine.pool
      fn(world)
      assert.are.equal(0, world.pool.borrowed)
    end)
    config.reset()
    assert(done, failure)
  end)
  scratch.drop(world.dir)
  assert(ok, err)
end

--- A transfer to a host that counts as near, however busy this machine is; on_progress is called with it.
local function move(world, way, from, to, on_progress)
  world.pool.quickest, world.told = 0.001, 0
  return world.box[way](world.box, from, to, { on_progress = function(done, total)
    assert(done >= world.told and done <= total)
    world.told, world.most = done, math.max(world.most, world.pool.borrowed)
    if on_progress then
      on_progress(done, total)
    end
  end })
end

local function up(world, on_progress)
  return move(world, "upload", world.dir .. "/from", "big", on_progress)
end

local function down(world, on_progress)
  return move(world, "download", "big", world.dir .. "/back", on_progress)
end

local function same(a, b)
  sh(("cmp %s %s"):format(a, b))
end

--- Where the sandbox's file is: the host is this machine.
local function there(world, name)
  return world.box.cwd .. "/" .. (name or "big")
end

--- A process with the text among its arguments.
local function running(text)
  for _, entry in ipairs(assert(task.await(native.fs.ls("/proc")))) do
    local words = entry.name:match("^%d+$") and processes.slurp("/proc/" .. entry.name .. "/cmdline")
    if words and words:find(text, 1, true) then
      return words
    end
  end
end

--- No command of a part runs any more, and no temporary file is left.
local function nothing_left(world)
  local deadline = native.loop.monotonic() + 2 * processes.slack
  while running(world.box.cwd) do
    assert(native.loop.monotonic() < deadline, "a command survives: " .. running(world.box.cwd))
    task.sleep(0.02)
  end
  assert.are.equal("", sh(("find %s %s -name '.luarium-*'"):format(world.box.cwd, world.dir)))
end

--- Up and down again; check(), if there is one, is called after each.
local function both_ways(world, check)
  assert.are.equal(#scratch.read(world.dir .. "/from"), up(world).bytes)
  same(world.dir .. "/from", there(world))
  if check then
    check()
  end
  down(world)
  same(world.dir .. "/from", world.dir .. "/back")
  if check then
    check()
  end
  os.remove(world.dir .. "/back")
  nothing_left(world)
end

local function round_trip(world, used)
  both_ways(world, function()
    assert.are.equal(used, world.most)
    world.most = 0
  end)
end

describe("ssh: large files", function()
  for name, row in pairs({
    ["one byte less than large goes the usual way"] = { LEAST - 1, 0 },
    ["exactly large"] = { LEAST, 2 },
    ["one byte more"] = { LEAST + 1, 2 },
  }) do
    it(name, async(60, function()
      on_host(server, row[1], function(world)
        sh(("chmod 640 %s/from"):format(world.dir))
        round_trip(world, row[2])
        assert.are.equal("640", sh("stat -c %a " .. there(world)))
      end)
    end))
  end

  it("transfers = 1 keeps them on the connection that is there", async(60, function()
    on_host(server, LEAST, function(world)
      round_trip(world, 0)
    end, { transfers = 1 })
  end))

  it("the limit of connections counts for them, too", async(60, function()
    on_host(server, LEAST, function(world)
      round_trip(world, 1)
    end, { connections = 2 })
    on_host(server, LEAST, function(world)
      round_trip(world, 0)
    end, { connections = 1 })
  end))

  it("several at once, beside commands: one has them, the others go the usual way", async(90, function()
    on_host(server, LEAST, function(world)
      local commands, going = 0, true
      task.scope(function(scope)
        scope:spawn(function()
          while going do
            assert.are.equal("ok\n", world.box:exec("echo ok").stdout)
            commands = commands + 1
          end
        end)
        luarium.map({ 1, 2, 3 }, function(i)
          world.pool.quickest = 0.001
          world.box:upload(world.dir .. "/from", "big" .. i)
          assert(world.pool.borrowed <= 2)
          world.box:download("big" .. i, world.dir .. "/back" .. i)
        end, { concurrency = 3 })
        going = false
      end)
      for i = 1, 3 do
        same(world.dir .. "/from", there(world, "big" .. i))
        same(world.dir .. "/from", world.dir .. "/back" .. i)
      end
      assert.is_true(commands > 0)
    end)
  end))
end)

--- A host of its own, since it is treated badly.
local function on_own(options, size, fn, more)
  local host = sshd.start(options)
  local ok, err = pcall(on_host, host, size, function(world)
    world.host = host
    fn(world)
  end, more)
  host:stop()
  assert(ok, err)
end

describe("ssh: large files where no further connection is let in", function()
  for name, refuse in pairs({
    ["the key is not taken any more"] = function(host) scratch.write(host.dir .. "/authorized", "") end,
    ["nobody listens there any more"] = function(host)
      sh(([[cd DIR
        sed -i "s/^Port .*/Port $((PORT + 1))/" config
        kill -HUP "$(cat pid)"
        until [ "$(grep -c "Server listening" log)" -gt 1 ]; do sleep 0.02; done]]):gsub("DIR", host.dir):gsub("PORT",
        host.port))
    end,
    ["nobody answers any more"] = function(host) sh(("kill -STOP $(cat %s/pid)"):format(host.dir)) end,
  }) do
    it("go the usual way: " .. name, async(60, function()
      on_own({}, LEAST, function(world)
        world.box:exec("true")
        local pid = sh(("cat %s/pid"):format(world.host.dir))
        refuse(world.host)
        local ok, err = pcall(round_trip, world, 0)
        sh(("kill -CONT %s 2>/dev/null || true"):format(pid))
        assert(ok, err)
      end)
    end))
  end
end)

describe("ssh: large files where further connections", function()
  it("run no commands go the usual way", async(60, function()
    on_own({ prepare = function(host)
      scratch.write(host.dir .. "/first", ([[
        [ -e DIR/who ] || echo "$SSH_CONNECTION" >DIR/who
        [ "$(cat DIR/who)" = "$SSH_CONNECTION" ] || { echo "one is enough"; exit 1; }
        exec sh -c "$SSH_ORIGINAL_COMMAND"]]):gsub("DIR", host.dir))
    end, config = "ForceCommand exec sh DIR/first" }, LEAST, both_ways)
  end))
end)

describe("ssh: large files on a host with busybox alone", function()
  local busybox = sh("command -v busybox || true")
  local function with_tools(world_of)
    return { prepare = function(host)
      sh(("mkdir %s/bin; %s --install -s %s/bin"):format(host.dir, busybox, host.dir))
      world_of(host.dir .. "/bin")
    end, config = 'ForceCommand PATH=DIR/bin exec DIR/bin/sh -c "$SSH_ORIGINAL_COMMAND"' }
  end
  local with_it = scratch.it_if(it, pending, busybox ~= "", "busybox")

  with_it("in parts", async(60, function()
    on_own(with_tools(function() end), LEAST + 7, function(world)
      assert.is_truthy(world.box:exec("dd --help 2>&1").stdout:find("BusyBox", 1, true))
      round_trip(world, 2)
    end)
  end))

  with_it("the usual way without dd", async(60, function()
    on_own(with_tools(function(bin) sh("rm " .. bin .. "/dd") end), LEAST, both_ways)
  end))
end)

describe("ssh: a large file that is disturbed", function()
  --- Runs a transfer that must fail once something has been moved and `disturb` was called.
  local function failing(world, transfer, disturb)
    local disturbed = false
    local ok, err = pcall(transfer, world, function(done)
      if done > 0 and not disturbed then
        disturbed = true
        disturb()
      end
    end)
    assert.is_true(disturbed)
    assert.is_false(ok)
    return err
  end

  --- Ends the connection that was made last, as the host would.
  local function kill_last(host)
    sh(("kill -KILL $(tr ' ' '\\n' </proc/$(cat %s/pid)/task/$(cat %s/pid)/children | grep . | sort -n | tail -n 1)")
      :format(host.dir, host.dir))
  end

  for name, cut in pairs({
    ["one connection of it is lost"] = function(world) return function() kill_last(world.host) end end,
    ["all connections are lost"] = function(world) return function() world.host:cut() end end,
  }) do
    it("is not there when " .. name, async(90, function()
      on_own({}, 2 * LEAST, function(world)
        world.box:write_file("big", "old")
        assert.are.equal("unavailable", failing(world, up, cut(world)).kind)
        assert.are.equal("old", world.box:read_file("big"))
        nothing_left(world)
        sh(("cp %s/from %s"):format(world.dir, there(world)))
        assert.are.equal("unavailable", failing(world, down, cut(world)).kind)
        assert.is_false(scratch.exists(world.dir .. "/back"))
        nothing_left(world)
        round_trip(world, 2)
      end)
    end))
  end

  it("ends with its deadline when the way falls silent, and leaves nothing", async(90, function()
    local proxy = proxies.start(server.port)
    on_host(server, 2 * LEAST, function(world)
      world.box:write_file("big", "old")
      local err = failing(world, function(_, on_progress)
        task.timeout(3, up, world, on_progress)
      end, function() proxy:say("stall") end)
      proxy:say("go")
      assert.are.equal("timeout", err.kind)
      assert.are.equal("old", world.box:read_file("big"))
      world.box:exec("true")
      nothing_left(world)
    end, { port = proxy.port, host_key = server:fingerprint() })
    proxy:stop()
  end))

  it("is lost when the way falls silent for long", async(90, function()
    local proxy = proxies.start(server.port)
    on_host(server, 2 * LEAST, function(world)
      sh(("cp %s/from %s"):format(world.dir, there(world)))
      local err = failing(world, down, function() proxy:say("stall") end)
      proxy:say("go")
      assert.are.equal("unavailable", err.kind)
      assert.is_false(scratch.exists(world.dir .. "/back"))
    end, { port = proxy.port, host_key = server:fingerprint(), keepalive = 0.5 })
    proxy:stop()
  end))

  it("can be called off at any moment", async(90, function()
    on_host(server, LEAST, function(world)
      world.box:write_file("big", "old")
      for _, seconds in ipairs({ 0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3 }) do
        local ok, err = pcall(task.timeout, seconds, up, world)
        assert.is_true(ok or err.kind == "timeout")
        if world.box:stat("big").size ~= 3 then -- it was in its place already, if only the answer did not come
          same(world.dir .. "/from", there(world))
          world.box:write_file("big", "old")
        end
        assert.are.equal("old", world.box:read_file("big"))
        nothing_left(world)
      end
      sh(("cp %s/from %s"):format(world.dir, there(world)))
      for _, seconds in ipairs({ 0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3 }) do
        local ok, err = pcall(task.timeout, seconds, down, world)
        assert.is_true(ok or err.kind == "timeout")
        assert.are.equal(ok, scratch.exists(world.dir .. "/back"))
        os.remove(world.dir .. "/back")
        nothing_left(world)
      end
      round_trip(world, 2)
    end)
  end))

  it("ends with its provider", async(60, function()
    for _, transfer in ipairs({ up, down }) do
      on_host(server, 2 * LEAST, function(world)
        sh(("cp %s/from %s"):format(world.dir, there(world)))
        failing(world, transfer, function() world.pool:close() end)
        assert.is_false(scratch.exists(world.dir .. "/back"))
        world.pool.closed = nil -- the sandbox is destroyed
      end)
    end
  end))

  it("and shrinks here is refused; what was there stays", async(60, function()
    on_host(server, 2 * LEAST, function(world)
      world.box:write_file("big", "old")
      local err = failing(world, up, function() sh(("truncate -s 100M %s/from"):format(world.dir)) end)
      assert.are.equal("EPIPE", err.name)
      assert.are.equal("old", world.box:read_file("big"))
      nothing_left(world)
    end)
  end))

  for name, change in pairs({
    ["is replaced there"] = "head -c 140000000 /dev/urandom >%s.next && mv %s.next %s",
    ["is written to there"] = "echo more >>%s",
    ["shrinks there"] = "truncate -s 70000000 %s",
  }) do
    it("and " .. name .. " comes as it is then", async(60, function()
      on_host(server, 2 * LEAST, function(world)
        sh(("cp %s/from %s"):format(world.dir, there(world)))
        local changed = false
        world.pool.quickest = 0.001
        world.box:download("big", world.dir .. "/back", { on_progress = function(done)
          if done > 0 and not changed then
            changed = true
            world.most = world.pool.borrowed
            sh((change:gsub("%%s", there(world))))
          end
        end })
        assert.is_true(world.most > 0)
        same(there(world), world.dir .. "/back")
        nothing_left(world)
      end)
    end))
  end
end)
