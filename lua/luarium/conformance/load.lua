--- Many things at once.
local expect = require "luarium.conformance.expect"
local sandbox = require "luarium.sandbox"
local task = require "luarium.task"

local topic, check = require("luarium.conformance.topic").new("load")

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  return list
end

check("100 commands at once in one sandbox", function(c)
  local results = task.map(numbers(100), function(i)
    return c.box:exec("cat; echo " .. i .. "; exit " .. i, { stdin = ("in %d "):format(i), timeout = 50 })
  end, { concurrency = 100 })
  for i, result in ipairs(results) do
    expect.fields(result, { exit_code = i, stdout = ("in %d %d\n"):format(i, i), stderr = "", timed_out = false },
      "result " .. i)
  end
end)

check("100 files at once", function(c)
  local dir = c:dir()
  task.map(numbers(100), function(i)
    c.box:write_file(dir .. "/" .. i, ("%d,"):format(i):rep(1000))
  end, { concurrency = 100 })
  task.map(numbers(100), function(i)
    expect.equal(c.box:read_file(dir .. "/" .. i), ("%d,"):format(i):rep(1000), "file " .. i)
  end, { concurrency = 100 })
  expect.equal(#c.box:ls(dir), 100, "entries")
end)

local function many_sandboxes(c, count)
  local mark = c:unique()
  local seen = {}
  task.map(numbers(count), function(i)
    sandbox.with(c:options({ labels = { mark = mark }, env = { NUMBER = i } }), function(box)
      box:write_file("number", tostring(i))
      expect.prints(box:exec('printf "%s %s" "$NUMBER" "$(cat number)"'), i .. " " .. i, "sandbox " .. i)
      seen[box.external_id] = i
    end)
  end, { concurrency = count })
  local different = 0
  for _ in pairs(seen) do
    different = different + 1
  end
  expect.equal(different, count, "different sandboxes")
  expect.equal(#sandbox.list({ labels = { mark = mark } }), 0, "records afterwards")
  for _, entry in ipairs(c:ask("list")) do
    expect.yes((entry.labels or {}).mark ~= mark, "a sandbox is left at the provider", entry.external_id)
  end
end

check("20 sandboxes at once", { own = true }, function(c)
  many_sandboxes(c, 20)
end)

check("100 sandboxes at once", { own = true, heavy = true }, function(c)
  many_sandboxes(c, 100)
end)

check("200 commands one after the other", { heavy = true }, function(c)
  for i = 1, 200 do
    expect.prints(c.box:exec({ "echo", tostring(i) }), i .. "\n")
  end
end)

return topic
