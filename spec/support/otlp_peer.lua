--- The published schema itself as a judge: OpenTelemetry's own package for JavaScript has the messages that protobufjs
--- generated from opentelemetry-proto. Each request goes through them and must come back as it was.
local native = require "luarium.native"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local M = {}

local folder = "build/peers/otlp"
local module = folder .. "/node_modules/@opentelemetry/otlp-transformer/build/src/generated/root.js"

local script = [=[
const fs = require("fs");
const assert = require("assert");
const proto = require(process.argv[2]).opentelemetry.proto.collector;
const types = { "/v1/traces": proto.trace.v1.ExportTraceServiceRequest,
  "/v1/metrics": proto.metrics.v1.ExportMetricsServiceRequest };
const ids = new Set(["traceId", "spanId", "parentSpanId"]);
// OTLP writes ids in hexadecimal where JSON of protobuf has base64.
const convert = (value, from, to) => JSON.parse(JSON.stringify(value, (key, item) =>
  ids.has(key) && typeof item === "string" ? Buffer.from(item, from).toString(to) : item));
for (const request of JSON.parse(fs.readFileSync(0, "utf8"))) {
  const type = types[request.path];
  const sent = JSON.parse(request.body);
  const read = type.decode(type.encode(type.fromObject(convert(sent, "hex", "base64"))).finish());
  assert.strictEqual(type.verify(read), null);
  const back = convert(type.toObject(read, { longs: String, bytes: String }), "base64", "hex");
  assert.deepStrictEqual(back, sent);
  console.log("ok", request.path);
}
]=]

--- Installs it when it is not there yet. Returns why it cannot be used, or nil.
function M.missing()
  if scratch.sh("command -v npm && command -v node || true"):match("node") == nil then
    return "npm or node is not installed"
  end
  if not scratch.exists(module) then
    local ok, why = pcall(scratch.sh, ([[
      mkdir -p %s && cd %s && echo '{"private": true}' >package.json
      timeout 90 npm install --no-audit --no-fund --silent --fetch-retries=0 \
        @opentelemetry/otlp-transformer@0.57.2 @opentelemetry/api@1.9.0]]):format(folder, folder))
    if not ok or not scratch.exists(module) then
      return "OpenTelemetry's package cannot be installed with npm: " .. tostring(why):sub(1, 300)
    end
  end
end

--- What node says of these requests: "ok PATH" for each, or the first fault.
---@param requests {path: string, body: string}[]
---@return string stdout
---@return string stderr
function M.judge(requests)
  local list = {}
  for i, request in ipairs(requests) do
    list[i] = { path = request.path, body = request.body }
  end
  local text = assert(require("luarium.json").encode(list))
  local path = assert(task.await(native.fs.realpath(module)))
  local result = assert(task.await(native.process.run({ argv = { "node", "-e", script, "judge", path },
    stdin = text, timeout = 30 })))
  return result.stdout, result.stderr
end

return M
