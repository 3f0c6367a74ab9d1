local async = require "spec.support.async"
local http = require "luarium.http"
local native = require "luarium.native"
local nginx = require "spec.support.nginx"
local rude = require "spec.support.rude_server"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local missing = nginx.missing() or rude.missing()
if missing then
  pending("http.upgrade: " .. missing)
  return
end

local socket, stop_rude

setup(function()
  socket, stop_rude = rude.start()
end)

teardown(function()
  stop_rude()
end)

local function upgrade(path, more)
  local options = { url = "http://rude" .. path, unix_socket = socket, timeout = 5 }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return http.upgrade("tcp", options)
end

describe("http.upgrade", function()
  it("hands over the connection, with what came behind the head", async(function()
    local connection = assert(upgrade("/raw"))
    assert.equal(101, connection.status)
    assert(connection:write("first"))
    assert.equal("fir", connection:read(3))
    assert.equal("st", connection:read())
    assert(connection:write("last"))
    assert(connection:finish_write())
    assert.equal("last", connection:read())
    assert.is_nil((connection:read()))
    connection:close()
    connection:close()
  end))

  it("gives an answer that is no upgrade, its body whole", async(function()
    local connection, err, answer, _ = upgrade("/early", { method = "POST", json = { a = 1 } })
    assert.is_nil(connection)
    assert.is_nil(err)
    assert.equal(413, answer.status)
    assert.equal("big", answer.body)
    assert.equal("3", answer.headers["content-length"])
    _, err, answer = upgrade("/chunks")
    assert.is_nil(err)
    assert.equal("abcde", answer.body)
  end))

  it("is strict and bounded about the head", async(function()
    for path, kind in pairs({ ["/garbage"] = "protocol", ["/bad-head"] = "protocol", ["/big-head"] = "protocol",
      ["/empty"] = "unavailable", ["/partial"] = "unavailable" }) do
      local connection, err = upgrade(path)
      assert.is_nil(connection)
      assert.equal(kind, err and err.kind, path)
    end
  end))

  it("is bounded in time, and can be cancelled", async(function()
    local _, err = upgrade("/silent", { timeout = 0.1 })
    assert.equal("timeout", err.kind)
    assert.is_truthy(err.retryable)
    local ok, reason = pcall(task.timeout, 0.05, upgrade, "/silent")
    assert.is_false(ok)
    assert.equal("timeout", reason.kind)
  end))

  it("sends no header that would be two", async(function()
    for _, headers in ipairs({ { ["X-A"] = "b\r\nX-C: d" }, { ["X A"] = "b" } }) do
      assert.is_false((pcall(upgrade, "/raw", { headers = headers })))
    end
    local ok, connection = pcall(upgrade, "/raw HTTP/1.1\r\nX: y")
    assert.is_true(not ok or connection == nil)
  end))
end)

describe("a TLS connection", function()
  local server, port, pid

  setup(function()
    server = nginx.start {}
    port = math.random(10000, 32000)
    pid = scratch.sh(([[cd DIR && cat server.crt server.key >both.pem
      echo 'echo $(wc -c); echo end' >count.sh
      socat -t10 OPENSSL-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork,cert=both.pem,verify=0 EXEC:'sh count.sh' \
        >/dev/null 2>&1 &
      echo $!
      while ! grep -qi ":$(printf %04X PORT) " /proc/net/tcp; do sleep 0.01; done]]):gsub("DIR", server.dir)
      :gsub("PORT", port))
  end)

  teardown(function()
    scratch.sh("kill " .. pid)
    server:stop()
  end)

  it("half-closes: the other side sees the end and goes on", async(20, function()
    local url = ("https://127.0.0.1:%d/"):format(port)
    for _, size in ipairs({ 0, 10, 1048576 }) do
      local connection = assert(http.connect({ url = url, ca_file = server.ca }))
      assert(connection:write(("x"):rep(size)))
      assert(connection:finish_write())
      local text = ""
      while true do
        local bytes = connection:read()
        if not bytes then
          break
        end
        text = text .. bytes
      end
      assert.equal(size .. "\nend\n", text)
      connection:close()
    end
    native.http.close_idle()
  end))
end)
