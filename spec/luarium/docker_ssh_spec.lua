local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local config = require "luarium.config"
local dockerd = require "spec.support.dockerd"
local http = require "luarium.http"
local lfs = require "lfs"
local marked = require "spec.support.marked"
local native = require "luarium.native"
local registry = require "luarium.registry"
local sandbox = require "luarium.sandbox"
local scratch = require "spec.support.scratch"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local missing = dockerd.missing() or sshd.missing() or scratch.sh("command -v socat || true") == ""
  and "socat is not installed" or nil
if missing then
  describe("docker over SSH", function()
    pending(missing)
  end)
  return
end

local engine, server, finish, temp

--- How the engine is reached through a server.
local function entry(through, more)
  local ssh = through:provider(more)
  ssh[1], ssh.host = nil, nil
  return { host = ("ssh://127.0.0.1:%d%s"):format(through.port, engine.socket), image = engine.image, ssh = ssh }
end

setup(function()
  engine = dockerd.start()
  server = sshd.start()
  temp = scratch.make()
  finish = boxes.configure({ host = entry(server).host, image = engine.image }, entry(server))
end)

teardown(function()
  finish()
  server:stop()
  engine:stop()
  scratch.drop(temp)
end)

local error_of = boxes.error_of

--- A test in a task with a limit, with nothing of the provider left behind.
local function over_ssh(seconds, fn)
  return async(seconds, function()
    local ok, err = pcall(fn)
    config.provider("docker"):close()
    if not ok then
      error(err, 0)
    end
  end)
end

--- The processes of sshd that hold a connection.
local function connections(through)
  return tonumber(scratch.sh(("pid=$(cat %s/pid); wc -w </proc/$pid/task/$pid/children"):format(through.dir)))
end

