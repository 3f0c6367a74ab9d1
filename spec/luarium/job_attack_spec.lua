--- Jobs whose commands, tools and neighbours behave badly, under every kind of shell.
local async = require "spec.support.async"
local emulated = require "spec.support.emulated"
local job_world = require "spec.support.job_world"
local lfs = require "lfs"
local native = require "luarium.native"
local scratch = require "spec.support.scratch"
local script = require "luarium.job.script"

local monotonic = native.loop.monotonic
local count, until_true, word = job_world.count, job_world.until_true, job_world.word

--- The pids of the cats that write a job's output down: they are in its supervisor's session.
local function taps(world, key)
  local pids, owner = {}, world.owner(key)
  for pid in lfs.dir("/proc") do
    local file = pid:find("^%d+$") and io.open("/proc/" .. pid .. "/stat", "rb")
    if file then
      local state, session = (file:read("*a") or ""):match("^%d+ %(cat%) (%a) %d+ %d+ (%d+)")
      if session == owner and state ~= "Z" then
        pids[#pids + 1] = pid
      end
      file:close()
    end
  end
  return pids
end

--- grep as busybox builds it by default: no -z, but the end of a string ends a line.
local GREP_WITHOUT_Z = [[#!/bin/sh
case $1 in -*z*) echo "grep: invalid option -- 'z'" >&2; exit 2 ;; esac
flags=$1
shift
exec REAL "${flags}z" "$@"
]]

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

    --- Puts another program in the place of a tool.
    local function replace(tool, text)
      local folder = world.programs
      local real = kind.name:find("busybox") and scratch.sh("command -v busybox") .. " " .. tool
        or scratch.sh("command -v " .. tool)
      scratch.sh(("rm -f %s/%s"):format(folder, tool))
      scratch.write(folder .. "/" .. tool, (text:gsub("REAL", real)))
      scratch.sh(("chmod 755 %s/%s"):format(folder, tool))
    end

    it("a command that opens its streams by name loses nothing of what was written before", async(20, function()
      local job = box:job("echo one >&2; echo two >/dev/stderr; echo three >&2; echo four >/proc/self/fd/1; echo five; "
        .. "echo six >/dev/stdout; echo seven | tee /dev/stderr", { wait = 10 })
      local result = job:wait({ timeout = 10 })
      assert.equal("one\ntwo\nthree\nseven\n", result.stderr)
      assert.equal("four\nfive\nsix\nseven\n", result.stdout)
    end))

    it("the same where the shell has no pipes to give away", async(20, function()
      world.instance.state.env.BASH_COMPAT = "50" -- here-documents are files
      for _, has_fifos in ipairs({ true, false }) do
        if not has_fifos then
          replace("mkfifo", "#!/bin/sh\nexit 1\n")
        end
        local result = box:job("echo one; echo two >&2; echo three; exit 5", { wait = 10 }):wait({ timeout = 10 })
        assert.equal("one\nthree\n", result.stdout)
        assert.equal("two\n", result.stderr)
        assert.equal(5, result.exit_code)
        assert.is_false(result.disk_full)
        if has_fifos then
          assert.equal("one\ntwo\n", box:job("echo one; echo two >/dev/stdout", { wait = 10 }):wait().stdout)
        end
      end
    end))

    it("all of it is there when the end is, also when somebody goes on holding the streams", async(30, function()
      for i = 1, 5 do
        local result = box:job("(sleep 60 &) ; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 3",
          { wait = 10, key = "k" .. i }):wait({ timeout = 10 })
        assert.equal(3, result.exit_code)
        assert.equal(300000, result.stdout_bytes)
        assert.equal(300000, result.stderr_bytes)
        assert.is_true(result.duration < 30, tostring(result.duration))
        assert.is_false(result.disk_full)
      end
    end))

    it("one that closes its streams, or goes on in the background, ends as it should", async(20, function()
      assert.equal(4, box:job("exec >&- 2>&-; exit 4", { wait = 10 }):wait({ timeout = 10 }).exit_code)
      local mark = word()
      local job = box:job(("(sh -c 'sleep 0.5; echo late; sleep 30' %s &); echo early"):format(mark), { wait = 10 })
      assert.equal("early\n", job:wait({ timeout = 10 }).stdout)
      until_true("what it left has written", function()
        return job:read({ offset = 6 }) == "late\n"
      end)
      job:kill()
      assert.equal(0, count(mark))
    end))

    it("who writes its output down is replaced when it is killed, and that is told", async(30, function()
      scratch.sh("mkfifo " .. world.dir .. "/go")
      local job = box:job("echo before; read x <go; i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done; exit 6",
        { wait = 0, key = "k" })
      until_true("it has written", function()
        return job:read() == "before\n"
      end)
      local pids = taps(world, "k")
      assert.equal(2, #pids)
      scratch.sh("kill -9 " .. table.concat(pids, " "))
      until_true("others write it down", function()
        local now = taps(world, "k")
        for _, pid in ipairs(now) do -- one that is about to die could still take something with it
          if pid == pids[1] or pid == pids[2] then
            return false
          end
        end
        return #now == 2
      end)
      scratch.sh("echo >" .. world.dir .. "/go")
      local result = job:wait({ timeout = 20 })
      assert.equal(6, result.exit_code)
      assert.is_true(result.disk_full)
      assert.equal("29999\n", result.stdout:sub(-6))
      assert.equal(7 + 168890, result.stdout_bytes)
    end))

    it("one alone takes its place, also when the command ends at that moment", async(30, function()
      local begun = world.dir .. "/begun"
      local text = script.texts.supervise
      finally(function()
        script.texts.supervise = text
      end)
      local function inject(place, replacement)
        local places
        script.texts.supervise, places = script.texts.supervise:gsub(place, replacement)
        assert.equal(1, places)
      end
      inject("\ntap%(%) {\n", ("%%0echo $1 >>%s\n"):format(begun))
      inject("\nset_value $1.tap \"$tap:", ("\n[ $1 = err ] || { echo slow >>%s; nap 1; }%%0"):format(begun))
      scratch.sh("mkfifo " .. world.dir .. "/go")
      local job = box:job("read x <go; head -c 300000 /dev/zero", { wait = 0, key = "k" })
      until_true("it is written down", function()
        return #taps(world, "k") == 2
      end)
      scratch.sh("kill -9 " .. table.concat(taps(world, "k"), " "))
      until_true("others have begun, and nobody knows yet which", function()
        return scratch.read(begun):find("slow\n", 1, true)
      end)
      scratch.sh("echo >" .. world.dir .. "/go")
      assert.equal(300000, job:wait({ timeout = 20 }).stdout_bytes)
      local _, outs = scratch.read(begun):gsub("out\n", "")
      assert.equal(2, outs)
    end))

    it("a kill comes to an end although those that look after it were stopped", async(30, function()
      local job = box:job("kill -STOP $PPID; kill -STOP $$; sleep 60", { wait = 0, key = "k" })
      until_true("they are stopped", function()
        return scratch.read("/proc/" .. world.owner("k") .. "/stat"):find(") T ", 1, true)
      end)
      local began = monotonic()
      local status = job:kill()
      assert.equal("finished", status.state)
      assert.equal("SIGKILL", status.signal)
      assert.is_true(monotonic() - began < 15)
    end))

    it("with a grep that knows no -z kills what left its session and its parent", async(30, function()
      replace("grep", GREP_WITHOUT_Z)
      local mark = word()
      local setsid = scratch.sh("command -v setsid")
      local job = box:job(("(%s sh -c 'while :; do sleep 1; done' %s &); echo ready; sleep 60"):format(setsid, mark),
        { wait = 0 })
      assert.equal("ready\n", job:read({ wait = 10 }))
      assert.equal("SIGKILL", job:kill().signal)
      assert.equal(0, count(mark))
    end))

    it("kill finds a descendant whose name has the end of a line in it", async(20, function()
      local mark = word()
      scratch.sh(("cp $(command -v dash) '%s/a\nb) S'"):format(world.dir))
      local job = box:job(("env -i PATH=$PATH setsid './a\nb) S' -c 'while :; do sleep 1; done' %s & wait"):format(mark),
        { wait = 0 })
      until_true("it runs", function()
        return scratch.sh("grep -lx 'b) S' /proc/[0-9]*/comm 2>/dev/null || true") ~= ""
      end)
      job:kill()
      assert.equal(0, count(mark))
    end))

    it("a kill of one whose records are gone hits no other", async(20, function()
      local other = box:job("sleep 61", { wait = 0, key = "other" })
      local job = box:job("sleep 62", { wait = 0, key = "k" })
      scratch.write(world.folder("k") .. "/owner", "")
      require("luarium").try(job.kill, job)
      assert.equal("running", other:status().state)
      other:kill()
    end))

    it("a clock that is set makes no job quiet that has only begun", async(20, function()
      replace("date", '#!/bin/sh\ncase $* in +%s) echo $(($(REAL +%s) + SHIFT)) ;; *) exec REAL "$@" ;; esac\n')
      local job = box:job("echo begun; sleep 1000", { wait = 0 })
      until_true("it has begun", function()
        return job:read() == "begun\n"
      end)
      for _, shift in ipairs({ 3600, -3600 }) do
        world.instance.state.env.SHIFT = tostring(shift)
        local status = job:status({ quiet = 600 })
        assert.equal("running", status.state)
        assert.is_true(status.idle >= 0 and status.idle < 600, tostring(status.idle))
      end
      job:kill()
    end))

    it("one that puts other things where its records are is seen, killed and removed all the same", async(60, function()
      for what, state in pairs({
        ["mkdir d d/e; ln -s / root; mkfifo p"] = "running",
        ["rm out err note; mkfifo out note probe; mkdir err"] = "running",
        ["rm *; for f in spec owner exit note kill beat leader from flags out err; do mkfifo $f; done"] = "lost",
        ["rm *; for f in spec owner exit note kill beat leader from flags out err; do mkdir $f; done"] = "lost",
        ["rm owner; mkfifo owner"] = "lost",
        ["rm *"] = "lost",
      }) do
        local name = word()
        local job = box:job({ "sh", "-c", "echo begun; sleep 1000; :", name }, { key = "k" })
        scratch.sh(("cd %s && { %s; }"):format(world.folder("k"), what))
        assert.equal(state, job:status().state, what)
        assert.equal(1, #box:jobs(), what)
        job:kill()
        local result = job:wait({ timeout = 20 })
        assert.equal(state == "lost", result and result.lost, what)
        job:remove()
        assert.equal(0, count(name), what)
      end
    end))

    it("one that takes its own folder away ends, and leaves no process", async(20, function()
      local mark = word()
      local go = world.dir .. "/go" -- not before its start was answered, which would then be cut
      local job = box:job({ "sh", "-c", 'until [ -e "$1" ]; do sleep 0.01; done; echo a; rm -rf "$(readlink -f "$0")"; '
        .. "seq 1 100000; sleep 0.5; exit 3", world.folder("k"), go, mark }, { wait = 0, key = "k" })
      scratch.write(go, "")
      until_true("all of it has ended", function()
        return count(mark) == 0
      end)
      job_world.raises("conflict", job.status, job)
      job:remove()
    end))
  end)
end
