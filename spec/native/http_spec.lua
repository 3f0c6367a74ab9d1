local async = require "spec.support.async"
local http = require("luarium.native").http
local loop = require("luarium.native").loop
local nginx = require "spec.support.nginx"
local rude = require "spec.support.rude_server"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local await = task.await

local missing = nginx.missing() or rude.missing()
if missing then
  pending("native.http: " .. missing)
  return
end

--- The body of a test as a task; kept connections are closed at its end, so that leaks show.
local function client(limit, body)
  if not body then
    limit, body = 10, limit
  end
  return async(limit, function()
    body()
    http.close_idle()
  end)
end

local server, socket, stop_rude

local locations = [[
location = /seen {
  return 200 "$http_authorization|$http_cookie|$http_x_api_key|$http_x_trace|$http_host|$content_type";
}
location = /agent { return 200 "$http_user_agent|$http_accept_encoding|$http_accept|$http_x_empty."; }
location = /method { return 200 $request_method; }
location = /args { return 200 $args; }
location = /created { return 201 "made"; }
location = /missing { return 404 "no such thing"; }
location = /cookies { add_header Set-Cookie "a=1; Path=/"; add_header Set-Cookie "b=2"; return 200 ""; }
location = /to-self { return 302 /seen; }
location = /to-other { return 302 http://127.0.0.1:PORT2/seen; }
location = /to-other-twice { return 302 http://127.0.0.1:PORT2/back; }
location = /back { return 302 http://127.0.0.1:PORT1/seen; }
location = /to-userinfo { return 302 http://user:password@127.0.0.1:PORT2/seen; }
location = /303 { return 303 /method; }
location = /302 { return 302 /method; }
location = /307 { return 307 /method; }
location = /to-put { return 307 /put/after-redirect; }
location = /round { return 302 /round; }
location = /to-file { return 302 "file:///etc/passwd"; }
location = /to-plain-world { return 302 http://example.com/; }
location = /to-spaces { return 302 "/args?a b"; }
location /zipped/ {
  alias DIR/files/; gzip on; gzip_min_length 1; gzip_comp_level 9; gzip_types *;
}
]]

setup(function()
  server = nginx.start { locations = locations }
  socket, stop_rude = rude.start()
  scratch.sh(("head -c 60000000 /dev/zero >%s/files/zeros"):format(server.dir))
  scratch.sh(("head -c 1000000 /dev/urandom >%s/files/megabyte"):format(server.dir))
  scratch.write(server.dir .. "/files/text", ("all work and no play\n"):rep(500))
end)

teardown(function()
  server:stop()
  stop_rude()
end)

local function get(options)
  if type(options) == "string" then
    options = { url = options }
  end
  return await(http.request(options))
end

local function rudely(path, options)
  options = options or {}
  options.url, options.unix_socket = "http://rude" .. path, socket
  return get(options)
end

local function refused(kind, options)
  local response, err = get(options)
  assert.is_nil(response)
  assert.equal(kind, err.kind, err.message)
  return err
end

describe("native.http.request", function()
  it("answers with status, headers, body, version, url and timing", client(function()
    local r = assert(get(server.url("/hello?x=1")))
    assert.equal(200, r.status)
    assert.equal("hello\n", r.body)
    assert.equal("6", r.headers["content-length"])
    assert.equal("1.1", r.version)
    assert.equal(server.url("/hello?x=1"), r.url)
    assert.is_false(r.reused)
    assert.is_true(r.timing.total > 0 and r.timing.total < 5)
    assert.is_true(r.timing.first_byte <= r.timing.total)
  end))

  it("keeps connections and says so", client(function()
    assert.is_false(get(server.url("/hello")).reused)
    for _ = 1, 5 do
      assert.is_true(get(server.url("/hello")).reused)
    end
    assert.is_false(get({ url = server.url("/hello"), own_connection = true }).reused)
  end))

  it("returns any status as a result", client(function()
    local r = assert(get(server.url("/missing")))
    assert.equal(404, r.status)
    assert.equal("no such thing", r.body)
    assert.equal(201, get(server.url("/created")).status)
  end))

  it("sends every method", client(function()
    for _, method in ipairs({ "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND" }) do
      assert.equal(method, get({ url = server.url("/method"), method = method }).body)
    end
    local head = get { url = server.url("/hello"), method = "HEAD" }
    assert.equal("", head.body)
    assert.equal("6", head.headers["content-length"])
  end))

  it("sends only the headers it should", client(function()
    local r = get { url = server.url("/agent"), headers = { ["X-Empty"] = "" } }
    assert.equal("luarium/" .. require("luarium.native").version .. "||*/*|.", r.body)
    local posted = get { url = server.url("/seen"), method = "POST", body = "x" }
    assert.is_truthy(posted.body:find("|$"), "no content type was asked for")
  end))

  it("joins repeated headers and lists them apart", client(function()
    local r = get(server.url("/cookies"))
    assert.equal("a=1; Path=/, b=2", r.headers["set-cookie"])
    local cookies = {}
    for _, pair in ipairs(r.headers_list) do
      if pair[1] == "Set-Cookie" then
        cookies[#cookies + 1] = pair[2]
      end
    end
    assert.same({ "a=1; Path=/", "b=2" }, cookies)
  end))

  it("sends bodies of any bytes, small and large", client(function()
    for _, size in ipairs({ 0, 1, 65536, 65537, 3000000 }) do
      local bytes = ("\0\r\n\255" .. ("x"):rep(96)):rep(math.ceil(size / 100)):sub(1, size)
      assert.equal(201, get({ url = server.url("/put/" .. size), method = "PUT", body = bytes }).status)
      assert.equal(bytes, scratch.read(server.dir .. "/put/" .. size))
    end
    assert.equal("hallo", rudely("/echo", { method = "POST", body = "hallo" }).body)
  end))

  it("runs a hundred at once", client(30, function()
    local done = 0
    task.scope(function(scope)
      for i = 1, 100 do
        scope:spawn(function()
          assert.equal("n=" .. i, assert(get(server.url("/args?n=" .. i))).body)
          done = done + 1
        end)
      end
    end)
    assert.equal(100, done)
  end))

  it("goes through a unix socket", client(function()
    local r = get { url = "http://docker/hello", unix_socket = server.socket }
    assert.equal("hello\n", r.body)
    local err = refused("unavailable", { url = "http://docker/hello", unix_socket = server.dir .. "/none" })
    assert.equal("CURLE_COULDNT_CONNECT", err.name)
  end))

  it("skips interim responses and joins folded headers", client(function()
    local r = rudely("/interim")
    assert.same({ 200, "ok" }, { r.status, r.body })
    assert.is_nil(r.headers.link)
    assert.equal("one two three", rudely("/folded").headers["x-long"])
  end))

  it("leaves chunk framing in the body when asked", client(function()
    assert.equal("abcde", rudely("/chunks").body)
    assert.equal("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", rudely("/chunks", { raw_chunks = true }).body)
  end))
end)

describe("native.http refuses", function()
  it("plain http to the world, unless it is allowed", client(function()
    local err = refused("invalid", { url = "http://user:pass@example.com/path?token=secret" })
    assert.is_truthy(err.message:find("allow_plain", 1, true))
    assert.is_truthy(err.message:find("http://example.com/path", 1, true))
    assert.is_nil(err.message:find("secret", 1, true))
    assert.is_nil(err.message:find("pass@", 1, true))
    for _, host in ipairs({ "127.0.0.1.example.com", "localhost.example.com", "134744072", "10.0.0.1", "0.0.0.0" }) do
      refused("invalid", { url = "http://" .. host .. "/" })
    end
  end))

  it("header injection", client(function()
    for _, headers in ipairs({
      { ["X-A"] = "a\r\nX-B: b" }, { ["X-A"] = "a\nb" }, { ["X-A"] = "a\0b" }, { ["X-A: b\r\nX-C"] = "d" },
      { ["X A"] = "b" }, { [""] = "b" }, { ["X-A"] = "b\127" },
    }) do
      refused("invalid", { url = server.url("/seen"), headers = headers })
    end
    refused("invalid", { url = server.url("/seen"), method = "GET / HTTP/1.1\r\nX: y" })
    refused("invalid", { url = server.url("/a\r\nX: y") })
    refused("invalid", { url = server.url("/seen"), headers = { ["Content-Length"] = "3" } })
    refused("invalid", { url = server.url("/seen"), headers = { ["transfer-encoding"] = "chunked" } })
    assert.equal("", server:log():match("X: y") or "")
  end))

  it("what is no URL for it", client(function()
    for _, url in ipairs({ "", "foo", "ftp://127.0.0.1/", "file:///etc/passwd", "http://a b/", "http://", "gopher://x/" }) do
      refused("invalid", { url = url })
    end
  end))

  it("wrong calls, by raising", function()
    local function raises(pattern, options)
      local ok, err = pcall(http.request, options)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(pattern), tostring(err))
    end
    raises("unknown option 'uri'", { uri = "x" })
    raises("option 'url' is missing", {})
    raises("option 'timeout': expected a number", { url = "x", timeout = "1" })
    raises("option 'headers'", { url = "x", headers = { a = 1 } })
    raises("option 'version'", { url = "x", version = "3" })
    raises("NUL", { url = "http://127.0.0.1/\0" })
    raises("http.open", { url = "x", body = true })
    raises("both", { url = "x", body = "a", body_file = "b" })
    raises("table expected", "http://x/")
  end)
end)

describe("native.http redirects", function()
  local secrets = { Authorization = "Bearer t0ken", Cookie = "c=1", ["X-Api-Key"] = "k3y", ["X-Trace"] = "t" }

  local function follow(path, options)
    options = options or {}
    options.url, options.follow = server.url(path), options.follow or 5
    options.headers, options.secret_headers = options.headers or secrets, { "x-api-key" }
    return get(options)
  end

  it("are results unless they are to be followed", client(function()
    local r = get(server.url("/to-self"))
    assert.equal(302, r.status)
    assert.is_truthy(r.headers.location:find("/seen$"))
  end))

  it("keep credentials within the origin", client(function()
    local r = follow("/to-self")
    assert.equal(200, r.status)
    assert.equal(server.url("/seen"), r.url)
    assert.is_truthy(r.body:find("Bearer t0ken|c=1|k3y|t|", 1, true))
  end))

  it("never carry credentials to another origin", client(function()
    local r = follow("/to-other")
    assert.equal(server.other("/seen"), r.url)
    assert.equal("|||t|" .. server.other(""):match("//(.*)") .. "|", r.body)
    assert.is_truthy(follow("/to-other-twice").body:find("|||t|", 1, true), "nor back again")
  end))

  it("never carry userinfo anywhere, nor take it from a location", client(function()
    local user = "http://user:password@" .. server.url(""):match("//(.*)")
    local direct = get { url = user .. "/seen" }
    assert.is_truthy(direct.body:find("Basic dXNlcjpwYXNzd29yZA==", 1, true))
    assert.equal(server.url("/seen"), direct.url)
    assert.is_truthy(get({ url = user .. "/to-self", follow = 1 }).body:find("Basic", 1, true))
    assert.is_nil(get({ url = user .. "/to-other", follow = 1 }).body:find("Basic", 1, true))
    assert.is_nil(follow("/to-userinfo").body:find("Basic", 1, true))
  end))

  it("stop at the limit with the last response", client(function()
    assert.equal(302, follow("/round", { follow = 3 }).status)
    -- nginx writes its log after the response; a last request marks the end of what is waited for
    assert.equal(404, get(server.url("/files/round-is-over")).status)
    server:wait_for_log("round-is-over")
    local _, requests = server:log():gsub("GET /round", "")
    assert.equal(4, requests)
  end))

  it("change the method as other clients do", client(function()
    assert.equal("GET", follow("/303", { method = "PUT", body = "x" }).body)
    assert.equal("GET", follow("/302", { method = "POST", body = "x" }).body)
    assert.equal("PUT", follow("/302", { method = "PUT", body = "x" }).body)
    assert.equal("POST", follow("/307", { method = "POST", body = "x" }).body)
  end))

  it("send the body again", client(function()
    local bytes = ("y"):rep(200000)
    assert.equal(201, follow("/to-put", { method = "PUT", body = bytes }).status)
    assert.equal(bytes, scratch.read(server.dir .. "/put/after-redirect"))
    scratch.write(server.dir .. "/source", "from a file")
    assert.equal(204, follow("/to-put", { method = "PUT", body_file = server.dir .. "/source" }).status)
    assert.equal("from a file", scratch.read(server.dir .. "/put/after-redirect"))
  end))

  it("are refused where they may not lead", client(function()
    local _, err = follow("/to-file")
    assert.equal("protocol", err.kind)
    _, err = follow("/to-plain-world")
    assert.equal("invalid", err.kind)
    _, err = get { url = "http://docker/to-other", unix_socket = server.socket, follow = 1 }
    assert.equal("protocol", err.kind)
    _, err = get { url = server.tls("/to-other"), ca_file = server.ca, follow = 1 }
    assert.equal("protocol", err.kind)
    assert.is_truthy(err.message:find("https to http", 1, true))
  end))

  it("may lead to odd but honest places", client(function()
    assert.equal("a+b", follow("/to-spaces").body)
  end))
end)

describe("native.http bounds", function()
  it("the body", client(function()
    local err = refused("protocol", { url = server.url("/files/zeros") })
    assert.is_truthy(err.message:find("max_body", 1, true))
    assert.equal("hello\n", get({ url = server.url("/hello"), max_body = 6 }).body)
    refused("protocol", { url = server.url("/hello"), max_body = 5 })
    refused("protocol", { url = "http://rude/endless", unix_socket = socket })
  end))

  it("the body after decompression, and decompresses only when asked", client(function()
    local text = scratch.read(server.dir .. "/files/text")
    local plain = get(server.url("/zipped/text"))
    assert.is_nil(plain.headers["content-encoding"])
    local zipped = get { url = server.url("/zipped/text"), decompress = true }
    assert.equal("gzip", zipped.headers["content-encoding"])
    assert.equal(text, zipped.body)
    local raw = get { url = server.url("/zipped/text"), headers = { ["Accept-Encoding"] = "gzip" } }
    assert.equal("\31\139", raw.body:sub(1, 2))
    refused("protocol", { url = server.url("/zipped/zeros"), decompress = true })
  end))

  it("the head", client(function()
    local _, err = rudely("/big-head")
    assert.equal("protocol", err.kind)
    assert.is_truthy(err.message:find("262144", 1, true), err.message)
    _, err = rudely("/interim", { max_header = 64 })
    assert.equal("protocol", err.kind)
  end))

  it("the time of the whole", client(function()
    local start = loop.monotonic()
    local _, err = rudely("/silent", { timeout = 0.2 })
    assert.equal("timeout", err.kind)
    assert.is_true(err.retryable)
    assert.equal("CURLE_OPERATION_TIMEDOUT", err.name)
    local spent = loop.monotonic() - start
    assert.is_true(spent >= 0.19 and spent < 20, tostring(spent))
  end))

  it("silence, but not slowness", client(function()
    for _, path in ipairs({ "/silent", "/stalled" }) do
      local start = loop.monotonic()
      local _, err = rudely(path, { idle_timeout = 0.3 })
      assert.equal("timeout", err.kind, path)
      assert.is_true(err.retryable)
      assert.is_true(loop.monotonic() - start < 20)
    end
    assert.equal("1234567890", rudely("/steady", { idle_timeout = 0.5 }).body)
  end))
end)

describe("native.http errors", function()
  local function fails(path, kind, name)
    local response, err = rudely(path)
    assert.is_nil(response, path)
    assert.same({ kind, name }, { err.kind, err.name }, path .. ": " .. err.message)
    return err
  end

  it("tell a cut connection from nonsense", client(function()
    assert.is_true(fails("/partial", "unavailable", "CURLE_PARTIAL_FILE").retryable)
    assert.is_true(fails("/empty", "unavailable", "CURLE_GOT_NOTHING").retryable)
    assert.is_false(fails("/garbage", "protocol", "CURLE_UNSUPPORTED_PROTOCOL").retryable)
    assert.is_false(fails("/bad-head", "protocol", "CURLE_WEIRD_SERVER_REPLY").retryable)
  end))

  it("tell where nobody listens and what has no address", client(function()
    local err = refused("unavailable", { url = "http://127.0.0.1:1/x?key=hidden" })
    assert.equal("CURLE_COULDNT_CONNECT", err.name)
    assert.is_true(err.retryable)
    assert.is_nil(err.message:find("hidden", 1, true))
    err = refused("unavailable", { url = "https://no-such-host.invalid/", timeout = 8 })
    assert.equal("CURLE_COULDNT_RESOLVE_HOST", err.name)
  end))

  it("tell a server without TLS, where trying again is no use", client(function()
    local err = refused("unavailable", { url = server.url("/hello"):gsub("http:", "https:") })
    assert.equal("CURLE_SSL_CONNECT_ERROR", err.name)
    assert.is_false(err.retryable)
  end))

  it("come with an answer that arrives before the body is read", client(function()
    local r = rudely("/early", { method = "POST", body = ("x"):rep(100) })
    assert.same({ 413, "big" }, { r.status, r.body })
  end))
end)

describe("native.http over TLS", function()
  it("speaks HTTP/2 where it is offered, and HTTP/1.1 when told", client(function()
    local r = assert(get { url = server.tls("/hello"), ca_file = server.ca })
    assert.same({ "2", "hello\n" }, { r.version, r.body })
    assert.is_true(r.timing.tls > 0)
    assert.equal("1.1", get({ url = server.tls("/hello"), ca_file = server.ca, version = "1.1" }).version)
  end))

  it("shares one HTTP/2 connection among a hundred requests", client(30, function()
    local fresh = 0
    task.scope(function(scope)
      for i = 1, 100 do
        scope:spawn(function()
          local r = assert(get { url = server.tls("/args?n=" .. i), ca_file = server.ca })
          assert.equal("n=" .. i, r.body)
          fresh = fresh + (r.reused and 0 or 1)
        end)
      end
    end)
    assert.equal(1, fresh)
  end))

  it("keeps connections of HTTP/1.1 and HTTP/2 to one server apart", client(30, function()
    local function get_text(version)
      local r = assert(get { url = server.tls("/files/megabyte"), ca_file = server.ca, version = version })
      assert.equal(1000000, #r.body)
      return r.version
    end
    local function at_once(count)
      local versions = {}
      task.scope(function(scope)
        for _ = 1, count do
          scope:spawn(function()
            versions[get_text()] = true
          end)
        end
      end)
      return versions
    end
    assert.equal("1.1", get_text("1.1"))
    assert.same({ ["2"] = true }, at_once(2))
    assert.same({ ["2"] = true }, at_once(20))
  end))

  it("believes only the authorities it is given", client(function()
    local err = refused("unavailable", { url = server.tls("/hello") })
    assert.equal("CURLE_PEER_FAILED_VERIFICATION", err.name)
    assert.is_false(err.retryable)
    assert.is_truthy(err.message:find("ca_file", 1, true))
    refused("unavailable", { url = server.tls("/hello"), ca_file = server.dir .. "/stranger.crt" })
    assert.equal(200, get({ url = server.tls("/hello"), verify = false }).status)
    refused("unavailable", { url = server.tls("/hello") })
    err = refused("invalid", { url = server.tls("/hello"), ca_file = server.dir .. "/none" })
    assert.is_truthy(err.message:find("ca_file", 1, true))
  end))

  it("does not take a name that is not in the certificate", client(function()
    local function named(name)
      return { url = server.tls("/hello"):gsub("127%.0%.0%.1", name), ca_file = server.ca }
    end
    assert.equal(200, get(named("localhost")).status)
    assert.equal("CURLE_PEER_FAILED_VERIFICATION", refused("unavailable", named("other.localhost")).name)
  end))

  it("shows a client certificate", client(function()
    assert.equal(400, get({ url = server.mutual("/hello"), ca_file = server.ca }).status)
    local r = get {
      url = server.mutual("/hello"), ca_file = server.ca,
      cert = server.dir .. "/client.crt", key = server.dir .. "/client.key",
    }
    assert.equal(200, r.status)
    assert.equal(400, get({ url = server.mutual("/hello"), ca_file = server.ca }).status)
  end))

  it("speaks HTTP/2 without TLS when told", client(function()
    for _ = 1, 3 do
      local r = assert(get { url = server.h2c("/hello"), version = "h2c" })
      assert.same({ "2", "hello\n" }, { r.version, r.body })
    end
  end))
end)

describe("native.http and proxies", function()
  local interpreter = rawget(_G, "jit") and "luajit" or "lua5.4"

  --- Runs a request in a process of its own with an environment; returns its body or error.
  local function in_environment(environment, options)
    local code = ([[local native = require "luarium.native"
      local await = require("luarium.task").await
      local r, err = await(native.http.request { %s })
      io.write(r and r.body or err.message)]]):format(options)
    local path = scratch.make()
    scratch.write(path .. "/run.lua", code)
    local text = scratch.sh(("LUA_PATH=%s LUA_CPATH=%s %s %s %s/run.lua"):format(
      scratch.quote(package.path), scratch.quote(package.cpath), environment, interpreter, path))
    scratch.drop(path)
    return text
  end

  it("uses http_proxy and honours no_proxy", function()
    local to_world = [[url = "http://world.invalid/x", allow_plain = true]]
    local proxy = "http_proxy=" .. server.proxy("")
    assert.equal("proxied GET world.invalid/x", in_environment(proxy, to_world))
    local direct = in_environment(proxy .. " no_proxy=world.invalid", to_world)
    assert.is_truthy(direct:find("resolve", 1, true), direct)
  end)

  it("never uses one for loopback or a unix socket", function()
    local proxy = "http_proxy=" .. server.proxy("")
    assert.equal("hello", in_environment(proxy, ("url = %q"):format(server.url("/hello"))))
    local through = ("url = 'http://docker/hello', unix_socket = %q"):format(server.socket)
    assert.equal("hello", in_environment(proxy, through))
  end)

  it("takes one as an option", client(function()
    local r = get { url = "http://world.invalid/y", allow_plain = true, proxy = server.proxy("") }
    assert.equal("proxied GET world.invalid/y", r.body)
    assert.equal("hello\n", get({ url = server.url("/hello"), proxy = server.proxy("") }).body)
  end))
end)
