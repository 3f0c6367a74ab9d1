--- Finding a sandbox again, in this process and from another one.
local elsewhere = require "luarium.conformance.elsewhere"
local expect = require "luarium.conformance.expect"
local sandbox = require "luarium.sandbox"
local task = require "luarium.task"

local topic, check = require("luarium.conformance.topic").new("reconnect")

check("by its id in the same process", { own = true }, function(c)
  local box = c:create({ env = { KEPT = "value" }, labels = { a = "b" } })
  box:write_file("file", "content")
  local again = sandbox.reconnect(box.id)
  expect.fields(again, { id = box.id, external_id = box.external_id, provider = c.provider, status = "running",
    cwd = box.cwd, labels = { a = "b" } }, "sandbox")
  expect.equal(again:read_file("file"), "content", "content")
  expect.prints(again:exec('printf %s "$KEPT"'), "value")
end)

check("an unknown id, and what is no id", { own = true }, function()
  expect.raises("sandbox_gone", function()
    sandbox.reconnect("sbx_00000000000000000000000000")
  end, "sbx_00000000000000000000000000")
  for _, id in ipairs({ "nonsense", "../../etc/passwd", "sbx_", "sbx_a/../b", "" }) do
    expect.raises("invalid", function()
      sandbox.reconnect(id)
    end)
  end
end)

-- ---- another process ----

check("from another process", { own = true }, function(c)
  local box = c:create({ env = { KEPT = "kept value" }, labels = { a = "b" } })
  box:write_file("file", "from the first process")
  local output = elsewhere(c, box, [[
    io.write(box:read_file("file"), "|", box:exec('printf %s "$KEPT"').stdout, "|", box.labels.a, "|", box.cwd, "\n")
    box:write_file("answer", "from the second process")
  ]])
  expect.equal(output, "from the first process|kept value|b|" .. box.cwd .. "\n", "what the other process saw")
  expect.equal(box:read_file("answer"), "from the second process", "what it wrote")
end)

check("what runs there goes on while nobody is connected", { own = true }, function(c)
  local box = c:create()
  local beat = c:beat({ box = box, quiet = true })
  box:exec(beat.code .. " &")
  beat:await_start()
  elsewhere(c, box, "")
  beat:expect_alive("after another process came and went")
end)

check("another process may destroy it", { own = true }, function(c)
  local box = c:create()
  elsewhere(c, box, "box:destroy()")
  expect.raises("sandbox_gone", function()
    box:exec("true")
  end)
  expect.equal(#task.map(sandbox.list(), function(record)
    return record.id == box.id and record or nil
  end), 0, "records of it")
end)

return topic
