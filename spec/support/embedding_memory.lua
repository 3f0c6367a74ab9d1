--- The script of embedding_memory.c: tasks of every kind, each of which tells whether it has seen what it should.
local luarium = require "luarium"
local http = require "luarium.http"

local task, sleep = luarium.task, luarium.sleep
local places, locks = task.semaphore(1), task.keyed_lock("the lock of")
local kinds = {}

function kinds.exec()
  return luarium.with({}, function(box)
    local result = box:exec("echo out; echo err >&2; cat", { stdin = "in", timeout = 10 })
    return result.stdout == "out\nin" and result.stderr == "err\n"
  end)
end

function kinds.exec_past_its_time()
  return luarium.with({}, function(box)
    return box:exec("sleep 1000", { timeout = 0.05 }).timed_out
  end)
end

function kinds.spawn()
  return luarium.with({}, function(box)
    local process, got = box:spawn("cat"), ""
    process:write("text")
    process:close_stdin()
    for chunk in function() return (process:read()) end do
      got = got .. chunk
    end
    process:close()
    return got == "text"
  end)
end

function kinds.http()
  return assert(http.request({ url = os.getenv "URL", timeout = 10 })).body == "hello\n"
end

function kinds.timeout()
  return not pcall(luarium.timeout, 0.005, sleep, 1000)
end

function kinds.scope()
  local ended, cleaned = 0, false
  luarium.scope(function(scope)
    scope:defer(function()
      sleep(0.001)
      cleaned = true
    end)
    for _ = 1, 3 do
      scope:spawn(function()
        sleep(0.002)
        ended = ended + 1
      end)
    end
  end)
  return ended == 3 and cleaned
end

function kinds.failing_scope()
  return not pcall(luarium.scope, function(scope)
    scope:spawn(sleep, 1000)
    scope:spawn(error, "on purpose")
  end)
end

function kinds.semaphore()
  return places:with(function()
    sleep(0.001)
    return true
  end)
end

function kinds.lock()
  return locks:with("a", function()
    sleep(0.001)
    return true
  end)
end

function kinds.map()
  return #luarium.map({ 1, 2, 3, 4 }, function(item)
    sleep(0.001)
    return item
  end, { concurrency = 2 }) == 4
end

function kinds.race()
  return luarium.race({ function()
    sleep(0.001)
    return true
  end, function()
    sleep(1000)
  end })
end

function kinds.queue()
  local queue, sum = task.queue(2), 0
  luarium.scope(function(scope)
    scope:spawn(function()
      for i = 1, 5 do
        queue:put(i)
      end
      queue:close()
    end)
    for item in function() return queue:get() end do
      sum = sum + item
    end
  end)
  return sum == 15
end

local names = {}
for name in pairs(kinds) do
  names[#names + 1] = name
end
table.sort(names)

task.run(function() -- loads what is loaded at its first use
  for _, name in ipairs(names) do
    assert(kinds[name](), name)
  end
end)

local started = {}

function _G.round()
  local made = task.start(kinds[names[#started % #names + 1]])
  started[#started + 1] = made
end

function _G.report()
  local good, failed = 0, 0
  for _, each in ipairs(started) do
    local ok, result = each:result()
    if ok and result == true then
      good = good + 1
    elseif ok == false and luarium.error.is(result) then
      failed = failed + 1
    else
      print("neither good nor failed: " .. tostring(ok) .. " " .. tostring(result))
    end
  end
  print("good: " .. good)
  print("failed: " .. failed)
  io.write(task.dump(true))
end
