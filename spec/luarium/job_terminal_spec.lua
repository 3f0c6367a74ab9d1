--- Jobs that have a terminal, under every kind of shell and tools. spec/cli/kept_shell_spec.lua has the people's side.
local async = require "spec.support.async"
local emulated = require "spec.support.emulated"
local scratch = require "spec.support.scratch"
local job_world = require "spec.support.job_world"

local raises, until_true = job_world.raises, job_world.until_true

--- What is read from a connection until the text so far has the pattern.
local function read_until(process, pattern)
  local text = ""
  while not text:find(pattern) do
    text = text .. assert(process:read(), "the connection ended with: " .. text)
  end
  return text
end

local reason = scratch.sh("command -v script || true") == "" and "script of util-linux is not installed"
if reason then
  describe("jobs with a terminal", function()
    pending(reason)
  end)
  return
end

for _, kind in ipairs(emulated.kinds) do
  describe("jobs with a terminal under " .. kind.name, function()
    local world, box

    before_each(function()
      world = job_world.new({ kind = kind })
      box = world.sandbox
      if kind.name == "busybox alone" then -- Debian's has none of its own
        scratch.sh(("cd %s && { [ -e script ] || ln -s $(command -v script) script; }"):format(world.programs))
      end
    end)

    after_each(function()
      job_world.drop(world)
    end)

    it("have the size that was asked for, and the terminal's own way with lines", async(30, function()
      local result = box:job("stty size; test -t 0 && test -t 1 && test -t 2 && tty; echo $TERM",
        { pty = true, cols = 33, rows = 11, wait = 20 }).result
      assert.truthy(result.stdout:find("^11 33\r\n/dev/pts/%d+\r\nxterm%-256color\r\n$"), result.stdout)
      assert.same({ 0, "", true }, { result.exit_code, result.stderr, result.terminal })
    end))

    it("read what is typed, and go on when nobody is connected", async(30, function()
      local job = box:job("stty -echo; echo ready; while read -r word; do echo \"<$word>\"; done", { pty = true, wait = 0 })
      local first = job:connect()
      read_until(first, "ready")
      first:write("one\n")
      read_until(first, "<one>")
      first:close()
      job:write("two\n")
      until_true("the word has arrived", function()
        return job:read({ offset = 0 }):find("<two>")
      end)
      local offset = job:status().stdout_bytes
      local again = job:connect({ offset = offset })
      job:write("three\n")
      assert.equal("<three>\r\n", read_until(again, "\n"))
      again:write("\4")
      assert.equal(0, job:wait({ timeout = 20 }).exit_code)
      again:close()
      local err = raises("conflict", job.write, job, "x")
      assert.equal("EPIPE", err.name)
    end))

    it("are told of another size, and when asked also of the same one", async(30, function()
      local job = box:job("trap 'echo now $(stty size)' WINCH; stty -echo; echo ready; while :; do sleep 0.02; done",
        { pty = true, wait = 0 })
      local connection = job:connect()
      read_until(connection, "ready")
      job:resize(100, 40)
      read_until(connection, "now 40 100")
      job:resize(100, 40, { redraw = true })
      read_until(connection, "now 40 100")
      connection:close()
      assert.equal("SIGKILL", job:kill().signal)
      job:resize(50, 20)
      raises("invalid", job.resize, job, 0, 20)
      raises("invalid", job.resize, job, 20)
    end))

    it("get signals from keys, and every argument as it is", async(30, function()
      local words = { "a b", "quote'\"`", "new\nline", "--", "$(id)", "\\", "", "*" }
      local argv = { "printf", "<%s>" }
      for _, word in ipairs(words) do
        argv[#argv + 1] = word
      end
      local result = box:job(argv, { pty = true, wait = 20 }).result
      assert.equal("<" .. table.concat(words, "><"):gsub("\n", "\r\n") .. ">", result.stdout)
      local job = box:job("echo ready; exec sleep 1000", { pty = true, wait = 0 })
      until_true("it runs", function()
        return job:read({ wait = 1 }):find("ready")
      end)
      job:write("\3")
      assert.equal(130, job:wait().exit_code)
      assert.equal(127, box:job({ "exit", "7" }, { pty = true, wait = 20 }).result.exit_code)
    end))

    it("keep the environment as it was given", async(30, function()
      local result = box:job("env", { pty = true, wait = 20, env = { SHELL = "/x y", code = "1", TERM = "vt100" } }).result
      assert.truthy(result.stdout:find("SHELL=/x y\r\n", 1, true), result.stdout)
      assert.truthy(result.stdout:find("code=1\r\n", 1, true), result.stdout)
      assert.truthy(result.stdout:find("TERM=vt100\r\n", 1, true), result.stdout)
      assert.falsy(result.stdout:find("LUARIUM_JOB_", 1, true), result.stdout)
      assert.falsy(box:job("env", { pty = true, wait = 20 }).result.stdout:find("SHELL="))
    end))

    it("write all that they have to say at their end", async(60, function()
      local job = box:job("seq 20000", { pty = true, wait = 20 })
      local connection = job:connect({ offset = 7 })
      local text = read_until(connection, "\n20000\r\n$")
      connection:close()
      assert.equal(job:wait().stdout:sub(8), text)
      assert.equal(128894, job:wait().stdout_bytes)
    end))

    it("leave nothing running, and leave when they are killed", async(30, function()
      local mark = job_world.word()
      local job = box:job({ "sh", "-c", "trap '' HUP TERM INT; while :; do sleep 0.1; done", mark }, { pty = true, wait = 0 })
      until_true("it runs", function()
        return job_world.count(mark) > 0
      end)
      local connection = job:connect()
      job:kill()
      connection:close()
      until_true("all are gone", function()
        return job_world.count(mark) == 0 and job_world.count(job.key) == 0
      end)
    end))

    it("are refused where nobody can hold a terminal, and nothing is left", async(30, function()
      if kind.name ~= "busybox alone" then
        return
      end
      scratch.sh(("rm %s/script"):format(world.programs))
      local err = raises("unsupported", box.job, box, "true", { pty = true })
      assert.equal("script", err.data.tool)
      assert.same({}, box:jobs())
    end))

    it("are not those without one", async(30, function()
      local job = box:job("cat", { key = "plain", wait = 10 })
      assert.is_false(job:status().terminal)
      for _, name in ipairs({ "write", "resize", "connect" }) do
        local arguments = { write = { "x" }, resize = { 80, 24 }, connect = {} }
        local err = raises("conflict", job[name], job, arguments[name][1], arguments[name][2])
        assert.equal("ENOTTY", err.name)
      end
      raises("conflict", box.job, box, "cat", { key = "plain", pty = true })
      raises("invalid", box.job, box, "cat", { pty = true, stdin = "x" })
      raises("invalid", box.job, box, "cat", { cols = 80 })
    end))
  end)
end
