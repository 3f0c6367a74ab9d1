local async = require "spec.support.async"
local errors = require "luarium.error"
local event = require "luarium.event"
local json = require "luarium.json"
local secret = require "luarium.secret"
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
end)
