--- Telemetry of the program: the variables of OpenTelemetry, and the trace that goes through us into the sandbox.
local async = require "spec.support.async"
local collector = require "spec.support.collector"
local json = require "luarium.json"
local program = require "spec.support.program"
local schema = require "spec.support.otlp_schema"
local trace = require "luarium.trace"
local variables = require "luarium.otlp.variables"

local PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
local TRACE, SPAN = PARENT:match("^00%-(%x+)%-(%x+)")

local missing = collector.missing()

local function test(name, fn)
  if missing then
    pending(name .. ": " .. missing)
    return
  end
  it(name, async(30, function()
    collector.with(nil, program.with, function(server, place)
      place.env.OTEL_EXPORTER_OTLP_ENDPOINT = server.url
      fn(place, server)
    end)
  end))
end

local function run(place, text)
  place:write("script.lua", text)
  return place:run({ "run", "script.lua" })
end

local function spans_of(server)
  local spans = {}
  for _, request in ipairs(server:requests("/v1/traces")) do
    for _, span in ipairs(request.value.resourceSpans[1].scopeSpans[1].spans) do
      spans[span.name] = span
    end
  end
  return spans
end

local exec = 'local box <close> = luarium.create() print(box:exec("echo $TRACEPARENT,$TRACESTATE").stdout)'

describe("the trace context", function()
  it("is read as the standard says", function()
    assert.same({ trace = TRACE, span = SPAN, flags = "01" }, trace.parse(PARENT))
    assert.equal(PARENT, trace.format(trace.parse(PARENT)))
    assert.equal("00", trace.parse((PARENT:gsub("01$", "00"))).flags)
    assert.is_false(trace.is_sampled(trace.parse((PARENT:gsub("01$", "02")))))
    assert.is_true(trace.is_sampled(trace.parse((PARENT:gsub("01$", "03")))))
    assert.truthy(trace.parse((PARENT:gsub("^00", "cc"))))
    assert.truthy(trace.parse((PARENT:gsub("^00", "cc")) .. "-more"))
    for _, wrong in ipairs({ "", "x", PARENT:upper(), PARENT .. "-more", PARENT .. " ", " " .. PARENT,
      "ff" .. PARENT:sub(3), PARENT:gsub("b7ad6b7169203331", ("0"):rep(16)), PARENT:gsub(TRACE, ("0"):rep(32)),
      PARENT:gsub("b7", "b"), PARENT:gsub("0af", "0afa"), PARENT:gsub("^00", "cc") .. "more", PARENT:sub(1, -2) }) do
      assert.is_nil(trace.parse(wrong), wrong)
    end
    assert.is_nil(trace.parse(nil))
  end)
end)

describe("the variables of OpenTelemetry", function()
  local function read(map)
    return variables.read(function(name)
      return map["OTEL_" .. name:match("^OTEL_(.*)$")]
    end)
  end

  it("name themselves when they are wrong", function()
    for _, text in ipairs({ "0", "-5", "abc", "nan", "1e12" }) do
      local options, fault = read({ OTEL_EXPORTER_OTLP_ENDPOINT = "http://a", OTEL_EXPORTER_OTLP_TIMEOUT = text })
      assert.is_nil(options)
      assert.equal(("OTEL_EXPORTER_OTLP_TIMEOUT: expected milliseconds from 50 to 3600000, got %q"):format(text), fault)
    end
  end)

  it("become options", function()
    local options = read({ OTEL_EXPORTER_OTLP_ENDPOINT = "http://a", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = "http://b/x",
      OTEL_EXPORTER_OTLP_HEADERS = " a = b%20c%3D ,d=e=f,", OTEL_EXPORTER_OTLP_TIMEOUT = "1500",
      OTEL_METRICS_EXPORTER = "none", OTEL_TRACES_EXPORTER = "console,otlp", OTEL_EXPORTER_OTLP_PROTOCOL = "http/json" })
    local reveal = require("luarium.secret").reveal
    assert.same({ "http://a", "http://b/x", "b c=", "e=f", 1.5, false }, { options.endpoint, options.traces_endpoint,
      reveal(options.headers.a), reveal(options.headers.d), options.timeout, options.metrics })
    assert.is_nil(options.traces)
    assert.not_equal("b c=", options.headers.a)
    assert.same({}, (read({ OTEL_EXPORTER_OTLP_ENDPOINT = "" })))
  end)

  it("switch it off, and are told from what is meant for others", function()
    assert.same({ disabled = true }, (read({ OTEL_SDK_DISABLED = "TRUE", OTEL_EXPORTER_OTLP_PROTOCOL = "grpc" })))
    local options, fault = read({ OTEL_EXPORTER_OTLP_METRICS_PROTOCOL = "grpc" })
    assert.is_nil(options)
    assert.equal("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL is grpc, and only http/json is spoken here", fault)
    options, fault = read({ OTEL_EXPORTER_OTLP_HEADERS = "a=b,secret-without-name" })
    assert.is_nil(options)
    assert.equal("OTEL_EXPORTER_OTLP_HEADERS: expected name=value,name=value", fault)
  end)

  it("describe who sends", function()
    local function resource(map)
      return variables.resource(function(name) return map[name] end)
    end
    assert.same({ a = "b,c", ["service.name"] = "x" },
      resource({ OTEL_RESOURCE_ATTRIBUTES = "a=b%2Cc,service.name=y", OTEL_SERVICE_NAME = "x" }))
    assert.same({ ["service.name"] = "y" }, resource({ OTEL_RESOURCE_ATTRIBUTES = "service.name=y" }))
    assert.same({}, resource({ OTEL_RESOURCE_ATTRIBUTES = "a=b,nonsense" }))
  end)
end)

