local async = require "spec.support.async"
local errors = require "luarium.error"
local http = require "luarium.http"
local native = require "luarium.native"
local nginx = require "spec.support.nginx"
local rude = require "spec.support.rude_server"
local secret = require "luarium.secret"
local task = require "luarium.task"

local missing = nginx.missing() or rude.missing()
if missing then
  pending("luarium.http: " .. missing)
  return
end

local function client(body)
  return async(function()
    body()
    native.http.close_idle()
  end)
end

local server, socket, stop_rude

local locations = [[
location = /args { return 200 $args; }
location = /seen { return 200 "$request_method|$http_x_token|$http_x_number|$content_type"; }
location = /to-other { return 302 http://127.0.0.1:PORT2/seen; }
location = /object { default_type application/json; return 200 '{"a": [1, 2], "b": null}'; }
]]

setup(function()
  server = nginx.start { locations = locations }
  socket, stop_rude = rude.start()
end)

teardown(function()
  server:stop()
  stop_rude()
end)

after_each(native.http.close_idle)

local function raises(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(errors.is(err, "invalid"), tostring(err))
  assert.is_truthy(err.message:find(pattern, 1, true), err.message)
end

describe("luarium.http.request", function()
  it("gives up idle connections beside a stream that keeps nobody waiting", client(function()
    local stream = assert(http.open { url = "http://rude/stalled", unix_socket = socket, background = true, version = "1.1" })
    local request = { url = server.url("/object"), version = "1.1" }
    assert.is_false(assert(http.request(request)).reused)
    assert.is_true(assert(http.request(request)).reused)
    native.http.close_idle()
    assert.is_false(assert(http.request(request)).reused)
    stream:close()
  end))

  it("answers with a response that knows JSON", client(function()
    local r = assert(http.request { url = server.url("/object") })
    assert.same({ 200, "1.1", false }, { r.status, r.version, r.reused })
    assert.equal("application/json", r.headers["content-type"])
    assert.equal(server.url("/object"), r.url)
    assert.is_true(#r.headers_list >= 4)
    assert.is_true(r.timing.total > 0)
    assert.is_nil(r.nonsense)
    assert.same({ 1, 2 }, r:json().a)
    local value, err = http.request({ url = server.url("/hello") }):json()
    assert.is_nil(value)
    assert.equal("protocol", err.kind)
  end))

  it("encodes the query", client(function()
    local r = http.request {
      url = server.url("/args"),
      query = { b = "a b&c=d/é", a = 1, c = true, d = { "x", 2 }, e = {}, f = 0.5, n = 2 ^ 40 },
    }
    assert.equal("a=1&b=a%20b%26c%3Dd%2F%C3%A9&c=true&d=x&d=2&f=0.5&n=1099511627776", r.body)
    assert.equal("x=1&y=2", http.request({ url = server.url("/args?x=1"), query = { y = 2 } }).body)
    assert.equal("y=2", http.request({ url = server.url("/args#part"), query = { y = 2 } }).body)
    assert.equal("a%2Fb%20c", http.escape("a/b c"))
  end))

  it("sends JSON, and any body as POST unless told", client(function()
    local r = assert(http.request { url = "http://rude/echo", unix_socket = socket, json = { a = { 1, "x" } } })
    assert.same({ a = { 1, "x" } }, r:json())
    assert.equal("POST|||application/json", http.request({ url = server.url("/seen"), json = {} }).body)
    local patch = http.request {
      url = server.url("/seen"), method = "PATCH", json = {}, headers = { ["content-type"] = "application/merge" },
    }
    assert.equal("PATCH|||application/merge", patch.body)
    assert.equal("POST|||", http.request({ url = server.url("/seen"), body = "x" }).body)
    local _, err = http.request { url = server.url("/seen"), json = { print } }
    assert.equal("invalid", err.kind)
  end))

  it("takes secrets and numbers as headers; secrets stay within the origin", client(function()
    local headers = { ["X-Token"] = secret.new("s3cret-value", "token"), ["X-Number"] = 7 }
    assert.equal("GET|s3cret-value|7|", http.request({ url = server.url("/seen"), headers = headers }).body)
    assert.equal("GET||7|", http.request({ url = server.url("/to-other"), headers = headers, follow = 1 }).body)
    local list = { { "X-Token", "a" }, { "X-Number", "b" } }
    assert.equal("GET|a|b|", http.request({ url = server.url("/seen"), headers = list }).body)
  end))

  it("refuses wrong options with the right name", client(function()
    raises("did you mean 'method'", http.request, { url = "http://127.0.0.1/", metod = "GET" })
    raises("'url' is missing", http.request, {})
    raises("'timeout'", http.request, { url = "http://127.0.0.1/", timeout = "soon" })
    raises("'body'", http.request, { url = "http://127.0.0.1/", body = true })
    raises("expected one of body", http.request, { url = "http://127.0.0.1/", body = "x", json = {} })
    raises("query 'a'", http.request, { url = "http://127.0.0.1/", query = { a = print } })
    raises("expected a table", http.request, "http://127.0.0.1/")
  end))

  it("returns what the world refuses, without secrets in it", client(function()
    local r, err = http.request { url = "http://user:hunter22@example.com/p?key=hidden" }
    assert.is_nil(r)
    assert.is_true(errors.is(err, "invalid"))
    assert.is_nil(err:trace():find("hunter22", 1, true))
    assert.is_nil(err:trace():find("hidden", 1, true))
    err = select(2, http.request { url = server.url("/seen"), headers = { ["X-A"] = "b\r\nX-Evil: 1" } })
    assert.equal("invalid", err.kind)
    assert.is_nil(err.message:find("Evil", 1, true))
  end))

  it("is bounded in time by itself", client(function()
    local before = http.default_timeout
    http.default_timeout = 0.2
    local _, err = http.request { url = "http://rude/silent", unix_socket = socket }
    http.default_timeout = before
    assert.equal("timeout", err.kind)
  end))

  it("works outside of tasks", function()
    assert.equal("hello\n", http.request({ url = server.url("/hello") }).body)
  end)
end)

describe("luarium.http.open", function()
  it("waits for the head and reads to the end", client(function()
    local stream = assert(http.open { url = server.url("/hello") })
    assert.same({ 200, "6" }, { stream.status, stream.headers["content-length"] })
    assert.equal("hello\n", stream:read())
    assert.is_nil((stream:read()))
    stream:close()
    stream:close()
  end))

  it("returns at once when the body is written later", client(function()
    local stream = assert(http.open { url = server.url("/put/lua"), method = "PUT", body = true })
    assert.is_nil(stream.status)
    assert.is_true(stream:write("one "))
    assert.is_true(stream:write("two"))
    assert.is_true(stream:finish_write())
    assert.equal(201, stream:response().status)
    assert.equal(201, stream.status)
    stream:close()
  end))

  it("has trailers", client(function()
    local stream = assert(http.open { url = "http://rude/trailers", unix_socket = socket })
    repeat
      local bytes = stream:read()
    until not bytes
    assert.equal("7", stream:trailers()["grpc-status"])
    stream:close()
  end))

  it("leaves nothing behind when it fails or is cancelled while opening", client(function()
    local stream, err = http.open { url = "http://rude/empty", unix_socket = socket }
    assert.is_nil(stream)
    assert.equal("unavailable", err.kind)
    local ok
    ok, err = pcall(task.timeout, 0.1, http.open, { url = "http://rude/silent", unix_socket = socket })
    assert.is_false(ok)
    assert.equal("timeout", err.kind)
    assert.equal("cancelled", select(2, pcall(function()
      task.scope(function(scope)
        scope:spawn(function()
          http.open { url = "http://rude/silent", unix_socket = socket }
        end)
        task.sleep(0.05)
        errors.raise("cancelled", "enough")
      end)
    end)).kind)
  end))
end)

describe("luarium.http.connect", function()
  it("hands over the bytes of a connection", client(function()
    local connection = assert(http.connect { url = "http://rude/", unix_socket = socket })
    assert.is_true(connection:write("GET /raw HTTP/1.1\r\nUpgrade: tcp\r\n\r\n"))
    local text = ""
    repeat
      text = text .. assert(connection:read())
    until text:find("\r\n\r\n", 1, true)
    assert.is_true(connection:write("ping"))
    assert.equal("ping", connection:read(10))
    assert.is_true(connection:finish_write())
    assert.is_nil((connection:read()))
    connection:close()
    local none, err = http.connect { url = "http://127.0.0.1:1/" }
    assert.is_nil(none)
    assert.equal("unavailable", err.kind)
  end))
end)
