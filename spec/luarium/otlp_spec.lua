local async = require "spec.support.async"
local collector = require "spec.support.collector"
local config = require "luarium.config"
local errors = require "luarium.error"
local event = require "luarium.event"
local exporter = require "luarium.otlp.exporter"
local luarium = require "luarium"
local native = require "luarium.native"
local otlp = require "luarium.otlp"
local peer = require "spec.support.otlp_peer"
local schema = require "spec.support.otlp_schema"
local secret = require "luarium.secret"
local state = require "spec.support.state"
local task = require "luarium.task"

local missing = collector.missing()

local function test(name, fn)
  if missing then
    pending(name .. ": " .. missing)
  else
    it(name, fn)
  end
end

--- A test with a collector and telemetry to it; fn(server) runs inside. Every request must fit the schema.
local function with(plan, options, fn)
  return async(30, function()
    collector.with(plan, state.with, function(server)
      local telemetry = { endpoint = server.url, interval = 60 }
      for key, value in pairs(options) do
        telemetry[key] = value
      end
      config.configure({ telemetry = telemetry })
      fn(server)
    end)
  end)
end

local function spans_of(server)
  local list, by_name = {}, {}
  for _, request in ipairs(server:requests("/v1/traces")) do
    for _, span in ipairs(request.value.resourceSpans[1].scopeSpans[1].spans) do
      list[#list + 1] = span
      by_name[span.name] = span
      span.plain = schema.plain(span.attributes)
    end
  end
  return list, by_name
end

--- The points of the last metrics: name -> "operation provider outcome" -> point.
local function metrics_of(server)
  local requests, found = server:requests("/v1/metrics"), {}
  for _, metric in ipairs(requests[#requests].value.resourceMetrics[1].scopeMetrics[1].metrics) do
    local points = {}
    for _, point in ipairs((metric.sum or metric.histogram).dataPoints) do
      local a = schema.plain(point.attributes)
      points[("%s %s %s"):format(a["luarium.operation"] or "-", a["luarium.provider"] or "-",
        a["luarium.outcome"] or "-")] = point
    end
    found[metric.name] = points
  end
  return found
end

local function small_run()
  luarium.step("build", function()
    luarium.with({ name = "b" }, function(box)
      task.scope(function(scope)
        scope:spawn(function()
          box:exec("exit 3")
        end)
      end)
      luarium.try(box.read_file, box, "none")
    end)
  end)
end

local function work(count)
  for _ = 1, count do
    event.span("spec.work", {}, function() end)
  end
end

local function warnings_while(fn)
  local lines = {}
  local off = event.on("log", function(record)
    lines[#lines + 1] = record.message
  end)
  fn()
  off()
  return lines
end

describe("telemetry", function()
  local limits = {}
  before_each(function()
    for _, key in ipairs({ "max_queue", "max_batch", "max_attempts" }) do
      limits[key] = exporter[key]
    end
  end)
  after_each(function()
    for key, value in pairs(limits) do
      exporter[key] = value
    end
  end)

  test("makes one trace of an operation and those inside it, also across tasks", with({}, {}, function(server)
    small_run()
    luarium.step("other", function() end)
    otlp.flush(5)
    local list, spans = spans_of(server)
    assert.equal(6, #list)
    local root = list[5]
    assert.equal("step", root.name)
    assert.is_nil(root.parentSpanId)
    for _, name in ipairs({ "sandbox.create", "sandbox.exec", "sandbox.read_file", "sandbox.destroy" }) do
      assert.equal(root.traceId, spans[name].traceId)
      assert.equal(root.spanId, spans[name].parentSpanId)
      assert.is_true(spans[name].startTimeUnixNano >= root.startTimeUnixNano)
      assert.is_true(spans[name].endTimeUnixNano <= root.endTimeUnixNano)
    end
    assert.not_equal(root.traceId, list[6].traceId)
    assert.equal("build", root.plain["luarium.step"])
    local exec = spans["sandbox.exec"].plain
    assert.same({ "exit 3", 3, "local", "b", false }, { exec["luarium.command"], exec["luarium.exit_code"],
      exec["luarium.provider"], exec["luarium.sandbox.name"], exec["luarium.timed_out"] })
    assert.truthy(exec["luarium.sandbox.id"]:find("^sbx_"))
    local resource = schema.plain(server:requests()[1].value.resourceSpans[1].resource.attributes)
    assert.same({ "luarium", luarium.version, "luarium", "lua" }, { resource["service.name"],
      resource["service.version"], resource["telemetry.sdk.name"], resource["telemetry.sdk.language"] })
  end))

  test("makes no operation end before those inside it, however long handlers take", with({}, {}, function(server)
    local waited
    local off = event.on("step", function(record)
      if record.phase == "start" and not waited then
        waited = native.loop.monotonic() + 0.05
        repeat until native.loop.monotonic() > waited
      end
    end)
    luarium.step("outer", function()
      luarium.step("inner", function() end)
    end)
    off()
    otlp.flush(5)
    local list = spans_of(server)
    assert.same({ "inner", "outer" }, { list[1].plain["luarium.step"], list[2].plain["luarium.step"] })
    assert.is_true(list[1].startTimeUnixNano >= list[2].startTimeUnixNano)
    assert.is_true(list[1].endTimeUnixNano <= list[2].endTimeUnixNano)
  end))

  test("knows the operation around another also outside every task", function()
    local server = collector.start()
    config.configure({ telemetry = { endpoint = server.url, interval = 60, metrics = false } })
    luarium.step("outer", function()
      luarium.step("inner", function() end)
    end)
    otlp.flush(5)
    config.reset()
    local list = spans_of(server)
    server:stop()
    assert.equal(2, #list)
    assert.equal(list[2].spanId, list[1].parentSpanId)
    assert.is_nil(list[2].parentSpanId)
  end)

  test("tells errors with their kind, and nothing of the sort where there are none", with({}, {}, function(server)
    small_run()
    otlp.flush(5)
    local _, spans = spans_of(server)
    local failed = spans["sandbox.read_file"]
    assert.equal(2, failed.status.code)
    assert.truthy(failed.status.message:find("No such file", 1, true))
    assert.equal("not_found", failed.plain["error.type"])
    assert.is_nil(spans["sandbox.exec"].status)
    assert.is_nil(spans["sandbox.exec"].plain["error.type"])
  end))

  test("counts operations, their durations and live sandboxes since the start", with({}, {}, function(server)
    local box = luarium.create()
    box:exec("true")
    otlp.flush(5)
    local first = metrics_of(server)
    assert.equal("1", first["luarium.sandboxes.live"]["- local -"].asInt)
    box:exec("true")
    luarium.try(box.read_file, box, "none")
    box:destroy()
    otlp.flush(5)
    local last = metrics_of(server)
    assert.equal("1", first["luarium.operations"]["sandbox.exec local ok"].asInt)
    assert.equal("2", last["luarium.operations"]["sandbox.exec local ok"].asInt)
    assert.equal("1", last["luarium.operations"]["sandbox.read_file local error"].asInt)
    assert.equal("0", last["luarium.sandboxes.live"]["- local -"].asInt)
    local duration = last["luarium.operation.duration"]["sandbox.exec local ok"]
    assert.equal("2", duration.count)
    assert.is_true(duration.sum > 0 and duration.sum >= duration.max and duration.min <= duration.max)
    assert.equal(first["luarium.operations"]["sandbox.exec local ok"].startTimeUnixNano, duration.startTimeUnixNano)
  end))

  test("sends no secret, also none that is known only later, but its own headers", with({}, {
    headers = { ["X-Key"] = secret.new("header-secret-1", "HEADER") },
  }, function(server)
    secret.new("early-secret-1", "EARLY")
    luarium.step("early-secret-1 and late-secret-1", function() end)
    luarium.try(luarium.step, "fails", function()
      error("with early-secret-1")
    end)
    secret.new("late-secret-1", "LATE")
    otlp.flush(5)
    local request = server:requests("/v1/traces")[1]
    assert.equal("header-secret-1", request.headers["x-key"])
    assert.is_nil(request.body:find("secret-1", 1, true))
    assert.truthy(request.body:find("[redacted EARLY] and [redacted LATE]", 1, true))
    assert.truthy(request.body:find("with [redacted EARLY]", 1, true))
  end))

  test("makes text of what is no UTF-8 and cuts what is long", with({}, { metrics = false }, function(server)
    event.span("spec.work", { command = "a\255b\195", path = ("é"):rep(900), many = { "x", 1 }, huge = 2 ^ 60,
      half = 0.5, none = 0 / 0, fn = print }, function() end)
    otlp.flush(5)
    local plain = spans_of(server)[1].plain
    assert.same({ "a?b?", ("é"):rep(500) .. "...", 0.5 }, { plain["luarium.command"], plain["luarium.path"],
      plain["luarium.half"] })
    assert.equal(2 ^ 60, plain["luarium.huge"])
    assert.is_nil(plain["luarium.none"])
  end))

  test("its own requests make no spans, and nothing is sent when nothing has happened", with({}, {}, function(server)
    work(1)
    otlp.flush(5)
    assert.equal(2, #server:requests())
    otlp.flush(5)
    assert.equal(2, #server:requests())
    assert.equal(1, #(spans_of(server)))
  end))

  test("sends by itself after the interval", with({}, { interval = 0.05 }, function(server)
    work(1)
    server:wait_for(1, "/v1/traces")
    server:wait_for(1, "/v1/metrics")
    work(1)
    server:wait_for(2, "/v1/traces")
  end))

  test("sends a full batch at once, and what is more in several requests", with({}, { metrics = false }, function(server)
    exporter.max_batch = 3
    work(2)
    task.sleep(0)
    assert.equal(0, #server:requests())
    work(1)
    server:wait_for(1)
    otlp.flush(5)
    work(7)
    otlp.flush(5)
    local sizes, list = {}, server:requests()
    for i, request in ipairs(list) do
      sizes[i] = #request.value.resourceSpans[1].scopeSpans[1].spans
    end
    assert.same({ 3, 3, 3, 1 }, sizes)
  end))

  test("keeps a bounded number of spans and counts those that it drops", with({}, {}, function(server)
    exporter.max_queue = 5
    local lines = warnings_while(function()
      work(8)
    end)
    assert.equal(1, #lines)
    otlp.flush(5)
    assert.equal(5, #(spans_of(server)))
    local found = metrics_of(server)
    assert.equal("3", found["luarium.telemetry.spans.dropped"]["- - -"].asInt)
    assert.equal("8", found["luarium.operations"]["spec.work - ok"].asInt)
  end))

  test("tries again after 503 when the collector says when", with({ traces = { "503 Retry-After: 0" } },
    { metrics = false }, function(server)
      work(2)
      otlp.flush(8)
      local requests = server:requests()
      assert.equal(2, #requests)
      assert.same(requests[1].value, requests[2].value)
      work(1)
      otlp.flush(5)
      assert.equal(1, #server:requests()[3].value.resourceSpans[1].scopeSpans[1].spans)
    end))

  test("tries again in the background, and gives up after some attempts", with({ traces = { "429", "502", "504" } },
    { metrics = false, interval = 0.05 }, function(server)
      exporter.max_attempts = 2
      work(1)
      server:wait_for(2)
      otlp.flush(5)
      assert.equal(2, #server:requests())
      work(1)
      server:wait_for(3) -- 504: tried once more
      server:wait_for(4)
      assert.same(server:requests()[3].value, server:requests()[4].value)
      assert.not_same(server:requests()[2].value, server:requests()[3].value)
    end))

  for _, asked in ipairs({ "120", "Fri, 01 Jan 2100 00:00:00 GMT" }) do
    test("stays away as long as the collector asks for: " .. asked, with({ traces = { "429 Retry-After: " .. asked } },
      { metrics = false, interval = 0.05 }, function(server)
        work(1)
        server:wait_for(1)
        otlp.flush(0.3)
        work(600)
        otlp.flush(0.3)
        assert.equal(1, #server:requests())
      end))
  end

  test("never sends again what was refused, and says so once", with({ traces = { "400", "400" } }, {}, function(server)
    local lines = warnings_while(function()
      work(1)
      otlp.flush(5)
      work(1)
      otlp.flush(5)
      work(1)
      otlp.flush(5)
    end)
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find("/v1/traces answered 400", 1, true))
    assert.equal(3, #server:requests("/v1/traces"))
    assert.equal("2", metrics_of(server)["luarium.telemetry.spans.dropped"]["- - -"].asInt)
  end))

  test("tells of spans that a collector did not take", with({
    traces = { 'body {"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}' },
  }, {}, function()
    local lines = warnings_while(function()
      work(1)
      otlp.flush(5)
    end)
    assert.truthy(lines[1]:find("refused 1 of a batch: too old", 1, true))
  end))

  test("a collector that hangs delays nothing and keeps no host waiting", with({ traces = { "hang" } },
    { interval = 0.05, metrics = false }, function(server)
      local live = task.live()
      work(1)
      server:wait_for(1)
      local lines = warnings_while(function()
        small_run() -- while the request hangs
        assert.equal(live, task.live())
        otlp.flush(0.2)
      end)
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("no answer from the collector within 0.2 s", 1, true))
      assert.equal(1, #server:requests())
    end))

  test("a request has a limit of its own", with({ traces = { "hang" } },
    { interval = 0.05, timeout = 0.1, metrics = false }, function(server)
      work(1)
      local requests = server:wait_for(2) -- the second attempt
      assert.same(requests[1].value, requests[2].value)
    end))

  test("a collector that is away costs one warning and no time at the end", with({}, { interval = 0.05 },
    function(server)
      server:die()
      local lines = warnings_while(function()
        work(1)
        small_run()
        otlp.flush(5)
        work(1)
        otlp.flush(5)
      end)
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("^telemetry: "))
      assert.equal(0, #server:requests())
    end))

  test("a secret of a header that cannot be read is one warning", with({}, {
    headers = { ["X-Key"] = secret.env("LUARIUM_NO_SUCH_VARIABLE") } }, function(server)
    local lines = warnings_while(function()
      work(1)
      otlp.flush(5)
    end)
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find("LUARIUM_NO_SUCH_VARIABLE is not set", 1, true))
    assert.equal(0, #server:requests())
  end))

  test("a host's shutdown sends what is left", function()
    local server = collector.start()
    config.configure({ telemetry = { endpoint = server.url, interval = 60 } })
    work(1)
    assert.equal(0, task.shutdown(5))
    config.reset()
    assert.equal(1, #(spans_of(server)))
    server:stop()
  end)

  test("is switched off with false", with({}, {}, function(server)
    work(1)
    config.configure({ telemetry = false })
    work(1)
    otlp.flush(5)
    assert.equal(0, #server:requests())
    assert.is_nil(otlp.trouble())
  end))

  test("passes the schema that OpenTelemetry publishes", with({}, {}, function(server)
    small_run()
    event.span("spec.work", { many = { "x", 1, true }, half = 0.5, on = false, big = -2 ^ 53 }, function() end)
    otlp.flush(5)
    local why = peer.missing()
    if why then
      io.stderr:write("the check with OpenTelemetry's own schema is skipped: ", why, "\n")
      return
    end
    local requests = server:requests()
    local told, trouble = peer.judge(requests)
    assert.equal("ok /v1/traces\nok /v1/metrics\n", told, trouble)
    for from, to in pairs({ ['"name":"luarium"'] = '"nmae":"luarium"', ['"traceId":"'] = '"traceId":"zz',
      ['"kind":1'] = '"kind":"x"' }) do
      local broken = requests[1].body:gsub(from, to, 1)
      assert.not_equal(broken, requests[1].body)
      assert.equal("", (peer.judge({ { path = "/v1/traces", body = broken } })))
      assert.is_false(pcall(schema.check, "/v1/traces", require("luarium.json").decode(broken)))
    end
  end))

  it("refuses settings that cannot be meant", function()
    local function message_of(telemetry)
      local ok, err = pcall(config.configure, { telemetry = telemetry })
      config.reset()
      assert.is_false(ok)
      assert(errors.is(err, "invalid"), tostring(err))
      return err.message
    end
    for text, telemetry in pairs({
      ["did you mean 'endpoint'"] = { endpiont = "http://localhost" },
      ["got \"localhost:4318\""] = { endpoint = "localhost:4318" },
      ["got \"http://[hidden]@host\": what authorizes goes into the headers"] = { endpoint = "http://user:word@host" },
      ["option 'interval'"] = { interval = 0 },
      ["expected a table of options, got true"] = true,
      ["shows them to the network"] = { endpoint = "http://127.0.0.1.example.com", headers = { a = "b" } },
      ["cannot be the name of a header"] = { endpoint = "https://host", headers = { ["a b"] = "b" } },
    }) do
      local message = message_of(telemetry)
      assert.truthy(message:find(text, 1, true), message)
      assert.truthy(message:find("^configure: telemetry"), message)
    end
    config.configure({ telemetry = { endpoint = "http://[::1]:4318", headers = { a = "b" } } })
    config.reset()
  end)
end)