describe("telemetry of the program", function()
  test("reports a run as one trace, and the command in the sandbox knows its place in it", function(place, server)
    place.env.OTEL_SERVICE_NAME, place.env.OTEL_RESOURCE_ATTRIBUTES = "robot", "team=a%20b"
    place.env.OTEL_EXPORTER_OTLP_HEADERS = "x-key=secret%2Dvalue"
    local result = run(place, exec)
    assert.equal(0, result.exit_code, result.stderr)
    local spans = spans_of(server)
    assert.is_nil(spans.run.parentSpanId)
    assert.equal(spans.run.spanId, spans["sandbox.create"].parentSpanId)
    assert.equal(spans.run.spanId, spans["sandbox.exec"].parentSpanId)
    assert.equal(("00-%s-%s-01"):format(spans.run.traceId, spans["sandbox.exec"].spanId),
      result.stdout:match("^(%S*),\n"))
    local request = server:requests("/v1/metrics")[1]
    assert.equal("secret-value", request.headers["x-key"])
    assert.equal("application/json", request.headers["content-type"])
    local resource = schema.plain(request.value.resourceMetrics[1].resource.attributes)
    assert.same({ "robot", "a b" }, { resource["service.name"], resource.team })
  end)

  test("continues the trace it was started in", function(place, server)
    place.env.TRACEPARENT, place.env.TRACESTATE = PARENT, "vendor=x"
    local result = run(place, exec)
    local spans = spans_of(server)
    assert.equal(TRACE, spans.run.traceId)
    assert.equal(SPAN, spans.run.parentSpanId)
    assert.equal("vendor=x", spans.run.traceState)
    assert.equal(("00-%s-%s-01,vendor=x\n\n"):format(TRACE, spans["sandbox.exec"].spanId), result.stdout)
  end)

  test("records no spans of a trace that is not sampled, but counts", function(place, server)
    place.env.TRACEPARENT = PARENT:gsub("01$", "00")
    local result = run(place, exec)
    assert.truthy(result.stdout:find("^00%-" .. TRACE .. "%-%x+%-00,\n"))
    assert.equal(0, #server:requests("/v1/traces"))
    assert.equal(1, #server:requests("/v1/metrics"))
  end)

  test("a malformed trace counts as none", function(place, server)
    place.env.TRACEPARENT, place.env.TRACESTATE = PARENT:upper(), "vendor=x"
    local result = run(place, exec)
    local span = spans_of(server).run
    assert.is_nil(span.parentSpanId)
    assert.is_nil(span.traceState)
    assert.truthy(result.stdout:find("^00%-" .. span.traceId .. "%-%x+%-01,\n"))
  end)

  test("a live process gets it too, and what the script says wins", function(place)
    place.env.TRACEPARENT, place.env.TRACESTATE = PARENT, "vendor=x"
    local result = run(place, [[
      local box <close> = luarium.create { env = { TRACEPARENT = "of the box" } }
      print(box:exec("echo $TRACEPARENT$TRACESTATE").stdout)
      print(box:exec("echo $TRACEPARENT$TRACESTATE", { env = { TRACEPARENT = "mine" } }).stdout)
      local other <close> = luarium.create()
      local process <close> = other:spawn("echo $TRACEPARENT $TRACESTATE")
      print((process:read()))
    ]])
    assert.truthy(result.stdout:find("^of the box\n\nmine\n\n00%-" .. TRACE .. "%-%x+%-01 vendor=x\n"), result.stdout)
  end)

  test("hands our own trace on when nothing is recorded", function(place, server)
    place.env.TRACEPARENT, place.env.OTEL_EXPORTER_OTLP_ENDPOINT = PARENT, ""
    assert.equal(PARENT .. ",\n\n", run(place, exec).stdout)
    place.env.TRACEPARENT = "nonsense"
    assert.equal(",\n\n", run(place, exec).stdout)
    assert.equal(0, #server:requests())
  end)

  test("obeys the variables that switch parts off", function(place, server)
    place.env.OTEL_TRACES_EXPORTER = "none"
    run(place, exec)
    assert.equal(0, #server:requests("/v1/traces"))
    assert.equal(1, #server:requests("/v1/metrics"))
    place.env.OTEL_TRACES_EXPORTER, place.env.OTEL_METRICS_EXPORTER = nil, "none"
    run(place, exec)
    assert.equal(1, #server:requests("/v1/traces"))
    assert.equal(1, #server:requests("/v1/metrics"))
    place.env.OTEL_SDK_DISABLED = "true"
    assert.equal(0, run(place, exec).exit_code)
    assert.equal(2, #server:requests())
  end)

  test("says once why it is off, and runs all the same", function(place, server)
    place.env.OTEL_EXPORTER_OTLP_PROTOCOL = "grpc"
    local result = run(place, exec)
    assert.equal(0, result.exit_code)
    local _, count = result.stderr:gsub("luarium: telemetry is off: OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and only "
      .. "http/json is spoken here\n", "")
    assert.equal(1, count)
    place.env.OTEL_EXPORTER_OTLP_PROTOCOL = nil
    place.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = "nowhere"
    result = run(place, exec)
    assert.equal(0, result.exit_code)
    assert.truthy(result.stderr:find("telemetry is off: option 'traces_endpoint': expected http://", 1, true))
    assert.equal(0, #server:requests())
  end)

  test("is configured in luarium.lua, where the variables win", function(place, server)
    local url = place.env.OTEL_EXPORTER_OTLP_ENDPOINT
    place.env.OTEL_EXPORTER_OTLP_ENDPOINT = nil
    place:write("luarium.lua", ('return { telemetry = { endpoint = "%s/base/", metrics = false } }'):format(url))
    assert.equal(0, run(place, exec).exit_code)
    assert.equal(1, #server:requests())
    local request = server:requests("/base/v1/traces")[1]
    local spans = request.value.resourceSpans[1].scopeSpans[1].spans
    assert.equal("run", spans[#spans].name)
    assert.equal(spans[#spans].spanId, spans[1].parentSpanId)
    schema.check("/v1/traces", request.value)
    place.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = url .. "/v1/traces"
    assert.equal(0, run(place, exec).exit_code)
    assert.equal(1, #server:requests("/v1/traces"))
    place.env.OTEL_SDK_DISABLED = "true"
    assert.equal(0, run(place, exec).exit_code)
    assert.equal(2, #server:requests())
  end)

  test("reports other commands, and the cleanup after a failure", function(place, server)
    local id = place:ok({ "create", "--name", "b" }):match("sbx_%w+")
    assert.truthy(id)
    assert.equal(3, place:run({ "exec", "b", "exit 3" }).exit_code)
    assert.equal(1, run(place, 'local box <close> = luarium.create() error("oops")').exit_code)
    local spans = spans_of(server)
    assert.truthy(spans["sandbox.exec"])
    assert.equal(2, spans.run.status.code)
    assert.truthy(spans.run.status.message:find("oops", 1, true))
    assert.is_nil(spans["sandbox.destroy"].status)
  end)

  test("a collector that is away is one line on standard error", function(place, server)
    server:die()
    local result = run(place, exec)
    assert.equal(0, result.exit_code)
    local _, count = result.stderr:gsub("telemetry: ", "")
    assert.equal(1, count, result.stderr)
    assert.equal("", place:run({ "--quiet", "run", "script.lua" }).stderr)
  end)

  test("hides no deadlock", function(place)
    local result = run(place, [[
      local box <close> = luarium.create()
      box:exec("true")
      luarium.task.event("what never comes"):wait()
    ]])
    assert.truthy(result.stderr:find("deadlock", 1, true), result.stderr)
  end)

  test("is not even loaded when nobody asked for it", function(place)
    local text = [[
      local box <close> = luarium.create()
      box:exec("true")
      for name in pairs(package.loaded) do
        if name:find("otlp") then print(name) end
      end
    ]]
    assert.truthy(run(place, text).stdout:find("luarium.otlp", 1, true))
    place.env.OTEL_EXPORTER_OTLP_ENDPOINT = nil
    assert.equal("", run(place, text).stdout)
  end)

  test("its spans are those that the events tell of", function(place, server)
    place:write("script.lua", exec)
    local result = place:run({ "run", "script.lua", "--json" })
    local spans = spans_of(server)
    for line in result.stdout:gmatch("[^\n]+") do
      local record = json.decode(line)
      assert(not record.phase or spans[record.event], record.event)
    end
  end)
end)
