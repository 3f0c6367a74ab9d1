local async = require "spec.support.async"
local errors = require "luarium.error"
local event = require "luarium.event"
local json = require "luarium.json"
local luarium = require "luarium"
local native = require "luarium.native"
local progress = require "luarium.progress"
local secret = require "luarium.secret"
local state = require "spec.support.state"
local task = require "luarium.task"

local function recorded(name, fn)
  local records = {}
  local off = event.on(name, function(record)
    records[#records + 1] = record
  end)
  local ok, err = pcall(fn)
  off()
  return records, ok, err
end

describe("event", function()
  it("tells start and stop with a duration and passes all results", async(function()
    local results
    local records = recorded("spec", function()
      results = { event.span("spec.work", { box = 1 }, function(a)
        task.sleep(0.01)
        return a, nil, 3
      end, "a") }
    end)
    assert.equal("a", results[1])
    assert.equal(3, results[3])
    assert.equal("start", records[1].phase)
    assert.equal("stop", records[2].phase)
    assert.equal(1, records[2].box)
    assert.is_true(records[2].duration >= 0.01)
    assert.equal(records[1].span, records[2].span)
  end))

  it("tells an error and raises it unchanged", async(function()
    local err = errors.new("auth", "no")
    local records, ok, raised = recorded("*", function()
      event.span("spec.work", {}, error, err)
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal("error", records[2].phase)
    assert.equal("auth", records[2].error.kind)
  end))

  it("links operations to the one around them, also across tasks", async(function()
    local records = recorded("spec", function()
      event.span("spec.outer", {}, function()
        task.scope(function(scope)
          scope:spawn(function()
            event.span("spec.inner", {}, task.yield)
          end)
        end)
      end)
    end)
    assert.equal("spec.inner", records[2].event)
    assert.equal(records[1].span, records[2].parent)
  end))

  it("matches by name and prefix", function()
    local function hits(name)
      return #recorded(name, function()
        event.emit("spec.thing.done", {})
      end)
    end
    assert.equal(1, hits("*"))
    assert.equal(1, hits("spec"))
    assert.equal(1, hits("spec.thing"))
    assert.equal(1, hits("spec.thing.done"))
    assert.equal(0, hits("spec.th"))
    assert.equal(0, hits("other"))
  end)

  it("drops a handler that fails and says so, without hurting the others", function()
    local logs = {}
    local off = event.on("log", function(record)
      logs[#logs + 1] = record.message
    end)
    event.on("spec.bad", function()
      error("broken handler")
    end)
    local seen = #recorded("spec.bad", function()
      event.emit("spec.bad", {})
      event.emit("spec.bad", {})
    end)
    off()
    assert.equal(2, seen)
    assert.equal(1, #logs)
    assert.truthy(logs[1]:find("broken handler", 1, true))
  end)

  it("writes redacted JSON lines to a file", function()
    local path = os.tmpname()
    local close = event.to_file(path)
    secret.new("event-secret-value", "EVENT")
    event.emit("spec.file", { text = "has event-secret-value", list = { 1, 2 }, fn = print })
    close()
    event.emit("spec.file", { text = "after close" })
    local file = assert(io.open(path))
    local lines = {}
    for line in file:lines() do
      lines[#lines + 1] = line
    end
    file:close()
    os.remove(path)
    assert.equal(1, #lines)
    local record = assert(json.decode(lines[1]))
    assert.equal("has [redacted EVENT]", record.text)
    assert.equal("spec.file", record.event)
  end)

  it("names the file that cannot be opened", function()
    local ok, err = pcall(event.to_file, "/no/such/folder/events")
    assert.is_false(ok)
    assert.truthy(err.message:find("/no/such/folder/events", 1, true))
  end)

  it("says that the file is not complete", function()
    local close = event.to_file("/dev/full")
    event.emit("spec.file", { text = "lost" })
    local err = close()
    assert.equal("io", err.kind)
    assert.truthy(err.message:find("^the event file /dev/full is not complete: .*No space left"))
    local path = os.tmpname()
    assert.is_nil(event.to_file(path)())
    os.remove(path)
  end)

  it("makes no reporter of progress when nobody listens", function()
    assert.is_nil(progress.reporter({ what = "upload" }))
  end)

  it("makes few events of many reports, and never loses the end or a change of what is done", function()
    local records = recorded("progress", function()
      local report = progress.reporter({ what = "upload", sandbox = "sbx_1" })
      for done = 0, 10000 do
        report(done, 10000)
      end
      report(10000, 10000)
      report(0, 0, "unpack", "files")
      report(1, 0, "unpack", "files")
    end)
    local last = records[#records - 1]
    assert.same({ "upload", 10000, 10000, "bytes", "sbx_1" },
      { last.what, last.done, last.total, last.unit, last.sandbox })
    last = records[#records]
    assert.same({ "unpack", 0, "files" }, { last.what, last.done, last.unit })
    assert.is_nil(last.total)
    assert.truthy(#records < 100, #records)
  end)

  it("tells of transfers under the span of the transfer, and of the caller's own callback", async(function()
    state.with(function(dir)
      local box = luarium.create()
      local path, calls = dir .. "/source", 0
      assert(task.await(native.fs.write_file(path, ("x"):rep(100000))))
      local records = recorded("*", function()
        box:upload(path, "there", { on_progress = function()
          calls = calls + 1
        end })
      end)
      local told
      for _, record in ipairs(records) do
        told = record.event == "progress" and record or told
      end
      assert.same({ box.id, "upload", 100000, records[1].span },
        { told.sandbox, told.what, told.done, told.span })
      assert.truthy(calls > 0)
      box:destroy()
    end)
  end))
end)
