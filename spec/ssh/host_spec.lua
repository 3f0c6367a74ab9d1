--- Hosts of every kind: strange login shells, noise, no SFTP, few sessions, ways through other hosts, ports and sockets.
local async = require "spec.support.async"
local config = require "luarium.config"
local luarium = require "luarium"
local native = require "luarium.native"
local processes = require "spec.support.processes"
local scratch = require "spec.support.scratch"
local ssh = require "luarium.ssh"
local sshd = require "spec.support.sshd"
local state = require "spec.support.state"
local task = require "luarium.task"

local missing = sshd.missing()
if missing then
  describe("ssh: hosts", function()
    pending(missing)
  end)
  return
end

--- Runs fn(box, server) with a sandbox on a host with these options.
local function on_host(options, fn, more)
  local server = sshd.start(options)
  local ok, err = pcall(state.with, function()
    luarium.configure({ providers = { host = server:provider(more) } })
    local done, failure = pcall(luarium.with, { provider = "host" }, function(box)
      fn(box, server)
    end)
    config.reset()
    assert(done, failure)
  end)
  server:stop()
  assert(ok, err)
end

local function works(box)
  local result = box:exec("printf '%s' \"it's $((40 + 2)) \\\\ !\"; echo err >&2; exit 3", { env = { A = "b" } })
  assert.are.equal("it's 42 \\ !", result.stdout)
  assert.are.equal("err\n", result.stderr)
  assert.are.equal(3, result.exit_code)
  result = box:exec({ "printf", "%s|", "a b", "$HOME", "'", '"', "\\", "!x", "`id`", "two\nlines", "gr\195\188n" })
  assert.are.equal("a b|$HOME|'|\"|\\|!x|`id`|two\nlines|gr\195\188n|", result.stdout)
  assert.are.equal("", result.stderr)
  box:write_file("file", "content\0\255")
  assert.are.equal("content\0\255", box:read_file("file"))
  result = box:exec("[ -t 1 ] && echo \"$A\"", { pty = true, env = { A = "in a terminal" } })
  assert.are.equal("in a terminal\r\n", result.stdout)
  result = box:exec("echo one; echo two >&2", { merge = true })
  assert.are.equal("one\ntwo\n", result.stdout)
  local began = native.loop.monotonic()
  assert.is_true(box:exec("trap '' TERM; echo x; sleep 30", { timeout = 0.3 }).timed_out)
  assert.is_true(native.loop.monotonic() - began < 20)
end

local function has(program)
  return scratch.sh("command -v " .. program .. " || true") ~= ""
end

describe("ssh: the login shell", function()
  for _, shell in ipairs({ "fish", "tcsh", "zsh", "dash", "busybox" }) do
    local it_if = scratch.it_if(it, pending, has(shell), shell)
    it_if(shell, async(30, function()
      local command = shell == "busybox" and "busybox sh" or shell
      on_host({ config = ('ForceCommand exec %s -c "$SSH_ORIGINAL_COMMAND"'):format(command) }, works)
    end))
  end

  it("is bash with a profile that writes to both streams, and functions named like commands", async(30, function()
    on_host({ prepare = function(server)
      scratch.write(server.dir .. "/home/.bashrc", [[
        echo "Welcome to the noisy host"
        printf 'no newline at the end'
        echo "a warning" >&2
        cd() { echo "cd is mine"; builtin cd "$@"; }
        echo() { builtin echo "echo is mine: $*"; }
        export() { builtin export "$@"; builtin echo "export is mine"; }
      ]])
    end }, works)
  end))

  it("starts slowly: commands find one that waits", async(30, function()
    on_host({ prepare = function(server)
      scratch.write(server.dir .. "/home/.bashrc", "echo slow; echo down >&2; sleep 0.2\n"
        .. "echo $$ >>$HOME/started; while [ -e $HOME/gate ]; do sleep 0.05; done\n")
    end }, function(box, server)
      local function started()
        local shells = {}
        for pid in scratch.read(server.dir .. "/home/started"):gmatch("%d+") do
          shells[pid] = true
        end
        return shells
      end
      local before, used = started(), box:exec("echo $$").stdout:match("%d+")
      local waiting
      repeat
        task.sleep(0.05)
        for pid in pairs(started()) do
          waiting = waiting or pid ~= used and not before[pid]
        end
      until waiting
      scratch.write(server.dir .. "/home/gate", "") -- no other one gets any further
      assert.are.equal("quick\n", box:exec("echo quick", { timeout = 20 }).stdout)
      os.remove(server.dir .. "/home/gate")
      assert.are.equal("one\ntwo\n", box:exec("echo one; echo two >&2", { merge = true }).stdout)
      works(box)
    end)
  end))

  it("lets nobody in: its words are told", async(30, function()
    local server = sshd.start({ config = "ForceCommand echo This account is not available.; exit 1" })
    local ok, err = pcall(state.with, function()
      luarium.configure({ providers = { host = server:provider() } })
      local made, failure = pcall(luarium.create, { provider = "host" })
      config.reset()
      assert.is_false(made)
      assert.are.equal("protocol", failure.kind)
      assert.is_truthy(failure.message:find("This account is not available.", 1, true), failure.message)
    end)
    server:stop()
    assert(ok, err)
  end))
end)

