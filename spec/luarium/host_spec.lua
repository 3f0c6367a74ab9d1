--- What hosts with a loop of their own use: tasks started from anywhere, steps, the descriptor, a clean end.
local async = require "spec.support.async"
local event = require "luarium.event"
local state = require "spec.support.state"
local task = require "luarium.task"
local luarium = require "luarium"

--- Steps until the condition holds, sleeping between steps as a host does; fails after a bounded number of them.
local function step_until(condition)
  for _ = 1, 100000 do
    if condition() then
      return
    end
    task.step(0.001)
  end
  error("the condition never came true:\n" .. task.dump())
end

describe("a host", function()
  it("starts a task from outside and steps until it is done", function()
    local order = {}
    local started = task.start(function(a, b)
      task.sleep(0.01)
      order[#order + 1] = "body"
      return a + b, "second"
    end, 1, 2)
    started:on_done(function(done)
      order[#order + 1] = "on_done " .. tostring(done:done())
    end)
    assert.is_nil(started:result())
    assert.is_false(started:done())
    step_until(function()
      return started:done()
    end)
    assert.same({ true, 3, "second" }, { started:result() })
    assert.same({ "body", "on_done true" }, order)
    started:on_done(function()
      order[#order + 1] = "late"
    end)
    assert.equal("late", order[3])
  end)

  it("is told when a debug hook steps or waits while a step is at work", function()
    local poll, faults = require("luarium.native").loop.poll, {}
    debug.sethook(function()
      if debug.getinfo(2, "f").func == poll then
        debug.sethook()
        for _, call in ipairs({ function()
          task.step(0)
        end, function()
          task.sleep(0.001)
        end }) do
          local _, err = pcall(call)
          faults[#faults + 1] = err and err.kind .. ": " .. err.message
        end
      end
    end, "c")
    task.step(0)
    debug.sethook()
    assert.equal(2, #faults)
    for _, fault in ipairs(faults) do
      assert.truthy(fault:find("^invalid: the loop was asked to go on while it is at work"), fault)
    end
    task.step(0) -- and goes on
    task.sleep(0.001)
  end)

  it("may start one from a coroutine of its own, and block in one", function()
    local log = {}
    local co = coroutine.wrap(function()
      local started = task.start(function()
        task.sleep(0.001)
        return "from the task"
      end)
      while not started:done() do
        coroutine.yield("not yet")
      end
      log[1] = select(2, started:result())
      task.sleep(0.001) -- drives the loop: the host's coroutine does not yield here
      return "ended"
    end)
    assert.equal("not yet", co())
    local last
    step_until(function()
      last = co()
      return last == "ended"
    end)
    assert.same({ "from the task" }, log)
  end)

  it("gets a failure from result, and from wait as an error", function()
    local started = task.start(function()
      error("on purpose", 0)
    end)
    started:on_done(function() end)
    step_until(function()
      return started:done()
    end)
    local ok, err = started:result()
    assert.is_false(ok)
    assert.truthy(tostring(err):find("on purpose", 1, true))
    assert.has_error(function()
      started:wait()
    end)
  end)

  it("is told of failures that nobody asks for", function()
    local seen = {}
    local off = event.on("log", function(record)
      seen[#seen + 1] = record.level .. ": " .. record.message
    end)
    local failed = task.start(function()
      error("unseen", 0)
    end)
    local broken = task.start(function() end)
    broken:on_done(function()
      error("broken observer", 0)
    end)
    step_until(function()
      return failed:done() and broken:done()
    end)
    off()
    assert.equal(2, #seen)
    assert.truthy(seen[1]:find("error: .*unseen"))
    assert.truthy(seen[2]:find("error: .*broken observer"))
  end)

  it("cancels a task, whose cleanup still runs", function()
    local cleaned = false
    local started = task.start(function()
      task.scope(function(scope)
        scope:defer(function()
          task.sleep(0.005)
          cleaned = true
        end)
        task.sleep(60)
      end)
    end)
    task.step(0)
    started:cancel("enough")
    step_until(function()
      return started:done()
    end)
    local ok, err = started:result()
    assert.is_false(ok)
    assert.equal("cancelled", err.kind)
    assert.is_true(cleaned)
  end)

  it("may not wait in a function that runs between tasks", function()
    local message
    local started = task.start(function() end)
    started:on_done(function()
      local _, err = pcall(task.sleep, 1)
      message = tostring(err)
      local _, err_step = pcall(task.step, 0)
      assert(tostring(err_step):find("step: ", 1, true))
    end)
    step_until(function()
      return started:done()
    end)
    assert.truthy(message:find("luarium.task.start", 1, true), message)
  end)

  it("is refused steps inside a task, and wrong budgets", async(5, function()
    for _, call in ipairs({
      function() task.step(0) end, function() task.shutdown(1) end,
    }) do
      local ok, err = pcall(call)
      assert.is_false(ok)
      assert.equal("invalid", err.kind)
    end
    assert.has_error(function()
      task.step("soon")
    end)
    assert.has_error(function()
      task.step(-1)
    end)
  end))
end)

describe("a host that sleeps in a poll of its own", function()
  it("knows when to come back", function()
    task.step(0)
    assert.is_nil(task.next_wakeup())
    local started = task.start(task.sleep, 5)
    assert.equal(0, task.next_wakeup()) -- ready to begin
    task.step(0)
    local seconds = task.next_wakeup()
    assert(seconds > 4 and seconds <= 5, tostring(seconds))
    started:cancel()
    started:on_done(function() end)
    step_until(function()
      return started:done()
    end)
    assert.is_nil(task.next_wakeup())
  end)

  it("has one descriptor for life", function() -- that it wakes a poll is the spec of docs/embedding/poll_loop.c
    local fd = task.fd()
    assert(fd > 2)
    task.run(task.sleep, 0.001)
    assert.equal(fd, task.fd())
  end)
end)

describe("shutdown", function()
  it("cancels every task, waits for their cleanup and leaves no sandbox", function()
    state.with(function()
      local boxes = {}
      for i = 1, 3 do
        task.start(function()
          luarium.with({ name = "box" .. i }, function(box)
            boxes[#boxes + 1] = box
            box:exec("sleep 1000")
          end)
        end)
      end
      step_until(function()
        return #boxes == 3
      end)
      assert.equal(0, task.shutdown(10))
      assert.same({}, luarium.list())
      for _, box in ipairs(boxes) do
        assert.equal("destroyed", box.status)
      end
    end)
  end)

  it("tells how many tasks did not end in time", function()
    local go = false
    local stubborn = task.start(function()
      task.shield(60, function()
        while not go do
          task.sleep(0.005)
        end
      end)
    end)
    task.step(0)
    assert.equal(1, task.shutdown(0.05))
    go = true
    step_until(function()
      return stubborn:done()
    end)
  end)
end)
