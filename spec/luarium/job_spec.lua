--- Jobs under every kind of shell and tools, and what goes wrong around them. What every provider is held to is in
--- luarium.conformance.jobs.
local async = require "spec.support.async"
local emulated = require "spec.support.emulated"
local scratch = require "spec.support.scratch"
local job_script = require "luarium.job.script"
local job_world = require "spec.support.job_world"
local luarium = require "luarium"
local native = require "luarium.native"

local monotonic = native.loop.monotonic
local count, raises, until_true, word = job_world.count, job_world.raises, job_world.until_true, job_world.word

describe("the script of jobs", function()
  for _, shell in ipairs({ "dash -n", "bash --posix -n", "busybox sh -n" }) do
    it("is accepted by " .. shell, function()
      local dir = scratch.make()
      for mode, text in pairs(job_script.texts) do
        scratch.write(dir .. "/" .. mode, text)
        assert.equal("", scratch.sh(shell .. " " .. dir .. "/" .. mode))
      end
      scratch.drop(dir)
    end)
  end
end)

for _, kind in ipairs(emulated.kinds) do
  describe("jobs under " .. kind.name, function()
    local world, box

    before_each(function()
      world = job_world.new({ kind = kind })
      box = world.sandbox
    end)

    after_each(function()
      job_world.drop(world)
    end)

    it("a quick one costs one round trip", async(function()
      local job = box:job("echo out; echo err >&2; exit 3", { key = "quick", wait = 10 })
      assert.equal(1, world.instance.state.runs)
      assert.equal("out\n", job.result.stdout)
      assert.equal("err\n", job.result.stderr)
      assert.equal(3, job.result.exit_code)
      assert.equal(job.result, job:wait())
      assert.equal(1, world.instance.state.runs)
    end))

    it("ends are told apart", async(20, function()
      for command, want in pairs({
        ["exit 137"] = { 137 }, ["exit 200"] = { 200 }, ["kill -9 $$"] = { nil, "SIGKILL" },
        ["kill -TERM $$"] = { nil, "SIGTERM" }, ["kill -SEGV $$"] = { nil, "SIGSEGV" }, ["exit 0"] = { 0 },
        ["kill -INT $$"] = { nil, "SIGINT" }, ["kill -USR1 $$"] = { nil, "SIGUSR1" },
      }) do
        local result = box:job(command, { wait = 10 }).result
        assert.equal(want[1], result.exit_code, command)
        assert.equal(want[2], result.signal, command)
        assert.is_false(result.timed_out)
      end
    end))

    it("signals are not ignored from the start", async(function()
      local result = box:job("grep SigIgn /proc/self/status", { wait = 10 }).result
      assert.equal("SigIgn:\t0000000000000000\n", result.stdout)
    end))

    it("nothing of it is left running when it has ended", async(function()
      local mark = word()
      box:job({ "sh", "-c", "exit 0", mark }, { wait = 10 })
      until_true("supervisor and watcher are gone", function()
        return count(mark) == 0
      end)
    end))

    it("kill finds what left its session, its parent and ignores signals", async(20, function()
      local mark = word()
      local setsid = scratch.sh("command -v setsid")
      local job = box:job(("trap '' TERM HUP INT; (%s sh -c 'trap \"\" TERM; while :; do sleep 1; done' %s &); "
        .. "sh -c 'while :; do sleep 1; done' %s & echo ready; wait"):format(setsid, mark, mark), { wait = 0 })
      assert.equal("ready\n", job:read({ wait = 10 }))
      until_true("they run", function()
        return count(mark) > 2
      end)
      assert.equal("SIGKILL", job:kill().signal)
      assert.equal(0, count(mark))
    end))

    it("kill finds descendants that cleaned their environment", async(20, function()
      local mark = word()
      local job = box:job(("env -i PATH=$PATH sh -c 'while :; do sleep 1; done' %s & echo ready; wait"):format(mark),
        { wait = 0 })
      assert.equal("ready\n", job:read({ wait = 10 }))
      assert.equal("SIGKILL", job:kill().signal)
      assert.equal(0, count(mark))
    end))

    it("a time limit holds although nobody looks", async(20, function()
      local mark = word()
      local job = box:job(("trap '' TERM; echo begun; sh -c 'while :; do sleep 1; done' %s & sleep 30"):format(mark),
        { timeout = 0.5, wait = 0 })
      until_true("its exit record is there", function()
        return (scratch.read(world.folder(job.key) .. "/exit"):find("=", 1, true))
      end)
      assert.equal(0, count(mark))
      local result = job:wait()
      assert.is_true(result.timed_out)
      assert.equal("begun\n", result.stdout)
      assert.is_nil(result.exit_code)
      assert.equal("SIGKILL", result.signal)
      assert.is_true(result.duration >= 0.5 and result.duration < 25, tostring(result.duration))
    end))

    it("is ended by its watcher when its supervisor is dead", async(20, function()
      local mark = word()
      local job = box:job(("kill -9 $PPID; sh -c 'while :; do sleep 1; done' %s"):format(mark), { wait = 0 })
      until_true("it is lost", function()
        return job:status().state == "lost"
      end)
      assert.equal("its supervisor was killed", job:status().reason)
      assert.is_true(job:wait().lost)
      until_true("the command is killed", function()
        return count(mark) == 0
      end)
      assert.is_false(box:job(("kill -9 $PPID; sh -c 'while :; do sleep 1; done' %s"):format(mark),
        { key = job.key }).started)
    end))

    it("kill ends what a lost one left running", async(20, function()
      local mark = word()
      local job = box:job(("sh -c 'while :; do sleep 1; done' %s"):format(mark), { wait = 0 })
      local command = until_true("it runs", function()
        return world.leader(job.key)
      end)
      local supervisor = world.owner(job.key)
      for child in scratch.read(("/proc/%s/task/%s/children"):format(supervisor, supervisor)):gmatch("%d+") do
        if child ~= command then
          scratch.sh("kill -9 " .. child)
        end
      end
      scratch.sh("kill -9 " .. supervisor)
      until_true("it is lost", function()
        return job:status().state == "lost"
      end)
      assert.is_true(count(mark) > 0)
      assert.equal("lost", job:kill().state)
      assert.equal(0, count(mark))
      job:remove()
      assert.is_false(scratch.exists(world.folder(job.key)))
    end))

    it("a pid that somebody else has now is nobody's supervisor", async(20, function()
      local job = box:job("kill -9 $PPID; sleep 60", { wait = 0 })
      until_true("it is lost", function()
        return job:status().state == "lost"
      end)
      local path = world.folder(job.key) .. "/owner"
      local owner = scratch.read(path)
      local own = scratch.read("/proc/self/stat"):match("^%d+")
      scratch.write(path, (owner:gsub("^%d+", own)))
      assert.equal("lost", job:status().state)
    end))

    it("after a reboot it is lost", async(function()
      local job = box:job("sleep 60", { wait = 0 })
      local path = world.folder(job.key) .. "/owner"
      local boot = scratch.read("/proc/sys/kernel/random/boot_id"):gsub("%s", "")
      local before = scratch.read(path)
      local from, to = before:find(boot, 1, true)
      scratch.write(path, before:sub(1, from - 1) .. "00000000-0000-4000-8000-000000000000" .. before:sub(to + 1))
      local status = job:status()
      assert.equal("lost", status.state)
      assert.equal("the machine was started anew", status.reason)
      scratch.write(path, before)
      assert.equal("running", job:status().state)
    end))

    it("one whose folder is gone says so, and can be removed", async(function()
      local job = box:job("true", { key = "gone", wait = 10 })
      scratch.sh("rm -r $(readlink -f " .. world.folder("gone") .. ")")
      for _, fn in ipairs({ job.status, job.read, job.kill }) do
        raises("conflict", fn, job)
      end
      raises("conflict", box.job, box, "true", { key = "gone" })
      assert.same({}, box:jobs())
      job:remove()
      assert.equal("x\n", box:job("echo x", { key = "gone", wait = 10 }).result.stdout)
    end))

    it("one whose records are damaged is lost", async(function()
      local job = box:job("true", { wait = 10 })
      scratch.sh(("cd %s && : >owner && : >exit"):format(world.folder(job.key)))
      assert.equal("lost", job:status().state)
      assert.equal("its records are damaged", job:status().reason)
    end))

    it("a record of which only a part is there yet is not believed", async(20, function()
      local job = box:job("echo 0123456789; until [ -e go ]; do sleep 0.02; done; exit 4", { wait = 0, key = "k" })
      assert.equal("0123456789\n", job:read({ wait = 10 }))
      local folder = world.folder("k")
      for part in ("= 13 0 5 "):gmatch("()") do
        scratch.sh(("printf '%%s' '%s' 1<>%s/exit"):format(("= 13 0 5 "):sub(1, part - 1), folder))
        assert.equal("running", job:status().state)
      end
      for _, case in ipairs({ { "8:0 8:", 0 }, { "8:0 8:0 ", 0 }, { "8:0 7:0 .", 0 }, { "8:0 8:0 .", 8 } }) do
        scratch.write(folder .. "/from", case[1] .. "\n")
        assert.equal(case[2], job:status().stdout_from, case[1])
      end
      scratch.write(world.dir .. "/go", "")
      assert.equal(4, job:wait().exit_code)
      local owner = world.record("k", "owner")
      scratch.write(folder .. "/exit", "")
      for _, size in ipairs({ 0, 3, 20, #owner:match("^[^.]*") }) do
        scratch.write(folder .. "/owner", owner:sub(1, size))
        assert.equal("its records are damaged", job:status().reason)
      end
    end))

    it("what a start leaves that was cut off is in nobody's way", async(function()
      scratch.sh(("mkdir -p -m 700 %s/.luarium/jobs && mkdir %s/.luarium/jobs/.job.abc"):format(world.home, world.home))
      assert.same({}, box:jobs())
      assert.equal("x\n", box:job("echo x", { key = "k", wait = 10 }).result.stdout)
    end))

    it("output of every byte is read by offset, in pieces of any size", async(20, function()
      local bytes = native.crypto.random(150000) .. ("\0"):rep(70000) .. ("long line "):rep(9000)
      scratch.write(world.dir .. "/bytes", bytes)
      local job = box:job({ "cat", world.dir .. "/bytes" }, { wait = 10 })
      assert.is_true(job:wait().stdout == bytes)
      for _, size in ipairs({ 1000003, 65536, 65535, 70001 }) do
        local at, parts = 0, {}
        repeat
          local piece, after = job:read({ offset = at, max = size })
          parts[#parts + 1], at = piece, after
        until not piece
        assert.is_true(table.concat(parts) == bytes, tostring(size))
      end
      assert.equal(bytes:sub(65536, 65540), job:read({ offset = 65535, max = 5 }))
    end))

    it("standard input that ends too early starts nothing", async(function()
      local argv = job_script.argv("start", "short", "cookie", "0", "print", "label", "0", "0", "0", "100", world.dir,
        "0", "cat")
      local result = assert(world.instance:call("exec", world.box, { argv = argv }, { cwd = "/", stdin = "short" }))
      assert.equal(job_script.codes.short, result.exit_code)
      assert.same({}, box:jobs())
      assert.equal("", scratch.sh("ls -A " .. world.home .. "/.luarium/jobs"))
    end))

    it("standard input is no file any more once it runs", async(function()
      local job = box:job("sleep 0.2; cat", { stdin = "top secret", wait = 0 })
      assert.equal("", scratch.sh("grep -rlF 'top secret' " .. world.home .. " || true"))
      assert.equal("top secret", job:wait().stdout)
    end))

    it("its folder is private", async(function()
      local job = box:job("true", { wait = 10 })
      assert.equal("700", scratch.sh("stat -L -c %a " .. world.folder(job.key)))
      assert.equal("700", scratch.sh("stat -c %a " .. world.home .. "/.luarium/jobs"))
    end))

    it("without setsid it works too", async(20, function()
      if kind.name == "busybox alone" then
        scratch.sh("rm " .. world.programs .. "/setsid")
      else
        scratch.sh(("cd %s && for f in bash cat chmod cp date dd env find grep head id ln ls mkdir mv printf readlink rm "
          .. "sleep tail touch tr wc; do ln -s $(command -v $f) .; done"):format(world.programs))
        world.instance.state.path = world.programs
      end
      local mark = word()
      local job = box:job(("sh -c 'while :; do sleep 1; done' %s & echo ready; wait"):format(mark), { wait = 0 })
      assert.equal("ready\n", job:read({ wait = 10 }))
      assert.equal("SIGKILL", job:kill().signal)
      assert.equal(0, count(mark))
      assert.equal(4, box:job("exit 4", { wait = 10 }).result.exit_code)
    end))

    it("without a HOME that can be written it uses TMPDIR", async(function()
      scratch.sh("mkdir -m 777 " .. world.dir .. "/tmp")
      world.instance.state.env = { HOME = "/proc/nowhere", TMPDIR = world.dir .. "/tmp" }
      local job = box:job("echo $HOME $TMPDIR", { wait = 10, key = "t" })
      assert.equal("/proc/nowhere " .. world.dir .. "/tmp\n", job.result.stdout)
      assert.equal("t", box:jobs()[1].key)
      world.instance.state.env = { HOME = "/proc/nowhere", TMPDIR = "/proc/nowhere" }
      local err = raises("io", box.job, box, "true")
      assert.equal("EACCES", err.name)
    end))

    it("what the command did to its own records is an error or a state, and holds nobody", async(30, function()
      for i, damage in ipairs({ "echo garbage >exit", "head -c 100000 /dev/zero >exit", ": >owner", "echo a b c >owner",
        "rm owner exit", "printf '%s\\n' '$(touch pwned) x y z - 1 2 c .' >owner", "rm out; mkfifo out",
        "rm exit; mkfifo exit", "rm out; ln -s /dev/zero out", "echo '= 0 0 0 0 0 x .' >exit", "rm err",
        "yes | head -c 100000 >spec" }) do
        local folder = world.folder("d" .. i)
        local go = world.dir .. "/go" .. i
        local job = box:job(("until [ -e %s ]; do sleep 0.01; done; cd %s/ && { %s; }; touch damaged; sleep 0.5")
          :format(go, folder, damage), { wait = 0, key = "d" .. i })
        scratch.write(go, "")
        until_true("it is damaged", function()
          return scratch.exists(folder .. "/damaged")
        end)
        local began = monotonic()
        luarium.try(job.status, job)
        luarium.try(job.read, job)
        luarium.try(box.jobs, box)
        assert.is_true(monotonic() - began < 20, damage)
        assert.is_false(scratch.exists(folder .. "/pwned"))
        scratch.sh(("f=$(readlink -f %s); until rm -rf \"$f\" %s 2>/dev/null; do :; done"):format(folder, folder))
      end
    end))
  end)
end
