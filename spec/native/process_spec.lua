local async = require "spec.support.async"
local lfs = require "lfs"
local native = require "luarium.native"
local task = require "luarium.task"

local await, loop, process = task.await, native.loop, native.process

local cookie_count = 0

--- A cookie that no other test and no other run of the tests has.
local function new_cookie()
  cookie_count = cookie_count + 1
  return ("LUARIUM_SPEC=%d-%.6f"):format(cookie_count, loop.realtime())
end

local function slurp(path)
  local file = io.open(path)
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

--- valgrind gives a child its own memory and limits, and everything takes its time there.
local under_valgrind = slurp("/proc/self/maps"):find("valgrind", 1, true) ~= nil
local slack = (under_valgrind or os.getenv("LD_PRELOAD")) and 2 or 0

--- Children need not run under the sanitizers that the host may run under.
local function without_sanitizers(opts)
  if os.getenv("LD_PRELOAD") and not opts.env then
    opts.env = { "PATH=" .. os.getenv("PATH") }
  end
  return opts
end

local function run(opts)
  local result, err = await(process.run(without_sanitizers(opts)))
  return assert(result, err and err.message)
end

local function sh(script, opts)
  opts = opts or {}
  opts.argv = { "sh", "-c", script }
  return run(opts)
end

local function spawn(opts)
  local p, err = process.spawn(without_sanitizers(opts))
  return assert(p, err and err.message)
end

--- Everything that p still has to say, per stream.
local function read_all(p, max)
  local out = { stdout = {}, stderr = {} }
  while true do
    local bytes, stream = await(p:read(max))
    if not bytes then
      return table.concat(out.stdout), table.concat(out.stderr), stream
    end
    table.insert(out[stream], bytes)
  end
end

--- Reads until the output ends with text.
local function expect(p, text)
  local seen = ""
  while not seen:find(text, 1, true) do
    local bytes = await(p:read())
    assert(bytes, "ended before '" .. text .. "': " .. seen)
    seen = seen .. bytes
  end
  return seen
end

local function state_of(pid)
  local text = slurp("/proc/" .. pid .. "/stat")
  return text and text:match("%) (%a)")
end

local function is_alive(pid)
  local state = state_of(pid)
  return state ~= nil and state ~= "Z" and state ~= "X"
end

local function eventually(check, what)
  local deadline = loop.monotonic() + 5
  while not check() do
    assert(loop.monotonic() < deadline, "not within 5 s: " .. what)
    task.sleep(0.002)
  end
end

local function expect_gone(cookie)
  eventually(function()
    return #await(process.find(cookie)) == 0
  end, "nothing left with " .. cookie)
end

local function expect_dead(pid)
  eventually(function()
    return not is_alive(pid)
  end, "the death of " .. pid)
end