describe("ssh: the host", function()
  it("has no SFTP", async(30, function()
    on_host({ sftp = false }, works)
  end))

  it("shows a banner", async(30, function()
    on_host({ prepare = function(server)
      scratch.write(server.dir .. "/banner", ("All activity is monitored.\n"):rep(20))
    end, config = "Banner DIR/banner" }, works)
  end))

  for _, count in ipairs({ 1, 2 }) do
    it("allows " .. count .. " sessions a connection: more open another one", async(40, function()
      on_host({ config = "MaxSessions " .. count }, function(box)
        works(box)
        local list = {}
        for i = 1, 12 do
          list[i] = i
        end
        local results = luarium.map(list, function(i)
          return box:exec("sleep 0.1; echo " .. i).stdout
        end, { concurrency = 12 })
        for i, text in ipairs(results) do
          assert.are.equal(i .. "\n", text)
        end
      end)
    end))
  end

  it("is asked for 100 commands at once", async(60, function()
    on_host({}, function(box)
      local list = {}
      for i = 1, 100 do
        list[i] = i
      end
      local results = luarium.map(list, function(i)
        return box:exec("cat; echo " .. i .. "; exit " .. i, { stdin = "in " })
      end, { concurrency = 100 })
      for i, result in ipairs(results) do
        assert.are.equal("in " .. i .. "\n", result.stdout)
        assert.are.equal(i, result.exit_code)
      end
    end)
  end))

  it("agrees on keys again in the middle of a stream", async(60, function()
    on_host({ config = "RekeyLimit 1M" }, function(box)
      local bytes = native.crypto.random(1048576):rep(12)
      local result = box:exec("cat", { stdin = bytes, max_output = #bytes })
      assert.are.equal(#bytes, #result.stdout)
      assert.is_true(result.stdout == bytes)
      works(box)
    end)
  end))

  it("writes 10,000 lines a second, none is lost", async(60, function()
    on_host({}, function(box)
      local seen, last = 0, nil
      box:exec("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done", { on_stdout = function(chunk)
        local _, count = chunk:gsub("\n", "")
        seen, last = seen + count, chunk
      end })
      assert.are.equal(20000, seen)
      assert.is_truthy(last:find("line 19999\n$"))
    end)
  end))

  it("keeps sandboxes where it is told", async(30, function()
    on_host({}, function(box)
      assert.is_truthy(box.cwd:find("/somewhere/else/sbx_%w+/work$"), box.cwd)
      works(box)
    end, { root = "~/somewhere/else" })
  end))

  local full = scratch.it_if(it, pending, scratch.can_mount(), "the right to mount")
  full("has a full disk", async(30, function()
    local folder = scratch.make()
    scratch.sh("mount -t tmpfs -o size=1m none " .. folder)
    local ok, err = pcall(on_host, {}, function(box)
      local wrote, failure = pcall(box.write_file, box, "large", ("x"):rep(4194304))
      assert.is_false(wrote)
      assert.are.equal("ENOSPC", failure.name)
      assert.are.same({}, box:ls("."))
      assert.are.equal("usable\n", box:exec("echo usable").stdout)
    end, { root = folder })
    scratch.sh("umount " .. folder)
    scratch.drop(folder)
    assert(ok, err)
  end))
end)

describe("ssh: ~/.ssh/config", function()
  it("says where a host is, who to be, and through whom to go", async(40, function()
    local inner, gate = sshd.start(), sshd.start()
    local ok, err = pcall(state.with, function()
      local file = inner.dir .. "/ssh_config"
      scratch.sh(("cat %s/known_hosts %s/known_hosts >%s/both"):format(inner.dir, gate.dir, inner.dir))
      scratch.write(inner.dir .. "/more", ("Host gate\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s/id\n"):format(
        gate.port, gate.dir))
      scratch.write(file, ([[
# comment
Include more
Host inn* !inner-not
  HostName=127.0.0.1
  Port %d
  User root
  IdentityFile "%s/id"
  ProxyJump gate
Match host nothing
  Port 1
Host *
  Port 2
  UserKnownHostsFile %s/both
]]):format(inner.port, inner.dir, inner.dir))
      luarium.configure({ providers = { host = { "ssh", host = "inner", ssh_config = file, agent = false } } })
      luarium.with({ provider = "host" }, function(box)
        works(box)
        assert.is_truthy(gate:log():find("Accepted publickey"), "the way led through the gate")
        assert.is_truthy(inner:log():find("Accepted publickey"))
      end)
      config.reset()
    end)
    inner:stop()
    gate:stop()
    assert(ok, err)
  end))

  --- Options of a host whose configuration has these lines.
  local function configured(dir, text, more)
    scratch.write(dir .. "/config", text)
    local options = { host = "x", ssh_config = dir .. "/config", agent = false }
    for key, value in pairs(more or {}) do
      options[key] = value
    end
    return options
  end

  --- Logs in; returns what failed.
  local function attempt(options)
    local host, err = ssh.open(options)
    if not host then
      return nil, err
    end
    local connection
    connection, err = host.pool:take()
    if connection then
      host.pool:give_back(connection)
    end
    host:close()
    return connection ~= nil, err
  end

  local with_socat = scratch.it_if(it, pending, has("socat"), "socat")
  with_socat("with a ProxyCommand runs it, and ends it with the connection", async(30, function()
    local server = sshd.start()
    local ok, err = pcall(state.with, function()
      local file = server.dir .. "/ssh_config"
      scratch.write(file, ([[
Host x
  HostName 127.0.0.1
  Port %d
  IdentityFile %s/id
  ProxyCommand sh -c 'echo $$ >%s/proxy_pid; socat - TCP:%%h:%%p; : %%n %%r'
  ProxyJump never.used
]]):format(server.port, server.dir, server.dir))
      luarium.configure({ providers = { host = { "ssh", host = "x", ssh_config = file, agent = false,
        known_hosts = server.dir .. "/known_hosts" } } })
      luarium.with({ provider = "host" }, works)
      local pid = scratch.read(server.dir .. "/proxy_pid"):match("%d+")
      assert.is_true(processes.is_alive(pid))
      config.reset()
      processes.expect_dead(pid)
    end)
    server:stop()
    assert(ok, err)
  end))

  it("with a ProxyCommand that fails tells what it said", async(20, function()
    local dir = scratch.make()
    for command, said in pairs({
      ["sh -c 'echo noise >&2; echo no way to %h >&2; exit 3'"] = "no way to x", ["true"] = "said: nothing",
      ["no-such-program-%h"] = "not found", ["sh -c 'head -c 100000 /dev/zero >&2; echo HTTP/1.1 400'"] = "ProxyCommand",
    }) do
      local ok, err = attempt(configured(dir, "Host x\n  ProxyCommand " .. command .. "\n"))
      assert.is_falsy(ok)
      assert.are.equal("unavailable", err.kind)
      assert.is_truthy(err.message:find(said, 1, true), err.message)
    end
    local host, err = ssh.open(configured(dir, "Host x\n  Port 1\n  ProxyCommand nc %C\n"))
    assert.is_nil(host)
    assert.are.equal("unsupported", err.kind)
    assert.is_truthy(err.message:find("config line 3: ProxyCommand has %C", 1, true), err.message)
    scratch.drop(dir)
  end))

  it("with conditions of Match: those that can be judged, and the line of one that matters and cannot", async(10, function()
    local dir = scratch.make()
    for text, port in pairs({
      ["Match host x\n Port 7\n"] = 7, ["Match host y,z\n Port 7\n"] = 22, ["Match !host y user joe\n Port 7\n"] = 7,
      ["Match originalhost x user ann\n Port 7\n"] = 22, ["Match final host x\n Port 7\nHost x\n Port 8\n"] = 8,
      ["Host x\n HostName real\nMatch host \"real\"\n Port 7\n"] = 7, ["Match all\n Port 9\n"] = 9,
      ["Match exec \"test -e /nowhere\"\n Compression yes\nHost x\n Port 7\n"] = 7, -- it does not matter
      ["Match host y exec \"test -e /nowhere\"\n Port 7\n"] = 22, -- nor here
    }) do
      local host = assert(ssh.open(configured(dir, text, { user = "joe" })))
      assert.are.equal(port, host.target.port, text)
      host:close()
    end
    local host, err = ssh.open(configured(dir, "\n# first\nMatch exec true\n Port 7\n"))
    assert.is_nil(host)
    assert.are.equal("unsupported", err.kind)
    assert.is_truthy(err.message:find("config line 3: `Match exec`", 1, true), err.message)
    scratch.drop(dir)
  end))

  it("leads in a circle", async(10, function()
    local dir = scratch.make()
    scratch.write(dir .. "/config", "Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    local host, err = ssh.open({ host = "a", ssh_config = dir .. "/config" })
    scratch.drop(dir)
    assert.is_nil(host)
    assert.are.equal("invalid", err.kind)
  end))
end)

describe("ssh: ports and sockets of the host", function()
  it("a port, many connections, both ways", async(30, function()
    on_host({}, function(box, server)
      local port = box:url(server.port):match(":(%d+)$")
      local list = { 1, 2, 3, 4, 5, 6, 7, 8 }
      luarium.map(list, function()
        local given = server:provider()
        given[1], given.port, given.host_key = nil, tonumber(port), server:fingerprint()
        local host = assert(ssh.open(given))
        local connection = assert(host.pool:take())
        host.pool:give_back(connection)
        host:close()
      end, { concurrency = 8 })
    end)
  end))

  local with_socat = scratch.it_if(it, pending, has("socat"), "socat")
  with_socat("a unix socket, through a local one", async(30, function()
    on_host({}, function(box, server)
      local path = server.dir .. "/service"
      local service = box:spawn({ "socat", "UNIX-LISTEN:" .. path .. ",fork", "EXEC:cat" })
      local given = server:provider()
      given[1] = nil
      local host = assert(ssh.open(given))
      local socket = assert(host:forward({ socket = path }))
      local bytes = native.crypto.random(300000)
      local result = assert(task.await(native.process.run({
        argv = { "socat", "-t", "10", "-", "UNIX-CONNECT:" .. socket.path }, stdin = bytes, timeout = 20,
      })))
      assert.is_true(result.stdout == bytes)
      assert.is_true(socket:alive())
      host:close()
      assert.is_false(scratch.exists(socket.path))
      service:close()
    end)
  end))
end)
