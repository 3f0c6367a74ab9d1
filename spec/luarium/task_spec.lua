local async = require "spec.support.async"
local errors = require "luarium.error"
local native = require "luarium.native"
local task = require "luarium.task"

local now = native.loop.monotonic

local function kind_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert(errors.is(err), "expected an error object, got " .. tostring(err))
  return err.kind, err
end

describe("task", function()
  it("runs a plain call that waits outside of a task", function()
    local began = now()
    task.sleep(0.03)
    assert.is_true(now() - began >= 0.03)
  end)

  it("returns as soon as the task has ended, whatever else is under way", function()
    local other = task.spawn_detached("other", task.sleep, 5)
    local began = now()
    task.run(task.sleep, 0.01)
    task.run(function() end)
    assert.is_true(now() - began < 1)
    task.cancel(other)
    pcall(other.wait, other)
    assert.equal(0, task.live())
  end)

  it("returns every result of a function, nils included", async(function()
    assert.same({ n = 3, nil, 2, nil }, { n = select("#", task.run(function()
      return nil, 2, nil
    end)), task.run(function()
      return nil, 2, nil
    end) })
  end))

  it("runs sleeps side by side", async(function()
    local began = now()
    local results = task.all({
      a = function()
        task.sleep(0.1)
        return 1
      end,
      function()
        task.sleep(0.1)
        return 2
      end,
    })
    assert.same({ a = 1, 2 }, results)
    assert.is_true(now() - began < 0.19)
  end))

  it("refuses wrong arguments with what was expected", function()
    for _, case in ipairs({
      { task.sleep, "soon" }, { task.sleep, -1 }, { task.sleep, 0 / 0 }, { task.timeout, "1", print }, { task.all, 5 },
      { task.all, { 5 } }, { task.race, {} }, { task.map, 5, print }, { task.map, {}, "f" },
      { task.map, {}, print, { concurency = 2 } },
      { task.run, "f" }, { task.scope, {} }, { task.timeout, 1, "f" }, { task.shield, 1 },
    }) do
      local kind, err = kind_of(case[1], case[2], case[3], case[4])
      assert.equal("invalid", kind)
      assert.truthy(err.message:find("expected", 1, true) or err.message:find("did you mean", 1, true))
    end
  end)

  describe("scope", function()
    it("waits for its children", async(function()
      local log = {}
      task.scope(function(scope)
        for i = 3, 1, -1 do
          scope:spawn(function()
            task.sleep(i * 0.01)
            log[#log + 1] = i
          end)
        end
      end)
      assert.same({ 1, 2, 3 }, log)
    end))

    it("cancels the others when one fails, and raises the first failure", async(function()
      local sibling
      local ok, err = pcall(task.scope, function(scope)
        scope:spawn(function()
          local _, why = pcall(task.sleep, 60)
          sibling = why
          error(why, 0)
        end)
        scope:spawn(function()
          error("boom", 0)
        end)
        task.sleep(60)
      end)
      assert.is_false(ok)
      assert.equal("boom", err.message)
      assert.equal("cancelled", sibling.kind)
      assert.equal("boom", sibling.cause.message)
    end))

    it("runs deferred functions last one first, also after a failure, and they may wait", async(function()
      local log = {}
      pcall(task.scope, function(scope)
        scope:defer(function()
          task.sleep(0.01)
          log[#log + 1] = "first"
        end)
        scope:defer(function()
          task.sleep(0.01)
          log[#log + 1] = "second"
        end)
        error("no")
      end)
      assert.same({ "second", "first" }, log)
    end))

    it("runs deferred functions when an outer deadline passes", async(function()
      local cleaned
      local kind = kind_of(task.timeout, 0.02, task.scope, function(scope)
        scope:defer(function()
          task.sleep(0.02)
          cleaned = true
        end)
        task.sleep(60)
      end)
      assert.equal("timeout", kind)
      assert.is_true(cleaned)
    end))

    it("raises a failure of the cleanup when the body went well", async(function()
      local ok, err = pcall(task.scope, function(scope)
        scope:defer(error, "cleanup failed", 0)
        return 1
      end)
      assert.is_false(ok)
      assert.equal("cleanup failed", err.message)
    end))

    it("cancels on request and passes tables raised by scripts unchanged", async(function()
      local mine = { code = 7 }
      local ok, err = pcall(task.scope, function(scope)
        scope:spawn(error, mine)
        task.sleep(60)
      end)
      assert.is_false(ok)
      assert.equal(mine, err)
      local kind = kind_of(task.scope, function(scope)
        scope:cancel("enough")
        task.sleep(60)
      end)
      assert.equal("cancelled", kind)
    end))

    it("refuses to spawn after its end", async(function()
      local kept
      task.scope(function(scope)
        kept = scope
      end)
      assert.equal("invalid", (kind_of(kept.spawn, kept, print)))
    end))
  end)

  describe("cancellation", function()
    it("is raised again at every wait", async(function()
      local caught = 0
      kind_of(task.timeout, 0.01, function()
        for _ = 1, 3 do
          local ok, err = pcall(task.sleep, 60)
          if not ok and err.kind == "timeout" then
            caught = caught + 1
          end
        end
        task.sleep(60)
      end)
      assert.equal(3, caught)
    end))

    it("lets shielded cleanup wait, but not for ever", async(function()
      local shielded, limited
      kind_of(task.timeout, 0.01, function()
        pcall(task.sleep, 60)
        task.shield(5, task.sleep, 0.02)
        shielded = true
        limited = kind_of(task.shield, 0.02, task.sleep, 60)
        task.sleep(60)
      end)
      assert.is_true(shielded)
      assert.equal("timeout", limited)
    end))

    it("stops a single task and is seen by who waits for it", async(function()
      local kind
      task.scope(function(scope)
        local child = scope:spawn(task.sleep, 60)
        task.yield()
        task.cancel(child, "not needed")
        kind = kind_of(child.wait, child)
      end)
      assert.equal("cancelled", kind)
    end))

    it("interrupts every kind of wait", async(function()
      local event, full = task.event("never"), task.queue(1)
      local semaphore = task.semaphore(1)
      semaphore:acquire()
      full:put(1)
      for _, wait in ipairs({
        function() event:wait() end, function() full:put(2) end, function() semaphore:acquire() end,
        function() task.scope(function(scope) scope:spawn(task.sleep, 60) end) end,
      }) do
        assert.equal("timeout", (kind_of(task.timeout, 0.01, wait)))
      end
      semaphore:release()
      assert.equal("free", task.timeout(1, semaphore.with, semaphore, function()
        return "free"
      end))
    end))

    it("takes the inner deadline first and the outer one in the end", async(function()
      local began = now()
      local kind = kind_of(task.timeout, 0.05, function()
        assert.equal("timeout", (kind_of(task.timeout, 0.01, task.sleep, 60)))
        assert.is_true(task.deadline() - now() <= 0.05)
        task.timeout(60, task.sleep, 60)
      end)
      assert.equal("timeout", kind)
      assert.is_true(now() - began < 1)
    end))

    it("loses no task that ends in the same round", async(function()
      for _ = 1, 50 do
        pcall(task.timeout, 0.001, task.sleep, 0.001)
      end
    end))
  end)

  describe("map", function()
    it("keeps the order and the limit", async(function()
      local active, most = 0, 0
      local results = task.map({ 5, 4, 3, 2, 1 }, function(n, i)
        active = active + 1
        most = math.max(most, active)
        task.sleep(n * 0.002)
        active = active - 1
        return i * 10
      end, { concurrency = 2 })
      assert.same({ 10, 20, 30, 40, 50 }, results)
      assert.equal(2, most)
    end))

    it("stops at the first failure, or settles every item", async(function()
      local calls = 0
      local function odd(n)
        calls = calls + 1
        if n % 2 == 0 then
          error("even: " .. n, 0)
        end
        return n
      end
      local ok, err = pcall(task.map, { 1, 2, 3, 4 }, odd, { concurrency = 1 })
      assert.is_false(ok)
      assert.equal("even: 2", err.message)
      assert.equal(2, calls)
      local settled = task.map({ 1, 2, 3 }, odd, { settle = true })
      assert.equal(1, settled[1].value)
      assert.is_false(settled[2].ok)
      assert.equal("even: 2", settled[2].error.message)
    end))

    it("does not settle its own cancellation", async(function()
      assert.equal("timeout", (kind_of(task.timeout, 0.01, task.map, { 1, 2 }, function()
        task.sleep(60)
      end, { settle = true })))
    end))
  end)

  it("race gives the first result and ends the others with their cleanup", async(function()
    local cleaned
    local name, extra = task.race({
      function()
        task.scope(function(scope)
          scope:defer(function()
            task.sleep(0.01)
            cleaned = true
          end)
          task.sleep(60)
        end)
      end,
      function()
        task.sleep(0.01)
        return "fast", 2
      end,
    })
    assert.equal("fast", name)
    assert.equal(2, extra)
    assert.is_true(cleaned)
    local ok, err = pcall(task.race, { function() error("lost", 0) end, function() task.sleep(60) end })
    assert.is_false(ok)
    assert.equal("lost", err.message)
  end))

  describe("coroutines of scripts", function()
    it("may wait when made with task.wrap", async(function()
      local seen = {}
      for value in task.wrap(function()
        for i = 1, 3 do
          task.sleep(0.001)
          coroutine.yield(i)
        end
      end) do
        seen[#seen + 1] = value
      end
      assert.same({ 1, 2, 3 }, seen)
    end))

    it("are told apart from a task that waits", async(function()
      local co = coroutine.create(function()
        task.sleep(0.001)
      end)
      local ok, err = coroutine.resume(co)
      assert.is_false(ok)
      assert.truthy(err.message:find("task.wrap", 1, true))
    end))

    it("a bare yield ends the task with advice", async(function()
      local ok, err = pcall(task.scope, function(scope)
        scope:spawn(function()
          coroutine.yield(1)
        end)
      end)
      assert.is_false(ok)
      assert.truthy(err.message:find("task.yield", 1, true))
    end))
  end)

  it("reports a deadlock with who waits for what", function()
    local ok, err = pcall(task.run, function()
      task.event("the letter that never came"):wait()
    end)
    assert.is_false(ok)
    assert.truthy(err.message:find("deadlock", 1, true))
    assert.truthy(err.message:find("the letter that never came", 1, true))
    assert.equal(0, task.live())
  end)

  it("dumps what waits where", async(function()
    task.scope(function(scope)
      local child = scope:spawn(task.sleep, 60)
      task.yield()
      task.yield()
      assert.truthy(task.dump():find("waiting on sleep", 1, true))
      assert.truthy(task.dump(true):find("traceback", 1, true))
      task.cancel(child)
    end)
  end))

  if not rawget(_G, "jit") then
    it("stops a script that computes for ever, also one that catches the error", function()
      task.guard(0.2)
      local ok, err = pcall(task.run, function()
        while true do
          pcall(function()
            while true do end
          end)
        end
      end)
      task.guard(0)
      assert.is_false(ok)
      assert.truthy(tostring(err):find("endless loop", 1, true))
    end)
  end

  it("steps for a host with its own loop", async(function()
    local done
    local child = task.spawn_detached("stepped", function()
      task.sleep(0.01)
      done = true
    end)
    assert.equal("ready", child.state)
    task.sleep(0.05)
    assert.is_true(done)
  end))

  it("bounds the memory of 10,000 waiting tasks", async(30, function()
    local function grown(start)
      collectgarbage()
      collectgarbage()
      local before = collectgarbage("count")
      local kept = start()
      collectgarbage()
      return collectgarbage("count") - before, kept
    end
    local bare = grown(function()
      local list = {}
      for i = 1, 10000 do
        list[i] = coroutine.create(function()
          coroutine.yield()
        end)
        coroutine.resume(list[i])
      end
      return list
    end)
    local ours
    task.scope(function(scope)
      local stop = task.event("the end")
      ours = grown(function()
        for _ = 1, 10000 do
          scope:spawn(stop.wait, stop)
        end
        task.yield()
        task.yield()
      end)
      stop:set()
    end)
    assert.is_true((ours - bare) / 10000 <= 4, ("%.2f KiB each"):format((ours - bare) / 10000))
  end))
end)

describe("sync", function()
  it("serves a semaphore first come first served", async(function()
    local semaphore, order = task.semaphore(1), {}
    task.scope(function(scope)
      for i = 1, 5 do
        scope:spawn(semaphore.with, semaphore, function()
          order[#order + 1] = i
          task.yield()
        end)
      end
    end)
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end))

  it("gives a place back when its user fails", async(function()
    local semaphore = task.semaphore(1)
    pcall(semaphore.with, semaphore, error, "no")
    assert.equal(1, semaphore.free)
  end))

  it("locks by key, and different keys do not meet", async(function()
    local lock, inside, most = task.keyed_lock("file"), 0, 0
    task.map({ "a", "a", "a", "b" }, function(key)
      lock:with(key, function()
        inside = inside + 1
        most = math.max(most, inside)
        task.sleep(0.005)
        inside = inside - 1
      end)
    end)
    assert.equal(2, most)
  end))

  it("passes items through a bounded queue", async(function()
    local queue, got, most = task.queue(2), {}, 0
    task.scope(function(scope)
      scope:spawn(function()
        for i = 1, 20 do
          queue:put(i)
          most = math.max(most, queue.count)
        end
        queue:close()
      end)
      for item in function() return queue:get() end do
        got[#got + 1] = item
      end
    end)
    assert.equal(20, #got)
    assert.equal(20, got[20])
    assert.equal(2, most)
    assert.is_false(queue:put(1))
  end))
end)
