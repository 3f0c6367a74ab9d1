local async = require "spec.support.async"
local native = require "luarium.native"
local nginx = require "spec.support.nginx"
local rude = require "spec.support.rude_server"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local await = task.await
local http, loop = native.http, native.loop

local missing = nginx.missing() or rude.missing()
if missing then
  pending("native.http streams: " .. missing)
  return
end

local function client(limit, body)
  if not body then
    limit, body = 10, limit
  end
  return async(limit, function()
    body()
    http.close_idle()
  end)
end

local MIB = 1024 * 1024

local server, socket, stop_rude

setup(function()
  socket, stop_rude = rude.start()
  server = nginx.start { locations = ([[
    location /slow/ { alias DIR/files/; limit_rate 1m; }
    location = /deaf { proxy_pass http://unix:%s:/deaf; proxy_request_buffering off; proxy_http_version 1.1; }
  ]]):format(socket) }
  scratch.sh(("head -c %d /dev/urandom >%s/files/random"):format(3 * MIB + 17, server.dir))
  scratch.sh(("head -c %d /dev/zero >%s/files/large"):format(100 * MIB, server.dir))
end)

teardown(function()
  server:stop()
  stop_rude()
end)

after_each(http.close_idle)

local function open(options)
  if type(options) == "string" then
    options = { url = options }
  end
  return assert(http.open(options))
end

local function rudely(path, options)
  options = options or {}
  options.url, options.unix_socket = "http://rude" .. path, socket
  return open(options)
end

local function read_all(stream, max)
  local parts = {}
  while true do
    local bytes, err = await(stream:read(max))
    if not bytes then
      return table.concat(parts), err
    end
    parts[#parts + 1] = bytes
  end
end

--- The largest resident size of this process so far, in bytes.
local function peak()
  return tonumber(scratch.read("/proc/self/status"):match("VmHWM:%s*(%d+)")) * 1024
end

local function reset_peak()
  local file = io.open("/proc/self/clear_refs", "w")
  if file then
    file:write("5")
    file:close()
  end
end

describe("native.http.open", function()
  it("gives the head, then the body in pieces, then the end for ever", client(function()
    local stream = open(server.url("/files/random"))
    local head = assert(await(stream:response()))
    assert.same({ 200, "1.1", tostring(3 * MIB + 17) }, { head.status, head.version, head.headers["content-length"] })
    local all, err = read_all(stream)
    assert.is_nil(err)
    assert.is_true(all == scratch.read(server.dir .. "/files/random"))
    for _ = 1, 2 do
      local bytes, again = await(stream:read())
      assert.is_nil(bytes)
      assert.is_nil(again)
    end
    stream:close()
    assert.equal("http stream (closed)", tostring(stream))
  end))

  it("cuts reads at the size asked for", client(function()
    local stream = open(server.url("/hello"))
    assert.equal("he", await(stream:read(2)))
    assert.equal("llo\n", await(stream:read(100)))
    stream:close()
    stream = open(server.url("/files/random"))
    assert.is_true(read_all(stream, 1000) == scratch.read(server.dir .. "/files/random"))
    stream:close()
  end))

  it("needs nobody to ask for the head", client(function()
    local stream = open(server.url("/hello"))
    assert.equal("hello\n", read_all(stream))
    assert.equal(200, await(stream:response()).status)
    assert.equal(200, await(stream:response()).status)
    stream:close()
  end))

  it("makes the server wait for a slow reader, over HTTP/1.1 and HTTP/2", client(30, function()
    for _, options in ipairs({
      { url = server.url("/files/large") }, { url = server.tls("/files/large"), ca_file = server.ca },
    }) do
      collectgarbage()
      reset_peak()
      local before = peak()
      local stream = open(options)
      assert(await(stream:response()))
      for _ = 1, 20 do -- the server has every chance to send more than anybody wants
        task.sleep(0.01)
      end
      local grown = peak() - before
      assert.is_true(grown < 40 * MIB, ("%s: %.1f MiB"):format(options.url, grown / MIB))
      local count = 0
      while true do
        local bytes = await(stream:read(MIB))
        if not bytes then
          break
        end
        count = count + #bytes
      end
      assert.equal(100 * MIB, count)
      stream:close()
    end
  end))

  it("does not let one slow reader stop the others on an HTTP/2 connection", client(20, function()
    local slow = open { url = server.tls("/files/large"), ca_file = server.ca }
    assert(await(slow:response()))
    task.sleep(0.1)
    for _ = 1, 5 do
      local r, err = await(http.request { url = server.tls("/hello"), ca_file = server.ca, timeout = 2 })
      assert.equal("hello\n", r and r.body, err and err.message)
    end
    slow:close()
  end))

  it("keeps what many streams bring apart, also when some are closed early", client(30, function()
    local expected = scratch.read(server.dir .. "/files/random")
    local function run(number)
      local stream = open { url = server.tls("/files/random"), ca_file = server.ca }
      if number % 3 == 0 then
        assert(await(stream:response()))
        assert(await(stream:read()))
      else
        task.sleep(0.01 * (number % 4))
        assert.is_true(read_all(stream) == expected)
      end
      stream:close()
    end
    task.scope(function(scope)
      for i = 1, 30 do
        scope:spawn(function()
          run(i)
        end)
      end
    end)
  end))

  it("gives the bytes that came before a cut, then the error", client(function()
    local stream = rudely("/partial")
    assert.equal(200, await(stream:response()).status)
    local text, err = read_all(stream)
    assert.equal("abc", text)
    assert.same({ "unavailable", "CURLE_PARTIAL_FILE" }, { err.kind, err.name })
    stream:close()
  end))

  it("tells why there is no head", client(function()
    local stream = rudely("/empty")
    local head, err = await(stream:response())
    assert.is_nil(head)
    assert.equal("CURLE_GOT_NOTHING", err.name)
    stream:close()
  end))

  it("has trailers", client(function()
    local stream = rudely("/trailers")
    assert.equal("abc", read_all(stream))
    local trailers, list = stream:trailers()
    assert.same({ ["grpc-status"] = "7" }, trailers)
    assert.same({ { "Grpc-Status", "7" } }, list)
    assert.is_nil(await(stream:response()).headers["grpc-status"])
    stream:close()
  end))

  it("has no limit for the body unless one is set", client(function()
    local stream = open { url = server.url("/files/random"), max_body = MIB }
    local _, err = read_all(stream)
    assert.equal("protocol", err.kind)
    stream:close()
  end))

  it("does not count the time of a slow reader as the server's silence", client(function()
    local stream = open { url = server.url("/files/large"), idle_timeout = 0.1 }
    task.sleep(0.5)
    local first = await(stream:read())
    task.sleep(0.5)
    assert.is_true(#first + #read_all(stream, MIB) == 100 * MIB)
    stream:close()
  end))

  it("notices silence in the middle", client(function()
    local stream = rudely("/stalled", { idle_timeout = 0.2 })
    local text, err = read_all(stream)
    assert.same({ "abc", "timeout" }, { text, err.kind })
    stream:close()
  end))

  it("refuses a second waiter and a closed stream", client(function()
    local stream = rudely("/silent")
    local first = assert(stream:read())
    local _, err = stream:read()
    assert.equal("conflict", err.kind)
    local head = assert(stream:response())
    _, err = stream:response()
    assert.equal("conflict", err.kind)
    stream:close()
    for _, op in ipairs({ first, head }) do
      _, err = await(op)
      assert.equal("cancelled", err.kind)
    end
    assert.is_false((pcall(stream.read, stream)))
    stream:close()
  end))
end)

describe("native.http uploads", function()
  it("send a part of a file", client(function()
    local path = server.dir .. "/files/random"
    for _, part in ipairs({ { 0, MIB }, { 1000, 17 }, { 3 * MIB, 17 }, { 5, 0 } }) do
      local r = assert(await(http.request {
        url = server.url("/put/part"), method = "PUT", body_file = path, body_offset = part[1], body_size = part[2],
      }))
      assert.is_true(r.status == 201 or r.status == 204)
      assert.is_true(scratch.read(path):sub(part[1] + 1, part[1] + part[2]) == scratch.read(server.dir .. "/put/part"))
    end
  end))

  it("refuse what is no file, no range, or gone", client(function()
    local function refuse(kind, options)
      options.url, options.method = server.url("/put/x"), "PUT"
      local op, err = http.request(options)
      assert.is_nil(op)
      assert.equal(kind, err.kind, err.message)
    end
    refuse("not_found", { body_file = server.dir .. "/none" })
    refuse("invalid", { body_file = server.dir })
    refuse("invalid", { body_file = server.dir .. "/files/random", body_offset = 4 * MIB })
    refuse("invalid", { body_file = server.dir .. "/files/random", body_offset = 1, body_size = 4 * MIB })
  end))

  it("send 100 MiB with flat memory, from a file and by writes", client(60, function()
    collectgarbage()
    reset_peak()
    local before = peak()
    local r = assert(await(http.request {
      url = server.url("/put/large"), method = "PUT", body_file = server.dir .. "/files/large",
    }))
    assert.equal(201, r.status)
    assert.equal(tostring(100 * MIB), scratch.sh("stat -c %s " .. server.dir .. "/put/large"))
    assert.is_true(peak() - before < 8 * MIB, ("%.1f MiB"):format((peak() - before) / MIB))

    local stream = open { url = server.url("/put/written"), method = "PUT", body = true }
    local chunk = ("z"):rep(MIB)
    for _ = 1, 100 do
      assert(await(stream:write(chunk)))
    end
    assert(stream:finish_write())
    assert.equal(201, await(stream:response()).status)
    stream:close()
    assert.equal(tostring(100 * MIB), scratch.sh("stat -c %s " .. server.dir .. "/put/written"))
    assert.is_true(peak() - before < 24 * MIB, ("%.1f MiB"):format((peak() - before) / MIB))
  end))

  it("go over HTTP/2 too", client(30, function()
    local r = assert(await(http.request {
      url = server.tls("/put/h2"), method = "PUT", ca_file = server.ca, body_file = server.dir .. "/files/random",
    }))
    assert.same({ "2", 201 }, { r.version, r.status })
    assert.is_true(scratch.read(server.dir .. "/put/h2") == scratch.read(server.dir .. "/files/random"))
    local stream = open { url = server.tls("/put/h2-written"), method = "PUT", ca_file = server.ca, body = true }
    for i = 1, 300 do
      assert(await(stream:write(("%08d"):format(i):rep(1000))))
    end
    assert(stream:finish_write())
    assert.equal(201, await(stream:response()).status)
    stream:close()
    local text = scratch.read(server.dir .. "/put/h2-written")
    assert.equal(300 * 8000, #text)
    assert.equal("00000300", text:sub(-8))
  end))

  it("may be announced with their size", client(function()
    local stream = open { url = server.url("/put/sized"), method = "PUT", body = true, body_size = 6 }
    assert(await(stream:write("abc")))
    local _, err = stream:finish_write()
    assert.equal("invalid", err.kind)
    _, err = stream:write("defg")
    assert.equal("invalid", err.kind)
    assert(await(stream:write("def")))
    assert(stream:finish_write())
    assert.equal(201, await(stream:response()).status)
    stream:close()
    assert.equal("abcdef", scratch.read(server.dir .. "/put/sized"))
  end))

  it("may be empty", client(function()
    local stream = open { url = server.url("/put/empty"), method = "PUT", body = true }
    assert(await(stream:write("")))
    assert(stream:finish_write())
    assert(stream:finish_write())
    assert.equal(201, await(stream:response()).status)
    local _, err = stream:write("x")
    assert.equal("invalid", err.kind)
    stream:close()
    assert.equal("", scratch.read(server.dir .. "/put/empty"))
  end))

  it("wait for a server that does not read", client(function()
    local stream = rudely("/deaf", { method = "POST", body = true })
    local writes, op = 0
    repeat
      op = assert(stream:write(("x"):rep(65536)))
      local deadline = loop.monotonic() + 0.3
      while not op:done() and loop.monotonic() < deadline do
        task.sleep(0.01)
      end
      writes = writes + 1
    until not op:done() or writes > 200
    assert.is_true(writes < 200)
    stream:close()
    local _, err = await(op)
    assert.equal("cancelled", err.kind)
  end))

  it("wait without work, also over HTTP/2", client(function()
    local stream = open { url = server.tls("/deaf"), ca_file = server.ca, method = "POST", body = true }
    local op
    for _ = 1, 100 do
      op = assert(stream:write(("x"):rep(65536)))
      task.sleep(0.05)
      if not op:done() then
        break
      end
    end
    assert.is_false(op:done())
    local before = os.clock()
    task.sleep(0.5)
    assert.is_true(os.clock() - before < 0.1, "seconds of processor time: " .. os.clock() - before)
    stream:close()
  end))

  it("end when the server has answered and gone", client(function()
    local stream = rudely("/early", { method = "POST", body = true })
    assert.equal(413, await(stream:response()).status)
    local ok, err = true, nil
    for _ = 1, 100 do
      ok, err = await(stream:write(("x"):rep(65536)))
      if not ok then
        break
      end
    end
    assert.is_nil(ok)
    assert.equal("unavailable", err.kind)
    assert.equal("big", (read_all(stream)))
    stream:close()
  end))

  it("are answered while they are written", client(function()
    local stream = rudely("/duplex", { method = "POST", body = true })
    assert.equal(200, await(stream:response()).status)
    for _, word in ipairs({ "one", "two", "three" }) do
      assert(await(stream:write(word)))
      local got = ""
      repeat
        got = got .. assert(await(stream:read()))
      until got:find(word, 1, true)
    end
    assert(stream:finish_write())
    stream:close()
  end))
end)

describe("native.http cancel", function()
  it("ends a request in every state", client(20, function()
    local function cancelled(options, ready)
      local op = assert(http.request(options))
      if ready then
        ready()
      end
      local early = op:done()
      op:cancel()
      local _, err = await(op)
      assert.equal(early and "unavailable" or "cancelled", err.kind)
    end
    cancelled { url = server.url("/hello") }
    cancelled { url = "https://no-such-host.invalid/" }
    cancelled({ url = "https://no-such-host.invalid/" }, function()
      task.sleep(0.001)
    end)
    cancelled({ url = "http://rude/silent", unix_socket = socket }, function()
      task.sleep(0.1)
    end)
    cancelled({ url = "http://rude/stalled", unix_socket = socket }, function()
      task.sleep(0.1)
    end)
    cancelled({ url = server.tls("/slow/large"), ca_file = server.ca, max_body = 200 * MIB }, function()
      task.sleep(0.1)
    end)
    cancelled({ url = server.url("/put/cancelled"), method = "PUT", body_file = server.dir .. "/files/large" })
    local op = assert(http.request { url = server.url("/hello") })
    assert.equal(200, await(op).status)
    op:cancel()
  end))

  it("of a read loses nothing", client(function()
    local stream = rudely("/steady")
    local first = assert(stream:read())
    first:cancel()
    local _, err = await(first)
    assert.equal("cancelled", err.kind)
    assert.equal("1234567890", (read_all(stream)))
    stream:close()
  end))

  it("of a task ends its request at once", client(function()
    local start = loop.monotonic()
    local ok, err = pcall(task.timeout, 0.1, function()
      await(http.request { url = "http://rude/silent", unix_socket = socket })
    end)
    assert.is_false(ok)
    assert.equal("timeout", err.kind)
    assert.is_true(loop.monotonic() - start < 20)
  end))

  it("happens to what nobody holds any more", client(function()
    local before = loop.counts()
    rudely("/silent")
    open(server.url("/files/large"))
    assert(http.request { url = "http://rude/silent", unix_socket = socket })
    collectgarbage()
    collectgarbage()
    assert.equal(before, (loop.counts()))
  end))
end)

describe("native.http descriptors", function()
  it("are not inherited by a child that is started during a transfer", client(function()
    local function listed()
      return scratch.sh("ls -l /proc/self/fd | grep -c socket: || true")
    end
    http.close_idle()
    local before = listed()
    local slow = open { url = server.tls("/files/large"), ca_file = server.ca }
    assert(await(slow:response()))
    local resolving = assert(http.request { url = "https://no-such-host.invalid/" })
    task.sleep(0.001)
    local raw = assert(await(http.connect { url = server.url("/") }))
    assert.equal(before, listed())
    resolving:cancel()
    raw:close()
    slow:close()
  end))

  it("are all gone after the connections", client(function()
    http.close_idle()
    task.sleep(0.001)
    local before = select(3, loop.counts())
    assert(await(http.request { url = server.url("/hello") }))
    assert.is_true(select(3, loop.counts()) > before)
    http.close_idle()
    task.sleep(0.001)
    assert.equal(before, select(3, loop.counts()))
  end))
end)

describe("native.http and the end of the state", function()
  it("leaves nothing behind when Lua ends in the middle of everything", function()
    local interpreter = rawget(_G, "jit") and "luajit" or "lua5.4"
    local code = ([[local http = require("luarium.native").http
      local loop = require("luarium.native").loop
      a = http.request { url = "http://rude/silent", unix_socket = %q }
      b = http.open { url = %q }
      c = b:response()
      d = http.request { url = "https://no-such-host.invalid/" }
      e = http.connect { url = "http://rude/raw", unix_socket = %q }
      f = http.open { url = "http://rude/silent", unix_socket = %q, method = "POST", body = true, idle_timeout = 9 }
      g = f:write("x")
      loop.poll(100, {})
      h = e:result()
      i = h:read()
      loop.poll(10, {})
      io.write("fine")]]):format(socket, server.url("/files/large"), socket, socket)
    local dir = scratch.make()
    scratch.write(dir .. "/run.lua", code)
    assert.equal("fine", scratch.sh(("LUA_PATH=%s LUA_CPATH=%s %s %s/run.lua"):format(
      scratch.quote(package.path), scratch.quote(package.cpath), interpreter, dir)))
    scratch.drop(dir)
  end)
end)
