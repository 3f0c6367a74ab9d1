local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local config = require "luarium.config"
local dockerd = require "spec.support.dockerd"
local event = require "luarium.event"
local http = require "luarium.http"
local lfs = require "lfs"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local registry = require "luarium.registry"
local sandbox = require "luarium.sandbox"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local engine = peer("docker", dockerd, { prepare = boxes.configure })
if not engine then
  return
end

local with, error_of = boxes.with, boxes.error_of

local function create(options)
  options.provider = "docker"
  return sandbox.create(options)
end

local function inspect(box)
  return (engine:ask("GET", "/containers/" .. box.external_id .. "/json"))
end

describe("docker: create", function()
  it("sets limits that the kernel keeps", with({ cpu = 0.5, memory = 64 * 1048576, options = { pids = 50 } },
    function(box)
      local host = inspect(box).HostConfig
      assert.equal(500000000, host.NanoCpus)
      assert.equal(64 * 1048576, host.Memory)
      assert.equal(64 * 1048576, host.MemorySwap)
      assert.equal(50, host.PidsLimit)
      local limit = box:exec("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null")
      assert.equal("67108864\n", limit.stdout)
    end))

  it("gives the command its environment, and commands theirs", with({
    command = { "sh", "-c", 'echo "$GREETING" >/tmp/said; exec sleep 600' }, env = { GREETING = "hello" },
  }, function(box)
    until_true("the command's file", function()
      return box:exists("/tmp/said")
    end)
    assert.equal("hello\n", box:read_file("/tmp/said"))
    assert.equal("hello\n", box:exec("echo $GREETING").stdout)
  end))

  it("keeps the environment of commands out of what the engine shows", with({ env = { TOKEN = "t0psecret" } },
    function(box)
      assert.equal("t0psecret\n", box:exec("echo $TOKEN").stdout)
      for _, entry in ipairs(inspect(box).Config.Env) do
        assert.is_nil(entry:find("t0psecret", 1, true))
      end
    end))

  it("runs as another user, in a folder that is theirs", with({ user = "nobody" }, function(box)
    assert.equal("nobody\n", box:exec("id -un").stdout)
    box:write_file("mine", "x")
    assert.equal("65534\n", box:exec("stat -c %u mine").stdout)
    assert.equal("root\n", box:exec("id -un", { user = "root" }).stdout)
    assert.equal("not_found", error_of(box.exec, box, "true", { user = "nosuchuser" }).kind)
  end))

  it("has a root that cannot be written, and folders in memory", with({
    options = { read_only = true, tmpfs = { "/tmp", "/work:mode=1777" }, mounts = {
      { type = "tmpfs", target = "/mem", size = 1048576 },
    } },
  }, function(box)
    assert.is_true(box:exec("touch /x").exit_code ~= 0)
    box:write_file("/work/file", "in memory")
    assert.equal("in memory", box:read_file("/work/file"))
    local dir = scratch.make()
    scratch.write(dir .. "/up", ("y"):rep(5000))
    box:upload(dir .. "/up", "/mem/up")
    box:download("/mem/up", dir .. "/down")
    assert.equal(("y"):rep(5000), scratch.read(dir .. "/down"))
    assert.is_true(box:exec("head -c 2000000 /dev/zero >/mem/big").exit_code ~= 0)
    assert.equal(1048576 - 8192, box:stat("/mem/big").size) -- the other file has two pages
    scratch.drop(dir)
  end))

  it("mounts folders and volumes", async(60, function()
    local dir = scratch.make()
    scratch.write(dir .. "/seen", "from the host")
    local instance = config.provider("docker")
    local volume = "v" .. dir:sub(-6)
    assert.equal(volume, assert(instance:call("volume", volume)).name)
    sandbox.with({ provider = "docker", volumes = { volume .. ":/data" }, options = { mounts = { dir .. ":/host:ro" } } },
      function(box)
        assert.equal("from the host", box:read_file("/host/seen"))
        assert.is_true(box:exec("touch /host/x").exit_code ~= 0)
        box:write_file("/data/kept", "kept")
      end)
    sandbox.with({ provider = "docker", volumes = { { source = volume, target = "/data", read_only = true } } },
      function(box)
        assert.equal("kept", box:read_file("/data/kept"))
        assert.is_true(box:exec("touch /data/x").exit_code ~= 0)
      end)
    assert.equal(volume, assert(instance:call("volume_list"))[1].name)
    assert.is_true(instance:call("volume_delete", volume))
    assert.same({}, instance:call("volume_list"))
    scratch.drop(dir)
  end))

  it("has no network when told so, and localhost always", with({ network = false }, function(box)
    assert.equal("none", inspect(box).HostConfig.NetworkMode)
    assert.equal("lo\n", box:exec("ls /sys/class/net").stdout)
  end))

  it("publishes ports", async(60, function()
    if engine.network == "none" then
      pending("no bridge can be made here")
      return
    end
    sandbox.with({ provider = "docker", ports = { 8080, "127.0.0.1::8081/tcp" } }, function(box)
      local server = box:spawn("while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nserved' | nc -l -p 8080; done")
      for _, port in ipairs({ 8080, 8081 }) do
        assert.is_truthy(box:url(port):find("^http://127%.0%.0%.1:%d+$"))
      end
      local answer = until_true("an answer", function()
        local response = http.request({ url = box:url(8080), own_connection = true })
        return response and response.body == "served" and response
      end)
      assert.equal(200, answer.status)
      assert.is_truthy(box:url(9999):find("^http://10%."), "a port that is not published, from here")
      server:close()
    end)
  end))

  it("waits until it is healthy", async(60, function()
    sandbox.with({ provider = "docker", options = {
      health = { command = "test -e /tmp/up", interval = 0.1, retries = 100 },
    }, command = { "sh", "-c", "sleep 0.7; touch /tmp/up; exec sleep 600" } }, function(box)
      assert.is_true(box:exists("/tmp/up"))
    end)
    local before = #engine:containers()
    local err = error_of(create, { options = {
      health = { command = { "sh", "-c", "echo it is ill; exit 1" }, interval = 0.1, retries = 2 } } })
    assert.equal("unavailable", err.kind)
    assert.is_truthy(err.message:find("it is ill", 1, true))
    assert.equal(before, #engine:containers())
  end))

  it("says why, and leaves nothing, when it cannot be", async(120, function()
    local before = #engine:containers()
    for _, case in ipairs({
      { { image = "localhost:1/nope:1" }, "unavailable", "localhost:1/nope" },
      { { image = "nope:1", options = { pull = "never" } }, "not_found", "nope:1" },
      { { command = { "sh", "-c", "echo last words >&2; exit 3" } }, "invalid", "last words" },
      { { command = { "/no/such/program" } }, "invalid", "/no/such/program" },
      { { options = { runtime = "runsc" } }, "invalid", "runsc" },
      { { user = "nosuchuser" }, "not_found", "nosuchuser" },
      { { cwd = "/etc/passwd" }, "invalid", "/etc/passwd" },
      { { options = { tmpfs = { "/x:nonsense" } } }, "invalid", "nonsense" },
      { { options = { security = { "nonsense" } } }, "invalid", "nonsense" },
      { { network = "no-such-network" }, "not_found", "no-such-network" },
      { { options = { gpus = true } }, "unsupported", "gpu" },
      { { memory = 1000 }, "invalid", "memory" },
      { { options = { read_onyl = true } }, "invalid", "read_only" },
      { { options = { health = { comand = "true" } } }, "invalid", "command" },
      { { ports = { "a:b" } }, "invalid", "127.0.0.1:9000:8080" },
      { { options = { mounts = { "relative:/x" } } }, "invalid", "relative" },
      { { options = { mounts = { "/no/such/folder:/x" } } }, "invalid", "/no/such/folder" },
    }) do
      local err = error_of(create, case[1])
      assert.equal(case[2], err.kind, case[3] .. ": " .. tostring(err))
      assert.is_truthy(tostring(err):find(case[3], 1, true), case[3] .. ": " .. tostring(err))
      assert.equal(before, #engine:containers(), case[3] .. ": containers left")
      assert.same({}, registry.list(), case[3] .. ": records left")
    end
  end))

  it("needs a shell in the image, and says so", async(60, function()
    local dir = scratch.make()
    scratch.sh(("mkdir %s/bin && cp $(command -v busybox) %s/bin/busybox"):format(dir, dir))
    engine:import(dir, "noshell:1")
    local before = #engine:containers()
    local err = error_of(create, { image = "noshell:1" })
    assert.equal("unsupported", err.kind)
    assert.is_truthy(err.message:find("/bin/sh", 1, true))
    assert.equal(before, #engine:containers())
    sandbox.with({ provider = "docker", image = "noshell:1", command = { "/bin/busybox", "sleep", "600" } }, function(box)
      assert.equal("unsupported", error_of(box.exec, box, { "/bin/busybox", "true" }).kind)
    end)
    scratch.drop(dir)
  end))

  it("20 at once", async(120, function()
    local numbers = {}
    for i = 1, 20 do
      numbers[i] = i
    end
    task.map(numbers, function(i)
      sandbox.with({ provider = "docker" }, function(box)
        assert.equal(i .. "\n", box:exec("echo " .. i).stdout)
      end)
    end, { concurrency = 20 })
    assert.same({}, engine:containers())
  end))
end)

describe("docker: life", function()
  it("stops and starts, also for another process", with({}, function(box)
    box:write_file("kept", "content")
    box:stop()
    assert.equal("stopped", box:info().status)
    local err = error_of(box.exec, box, "true")
    assert.equal("conflict", err.kind)
    assert.is_truthy(err.message:find("start()", 1, true))
    -- one that does not know that it was stopped
    local record = registry.get(box.id)
    record.status = "running"
    local stranger = require("luarium.sandbox.object").attach(record, config.provider("docker"), {})
    assert.equal("conflict", error_of(stranger.exec, stranger, "true").kind)
    box:start()
    assert.equal("content", box:read_file("kept"))
    assert.equal("running", box:info().status)
  end))

  it("pauses and resumes", with({}, function(box)
    box:pause()
    assert.equal("paused", box:info().status)
    local err = error_of(box.exec, box, "true")
    assert.equal("conflict", err.kind)
    assert.is_truthy(err.message:find("resume()", 1, true))
    box:resume()
    assert.equal("ok\n", box:exec("echo ok").stdout)
  end))

  it("notices a container that was killed or removed", async(60, function()
    for _, request in ipairs({ { "POST", "/kill" }, { "DELETE", "?force=1" } }) do
      local box = create({})
      local beside = task.spawn_detached("a command", function()
        return pcall(box.exec, box, "echo begun; sleep 600")
      end)
      task.sleep(0.3)
      engine:ask(request[1], "/containers/" .. box.external_id .. request[2])
      until_true("the end of the command", function()
        return beside.state == "done"
      end)
      local err = error_of(box.exec, box, "true")
      assert.equal("sandbox_gone", err.kind)
      assert.equal("destroyed", box.status)
      assert.same({}, engine:containers())
      assert.same({}, registry.list())
    end
  end))

  it("notices the end of one that nobody talks to", async(90, function()
    local told = {}
    local off = event.on("sandbox.gone", function(record)
      told[record.sandbox] = record
    end)
    local function end_of(box)
      return until_true("the end of " .. box.id, function()
        return told[box.id]
      end)
    end
    local first, second = create({ name = "idle" }), create({})
    engine:ask("POST", "/containers/" .. first.external_id .. "/kill")
    local record = end_of(first)
    assert.equal("idle", record.name)
    assert.is_truthy(record.error.message:find("exit code 137", 1, true), record.error.message)
    until_true("the end of its record", function()
      return not registry.get(first.id)
    end)
    assert.equal("destroyed", first.status)
    local err = error_of(first.exec, first, "true")
    assert.equal("sandbox_gone", err.kind)
    assert.is_truthy(err.message:find("exit code 137", 1, true), err.message)
    first:destroy()
    assert.equal("running", second.status)
    -- also after the engine's stream was cut, and what happened while there was none
    engine:restart()
    until_true("its return", function()
      return second:info().status == "running"
    end)
    engine:ask("DELETE", "/containers/" .. second.external_id .. "?force=1")
    end_of(second)
    -- a stop, a pause and a restart are no end
    local third = create({})
    third:stop()
    third:start()
    third:pause()
    third:resume()
    assert.equal("usable\n", third:exec("echo usable").stdout)
    assert.is_nil(told[third.id])
    third:destroy()
    assert.is_nil(told[third.id])
    off()
    assert.same({}, engine:containers())
    assert.same({}, registry.list())
  end))

  it("does not hide a deadlock by watching", async(60, function()
    local dir = scratch.make()
    scratch.write(dir .. "/script.lua", [[
      local luarium = require "luarium"
      local box <close> = luarium.create { provider = "docker", image = "busybox:spec" }
      require("luarium.task").event("what never comes"):wait()]])
    local result = assert(task.await(native.process.run({
      argv = { lfs.currentdir() .. "/build/luarium", "run", dir .. "/script.lua" }, cwd = dir, merge = true, timeout = 30,
      env = { "PATH=" .. os.getenv("PATH"), "HOME=" .. dir, "LUARIUM_STATE_DIR=" .. dir .. "/state",
        "DOCKER_HOST=" .. engine.host } })))
    assert.is_false(result.timed_out, result.stdout)
    assert.is_truthy(result.stdout:find("what never comes", 1, true), result.stdout)
    assert.same({}, engine:containers())
    scratch.drop(dir)
  end))

  it("says how a command of the script's own has ended, at create or with the first call after it", async(60, function()
    for _, delay in ipairs({ 0, 1 }) do
      local err = error_of(function()
        local box = create({ command = { "sh", "-c", ("sleep %d; echo last words >&2; exit 3"):format(delay) } })
        box:exec("sleep 20")
      end)
      assert.equal(delay == 0 and "invalid" or "sandbox_gone", err.kind)
      assert.is_truthy(err.message:find("exit code 3", 1, true), err.message)
      assert.is_truthy(err.message:find("last words", 1, true), err.message)
      assert.same({}, engine:containers())
      assert.same({}, registry.list())
    end
  end))

  it("tells a running command that its container has died", with({}, function(box)
    local err
    task.all({
      function()
        err = error_of(box.exec, box, "echo begun; sleep 600")
      end,
      function()
        task.sleep(0.3)
        engine:ask("POST", "/containers/" .. box.external_id .. "/kill")
      end,
    })
    assert.equal("sandbox_gone", err.kind)
  end))

  it("ends when its time is over, and may get more", async(60, function()
    local box = create({ timeout = 1000 })
    box:extend(2000)
    assert.is_true(box:info().expires_at - box.created_at > 1500)
    local again = sandbox.list()[1]
    assert.is_true(again.data.expires_at - box.created_at > 1500)
    box:destroy()
    local instance = config.provider("docker")
    box = create({ timeout = 0.3 })
    local id, data = box.external_id, box.data
    until_true("its end", function()
      local facts, err = instance:call("get", id, data)
      return not facts and err.kind == "sandbox_gone"
    end)
    until_true("the end of its container", function()
      return box.status == "destroyed" and #engine:containers() == 0
    end)
  end))

  it("saves states and begins with them", async(120, function()
    local instance = config.provider("docker")
    local name = 'odd name "$x" \\ é'
    sandbox.with({ provider = "docker", labels = { mark = "first" } }, function(box)
      box:write_file("/work/made", "before")
      local made = box:snapshot(name)
      assert.equal(name, made.name)
      assert.equal("conflict", error_of(box.snapshot, box, name).kind)
      box:write_file("/work/made", "after")
    end)
    assert.equal(name, instance:call("snapshot_list")[1].name)
    sandbox.with({ provider = "docker", options = { snapshot = name } }, function(box)
      assert.equal("before", box:read_file("/work/made"))
      assert.same({}, instance:call("find_by_label", { mark = "first" }))
      assert.is_nil(instance:call("get", box.external_id, box.data).labels.mark)
    end)
    assert.is_true(instance:call("snapshot_delete", name))
    assert.same({}, instance:call("snapshot_list"))
    local _, err = instance:call("snapshot_delete", name)
    assert.equal("not_found", err.kind)
    assert.equal("not_found", error_of(create, { options = { snapshot = name } }).kind)
  end))

  it("forks: the same files and limits, another sandbox, nothing left at the end", async(120, function()
    local images = #(engine:ask("GET", "/images/json?all=1"))
    local box = create({ memory = 67108864, env = { A = "b" }, name = "first", ports = { 8080 } })
    box:write_file("state", "shared")
    local copy = box:fork({ name = "second" })
    assert.equal("shared", copy:read_file("state"))
    assert.equal("b\n", copy:exec("echo $A").stdout)
    assert.equal(67108864, inspect(copy).HostConfig.Memory)
    assert.equal(copy.id, inspect(copy).Config.Labels["luarium.id"])
    assert.equal("second", copy:info().name)
    local again = copy:fork()
    assert.equal("shared", again:read_file("state"))
    box:destroy()
    copy:destroy()
    assert.equal("shared", again:read_file("state"))
    again:destroy()
    assert.same({}, engine:containers())
    assert.equal(images, #(engine:ask("GET", "/images/json?all=1")))
  end))
end)
