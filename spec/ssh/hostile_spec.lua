--- Hosts that mean harm or are broken: servers that talk nonsense, shells that never stop, a key that is another one.
local async = require "spec.support.async"
local config = require "luarium.config"
local errors = require "luarium.error"
local luarium = require "luarium"
local native = require "luarium.native"
local remote = require "luarium.ssh.remote"
local scratch = require "spec.support.scratch"
local ssh = require "luarium.ssh"
local sshd = require "spec.support.sshd"
local state = require "spec.support.state"
local task = require "luarium.task"

local missing = sshd.missing()
if missing then
  describe("ssh: hostile hosts", function()
    pending(missing)
  end)
  return
end

local monotonic = native.loop.monotonic

--- Memory of this process, in KiB; not under a sanitizer, which keeps what was freed.
local function resident()
  return os.getenv("LUARIUM_UNDER_ASAN") and 0 or tonumber(scratch.read("/proc/self/status"):match("VmRSS:%s*(%d+)"))
end

--- Runs fn(given) with the options of a server that says what a shell script says.
local function with_nonsense(script, fn)
  local dir = scratch.make()
  scratch.write(dir .. "/server.sh", script)
  local process
  local given
  for _ = 1, 20 do
    local port = math.random(20000, 30000)
    process = assert(native.process.spawn({
      argv = { "socat", ("TCP-LISTEN:%d,bind=127.0.0.1,fork"):format(port), "EXEC:sh " .. dir .. "/server.sh" },
      env = { "PATH=" .. os.getenv("PATH") },
    }))
    given = { host = "127.0.0.1", port = port, ssh_config = false, agent = false, key = dir .. "/none",
      connect_timeout = 1 }
    local listens = false
    for _ = 1, 200 do
      listens = scratch.sh(("grep -ci ':%04X 00000000:0000 0A' /proc/net/tcp || true"):format(port)) ~= "0"
      if listens then
        break
      end
      task.sleep(0.01)
    end
    if listens then
      break
    end
    process:close()
  end
  local ok, err = pcall(fn, given)
  process:close()
  scratch.drop(dir)
  assert(ok, err)
end

