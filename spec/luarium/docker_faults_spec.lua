local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local config = require "luarium.config"
local dockerd = require "spec.support.dockerd"
local marked = require "spec.support.marked"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local proxies = require "spec.support.proxy"
local registry = require "luarium.registry"
local sandbox = require "luarium.sandbox"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local proxy

local engine = peer("docker with faults", dockerd, { prepare = function(engine)
  proxy = proxies.start(engine.socket)
  local finish = boxes.configure({ host = proxy.host, image = engine.image })
  return function()
    finish()
    proxy:stop()
  end
end })
if not engine then
  return
end

before_each(function()
  proxy:say("clear")
end)

local with, error_of = boxes.with, boxes.error_of

describe("docker, an answer is lost:", function()
  for _, request in ipairs({ "/containers/create", "/start HTTP", "/json HTTP" }) do
    it("create, " .. request, async(60, function()
      config.provider("docker").state.engine = nil
      proxy:say("drop " .. request)
      local box = sandbox.create({ provider = "docker" })
      assert.equal(1, #engine:containers())
      assert.equal("usable\n", box:exec("echo usable").stdout)
      box:destroy()
      assert.same({}, engine:containers())
      assert.same({}, registry.list())
    end))
  end

  it("the version", async(60, function()
    config.provider("docker").state.engine = nil
    proxy:say("drop GET /_ping")
    sandbox.with({ provider = "docker" }, function() end)
  end))

  it("exec, when it is made", with({}, function(box)
    proxy:say("drop /exec HTTP")
    assert.equal("once\n", box:exec("echo once | tee -a /work/log").stdout)
    assert.equal("once\n", box:read_file("/work/log"))
  end))

  it("exec, when it begins: it never does", with({}, function(box)
    local word = marked.word()
    proxy:say("drop /start HTTP")
    local err = error_of(box.exec, box, { "sh", "-c", "echo ran >>/work/log; sleep 600; :", word })
    assert.equal("unavailable", err.kind)
    until_true("the end of its shell", function()
      return marked.count(word) == 0
    end)
    assert.is_false(box:exists("/work/log"))
  end))

  it("exec, when what lets it begin is lost on the way: it never does", with({}, function(box)
    local client = config.provider("docker").state.engine
    local hijack = client.hijack
    finally(function()
      client.hijack = nil -- the method again
    end)
    function client.hijack(...)
      local connection, err = hijack(...)
      return connection and setmetatable({ write = function()
        return connection:finish_write() -- the engine sees the end, and nothing before it
      end }, { __index = function(_, name)
        return function(_, ...)
          return connection[name](connection, ...)
        end
      end }), err
    end
    local err = error_of(box.exec, box, "echo ran >>/work/log", { timeout = 30 })
    client.hijack = nil
    assert.same({ "unavailable", "exec: the connection was lost before the command began" }, { err.kind,
      err.message:match("exec: the .*") })
    assert.is_false(box:exists("/work/log"))
  end))

  it("destroy", async(60, function()
    local box = sandbox.create({ provider = "docker" })
    proxy:say("drop DELETE /")
    box:destroy()
    assert.same({}, engine:containers())
    assert.same({}, registry.list())
  end))

  it("stop, start, pause, resume", with({}, function(box)
    for _, action in ipairs({ "stop", "start", "pause", "resume" }) do
      proxy:say("drop /" .. (action == "resume" and "unpause" or action))
      box[action](box)
    end
    assert.equal("usable\n", box:exec("echo usable").stdout)
  end))

  it("snapshot", with({}, function(box)
    proxy:say("drop POST /v1.41/commit")
    assert.equal("kept", box:snapshot("kept").name)
    assert.equal(1, #config.provider("docker"):call("snapshot_list"))
    assert.is_true(config.provider("docker"):call("snapshot_delete", "kept"))
  end))
end)

describe("docker, a stream is cut:", function()
  for _, how in ipairs({ "cut", "shut" }) do
    it(how .. " in the middle of output: it is said, and the command is ended", with({}, function(box)
      for _, bytes in ipairs({ 300, 100000 }) do
        local word = marked.word()
        proxy:say(("%s %d /start HTTP"):format(how, bytes))
        local err = error_of(box.exec, box, { "sh", "-c", "head -c 200000 /dev/zero; sleep 600; :", word },
          { timeout = 60 })
        assert.equal("unavailable", err.kind)
        assert.equal(0, marked.count(word))
      end
      assert.equal("usable\n", box:exec("echo usable").stdout)
    end, 120))

    it(how .. " in the middle of output of one that has ended: it is said", with({}, function(box)
      proxy:say(how .. " 100000 /start HTTP")
      local err = error_of(box.exec, box, "head -c 200000 /dev/zero", { timeout = 60 })
      assert.equal("unavailable", err.kind)
    end))
  end

  it("cut anywhere in the shell's hello: it is said", with({}, function(box)
    for _, bytes in ipairs({ 235, 247, 248, 249, 250, 251 }) do -- some of the last let the hello through, whole
      proxy:say(("cut %d /start HTTP"):format(bytes))
      local word = marked.word()
      local err = error_of(box.exec, box, { "sh", "-c", "echo more than a cut lets through; sleep 600; :", word },
        { timeout = 20 })
      assert.equal("unavailable", err.kind, bytes .. " bytes: " .. tostring(err))
      assert.matches("connection was ", err.message)
      assert.equal(0, marked.count(word))
      proxy:say("clear")
    end
  end, 120))

  it("at its beginning: the command may run or not, and it is said", with({}, function(box)
    local word = marked.word()
    for bytes = 108, 180, 4 do
      for _, pty in ipairs({ false, true }) do
        proxy:say(("cut %d /start HTTP"):format(bytes))
        local ok, result = pcall(box.exec, box, { "sh", "-c", "sleep 600; :", word }, { pty = pty, timeout = 2 })
        assert.is_true(ok and result.timed_out or result.kind == "unavailable", tostring(result)) -- or it was all there
        proxy:say("clear")
      end
    end
    until_true("the end of all of them", function()
      return marked.count(word) == 0
    end)
    assert.equal("usable\n", box:exec("echo usable").stdout)
  end, 120))

  it("a frozen one is bounded by the command's time", with({}, function(box)
    local word = marked.word()
    proxy:say("freeze 1000 /start HTTP")
    local result = box:exec({ "sh", "-c", "head -c 2000000 /dev/zero; sleep 600; :", word }, { timeout = 1 })
    assert.is_true(result.timed_out)
    assert.equal(0, marked.count(word))
  end))

  it("a frozen one whose command has ended is noticed", with({}, function(box)
    proxy:say("freeze 250 /start HTTP")
    local began = native.loop.monotonic()
    local err = error_of(box.exec, box, "echo said")
    assert.equal("unavailable", err.kind)
    assert.is_true(native.loop.monotonic() - began < 40)
  end, 90))

  it("a slow one loses nothing", with({}, function(box)
    proxy:say("slow 500 /start HTTP")
    local result = box:exec("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i + 1)); done", { timeout = 60 })
    local want = {}
    for i = 0, 1999 do
      want[#want + 1] = i .. "\n"
    end
    assert.equal(table.concat(want), result.stdout)
  end, 90))

  it("download leaves nothing here", with({}, function(box)
    local dir = scratch.make()
    box:exec("head -c 3000000 /dev/zero >big; mkdir tree; cp big tree/a; cp big tree/b", { check = true })
    for _, name in ipairs({ "big", "tree" }) do
      proxy:say("cut 1000000 GET /v1.41/containers/" .. box.external_id .. "/archive")
      local err = error_of(box.download, box, name, dir .. "/down")
      assert.is_true(err.kind == "unavailable" or err.kind == "protocol", tostring(err))
      assert.equal("", scratch.sh("ls -A " .. dir))
      box:download(name, dir .. "/down")
      scratch.sh("rm -r " .. dir .. "/down")
    end
    scratch.drop(dir)
  end))

  it("upload leaves nothing there", with({}, function(box)
    local dir = scratch.make()
    scratch.sh(("cd %s && mkdir tree && head -c 3000000 /dev/zero >tree/a && cp tree/a big"):format(dir))
    for _, name in ipairs({ "big", "tree" }) do
      for _, rule in ipairs({ "drop PUT /", "deny PUT /" }) do
        proxy:say(rule)
        local ok, err = pcall(box.upload, box, dir .. "/" .. name, "/work/up")
        if not ok then
          assert.equal("unavailable", err.kind)
        end
        assert.equal(ok and "up\n" or "", box:exec("ls -A /work").stdout)
        box:exec("rm -rf /work/up")
      end
      box:upload(dir .. "/" .. name, "/work/up")
      box:exec("rm -rf /work/up")
    end
    scratch.drop(dir)
  end))
end)

describe("docker, the engine", function()
  it("cannot be reached: nothing was made, nothing is remembered", async(120, function()
    config.provider("docker").state.engine = nil
    proxy:say("refuse")
    local err = error_of(sandbox.create, { provider = "docker" })
    proxy:say("accept")
    assert.equal("unavailable", err.kind)
    assert.same({}, registry.list())
  end))

  it("goes away after it was asked for a container: the record finds it", async(120, function()
    local host = config.provider("docker")
    assert(host:call("list"))
    proxy:say("stall /start HTTP")
    local creating = task.spawn_detached("create", function()
      return pcall(sandbox.create, { provider = "docker" })
    end)
    until_true("the container", function()
      return #engine:containers() == 1
    end)
    task.sleep(0.3)
    proxy:say("refuse")
    proxy:say("cut")
    until_true("the end of create", function()
      return creating.state == "done"
    end, 60)
    local record = registry.list()[1]
    assert.equal("creating", record.status)
    proxy:say("accept")
    assert.equal(1, #engine:containers())
    assert.is_true(sandbox.destroy(record.id))
    assert.same({}, engine:containers())
    assert.same({}, registry.list())
  end))

  for _, how in ipairs({ "restart", "kill" }) do
    it(("ends (%s) in the middle of a command; the sandbox goes on with its files"):format(how), async(150, function()
      local box = sandbox.create({ provider = "docker" })
      box:write_file("/work/kept", "kept")
      local word, running, begun = marked.word(), nil, nil
      local beside = task.spawn_detached("a command", function()
        running = { pcall(box.exec, box, { "sh", "-c", "echo begun; sleep 600; :", word }, { timeout = 100,
          on_stdout = function()
            begun = true
          end }) }
      end)
      until_true("its begin", function()
        return begun
      end)
      if how == "kill" then
        engine:kill()
        engine:launch()
      else
        engine:restart()
      end
      until_true("the end of the command", function()
        return beside.state == "done"
      end, 60)
      assert.is_false(running[1])
      -- an engine that was killed stops what it finds, and leaves it so
      assert.equal(how == "kill" and "conflict" or "unavailable", running[2].kind, tostring(running[2]))
      if how == "kill" then
        box:start()
      end
      assert.equal(0, marked.count(word))
      assert.equal("kept", box:read_file("/work/kept"))
      assert.equal("usable\n", box:exec("echo usable").stdout)
      box:destroy()
      assert.same({}, engine:containers())
    end))
  end
end)

describe("docker, a process of ours that is killed", function()
  it("leaves what its record finds, at every stage of create, exec, upload and fork", async(150, function()
    local dir = scratch.make()
    local word = marked.word()
    scratch.sh(("mkdir DIR/tree && head -c 5000000 /dev/zero >DIR/tree/a"):gsub("DIR", dir))
    config.configure({ providers = { direct = { "docker", host = engine.host, image = engine.image } } })
    scratch.write(dir .. "/child.lua", ([[
      local config, sandbox = require "luarium.config", require "luarium.sandbox"
      config.configure({ state_dir = %q, providers = { direct = { "docker", host = %q, image = %q } } })
      require("luarium.task").run(function()
        local box = sandbox.create({ provider = "direct" })
        box:spawn({ "sh", "-c", "sleep 600; :", "WORD" })
        box:upload("DIR/tree", "tree")
        box:fork():exec({ "sh", "-c", "sleep 600; :", "WORD" })
      end)]]):format(config.state_dir(), engine.host, engine.image):gsub("DIR", dir):gsub("WORD", word))
    local images = #(engine:ask("GET", "/images/json?all=1"))
    for i = 1, 24 do
      task.await(native.process.run({ timeout = i * 0.07, argv = { rawget(_G, "jit") and "luajit" or "lua5.4",
        dir .. "/child.lua" }, env = { "PATH=" .. os.getenv("PATH"), "HOME=" .. dir, "LUA_PATH=" .. package.path,
          "LUA_CPATH=" .. package.cpath } }))
      for _, record in ipairs(registry.list()) do
        sandbox.destroy(record.id)
      end
      assert.equal(0, marked.count(word))
      assert.same({}, registry.list())
      assert.same({}, engine:containers())
      assert.equal(images, #(engine:ask("GET", "/images/json?all=1")))
    end
    scratch.drop(dir)
  end))
end)

describe("docker, a container that is frozen", function()
  it("waits for commands that are beginning, and they for it", with({}, function(box)
    local copies = 6
    task.scope(function(scope)
      for _ = 1, 4 do
        scope:spawn(function()
          while copies > 0 do
            local ok, result = pcall(box.exec, box, "echo begun", { timeout = 60 })
            assert.equal(ok and "begun\n" or "conflict", ok and result.stdout or result.kind) -- it may be paused
          end
        end)
      end
      while copies > 0 do
        box:fork():destroy()
        box:pause()
        box:resume()
        copies = copies - 1
      end
    end)
  end, 120))
end)

describe("docker, a full disk:", function()
  it("files and transfers say so", async(60, function()
    local dir = scratch.make()
    scratch.sh(("mkdir DIR/full DIR/tree && mount -t tmpfs -o size=1m none DIR/full && head -c 3000000 /dev/zero >DIR/tree/big")
      :gsub("DIR", dir))
    config.configure({ providers = { direct = { "docker", host = engine.host, image = engine.image } } })
    sandbox.with({ provider = "direct", options = { mounts = { dir .. "/full:/full" } } }, function(box)
      for _, fn in ipairs({
        function() box:write_file("/full/x", ("x"):rep(2000000)) end,
        function() box:upload(dir .. "/tree/big", "/full/y") end,
        function() box:upload(dir .. "/tree", "/full/z") end,
      }) do
        local err = error_of(fn)
        assert.equal("io", err.kind, tostring(err))
        assert.equal("ENOSPC", err.name, tostring(err))
        assert.equal("", box:exec("ls -A /full").stdout)
      end
    end)
    scratch.sh("umount " .. dir .. "/full")
    scratch.drop(dir)
  end))

  it("create says so and leaves nothing", async(120, function()
    local small = dockerd.start({ data_size = "48m" })
    config.configure({ providers = { small = { "docker", host = small.host, image = small.image } } })
    local ok, why = pcall(function()
      local box = sandbox.create({ provider = "small" })
      box:exec("head -c 100000000 /dev/zero >/fill")
      local err = error_of(box.write_file, box, "/more", ("x"):rep(100000))
      assert.equal("ENOSPC", err.name, tostring(err))
      err = error_of(sandbox.create, { provider = "small" })
      assert.equal("io", err.kind, tostring(err))
      assert.equal("ENOSPC", err.name, tostring(err))
      local left = small:ask("GET", "/containers/json?all=1")
      assert.equal(1, #left, require("luarium.json").encode(left))
      assert.equal(1, #registry.list())
      box:destroy()
    end)
    small:stop()
    assert(ok, why)
  end))
end)
