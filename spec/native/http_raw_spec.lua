local async = require "spec.support.async"
local http = require("luarium.native").http
local nginx = require "spec.support.nginx"
local rude = require "spec.support.rude_server"
local task = require "luarium.task"

local await = task.await

local missing = nginx.missing() or rude.missing()
if missing then
  pending("native.http.connect: " .. missing)
  return
end

local function client(body)
  return async(function()
    body()
    http.close_idle()
  end)
end

local server, socket, stop_rude

setup(function()
  server = nginx.start {}
  socket, stop_rude = rude.start()
end)

teardown(function()
  server:stop()
  stop_rude()
end)

after_each(http.close_idle)

local function connect(options)
  return assert(await(http.connect(options)))
end

local function read_until(connection, pattern)
  local text = ""
  while not text:find(pattern) do
    local bytes, err = await(connection:read())
    assert(bytes, err and err.message or "the other side has closed")
    text = text .. bytes
  end
  return text
end

local REQUEST = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

describe("native.http.connect", function()
  it("hands over a TCP connection", client(function()
    local connection = connect { url = server.url("/") }
    assert.is_true(await(connection:write(REQUEST)))
    assert.is_truthy(read_until(connection, "hello\n$"):find("^HTTP/1.1 200 OK"))
    assert.is_nil((await(connection:read())))
    connection:close()
    connection:close()
    assert.equal("http connection (closed)", tostring(connection))
  end))

  it("hands over a TLS connection, verified", client(function()
    local connection = connect { url = server.tls("/"), ca_file = server.ca }
    assert.is_true(await(connection:write(REQUEST)))
    assert.is_truthy(read_until(connection, "hello\n$"):find("^HTTP/1.1 200 OK"))
    assert.is_true(connection:finish_write())
    connection:close()
    local err
    connection, err = await(http.connect { url = server.tls("/") })
    assert.is_nil(connection)
    assert.equal("CURLE_PEER_FAILED_VERIFICATION", err.name)
  end))

  it("reads and writes at the same time, through a unix socket", client(function()
    local connection = connect { url = "http://rude/", unix_socket = socket }
    assert(await(connection:write("POST /raw HTTP/1.1\r\nUpgrade: tcp\r\n\r\n")))
    assert.is_truthy(read_until(connection, "\r\n\r\n"):find("^HTTP/1.1 101"))
    local text = ("0123456789abcdef"):rep(65536)
    local got = {}
    task.scope(function(scope)
      scope:spawn(function()
        for i = 1, #text, 100000 do
          assert(await(connection:write(text:sub(i, i + 99999))))
        end
        assert(connection:finish_write())
      end)
      while true do
        local bytes = await(connection:read(1000000))
        if not bytes then
          break
        end
        got[#got + 1] = bytes
      end
    end)
    assert.is_true(table.concat(got) == text)
    connection:close()
  end))

  it("waits for bytes, one reader at a time, and can give up waiting", client(function()
    local connection = connect { url = "http://rude/", unix_socket = socket }
    local first = assert(connection:read())
    local _, err = connection:read()
    assert.equal("conflict", err.kind)
    first:cancel()
    _, err = await(first)
    assert.equal("cancelled", err.kind)
    assert(await(connection:write("GET /raw HTTP/1.1\r\n\r\n")))
    read_until(connection, "\r\n\r\n")
    local waiting = assert(connection:read())
    connection:close()
    _, err = await(waiting)
    assert.equal("cancelled", err.kind)
    assert.is_false((pcall(connection.read, connection)))
  end))

  it("is bounded in time and cancelled", client(function()
    local op = assert(http.connect { url = server.url("/") })
    op:cancel()
    local _, err = await(op)
    assert.equal("cancelled", err.kind)
    _, err = await(http.connect { url = "http://127.0.0.1:1/" })
    assert.equal("CURLE_COULDNT_CONNECT", err.name)
    -- a server that accepts and never shakes hands
    _, err = await(http.connect { url = "https://rude/", unix_socket = socket, timeout = 0.2 })
    assert.equal("timeout", err.kind)
  end))

  it("is closed when nobody holds it", client(function()
    connect { url = server.url("/") }
    do
      local op = assert(http.connect { url = server.url("/") })
      while not op:done() do
        task.sleep(0.01)
      end
    end
    collectgarbage()
    collectgarbage()
  end))

  it("lives while the client opens and closes other connections", client(function()
    local connection = connect { url = "http://rude/", unix_socket = socket }
    assert(await(connection:write("GET /raw HTTP/1.1\r\n\r\n")))
    read_until(connection, "\r\n\r\n")
    assert(await(connection:write("unread")))
    for _ = 1, 3 do
      assert.equal(200, await(http.request { url = server.url("/hello"), own_connection = true }).status)
    end
    http.close_idle()
    assert.equal("unread", read_until(connection, "unread"))
    connection:close()
  end))
end)