describe("ssh: a server that", function()
  for name, script in pairs({
    ["says something random after its name"] = "printf 'SSH-2.0-x\\r\\n'; head -c 100000 /dev/urandom; cat >/dev/null",
    ["never stops saying something random"] = "printf 'SSH-2.0-OpenSSH_9.2\\r\\n'; cat /dev/urandom",
    ["never ends its name"] = "tr '\\0' A </dev/zero",
    ["greets for ever"] = "yes 'hello there'",
    ["has a name of NUL bytes"] = "printf 'SSH-2.0-\\0\\0\\0\\r\\n'; cat /dev/zero",
    ["announces a packet of 4 GB"] = "printf 'SSH-2.0-x\\r\\n\\377\\377\\377\\377'; cat /dev/zero",
    ["announces a packet of nothing"] = "printf 'SSH-2.0-x\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0'; cat >/dev/null",
    ["speaks version 1"] = "printf 'SSH-1.5-old\\r\\n'; cat >/dev/null",
    ["hangs up at once"] = "exit 0",
  }) do
    it(name, async(20, function()
      with_nonsense(script, function(given)
        local host = assert(ssh.open(given))
        local before, began = resident(), monotonic()
        local connection, err = host.pool:take()
        assert.is_nil(connection)
        assert.is_true(errors.is(err), tostring(err))
        assert.is_true(err.kind == "unavailable" or err.kind == "protocol", err.kind .. ": " .. err.message)
        assert.is_nil(err.message:find("[%c]"), err.message)
        assert.is_true(#err.message < 2000)
        assert.is_true(monotonic() - began < 10)
        assert.is_true(resident() - before < 32768, "memory")
        host:close()
      end)
    end))
  end
end)

--- Runs fn(server) with a provider "host" for a server with these options.
local function on_server(options, fn, more)
  local server = sshd.start(options)
  local ok, err = pcall(state.with, function()
    luarium.configure({ providers = { host = server:provider(more) } })
    local done, failure = pcall(fn, server)
    config.reset()
    assert(done, failure)
  end)
  server:stop()
  assert(ok, err)
end

describe("ssh: a host", function()
  it("whose banner has a megabyte", async(40, function()
    on_server({ prepare = function(server)
      scratch.write(server.dir .. "/banner", ("All activity is monitored.\n"):rep(38000))
    end, config = "Banner DIR/banner" }, function()
      local ok, value = pcall(luarium.with, { provider = "host" }, function(box)
        return box:exec("echo in").stdout
      end)
      if not ok then
        assert.is_true(errors.is(value), tostring(value))
        assert.is_true(#value.message < 5000)
      else
        assert.equal("in\n", value)
      end
    end)
  end))

  for name, command in pairs({
    ["prints for ever"] = "yes noise", ["prints a line of 10 MB"] = "head -c 10000000 /dev/zero; sleep 1000",
  }) do
    it("whose login shell " .. name, async(60, function()
      on_server({ config = "ForceCommand " .. command }, function()
        local before, began = resident(), monotonic()
        local ok, err = pcall(luarium.create, { provider = "host" })
        assert.is_false(ok)
        assert.is_true(errors.is(err), tostring(err))
        assert.is_true(monotonic() - began < 45, "seconds: " .. monotonic() - began)
        assert.is_true(resident() - before < 65536, "memory")
      end, { connect_timeout = 2 })
    end))
  end

  it("whose login shell says nothing for ever", async(60, function()
    on_server({ config = "ForceCommand sleep 1000" }, function()
      local ok, err = pcall(luarium.create, { provider = "host" })
      assert.is_false(ok)
      assert.equal("unavailable SSH_SILENT", err.kind .. " " .. tostring(err.name))
      assert.truthy(err.message:find("did not begin our command within 10 s", 1, true), err.message)
    end, { connect_timeout = 2 })
  end))

  it("whose login shell wakes up when nobody waits for it any more makes nothing", async(60, function()
    on_server({ prepare = function(server)
      scratch.write(server.dir .. "/shell", ([[
        if mkdir DIR/first 2>/dev/null; then
          echo $$ >DIR/sleeper
          until [ -e DIR/go ]; do sleep 0.05; done
        fi
        exec sh -c "$SSH_ORIGINAL_COMMAND"]]):gsub("DIR", server.dir))
    end, config = "ForceCommand sh DIR/shell" }, function(server)
      local ok, err = pcall(luarium.create, { provider = "host" })
      assert.is_false(ok)
      assert.equal("SSH_SILENT", err.name)
      assert.same({}, luarium.list()) -- nothing was found, so nothing is remembered
      scratch.write(server.dir .. "/go", "")
      scratch.sh(scratch.GONE .. ("gone $(cat %s/sleeper)"):format(server.dir))
      assert.equal("", scratch.sh(("ls -A %s/home/.luarium/sandboxes 2>/dev/null || true"):format(server.dir)))
    end, { connect_timeout = 2 })
  end))

  it("whose disk does not answer is given up while it is looked at", async(60, function()
    on_server({}, function(server)
      luarium.with({ provider = "host" }, function(box)
        local state_file = ("%s/home/.luarium/sandboxes/%s/state.json"):format(server.dir, box.id)
        -- A read of a FIFO waits for ever.
        scratch.sh(("mv %s %s.kept && mkfifo %s"):format(state_file, state_file, state_file))
        local result = assert(remote.script(config.provider("host").state.machine.pool, 'cat "$1"', { state_file },
          { limit = 0.5 }))
        assert.is_true(result.timed_out)
        scratch.sh(("mv %s.kept %s"):format(state_file, state_file))
        assert.equal("in\n", box:exec("echo in").stdout)
      end)
    end)
  end))

  it("whose key changes is not believed any more, and nothing is asked twice", async(40, function()
    on_server({}, function(server)
      luarium.with({ provider = "host" }, function(box)
        assert.equal("before\n", box:exec("echo before").stdout)
        server:rekey()
        local began = monotonic()
        local ok, err
        repeat -- the first may have been on its way when the connection was cut
          ok, err = pcall(box.exec, box, "echo after")
          assert.is_false(ok)
        until err.kind ~= "unavailable" or monotonic() - began > 5
        assert.equal("auth", err.kind, err.message)
        assert.is_false(err.retryable or false)
        server:rekey()
        assert.equal("again\n", box:exec("echo again").stdout)
      end)
    end)
  end))

  it("that lets few in at once is asked by many", async(60, function()
    on_server({ config = "MaxStartups 1:100:1\nMaxSessions 2" }, function()
      luarium.with({ provider = "host" }, function(box)
        local list = {}
        for i = 1, 20 do
          list[i] = i
        end
        for i, text in ipairs(luarium.map(list, function(n)
          return box:exec("sleep 0.2; echo " .. n).stdout
        end, { concurrency = 20 })) do
          assert.equal(i .. "\n", text)
        end
      end)
    end)
  end))

  it("is asked for 400 commands at once", async(90, function()
    on_server({}, function()
      luarium.with({ provider = "host" }, function(box)
        local list = {}
        for i = 1, 400 do
          list[i] = i
        end
        for i, text in ipairs(luarium.map(list, function(n)
          return box:exec("echo " .. n .. "; head -c 20000 /dev/zero").stdout
        end, { concurrency = 400 })) do
          assert.equal(#tostring(i) + 1 + 20000, #text)
        end
      end)
    end)
  end))
end)
