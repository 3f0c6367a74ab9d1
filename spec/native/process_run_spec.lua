local async = require "spec.support.async"
local lfs = require "lfs"
local support = require "spec.support.processes"
local native = require "luarium.native"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local await, loop, process = task.await, native.loop, native.process
local new_cookie = support.new_cookie
local run = support.run
local sh = support.sh
local spawn = support.spawn
local state_of = support.state_of
local expect_gone = support.expect_gone
local expect_dead = support.expect_dead
local children_of_host = support.children_of_host
local write_file = support.write_file
local under_valgrind = support.under_valgrind
local slack = support.slack

local function tmpname()
  return support.tmpname(finally)
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
    it("returns at the deadline with what there was", async(function()
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
      until_true("three processes", function()
        return #await(process.find(cookie)) == 3
      end)
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
      until_true("the main process gone", function()
        local found = await(process.find(cookie))
        return #found == 1 and found[1].comm == "sleep"
      end)
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
    until_true("all children reaped", function()
      for _, pid in ipairs(children_of_host()) do
        if state_of(pid) == "Z" then
          return false
        end
      end
      return true
    end)
  end))
end)