describe("docker over SSH", function()
  it("does all that it does over a socket", over_ssh(120, function()
    sandbox.with({ provider = "docker" }, function(box)
      local bytes = native.crypto.random(1048576)
      assert.equal(bytes, box:exec("cat", { stdin = bytes, timeout = 60 }).stdout)
      assert.equal("3\nlate\n", box:exec("wc -c; sleep 1.5; echo late", { stdin = "abc", timeout = 30 }).stdout)
      assert.equal("yes\r\n", box:exec("[ -t 0 ] && echo yes", { pty = true, timeout = 20 }).stdout)
      assert.is_true(box:exec("sleep 60", { timeout = 0.5 }).timed_out)
      scratch.write(temp .. "/up", bytes)
      box:upload(temp .. "/up", "up")
      box:download("up", temp .. "/down")
      assert.equal(bytes, scratch.read(temp .. "/down"))
    end)
    assert.same({}, engine:containers())
  end))

  for _, program in ipairs({ "socat", "python3" }) do
    it("ends a command's input and waits for its output where " .. program .. " makes the connections", async(60, function()
      local through = sshd.start()
      scratch.sh(([[
        mkdir DIR/bin && cd DIR/bin
        for name in /usr/bin/* /bin/*; do
          case ${name##*/} in docker | nc* | socat | python3) ;; *) ln -sf "$name" . ;; esac
        done
        printf '#!/bin/sh\nexec %s "$@"\n' "$(command -v PROGRAM)" >PROGRAM && chmod +x PROGRAM
        echo "export PATH=DIR/bin" >DIR/home/.bashrc]]):gsub("DIR", through.dir):gsub("PROGRAM", program))
      local given = entry(through)
      given[1] = "docker"
      config.configure({ providers = { other = given } })
      sandbox.with({ provider = "other" }, function(box)
        assert.equal("3\nlate\n", box:exec("wc -c; sleep 1.5; echo late", { stdin = "abc", timeout = 30 }).stdout)
      end)
      config.provider("other"):close()
      through:stop()
    end))
  end

  it("gives the address of a published port, which is not open to that machine's neighbours", over_ssh(60, function()
    if engine.network == "none" then
      pending("no bridge can be made here")
      return
    end
    sandbox.with({ provider = "docker", ports = { 8080 } }, function(box)
      local bound = engine:ask("GET", "/containers/" .. box.external_id .. "/json").NetworkSettings.Ports["8080/tcp"][1]
      assert.equal("127.0.0.1", bound.HostIp)
      local process = box:spawn("while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nserved' | nc -l -p 8080; done")
      local url = box:url(8080)
      assert.is_true(url ~= "http://127.0.0.1:" .. bound.HostPort)
      until_true("an answer", function()
        local response = http.request({ url = url, own_connection = true })
        return response and response.body == "served"
      end)
      assert.equal("conflict", error_of(box.url, box, 9999).kind)
      process:close()
    end)
  end))

  it("runs more commands at a time than a connection has sessions", over_ssh(120, function()
    sandbox.with({ provider = "docker" }, function(box)
      local numbers = {}
      for i = 1, 25 do
        numbers[i] = i
      end
      local ready, go = 0, task.event("all of them run")
      task.map(numbers, function(i)
        local process = box:spawn({ "sh", "-c", "read line; echo $line" })
        ready = ready + 1
        if ready == #numbers then
          go:set()
        end
        go:wait()
        process:write(i .. "\n")
        assert.equal(i .. "\n", process:read())
        process:close()
      end, { concurrency = #numbers })
    end)
    until_true("the end of all connections but those that are kept", function()
      return connections(server) <= 3
    end)
  end))

  it("finds a connection again that was cut, and says so where something ran over it", over_ssh(120, function()
    local box = sandbox.create({ provider = "docker" })
    local word = marked.word()
    local err
    local beside = task.spawn_detached("a command", function()
      err = error_of(box.exec, box, { "sh", "-c", "echo begun; sleep 600; :", word }, { timeout = 100 })
    end)
    until_true("its begin", function()
      return marked.count(word) > 0
    end)
    server:cut()
    assert.equal("usable\n", box:exec("echo usable").stdout)
    until_true("the end of the command", function()
      return beside.state == "done"
    end, 60)
    assert.equal("unavailable", err.kind)
    assert.equal(0, marked.count(word))
    server:cut()
    assert.equal("running", box:info().status)
    server:cut()
    scratch.write(temp .. "/file", ("x"):rep(100000))
    box:upload(temp .. "/file", "file")
    assert.equal(100000, box:stat("file").size)
    box:destroy()
  end))

  it("leaves no connection, socket or folder behind when its provider is closed", async(60, function()
    local through = sshd.start()
    local given = entry(through)
    given[1] = "docker"
    config.configure({ providers = { other = given } })
    sandbox.with({ provider = "other" }, function(box)
      assert.equal("ok\n", box:exec("echo ok").stdout)
    end)
    assert.is_true(connections(through) > 0)
    local tunnel = config.provider("other").state.engine.tunnel
    local sockets = { tunnel.shared.path, tunnel.streams[1].socket.path }
    for _, path in ipairs(sockets) do
      assert.is_true(scratch.exists(path))
    end
    config.provider("other"):close()
    until_true("the end of all connections", function()
      return connections(through) == 0
    end)
    for _, path in ipairs(sockets) do
      assert.is_false(scratch.exists((path:gsub("/socket$", ""))))
    end
    sandbox.with({ provider = "other" }, function() end) -- and may be used again
    config.provider("other"):close()
    through:stop()
  end))

  it("leaves nothing behind when the program ends", async(60, function()
    local given = entry(server)
    local folder = temp .. "/program"
    scratch.sh(("mkdir -p %s/run %s/home"):format(folder, folder))
    scratch.write(folder .. "/luarium.lua", ([[
      return { providers = { far = { "docker", host = %q, image = %q, ssh = {
        port = %d, key = %q, known_hosts = %q, agent = false, ssh_config = false } } } }]]):format(given.host, given.image,
        server.port, given.ssh.key, given.ssh.known_hosts))
    scratch.write(folder .. "/script.lua", [[
      local luarium = require "luarium"
      luarium.with("far", function(box)
        print(box:exec("echo from afar").stdout)
        os.execute("ls $XDG_RUNTIME_DIR | wc -l")
      end)]])
    local result = assert(task.await(native.process.run({ argv = { lfs.currentdir() .. "/build/luarium", "run", "script.lua" },
      cwd = folder, env = { "PATH=" .. os.getenv("PATH"), "HOME=" .. folder .. "/home", "XDG_RUNTIME_DIR=" .. folder .. "/run",
        "LUARIUM_STATE_DIR=" .. folder .. "/state" }, merge = true, timeout = 50 })))
    assert.equal(0, result.exit_code, result.stdout)
    assert.is_truthy(result.stdout:find("from afar", 1, true), result.stdout)
    assert.is_truthy(result.stdout:find("\n2\n", 1, true), result.stdout)
    assert.equal("", scratch.sh("ls " .. folder .. "/run"))
  end))

  it("says what is wrong, where it is", async(120, function()
    local function failure(change)
      local given = entry(server)
      given[1] = "docker"
      change(given)
      config.configure({ providers = { wrong = given } })
      local err = error_of(function()
        config.provider("wrong")
        sandbox.create({ provider = "wrong" })
      end)
      pcall(function()
        config.provider("wrong"):close()
      end)
      for _, record in ipairs(registry.list()) do
        registry.delete(record.id)
      end
      return err
    end
    local err = failure(function(given)
      given.host = ("ssh://127.0.0.1:%d/no/such/docker.sock"):format(server.port)
    end)
    assert.equal("unavailable", err.kind)
    assert.is_truthy(err.message:find("/no/such/docker.sock", 1, true), err.message)
    err = failure(function(given)
      given.ssh.key = server:key("stranger", "ed25519", { authorize = false })
    end)
    assert.equal("auth", err.kind)
    err = failure(function(given)
      given.ssh.known_hosts = temp .. "/nobody_is_known"
    end)
    assert.equal("SSH_HOST_KEY_UNKNOWN", err.name)
    err = failure(function(given)
      given.ssh.kee = "x"
    end)
    assert.equal("invalid", err.kind)
    assert.is_truthy(err.message:find("did you mean 'key'", 1, true), err.message)
    err = failure(function(given)
      given.host = "ssh://me:s3cret@host"
    end)
    assert.equal("invalid", err.kind)
    assert.is_nil(tostring(err):find("s3cret", 1, true))
  end))
end)
