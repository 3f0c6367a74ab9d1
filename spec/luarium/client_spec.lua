local async = require "spec.support.async"
local nginx = require "spec.support.nginx"
local client = require "luarium.provider.client"
local errors = require "luarium.error"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local now = native.loop.monotonic

local locations = [[
location = /ok { default_type application/json; return 200 '{"a":null,"b":[1,2]}'; }
location = /empty { return 204; }
location = /text { return 200 "no json"; }
location = /echo { default_type application/json; return 200 '{"auth":"$http_authorization","extra":"$http_x_extra"}'; }
location = /missing { default_type application/json; return 404 '{"error":{"message":"no such\u001b[31m thing"}}'; }
location = /denied { return 401 '{"message":"bad key"}'; }
location = /leak { return 403 '{"message":"LONG $http_authorization"}'; }
location = /busy { add_header Retry-After 1 always; return 429 '{}'; }
location = /down { return 503 'oops'; }
location = /page { default_type application/json; return 200 '{"items":["$arg_page"]}'; }
]]
locations = locations:gsub("LONG", ("x"):rep(280))

local function client_of(server, options)
  local given = { base_url = server.url(""), provider = "spec", retry = { max = 3, initial = 0.001 } }
  for key, value in pairs(options or {}) do
    given[key] = value
  end
  return client.new(given)
end

--- How often a line is in the log, once the line of a request sent after all of them is there.
local markers = 0
local function count(server, line)
  local n = 0
  markers = markers + 1
  local marker = "/marker" .. markers
  client_of(server):get(marker)
  server:wait_for_log(marker)
  for _ in server:log():gmatch(line) do
    n = n + 1
  end
  return n
end

describe("provider.client", function()
  local missing = nginx.missing()
  if missing then
    pending("needs nginx: " .. missing)
    return
  end

  local server
  setup(function()
    server = nginx.start({ locations = locations })
  end)
  teardown(function()
    server:stop()
  end)

  --- Idle connections stay open for reuse: they are given up, so that nothing is left behind.
  local function test(fn)
    return async(15, function()
      fn()
      native.http.close_idle()
    end)
  end

  it("decodes what comes, without nulls, and says true where nothing comes", test(function()
    local api = client_of(server)
    assert.same({ b = { 1, 2 } }, api:get("/ok"))
    assert.is_true(api:get("/empty"))
    local value, err = api:get("/text")
    assert.is_nil(value)
    assert.equal("protocol", err.kind)
    assert.equal("no json", assert(api:request({ method = "GET", path = "/text", raw = true })).body)
  end))

  it("sends the key, and shows it nowhere", test(function()
    local api = client_of(server, { bearer = secret.new("client-key-123456", "SPEC_KEY"), headers = { ["X-Extra"] = "1" } })
    local body = api:get("/echo")
    assert.equal("Bearer client-key-123456", body.auth)
    assert.equal("1", body.extra)
    assert.equal("[redacted SPEC_KEY]", secret.redact("client-key-123456"))
  end))

  it("maps statuses to kinds, with the vendor's words made harmless", test(function()
    local api = client_of(server, { status = { [404] = "sandbox_gone" } })
    local _, err = api:get("/missing")
    assert.equal("sandbox_gone", err.kind)
    assert.equal(404, err.status)
    assert.truthy(err.message:find("GET /missing: the vendor answered 404: no such\\x1b[31m thing", 1, true), err.message)
    _, err = api:delete("/denied")
    assert.equal("auth", err.kind)
    assert.is_false(err.retryable)
  end))

  it("repeats what is safe to repeat, and only that", test(function()
    local api = client_of(server)
    local _, err = api:get("/down")
    assert.equal("unavailable", err.kind)
    assert.equal(3, count(server, "GET /down"))
    api:post("/down", { a = 1 })
    assert.equal(1, count(server, "POST /down"))
    api:post("/down", { a = 1 }, { safe = true })
    assert.equal(4, count(server, "POST /down"))
    _, err = api:get("/denied")
    assert.equal("auth", err.kind)
    assert.equal(1, count(server, "GET /denied"))
  end))

  it("repeats a post that surely did nothing", test(function()
    local attempts = {}
    local api = client.new({ base_url = "http://127.0.0.1:9", provider = "spec",
      retry = { max = 2, initial = 0.001, on_retry = function(err)
        attempts[#attempts + 1] = err.kind
      end } })
    local _, err = api:post("/x", {})
    assert.equal("unavailable", err.kind)
    assert.same({ "unavailable" }, attempts)
  end))

  it("shows no part of a secret that the vendor repeats, where its words are cut", test(function()
    local _, err = client_of(server, { bearer = "correct-horse-battery-staple" }):get("/leak")
    assert.truthy(err.message:find("xxxx", 1, true))
    assert.falsy(err.message:find("corr", 1, true), err.message)
  end))

  it("waits for Retry-After, for the whole account", test(function()
    local api = client_of(server, { retry = { max = 1 } })
    local _, err = api:post("/busy", {})
    assert.equal("rate_limited", err.kind)
    assert.equal(1, err.retry_after)
    local began = now()
    api:get("/ok")
    assert.is_true(now() - began > 0.8)
  end))

  it("keeps to its rate and to its number of connections", test(function()
    local api = client_of(server, { rate = 50, concurrency = 2 })
    local began = now()
    task.map({ 1, 2, 3, 4, 5, 6 }, function()
      assert(api:get("/ok"))
    end)
    assert.is_true(now() - began >= 0.1)
  end))

  it("collects pages, and not for ever", test(function()
    local api = client_of(server)
    local function read(response)
      local page = tonumber(response.body.items[1])
      return response.body.items, page < 3 and { page = page + 1 } or nil
    end
    assert.same({ "1", "2", "3" }, api:pages("/page", { page = 1 }, read))
    local _, err = api:pages("/page", { page = 1 }, function()
      return {}, { page = 1 }
    end, 5)
    assert.equal("protocol", err.kind)
  end))

  it("polls until there is an answer, an error or no time", test(function()
    local looks = 0
    assert.equal("ready", client.poll({ what = "it", timeout = 5, every = 0.001 }, function()
      looks = looks + 1
      return looks == 3 and "ready"
    end))
    local _, err = client.poll({ what = "the machine", timeout = 0.02, every = 0.005 }, function() end)
    assert.equal("timeout", err.kind)
    assert.truthy(err.message:find("the machine", 1, true))
    _, err = client.poll({ what = "it", timeout = 5 }, function()
      return nil, errors.new("auth", "no")
    end)
    assert.equal("auth", err.kind)
  end))

  it("refuses wrong options", function()
    local ok, err = pcall(client.new, { base_url = 5, provdier = "x" })
    assert.is_false(ok)
    assert.truthy(err.message:find("did you mean 'provider'", 1, true))
  end)
end)
