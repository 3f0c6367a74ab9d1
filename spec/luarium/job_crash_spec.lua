--- Jobs when engines die without warning, and when several start the same one at once.
local async = require "spec.support.async"
local engines = require "spec.support.engines"
local state = require "spec.support.state"
local luarium = require "luarium"
local native = require "luarium.native"
local task = require "luarium.task"

local function crash_test(fn)
  return async(40, function()
    state.with(function(folder)
      luarium.with({}, function(box)
        fn(box, folder)
      end)
    end)
  end)
end

--- Runs the text in another engine, with `box` being this sandbox.
local function engine(box, folder, text)
  return engines.start(folder, ("local box = luarium.reconnect(%q) "):format(box.id) .. text)
end

--- Writes numbered lines for a second or so, and counts its runs.
local COUNTING = "echo x >>runs; i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); [ $((i % 10)) != 0 ] "
  .. "|| sleep 0.02; done; exit 7"

local function counted()
  local lines = {}
  for i = 0, 399 do
    lines[#lines + 1] = "line " .. i .. "\n"
  end
  return table.concat(lines)
end

describe("jobs", function()
  it("twenty starts at once from several engines are one run", crash_test(function(box, folder)
    local children, readers = {}, {}
    for e = 1, 4 do
      children[e], readers[e] = engine(box, folder, [[
        local starts = {}
        for i = 1, 5 do
          starts[i] = function() return box:job("echo x >>runs; sleep 0.3; echo done", { key = "k", wait = 20 }) end
        end
        print("ready")
        io.read()
        for _, job in ipairs(luarium.all(starts)) do
          print(tostring(job.started), job:wait().stdout)
        end
      ]])
    end
    for e = 1, 4 do
      assert.equal("ready", readers[e]())
    end
    for e = 1, 4 do
      assert(task.await(children[e]:write("go\n")))
    end
    local started = 0
    for e = 1, 4 do
      for _ = 1, 5 do
        local text = readers[e]()
        started = started + (text:find("^true") and 1 or 0)
        assert.truthy(text:find("\tdone$"), text)
        readers[e]() -- the rest of the line that print made two of
      end
      children[e]:close()
    end
    assert.equal(1, started)
    assert.equal("x\n", box:read_file("runs"))
  end))

  for _, moment in ipairs({ 0, 0.005, 0.02, 0.05, 0.2 }) do
    it(("an engine killed %g s into a start leaves it startable, once"):format(moment), crash_test(function(box, folder)
      local child, line = engine(box, folder, ([[
        print("go")
        box:job(%q, { key = "k", wait = 20, stdin = ("x"):rep(500000) })
      ]]):format(COUNTING))
      assert.equal("go", line())
      task.sleep(moment)
      engines.kill(child)
      local job = box:job(COUNTING, { key = "k", wait = 0, stdin = ("x"):rep(500000) })
      local result = job:wait()
      assert.equal(7, result.exit_code)
      assert.equal(counted(), result.stdout)
      assert.equal("x\n", box:read_file("runs"))
    end))
  end

  it("an engine killed while it follows loses no byte for the next one", crash_test(function(box, folder)
    local child, line = engine(box, folder, ([[
      box:job(%q, { key = "k", wait = 0 }):follow { on_stdout = function(chunk, offset)
        print(offset + #chunk)
      end }
    ]]):format(COUNTING))
    local offset
    repeat
      offset = tonumber(line())
    until offset > 500
    engines.kill(child)
    local parts = {}
    local result = box:attach("k"):follow({ stdout_offset = offset, on_stdout = function(chunk)
      parts[#parts + 1] = chunk
    end })
    assert.equal(7, result.exit_code)
    assert.equal(counted():sub(offset + 1), table.concat(parts))
    assert.equal("x\n", box:read_file("runs"))
  end))

  it("a time limit is held after the engine is dead", crash_test(function(box, folder)
    local child, line = engine(box, folder, [[
      box:job("trap '' TERM; echo $$ >pid; while :; do sleep 1; done", { key = "k", wait = 0, timeout = 1 })
      print("started")
    ]])
    assert.equal("started", line())
    engines.kill(child)
    local result = box:attach("k"):wait({ timeout = 20 })
    assert.is_true(result.timed_out)
    assert.is_false(engines.runs((box:read_file("pid"):gsub("%s", ""))))
  end))

  it("a start that is cancelled leaves it startable, once", crash_test(function(box)
    for i, seconds in ipairs({ 0, 0.003, 0.01, 0.03, 0.1 }) do
      local key, command = "k" .. i, ("echo x >>runs%d; sleep 0.1; echo done"):format(i)
      pcall(task.timeout, seconds, box.job, box, command, { key = key, wait = 20 })
      local result = box:job(command, { key = key, wait = 20 }):wait()
      assert.equal("done\n", result.stdout)
      assert.equal("x\n", box:read_file("runs" .. i))
    end
  end))

  it("a reader that is cancelled disturbs nothing", crash_test(function(box)
    local job = box:job(COUNTING, { key = "k", wait = 0 })
    for _ = 1, 5 do
      pcall(task.timeout, 0.05, job.follow, job)
    end
    assert.equal(counted(), job:wait().stdout)
  end))

  it("destroying the sandbox leaves no process of a job", crash_test(function(box)
    box:job("setsid sleep 1000 & sleep 1000", { wait = 0 })
    box:destroy()
    assert.same({}, (task.await(native.process.find("LUARIUM_SANDBOX=" .. box.id))))
  end))
end)
