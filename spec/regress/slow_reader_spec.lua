--- What happened when nobody read our output: the loop stood still, and with it timeouts and signals.
local json = require "luarium.json"
local program = require "spec.support.program"
local task = require "luarium.task"

local await = task.await

local within = program.within(60)

--- Starts `yes` in the sandbox with a timeout, and returns when that has ended it although its output was not read.
local function after_timeout(place, more)
  place:ok({ "create", "--name", "demo", "--cwd", place.dir })
  local process = place:spawn({ "exec", "--timeout", "1", "demo", "--", "sh", "-c", "echo $$ >pid; exec yes" }, more)
  local pid
  repeat
    task.sleep(0.02)
    pid = (place:read("pid") or ""):match("^(%d+)\n")
    local stat = pid and place:run({}, { argv = { "cat", "/proc/" .. pid .. "/stat" } })
  until stat and (stat.exit_code ~= 0 or stat.stdout:match("%) Z "))
  return process
end

local function code_of(process)
  local code = await(process:wait()).exit_code
  process:close()
  return code
end

describe("output that nobody reads", function()
  it("lets a timeout end the command, and comes when it is read", within(function(place)
    local process = after_timeout(place)
    local text = program.read_all(process)
    assert.is_true(#text > 65536)
    assert.equal("", (text:gsub("y\n", ""):gsub("luarium: stopped after 1 s\n", "")))
    assert.equal(124, code_of(process))
  end))

  for name, more in pairs({ ["a pipe"] = {}, ["a terminal"] = { pty = true } }) do
    it("lets a signal end the program: " .. name, within(function(place)
      local process = after_timeout(place, more)
      process:kill("TERM")
      assert.equal(143, code_of(process))
    end))
  end

  it("lets a signal end the program that has only to write what it knows", within(function(place)
    place:ok({ "create", "--name", "demo" })
    place:ok({ "exec", "demo", "--", "seq", "1", "200000" })
    local process = place:spawn({ "logs", "demo", "-f" })
    assert(await(process:read(1))) -- it is at it
    process:kill("INT")
    assert.equal(130, code_of(process))
  end))

  it("lets other tasks of a script go on, and comes whole when it is read", within(function(place)
    place:write("script.lua", [[
      luarium.with({}, function(box)
        luarium.all({
          function() box:exec("echo $$ >pid; exec yes", { timeout = 1, cwd = input.dir }) end,
          function()
            local pid, file
            repeat
              luarium.sleep(0.02)
              pid = pid or io.open("pid") and io.open("pid"):read("n")
              file = pid and io.open(("/proc/%d/cmdline"):format(pid))
            until pid and not (file and file:read(1))
            io.open("went-on", "w"):close()
          end,
        })
      end)]])
    local process = place:spawn({ "run", "--json", "script.lua", "dir=" .. place.dir })
    repeat
      task.sleep(0.02)
    until place:read("went-on")
    local events = 0
    for line in program.read_all(process):gmatch("[^\n]+") do
      assert(json.decode(line))
      events = events + 1
    end
    assert.is_true(events > 10)
    assert.equal(0, code_of(process))
  end))

  it("comes whole when the reader is slow, and of two streams into one place too", within(function(place)
    place:ok({ "create", "--name", "demo" })
    local slow = "{ head -c 1 >one; sleep 0.3; cat one -; }"
    local line = ([["$0" exec demo 'seq 300000' | %s | sha256sum; seq 300000 | sha256sum
      "$0" exec demo 'seq 300000 & seq 300000 >&2; wait' 2>&1 | %s | wc -c; { seq 300000; seq 300000; } | wc -c]])
      :format(slow, slow)
    local result = place:run({}, { argv = { "bash", "-c", line, place.program } })
    local hash, wanted, size, wanted_size = result.stdout:match("^(%S+)%s+%-\n(%S+)%s+%-\n(%d+)\n(%d+)\n$")
    assert.same({ wanted, wanted_size }, { hash, size })
  end))
end)