local function children_of_host()
  local found = {}
  for tid in lfs.dir("/proc/self/task") do
    for pid in (slurp("/proc/self/task/" .. tid .. "/children") or ""):gmatch("%d+") do
      found[#found + 1] = pid
    end
  end
  return found
end

local function tmpname()
  local name = os.tmpname()
  finally(function()
    os.remove(name)
  end)
  return name
end

local function write_file(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

describe("process.run", function()
  it("gives the output and the exit code", async(function()
    local r = sh("echo out; echo err >&2; exit 3")
    assert.equal("out\n", r.stdout)
    assert.equal("err\n", r.stderr)
    assert.equal(3, r.exit_code)
    assert.is_nil(r.signal)
    assert.is_false(r.timed_out)
    assert.is_false(r.truncated)
    assert.is_false(r.held_open)
    assert.is_true(r.duration > 0 and r.duration < 5)
  end))

  it("passes arguments as they are", async(function()
    local r = run { argv = { "printf", "%s|", "a b", "", "$HOME", "'\"\\", "\1\255", "-n" } }
    assert.equal("a b||$HOME|'\"\\|\1\255|-n|", r.stdout)
  end))

  it("is binary safe in both directions", async(function()
    local all = {}
    for i = 0, 255 do
      all[#all + 1] = string.char(i)
    end
    local bytes = table.concat(all):rep(5)
    assert.equal(bytes, run({ argv = { "cat" }, stdin = bytes }).stdout)
  end))

  it("merges stderr into stdout in the order it was written", async(function()
    local r = sh("echo 1; echo 2 >&2; echo 3", { merge = true })
    assert.equal("1\n2\n3\n", r.stdout)
    assert.equal("", r.stderr)
  end))

  describe("environment and folder", function()
    it("gives exactly the environment that was asked for", async(function()
      assert.equal("A=1\nB=x y=z\n", run({ argv = { "/usr/bin/env" }, env = { "A=1", "B=x y=z" } }).stdout)
      assert.equal("", run({ argv = { "/usr/bin/env" }, env = {} }).stdout)
    end))

    it("inherits the host's environment otherwise", async(function()
      assert.equal(os.getenv("PATH") .. "\n", sh("echo \"$PATH\"").stdout)
    end))

    it("adds the cookie, in place of another of that name", async(function()
      local r = run { argv = { "/usr/bin/env" }, env = { "C=old", "D=1" }, cookie = "C=new" }
      assert.equal("D=1\nC=new\n", r.stdout)
    end))

    it("looks the program up along the PATH of the given environment", async(function()
      local dir = os.tmpname()
      os.remove(dir)
      assert(lfs.mkdir(dir))
      write_file(dir .. "/true", "#!/bin/sh\necho mine\n")
      assert(os.execute("chmod +x " .. dir .. "/true"))
      local r = run { argv = { "true" }, env = { "PATH=/nowhere:" .. dir .. ":/bin" } }
      local relative = run { argv = { "./true" }, cwd = dir }
      os.remove(dir .. "/true")
      lfs.rmdir(dir)
      assert.equal("mine\n", r.stdout)
      assert.equal("mine\n", relative.stdout)
    end))

    it("starts in cwd", async(function()
      assert.equal("/usr\n", run({ argv = { "/bin/pwd" }, cwd = "/usr" }).stdout)
    end))

    it("fails when cwd does not exist", async(function()
      local r, err = await(process.run { argv = { "true" }, cwd = "/does/not/exist" })
      assert.is_nil(r)
      assert.equal("not_found", err.kind)
      assert.matches("/does/not/exist", err.message, 1, true)
      r, err = await(process.run { argv = { "true" }, cwd = "/etc/passwd" })
      assert.is_nil(r)
      assert.equal("ENOTDIR", err.name)
    end))
  end)

  describe("stdin", function()
    it("is empty unless given", async(function()
      assert.equal("", run({ argv = { "cat" } }).stdout)
      assert.equal("", run({ argv = { "cat" }, stdin = "" }).stdout)
    end))

    it("takes 10 MiB", async(function()
      local bytes = ("0123456789abcdef"):rep(640 * 1024)
      local r = run { argv = { "cat" }, stdin = bytes, max_output = #bytes }
      assert.is_true(r.stdout == bytes)
    end))

    it("need not be read", async(function()
      local r = run { argv = { "true" }, stdin = ("x"):rep(10 * 1024 * 1024) }
      assert.equal(0, r.exit_code)
      r = run { argv = { "head", "-c", "5" }, stdin = ("x"):rep(1024 * 1024) }
      assert.equal("xxxxx", r.stdout)
      r = sh("exec 0<&-; sleep 0.05; echo on", { stdin = ("x"):rep(4 * 1024 * 1024) })
      assert.equal("on\n", r.stdout)
    end))

    it("may be a file", async(function()
      local name = tmpname()
      write_file(name, "from a file\0.")
      assert.equal("from a file\0.", run({ argv = { "cat" }, stdin_file = name }).stdout)
      local r, err = await(process.run { argv = { "cat" }, stdin_file = "/does/not/exist" })
      assert.is_nil(r)
      assert.equal("not_found", err.kind)
      r, err = await(process.run { argv = { "cat" }, stdin_file = "/" })
      assert.is_nil(r)
      assert.equal("EISDIR", err.name)
    end))
  end)

  describe("a program that cannot be run", function()
    it("is 127 when it is missing", async(function()
      for _, name in ipairs { "no-such-program", "/no/such/program", "./no-such-program", "" } do
        local r = run { argv = { name } }
        assert.equal(127, r.exit_code)
        assert.equal("luarium: " .. name .. ": not found\n", r.stderr)
        assert.equal("", r.stdout)
      end
    end))

    it("is 126 when it is there but cannot be executed", async(function()
      local name = tmpname()
      write_file(name, "no program\n")
      local r = run { argv = { name } }
      assert.equal(126, r.exit_code)
      assert.equal("luarium: " .. name .. ": permission denied\n", r.stderr)
      assert.equal(126, run({ argv = { "/usr" } }).exit_code)
    end))

    it("is 126 when the kernel refuses it", async(function()
      if under_valgrind then
        pending("a failed exec cannot be told under valgrind")
      end
      local name = tmpname()
      write_file(name, "no program\n")
      assert(os.execute("chmod +x " .. name))
      local r = run { argv = { name } }
      assert.equal(126, r.exit_code)
      assert.matches("exec format error", r.stderr, 1, true)
      write_file(name, "#!/no/such/interpreter\n")
      r = run { argv = { name } }
      assert.equal(126, r.exit_code)
      assert.matches("interpreter was not found", r.stderr, 1, true)
    end))

    it("tells it on stdout when stderr is merged", async(function()
      assert.equal("luarium: nope: not found\n", run({ argv = { "nope" }, merge = true }).stdout)
    end))
  end)

  it("names what is too large for a command line", async(function()
    assert.equal(131072, run({ argv = { "echo", ("x"):rep(131071) } }).stdout_bytes)
    local r, err = await(process.run { argv = { "echo", ("x"):rep(131072) } })
    assert.is_nil(r)
    assert.equal("invalid", err.kind)
    assert.matches("argv[2]", err.message, 1, true)
    assert.matches("131071", err.message, 1, true)
    r, err = await(process.run { argv = { "true" }, env = { "SECRET=" .. ("x"):rep(131072) } })
    assert.is_nil(r)
    assert.matches("env[1] (SECRET...)", err.message, 1, true)
    local many = { "true" }
    for i = 2, 200 do
      many[i] = ("x"):rep(100000)
    end
    r, err = await(process.run { argv = many })
    assert.is_nil(r)
    assert.equal("invalid", err.kind)
    assert.matches("argv is too large", err.message, 1, true)
  end))

  it("refuses wrong calls", function()
    local argv = { "true" }
    assert.has_error(function()
      process.run { argv = argv, colour = 1 }
    end, "unknown option 'colour'")
    assert.has_error(function()
      process.run {}
    end)
    assert.has_error(function()
      process.run { argv = { "a\0b" } }
    end)
    assert.has_error(function()
      process.run { argv = argv, timeout = -1 }
    end)
    assert.has_error(function()
      process.run { argv = argv, cookie = "no value" }
    end)
    assert.has_error(function()
      process.run { argv = argv, limits = { wings = 2 } }
    end, "option 'limits': there is no limit 'wings'")
    assert.has_error(function()
      process.run { argv = argv, stdin = "a", stdin_file = "/dev/null" }
    end)
    assert.has_error(function()
      process.run { argv = argv, pty = true, stdin_file = "/dev/null" }
    end)
  end)

  it("tells a signal from an exit code", async(function()
    for _, name in ipairs { "KILL", "TERM", "SEGV", "USR1" } do
      local r = sh("ulimit -c 0; kill -" .. name .. " $$")
      assert.is_nil(r.exit_code)
      assert.equal("SIG" .. name, r.signal)
    end
    assert.equal(255, sh("exit 255").exit_code)
  end))

  it("starts with default signals and none blocked", async(function()
    local r = run { argv = { "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status" } }
    assert.equal("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", r.stdout)
  end))

  it("shows the child nothing but its three streams", async(function()
    local leak = assert(io.open("/etc/passwd")) -- Lua opens without CLOEXEC
    local idle = spawn { argv = { "cat" } }
    local r = run { argv = { "ls", "/proc/self/fd" } }
    idle:close()
    leak:close()
    assert.equal("0\n1\n2\n3\n", r.stdout) -- 3 is the listing itself
  end))

  it("makes every child the leader of its own session", async(function()
    local r = run { argv = { "sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat" } }
    local pid, group, session = r.stdout:match("(%d+) (%d+) (%d+)")
    assert.equal(pid, group)
    assert.equal(pid, session)
  end))

  it("sets limits", async(function()
    if under_valgrind then
      pending("valgrind answers for limits")
    end
    local r = sh("ulimit -n; ulimit -Hn; ulimit -c; ulimit -t",
      { limits = { nofile = 77, core = 0, cpu = 9 } })
    assert.equal("77\n77\n0\n9\n", r.stdout)
    r = sh("while :; do :; done", { limits = { cpu = 1 } })
    assert.equal("SIGKILL", r.signal)
    assert.is_false(r.timed_out)
    local failed, err = await(process.run { argv = { "true" }, limits = { nofile = 1e15 } })
    assert.is_nil(failed)
    assert.matches("limit 'nofile'", err.message, 1, true)
  end))

  describe("max_output", function()
    local function numbers(from, to)
      local list = {}
      for i = from, to do
        list[#list + 1] = ("%07d"):format(i)
      end
      return table.concat(list, "\n") .. "\n"
    end

    it("keeps the front and the back, and counts all", async(function()
      local whole = numbers(1, 200000)
      local r = run { argv = { "seq", "-w", "0000001", "0200000" }, max_output = 1001 }
      assert.equal(#whole, r.stdout_bytes)
      assert.is_true(r.truncated)
      assert.equal(501, r.stdout_cut)
      assert.equal(1001, #r.stdout)
      assert.equal(whole:sub(1, 501), r.stdout:sub(1, 501))
      assert.equal(whole:sub(-500), r.stdout:sub(502))
      assert.is_nil(r.stderr_cut)
    end))

    it("holds for odd sizes and at the border", async(function()
      local text = numbers(1, 3)
      for max = 0, #text + 1 do
        local r = run { argv = { "seq", "-w", "0000001", "0000003" }, max_output = max }
        local kept = math.min(max, #text)
        local front = max < #text and max - math.floor(max / 2) or #text
        assert.equal(kept, #r.stdout)
        assert.equal(text:sub(1, front), r.stdout:sub(1, front))
        assert.equal(text:sub(#text - (kept - front) + 1), r.stdout:sub(front + 1))
        assert.equal(max < #text, r.truncated)
        assert.equal(max < #text and front or nil, r.stdout_cut)
      end
    end))

    it("applies to each stream", async(function()
      local r = sh("seq 1 1000 >&2; echo short", { max_output = 10 })
      assert.equal("short\n", r.stdout)
      assert.is_nil(r.stdout_cut)
      assert.equal(5, r.stderr_cut)
      assert.equal("1\n2\n31000\n", (r.stderr:sub(1, 5) .. r.stderr:sub(6)))
    end))
  end)

  describe("timeout", function()
    it("returns within 100 ms of the deadline with what there was", async(function()
      local from = loop.monotonic()
      local r = sh("echo before; sleep 60 & sleep 60", { timeout = 0.2 })
      local took = loop.monotonic() - from
      assert.is_true(took >= 0.2 and took < 0.3 + slack, "took " .. took)
      assert.equal("before\n", r.stdout)
      assert.is_true(r.timed_out)
      assert.is_nil(r.exit_code)
      assert.equal("SIGKILL", r.signal)
      assert.is_false(r.held_open)
    end))

    it("kills a process that ignores every other signal", async(function()
      local r = sh("trap '' TERM INT HUP; while :; do sleep 1; done", { timeout = 0.1 })
      assert.is_true(r.timed_out)
    end))

    it("kills grandchildren that moved away, found by the cookie", async(function()
      local cookie = new_cookie()
      local from = loop.monotonic()
      local r = sh("setsid sh -c 'echo $$; exec sleep 60' & setsid setsid sleep 60 & sleep 60",
        { timeout = 0.2, cookie = cookie })
      assert.is_true(loop.monotonic() - from < 0.3 + slack)
      assert.is_true(r.timed_out)
      expect_dead(assert(r.stdout:match("%d+")))
      expect_gone(cookie)
    end))

    it("kills grandchildren that cleaned their environment but are still in the tree", async(function()
      local r = sh("env -i setsid sh -c 'echo $$; sleep 60; :' & sleep 60",
        { timeout = 0.2, cookie = new_cookie() })
      local pid = assert(r.stdout:match("%d+"))
      expect_dead(pid)
    end))

    it("kills other groups of the session, with a clean environment and no parent", async(function()
      local script = "set -m; (env -i sh -c 'echo $$; sleep 60; :' &); sleep 60"
      local r = run { argv = { "bash", "-c", script }, timeout = 0.3, cookie = new_cookie() }
      local pid = assert(r.stdout:match("%d+"))
      expect_dead(pid)
    end))

    it("does not call a process that ended in time late", async(function()
      for _ = 1, 20 do
        local r = run { argv = { "sleep", "0.02" }, timeout = 0.02 }
        assert.equal(r.timed_out, r.exit_code == nil)
      end
    end))

    it("may be zero", async(function()
      assert.is_true(run({ argv = { "sleep", "60" }, timeout = 0 }).timed_out)
    end))
  end)

  it("does not wait for background processes that hold the pipes", async(function()
    local cookie = new_cookie()
    local from = loop.monotonic()
    local r = sh("sleep 60 & echo done", { cookie = cookie })
    local took = loop.monotonic() - from
    assert.is_true(took >= 0.1 and took < 0.3 + slack, "took " .. took)
    assert.equal("done\n", r.stdout)
    assert.equal(0, r.exit_code)
    assert.is_true(r.held_open)
    assert.equal(1, #await(process.find(cookie)))
    assert.equal(1, await(process.sweep(cookie)))
  end))

  it("waits for them as long as the grace says", async(function()
    local r = sh("(sleep 0.3; echo late) & echo done", { grace = 5 })
    assert.equal("done\nlate\n", r.stdout)
    assert.is_false(r.held_open)
  end))

  describe("with a terminal", function()
    it("has one of the right size", async(function()
      local r = sh("test -t 0 && test -t 1 && test -t 2 && stty size && echo to-err >&2",
        { pty = true, cols = 100, rows = 30 })
      assert.equal("30 100\r\nto-err\r\n", r.stdout)
      assert.equal("", r.stderr)
      assert.equal(0, r.exit_code)
      assert.equal("24 80\r\n", sh("stty size", { pty = true }).stdout)
    end))

    it("controls it", async(function()
      assert.equal("ok\r\n", sh("echo ok > /dev/tty", { pty = true }).stdout)
    end))

    it("gives the input and its end", async(function()
      for _, bytes in ipairs { "", "one\ntwo\n", "no line end" } do
        local r = sh("stty -echo; echo ready; cat", { pty = true, stdin = bytes })
        assert.equal(0, r.exit_code)
        assert.matches(bytes:gsub("\n", "\r\n"), r.stdout, 1, true)
      end
    end))

    it("does not hang up on a process that has closed it and is about to end", async(function()
      for _ = 1, 20 do
        assert.equal(0, sh("exec 0<&- 1>&- 2>&-; sleep 0.005", { pty = true }).exit_code)
        assert.equal(0, run({ argv = { "cat" }, pty = true }).exit_code)
      end
    end))

    it("loses nothing of a large output", async(function()
      local r = run { argv = { "seq", "100000" }, pty = true }
      assert.equal(588895 + 100000, r.stdout_bytes)
      assert.equal("100000\r\n", r.stdout:sub(-8))
    end))

    it("is killed at its deadline", async(function()
      assert.is_true(sh("sleep 60", { pty = true, timeout = 0.1 }).timed_out)
    end))
  end)

  describe("cancel", function()
    it("kills everything and ends as cancelled", async(function()
      local cookie = new_cookie()
      local op = process.run { argv = { "sh", "-c", "setsid sleep 60 & sleep 60" }, cookie = cookie }
      eventually(function()
        return #await(process.find(cookie)) == 3
      end, "three processes")
      local from = loop.monotonic()
      op:cancel()
      op:cancel()
      local r, err = await(op)
      assert.is_true(loop.monotonic() - from < 0.1 + slack)
      assert.is_nil(r)
      assert.equal("cancelled", err.kind)
      expect_gone(cookie)
    end))

    it("works at once, while others hold the pipes, and when all is over", async(function()
      local op = process.run { argv = { "sleep", "60" } }
      op:cancel()
      local _, err = await(op)
      assert.equal("cancelled", err.kind)

      local cookie = new_cookie()
      op = process.run { argv = { "sh", "-c", "sleep 60 & :" }, grace = 60, cookie = cookie }
      eventually(function()
        local found = await(process.find(cookie))
        return #found == 1 and found[1].comm == "sleep"
      end, "the main process gone")
      op:cancel()
      _, err = await(op)
      assert.equal("cancelled", err.kind)
      expect_gone(cookie)

      op = process.run { argv = { "true" } }
      local r = await(op)
      op:cancel()
      assert.equal(0, r.exit_code)
    end))

    it("comes with a task that is cancelled", async(function()
      local cookie = new_cookie()
      local ok = pcall(task.timeout, 0.1, function()
        run { argv = { "sleep", "60" }, cookie = cookie }
      end)
      assert.is_false(ok)
      expect_gone(cookie)
    end))
  end)

  it("runs 100 at once", async(30, function()
    local from = loop.monotonic()
    local list = {}
    for i = 1, 100 do
      list[i] = i
    end
    local results = task.map(list, function(i)
      return sh("sleep 0.2; echo " .. i .. "; seq 1 5000 >&2", { cookie = new_cookie() })
    end, { concurrency = 100 })
    for i = 1, 100 do
      assert.equal(i .. "\n", results[i].stdout)
      assert.equal(23893, results[i].stderr_bytes)
    end
    assert.is_true(loop.monotonic() - from < 10 + slack)
  end))

  it("ends 100 timeouts at once, in time", async(30, function()
    local list = {}
    for i = 1, 100 do
      list[i] = new_cookie()
    end
    local worst = 0
    task.map(list, function(cookie)
      local from = loop.monotonic()
      local r = sh("setsid sleep 60 & sleep 60", { timeout = 1, cookie = cookie })
      worst = math.max(worst, loop.monotonic() - from)
      assert.is_true(r.timed_out)
    end, { concurrency = 100 })
    assert.is_true(worst < 1.2 + slack, "the slowest took " .. worst)
    task.map(list, function(cookie)
      await(process.sweep(cookie))
      expect_gone(cookie)
    end, { concurrency = 100 })
  end))

  it("leaves no zombie", async(function()
    for _ = 1, 20 do
      run { argv = { "true" } }
      sh("sleep 60", { timeout = 0.01, cookie = new_cookie() })
    end
    eventually(function()
      for _, pid in ipairs(children_of_host()) do
        if state_of(pid) == "Z" then
          return false
        end
      end
      return true
    end, "all children reaped")
  end))
end)

describe("process.spawn", function()
  it("reads both streams as they come", async(function()
    local p = spawn { argv = { "sh", "-c", "echo one; read a; echo two >&2; read a; echo three" } }
    assert.same({ "one\n", "stdout" }, { await(p:read()) })
    assert.is_true(await(p:write("\n")))
    assert.same({ "two\n", "stderr" }, { await(p:read()) })
    assert.is_true(await(p:write("\n")))
    assert.same({ "three\n", "stdout" }, { await(p:read()) })
    local bytes, err = await(p:read())
    assert.is_nil(bytes)
    assert.is_nil(err)
    assert.equal(0, await(p:wait()).exit_code)
    p:close()
  end))

  it("reads at most as much as asked for", async(function()
    local p = spawn { argv = { "echo", "abcdefgh" } }
    assert.equal("abc", (await(p:read(3))))
    assert.equal("defgh\n", (read_all(p, 2)))
    p:close()
  end))

  it("reads both streams in turn when both have something", async(function()
    local p = spawn { argv = { "sh", "-c", "head -c 40000 /dev/zero; head -c 40000 /dev/zero >&2" } }
    await(p:wait())
    for _ = 1, 5 do
      assert.equal("stdout", select(2, await(p:read(4096))))
      assert.equal("stderr", select(2, await(p:read(4096))))
    end
    p:close()
  end))

  it("streams a lot unharmed", async(30, function()
    local p = spawn { argv = { "seq", "3000000" } }
    local bytes, last = 0, ""
    while true do
      local chunk = await(p:read())
      if not chunk then
        break
      end
      bytes, last = bytes + #chunk, chunk
    end
    assert.equal(22888896, bytes)
    assert.equal("3000000\n", last:sub(-8))
    p:close()
  end))

  it("holds the child back while nobody reads", async(function()
    local name = tmpname()
    local p = spawn { argv = { "sh", "-c", "i=0; while :; do i=$((i+1)); head -c 65536 /dev/zero; echo $i > " ..
      name .. "; done" } }
    await(p:read())
    local function count()
      return tonumber(slurp(name)) or 0
    end
    local stuck, before = 0, -1
    eventually(function()
      local now = count()
      stuck, before = now == before and stuck + 1 or 0, now
      return stuck > 50
    end, "the child stops writing")
    assert.is_true(count() < 64, "it wrote " .. count() .. " blocks")
    p:close()
  end))

  it("takes one read at a time", async(function()
    local p = spawn { argv = { "cat" } }
    local op = p:read()
    local second, err = await(p:read())
    assert.is_nil(second)
    assert.equal("conflict", err.kind)
    op:cancel()
    local _, cancelled = await(op)
    assert.equal("cancelled", cancelled.kind)
    await(p:write("still there"))
    assert.equal("still there", (await(p:read())))
    p:close()
  end))

  it("ends the streams soon after the exit, even when others hold the pipes", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sh", "-c", "sleep 60 & echo hi" }, cookie = cookie }
    local from = loop.monotonic()
    assert.equal("hi\n", (read_all(p)))
    assert.is_true(loop.monotonic() - from < 0.3 + slack)
    p:close()
    assert.equal(1, await(process.sweep(cookie)))
  end))

  it("keeps output for a reader that comes late", async(function()
    local p = spawn { argv = { "sh", "-c", "echo out; echo err >&2; exit 4" }, grace = 0 }
    assert.equal(4, await(p:wait()).exit_code)
    local out, err = read_all(p)
    assert.equal("out\n", out)
    assert.equal("err\n", err)
    p:close()
  end))

  it("writes under back-pressure, in order", async(function()
    local p = spawn { argv = { "sh", "-c", "read go; exec cat" } }
    local big = ("0123456789"):rep(300000)
    local ops = { p:write("go\n"), p:write(big), p:write("-"), p:write(big), p:write("") }
    p:close_stdin()
    assert.is_true(await(ops[1]))
    local out = read_all(p)
    assert.is_true(out == big .. "-" .. big)
    for i = 2, 5 do
      assert.is_true(await(ops[i]))
    end
    p:close()
  end))

  it("waits with a write until all bytes are in the pipe, and can be cancelled", async(function()
    local p = spawn { argv = { "sleep", "60" } }
    local op = p:write(("x"):rep(4 * 1024 * 1024))
    local behind = p:write("y")
    loop.poll(20, {})
    assert.is_false(op:done())
    op:cancel()
    local ok, err = await(op)
    assert.is_nil(ok)
    assert.equal("cancelled", err.kind)
    assert.matches("of 4194304 bytes", err.message, 1, true)
    behind:cancel()
    p:close()
  end))

  it("fails a write with EPIPE when nobody reads any more", async(function()
    local p = spawn { argv = { "sh", "-c", "exec 0<&-; echo closed; sleep 60" } }
    expect(p, "closed")
    local ok, err = await(p:write("x"))
    assert.is_nil(ok)
    assert.equal("io", err.kind)
    assert.equal("EPIPE", err.name)
    p:close_stdin()
    p:close()
    p = spawn { argv = { "true" }, stdin = false }
    ok, err = await(p:write("x"))
    assert.is_nil(ok)
    assert.equal("EPIPE", err.name)
    p:close()
  end))

  it("takes its whole input at the start", async(function()
    local bytes = ("input"):rep(100000)
    local p = spawn { argv = { "cat" }, stdin = bytes }
    local out = read_all(p)
    assert.is_true(out == bytes)
    p:close()
  end))

  it("gives the status to everybody who waits", async(function()
    local p = spawn { argv = { "sh", "-c", "read a; exit 9" } }
    local ops = { p:wait(), p:wait(), p:wait() }
    ops[2]:cancel()
    p:close_stdin()
    assert.equal(9, await(ops[1]).exit_code)
    assert.equal(9, await(ops[3]).exit_code)
    assert.equal("cancelled", select(2, await(ops[2])).kind)
    assert.equal(9, await(p:wait()).exit_code)
    p:close()
  end))

  it("is killed with its group at the deadline", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sh", "-c", "echo hi; setsid sleep 60 & sleep 60" }, timeout = 0.2, cookie = cookie }
    local from = loop.monotonic()
    local status = await(p:wait())
    assert.is_true(loop.monotonic() - from < 0.3 + slack)
    assert.is_true(status.timed_out)
    assert.equal("SIGKILL", status.signal)
    assert.is_nil(status.exit_code)
    assert.equal("hi\n", (read_all(p)))
    p:close()
    await(process.sweep(cookie))
    expect_gone(cookie)
  end))

  it("sends signals to the whole group", async(function()
    local p = spawn { argv = { "sh", "-c", "trap 'echo got; exit 5' TERM; echo ready; sleep 60 & wait" } }
    expect(p, "ready")
    assert.is_true(p:kill("TERM"))
    expect(p, "got")
    assert.equal(5, await(p:wait()).exit_code)
    p:close()
    p = spawn { argv = { "sleep", "60" } }
    assert.is_true(p:kill("SIGINT"))
    assert.equal("SIGINT", await(p:wait()).signal)
    p:close()
    p = spawn { argv = { "sleep", "60" } }
    assert.is_true(p:kill(15))
    assert.equal("SIGTERM", await(p:wait()).signal)
    assert.has_error(function()
      p:kill("NOSUCH")
    end)
    p:close()
  end))

  it("has nobody to signal once all is over", async(function()
    local p = spawn { argv = { "true" } }
    read_all(p)
    await(p:wait())
    local ok, err = p:kill()
    assert.is_nil(ok)
    assert.equal("not_found", err.kind)
    p:close()
  end))

  it("kills what left the group", async(function()
    local cookie = new_cookie()
    local p = spawn { argv = { "sh", "-c", "setsid sleep 60 & echo on; sleep 60" }, cookie = cookie }
    expect(p, "on")
    assert.is_true(p:kill())
    assert.equal("SIGKILL", await(p:wait()).signal)
    p:close()
    await(process.sweep(cookie))
    expect_gone(cookie)
  end))

  it("has ended already when the program cannot be run", async(function()
    local p = spawn { argv = { "nope" } }
    assert.is_nil(p:pid())
    assert.same({ "luarium: nope: not found\n", "stderr" }, { await(p:read()) })
    assert.is_nil((await(p:read())))
    assert.equal(127, await(p:wait()).exit_code)
    assert.equal("not_found", select(2, p:kill()).kind)
    p:close()
  end))

  it("fails when cwd does not exist", async(function()
    local p, err = process.spawn { argv = { "true" }, cwd = "/does/not/exist" }
    assert.is_nil(p)
    assert.equal("not_found", err.kind)
  end))

  it("resizes its terminal", async(function()
    local script = "trap 'stty size' WINCH; echo ready; while :; do read line; done"
    local p = spawn { argv = { "bash", "-c", script }, pty = true }
    expect(p, "ready")
    assert.is_true(p:resize(132, 43))
    await(p:write("\n"))
    expect(p, "43 132")
    p:close()
    p = spawn { argv = { "cat" } }
    local ok, err = p:resize(1, 1)
    assert.is_nil(ok)
    assert.equal("unsupported", err.kind)
    p:close()
  end))

  it("types the end of input on a terminal", async(function()
    local p = spawn { argv = { "cat" }, pty = true }
    await(p:write("hello\n"))
    expect(p, "hello\r\nhello\r\n")
    p:close_stdin()
    assert.equal(0, await(p:wait()).exit_code)
    p:close()
  end))

  describe("close", function()
    it("kills what still runs and ends what waits", async(function()
      local cookie = new_cookie()
      local p = spawn { argv = { "sh", "-c", "setsid sleep 60 & echo; sleep 60" }, cookie = cookie }
      await(p:read())
      local read, wait, write = p:read(), p:wait(), p:write(("x"):rep(4 * 1024 * 1024))
      p:close()
      p:close()
      for _, op in ipairs { read, wait, write } do
        assert.equal("cancelled", select(2, await(op)).kind)
      end
      for _, method in ipairs { "read", "wait", "kill" } do
        local _, err = p[method](p)
        assert.equal("invalid", err.kind)
      end
      expect_gone(cookie)
    end))

    it("is what the collector does", async(function()
      local cookie = new_cookie()
      do
        local p = spawn { argv = { "sleep", "60" }, cookie = cookie }
        assert.is_truthy(p:pid())
      end
      eventually(function()
        collectgarbage()
        return #await(process.find(cookie)) == 0
      end, "the collected process is gone")
    end))
  end)
end)

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
