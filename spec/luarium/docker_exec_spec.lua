local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local dockerd = require "spec.support.dockerd"
local marked = require "spec.support.marked"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local sandbox = require "luarium.sandbox"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local engine = peer("docker exec", dockerd, { prepare = boxes.configure })
if not engine then
  return
end

local with, error_of = boxes.with, boxes.error_of
local monotonic = native.loop.monotonic

describe("docker exec", function()
  it("takes bytes that are no text as arguments, variables and folder", with({}, function(box)
    local all = {}
    for i = 1, 255 do
      all[i] = string.char(i)
    end
    all = table.concat(all)
    local result = box:exec({ "printf", "%s|%s|", all, "tail\n\n" }, { env = { ODD = all } })
    assert.equal(all .. "|tail\n\n|", result.stdout)
    assert.equal(all, box:exec('printf %s "$ODD"', { env = { ODD = all } }).stdout)
    assert.equal("", box:exec("env | grep CODED", { env = { ODD = all } }).stdout)
    local folder = "/work/" .. "\255\254 \\0101 'x'"
    box:mkdir(folder)
    assert.equal(folder .. "\n", box:exec("pwd", { cwd = folder }).stdout)
    assert.equal("invalid", error_of(box.exec, box, "true", { env = { ["A.B"] = "\255" } }).kind)
  end))

  it("is not confused by output that looks like frames, marks or greetings", with({}, function(box)
    local hostile = { "\1\0\0\0\255\255\255\255", "\2\0\0\0\0\0\0\0", "\30", ("\30"):rep(5000),
      "\30" .. ("0"):rep(26) .. "00000", ("\0"):rep(8), "HTTP/1.1 101\r\n\r\n", "\16\17" }
    for _, bytes in ipairs(hostile) do
      local result = box:exec({ "cat" }, { stdin = bytes })
      assert.equal(bytes, result.stdout)
      assert.equal(0, result.exit_code)
      assert.equal(bytes, box:exec("cat >&2", { stdin = bytes }).stderr)
    end
  end))

  it("believes a mark that is forged no more than the command itself", with({}, function(box)
    -- the command reads the mark from its parent's arguments, writes it and goes on
    local word = marked.word()
    local result = box:exec({ "sh", "-c", [[
      mark=$(tr '\0' '\n' </proc/$PPID/cmdline | grep "$(printf '\036')")
      echo before; printf '%s00700' "$mark"; printf '%s00700' "$mark" >&2; sleep 600; : ]], word }, { timeout = 20 })
    assert.equal("before\n", result.stdout)
    assert.equal(7, result.exit_code)
    box:destroy()
    assert.equal(0, marked.count(word))
  end))

  it("ends with what the engine knows when its shell is killed", with({}, function(box)
    local result = box:exec("echo said; kill -9 $PPID; sleep 0.2", { timeout = 20 })
    assert.equal("said\n", result.stdout)
    assert.equal(137, result.exit_code)
  end))

  it("kills at its deadline what left its session, cleaned its environment, or belongs to somebody else",
    with({}, function(box)
      local word = marked.word()
      local script = ([[
        sleep 600 & (setsid sleep 600 &) ; (setsid env -i sleep 600 &); env -i sh -c 'sleep 600; : W' &
        sh -c 'trap "" TERM HUP INT; while :; do sleep 0.1; done; : W' &
        echo begun; sleep 600; : W]]):gsub("W", word):gsub("sleep 600", "sleep 61234")
      local began = monotonic()
      local result = box:exec({ "sh", "-c", script, word }, { timeout = 1 })
      assert.is_true(monotonic() - began < 30)
      assert.equal("begun\n", result.stdout)
      assert.is_true(result.timed_out)
      assert.equal(0, marked.count(word))
      -- without a session of theirs and without environment two of them are found by where they come from; the one that
      -- left both behind is what no scan can find (as with the local provider)
      local left = box:exec("ps -o args | grep -c '[s]leep 61234'").stdout
      assert.is_true(tonumber(left) <= 1, left)
      assert.equal("usable\n", box:exec("echo usable").stdout)
    end))

  it("kills what runs as another user than the container's", with({}, function(box)
    local word = marked.word()
    local result = box:exec({ "sh", "-c", "(setsid sh -c 'sleep 600; : ' " .. word .. " &); echo begun; sleep 600; :", word },
      { timeout = 1, user = "nobody" })
    assert.equal("begun\n", result.stdout)
    assert.is_true(result.timed_out)
    until_true("the end of the tree", function()
      return marked.count(word) == 0
    end)
  end))

  it("kills what has filled its container with processes", with({ options = { pids = 12 } }, function(box)
    local word = marked.word()
    local result = box:exec({ "sh", "-c", [[i=0; echo begun
      while [ $i -lt 8 ]; do sleep 600 & i=$((i + 1)); done
      while :; do :; done; : ]] .. word, word }, { timeout = 2 })
    assert.is_true(result.timed_out)
    assert.equal("begun\n", result.stdout)
    until_true("the end of the tree", function()
      return marked.count(word) == 0
    end)
    assert.equal("0\n", box:exec("ps -o args | grep -c '[s]leep 600'").stdout)
    local limit = engine:ask("GET", "/containers/" .. box.external_id .. "/json").HostConfig.PidsLimit
    assert.equal(12, limit)
  end))

  it("tells who was killed for want of memory", with({ memory = 32 * 1048576 }, function(box)
    local result = box:exec("echo begun; exec tail /dev/zero", { timeout = 60 })
    assert.equal("begun\n", result.stdout)
    assert.equal(137, result.exit_code)
    assert.is_true(result.oom)
    result = box:exec("kill -9 $$", { timeout = 20 })
    assert.equal(137, result.exit_code)
    assert.is_false(result.oom)
  end, 120))

  it("returns although somebody holds its output, and hinders no other command", with({}, function(box)
    local began = monotonic()
    for _ = 1, 3 do
      local result = box:exec("sleep 600 & echo done")
      assert.equal("done\n", result.stdout)
      assert.is_true(result.held_open)
      assert.equal("next\n", box:exec("echo next").stdout)
    end
    assert.is_true(monotonic() - began < 10, "Docker's own pause of four seconds each was not avoided")
    assert.is_false(box:exec("(exec >/dev/null 2>&1; : >apart; exec sleep 600) & until [ -e apart ]; do :; done; "
      .. "echo done").held_open)
  end))

  it("lets other commands run while one that has ended waits for its reader", with({}, function(box)
    for _, size in ipairs({ 1300000, 1500000, 3000000 }) do
      local beside
      local result = box:exec("head -c " .. size .. " /dev/zero", { timeout = 60, on_stdout = function()
        if not beside then
          task.sleep(0.3)
          beside = box:exec("echo beside", { timeout = 20 })
        end
      end })
      assert.equal("beside\n", beside.stdout)
      assert.equal(size, result.stdout_bytes)
      assert.equal(0, result.exit_code)
    end
  end, 200))

  it("loses nothing to a slow reader, in bounded memory", with({}, function(box)
    local process = box:spawn("head -c 67108864 /dev/zero | tr '\\0' x; echo end")
    task.sleep(1)
    collectgarbage()
    local before = collectgarbage("count")
    assert.is_true(before < 40000, "kilobytes of Lua: " .. before)
    local bytes, last = 0, ""
    while true do
      local chunk = process:read()
      if not chunk then
        break
      end
      bytes, last = bytes + #chunk, (last .. chunk:sub(-4)):sub(-4)
    end
    assert.equal(67108868, bytes)
    assert.equal("end\n", last)
    assert.equal(0, process:wait().exit_code)
    process:close()
  end, 120))

  it("passes every byte that is typed on a terminal, those that would detach too", with({}, function(box)
    local process = box:spawn("stty raw -echo; echo ready; head -c 6 | od -An -tx1", { pty = true })
    local text = ""
    while not text:find("ready", 1, true) do
      text = text .. process:read()
    end
    process:write("a\16\17b\16\17")
    while not text:find("61", 1, true) or not text:find("11%s*\r?\n") do
      local bytes = process:read()
      if not bytes then
        break
      end
      text = text .. bytes
    end
    assert.is_truthy(text:find("61 10 11 62 10 11", 1, true), text)
    assert.equal(0, process:wait().exit_code)
    process:close()
  end))

  it("is ended by the collector when nobody holds it any more", async(60, function()
    sandbox.with({ provider = "docker" }, function(box)
      local word = marked.word()
      do
        box:spawn({ "sh", "-c", "sleep 600; :", word })
        assert.is_true(marked.count(word) > 0)
      end
      if rawget(_G, "jit") then
        return -- tables have no finalizers there
      end
      collectgarbage()
      collectgarbage()
      until_true("its end", function()
        return marked.count(word) == 0
      end)
    end)
  end))

  it("sees stdin of 64 MiB and gives it back", with({}, function(box)
    local block, sent = native.crypto.random(1048576), 0
    local seen = 0
    local result = box:exec({ "cat" }, { timeout = 100, stdin = function()
      sent = sent + 1
      return sent <= 64 and block or nil
    end, on_stdout = function(bytes)
      seen = seen + #bytes
    end })
    assert.equal(64 * 1048576, seen)
    assert.equal(0, result.exit_code)
  end, 120))
end)

describe("docker: a container that is paused from outside", function()
  for _, how in ipairs({ "its time is over", "it is cancelled" }) do
    it("while a command runs in it: it is ended when " .. how .. ", and the container stays paused", boxes.with({},
      function(box)
        local word = marked.word()
        local beside = task.spawn_detached("a command", function()
          local argv = { "sh", "-c", "echo begun; sleep 600; :", word }
          if how == "its time is over" then
            return box:exec(argv, { timeout = 2 })
          end
          pcall(task.timeout, 2, box.exec, box, argv)
        end)
        until_true("its begin", function()
          return marked.count(word) > 0
        end)
        engine:ask("POST", "/containers/" .. box.external_id .. "/pause")
        local result = beside:wait()
        assert.equal(0, marked.count(word))
        assert.is_true(not result or result.timed_out and result.stdout == "begun\n")
        assert.equal("paused", box:info().status)
        box:resume()
        assert.equal("usable\n", box:exec("echo usable").stdout)
      end))
  end
end)
