--- Credentials in addresses and headers: what was shown of them, and where.
local async = require "spec.support.async"
local auth = require "luarium.docker.auth"
local collector = require "spec.support.collector"
local command = require "luarium.git.command"
local engine = require "luarium.docker.engine"
local http = require "luarium.http"
local luarium = require "luarium"
local native = require "luarium.native"
local otlp = require "luarium.otlp"
local program = require "spec.support.program"
local scratch = require "spec.support.scratch"
local secret = require "luarium.secret"
local target = require "luarium.ssh.target"

local within = program.within(60)
local WORD = "hunter2hunter2"

local function hides(err, what)
  local text = type(err) == "string" and err or err:trace()
  assert.falsy(text:find(WORD, 1, true), text)
  assert.truthy(text:find(what, 1, true), text)
end

describe("telemetry", function()
  local function with_collector(plan, fn)
    return async(60, function()
      collector.with(plan, program.with, function(server, place)
        place:ok({ "create", "--name", "demo" })
        fn(server, place)
      end)
    end)
  end
  local missing = collector.missing()
  local test = missing and function(name)
    pending(name .. ": " .. missing)
  end or it

  for scheme, token in pairs({ Bearer = "tok-0123456789", Basic = native.crypto.base64_encode("me:tok-0123456789") }) do
    test("does not repeat the token of the headers when the collector does: " .. scheme, with_collector({
      traces = { 'body {"partialSuccess":{"errorMessage":"no rights: tok-0123456789"}}' } }, function(server, place)
      place.env.OTEL_EXPORTER_OTLP_ENDPOINT = server.url
      place.env.OTEL_EXPORTER_OTLP_HEADERS = ("Authorization=%s%%20%s"):format(scheme, token)
      local result = place:run({ "exec", "demo", "true" })
      assert.equal(scheme .. " " .. token, server:requests("/v1/traces")[1].headers.authorization)
      assert.truthy(result.stderr:find("no rights: [redacted OTEL_EXPORTER_OTLP_HEADERS]", 1, true), result.stderr)
    end))
  end

  test("goes to an endpoint with a query, which no message shows", with_collector({ ["traces?key=" .. WORD] = { "400" } },
    function(server, place)
      place.env.OTEL_EXPORTER_OTLP_ENDPOINT = server.url .. "/?key=" .. WORD
      local result = place:run({ "exec", "demo", "true" })
      hides(result.stderr, server.url .. "/v1/traces answered 400")
      assert.equal(1, #server:requests("/v1/traces?key=" .. WORD))
      assert.equal(1, #server:requests("/v1/metrics?key=" .. WORD))
    end))

  it("shows no password of a wrong endpoint", within(function(place)
    place:ok({ "create", "--name", "demo" })
    for _, url in ipairs({ "http://user:WORD@127.0.0.1:9", "http://user:p/WORD@127.0.0.1:9", "ftp://u:WORD@h",
      "user:WORD@host" }) do
      place.env.OTEL_EXPORTER_OTLP_ENDPOINT = url:gsub("WORD", WORD)
      hides(place:run({ "exec", "demo", "true" }).stderr, "telemetry is off: option 'endpoint'")
      local _, err = luarium.try(luarium.configure, { telemetry = { endpoint = place.env.OTEL_EXPORTER_OTLP_ENDPOINT } })
      hides(err, "option 'endpoint'")
      otlp.reset()
    end
  end))
end)

describe("a password in an address is not shown:", function()
  it("DOCKER_HOST", function()
    for _, host in ipairs({ "tcp://user:WORD@host:2375", "foo://user:WORD@host", "ssh://user:WORD@host", "u:WORD@h" }) do
      local _, err = engine.open({ host = (host:gsub("WORD", WORD)) })
      hides(err, "docker: ")
    end
  end)

  it("hosts of ssh, where it has no place", async(function()
    for _, host in ipairs({ "user:WORD@host", "ssh://user:WORD@host:22", "user:p@WORD@host" }) do
      local _, err = target.resolve({ host = (host:gsub("WORD", WORD)), ssh_config = false })
      hides(err, "ssh: host: ")
      _, err = target.resolve({ host = "host", jump = (host:gsub("WORD", WORD)), ssh_config = false })
      hides(err, "ssh: jump: ")
    end
  end))

  it("proxies, also what a server repeats of them", async(function()
    for _, proxy in ipairs({ "foo://user:WORD@127.0.0.1:1", "http://user:WORD@127.0.0.1:1", "http://user:WORD@:x" }) do
      local _, err = http.request({ url = "http://example.com/", allow_plain = true, proxy = (proxy:gsub("WORD", WORD)) })
      hides(err, "http://example.com/")
    end
    http.request({ url = "http://127.0.0.1:1/", proxy = "http://user:pw%2Fof-the-proxy@127.0.0.1:1" })
    assert.equal("[redacted proxy] [redacted proxy]", secret.redact("pw%2Fof-the-proxy pw/of-the-proxy"))
    assert.falsy(secret.redact(native.crypto.base64_encode("user:pw/of-the-proxy")):find("dXNl", 1, true))
  end))

  it("addresses that git repeats", function()
    local err = command.explain("git.push", { exit_code = 128,
      stderr = "fatal: unable to access 'https://user:an-agents-word@example.com/x.git/': 403\n" })
    assert.falsy(err.message:find("an-agents-word", 1, true), err.message)
    assert.truthy(err.message:find("https://user:[hidden]@example.com", 1, true), err.message)
  end)

  it("whatever a script raises or logs", within(function(place)
    place:write("script.lua", "require('luarium.log').warn('at ftp://u:" .. WORD .. "@host') error('no https://me:"
      .. WORD .. "@host/x', 0)")
    hides(place:run({ "run", "script.lua" }).stderr, "no https://me:[hidden]@host/x")
  end))
end)

describe("a credential is known, and removed:", function()
  it("the token in an Authorization, given as text", async(function()
    http.request({ url = "http://127.0.0.1:1/", headers = { Authorization = "Bearer plain-text-token" } })
    assert.equal("[redacted Authorization]", secret.redact("plain-text-token"))
  end))

  it("those of registries, in every form of config.json", async(function()
    local dir = scratch.make()
    scratch.write(dir .. "/config.json", ([[{ "auths": { "a.example": { "auth": "%s" },
      "b.example": { "identitytoken": "registry-identity" } } }]]):format(native.crypto.base64_encode("me:registry-word")))
    local getenv = os.getenv
    os.getenv = function(name) -- luacheck: ignore
      return name == "DOCKER_CONFIG" and dir or getenv(name)
    end
    local ok, err = pcall(function()
      auth.pull_headers(nil, "a.example/image")
      auth.pull_headers(nil, "b.example/image")
    end)
    os.getenv = getenv -- luacheck: ignore
    scratch.drop(dir)
    assert(ok, err)
    assert.equal("[redacted registry password]", secret.redact("registry-word"))
    assert.equal("[redacted registry token]", secret.redact("registry-identity"))
    assert.falsy(secret.redact(native.crypto.base64_encode("me:registry-word")):find("bWU6", 1, true))
  end))
end)

describe("a short secret", function()
  it("is told of once, by its name", within(function(place)
    place:write("script.lua", "luarium.secret('p1n', 'PIN') luarium.secret('a', 'OTHER') luarium.secret('', 'EMPTY')")
    local said = place:run({ "run", "script.lua" }).stderr
    assert.truthy(said:find("the secret PIN has fewer than 6 bytes", 1, true), said)
    assert.falsy(said:find("p1n", 1, true) or said:find("OTHER", 1, true), said)
  end))
end)
