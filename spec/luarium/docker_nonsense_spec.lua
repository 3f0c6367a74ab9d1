--- Engines that are too old, newer than we are, or none at all: each call ends, with an error that says what is wrong.
local config = require "luarium.config"
local fakes = require "spec.support.fake_docker"
local native = require "luarium.native"
local object = require "luarium.sandbox.object"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

if fakes.missing() then
  describe("docker without sense", function()
    pending(fakes.missing())
  end)
  return
end

local json = fakes.json
local ID = ("ab"):rep(32)
local HIJACKED = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n"
  .. "Upgrade: tcp\r\n\r\n"

local fake

local function with(version, fn)
  return fakes.test(version, function(given)
    fake = given
    fn()
  end)
end

local function call(...)
  return config.provider("docker"):call(...)
end

describe("docker: the version of the interface", function()
  it("is the oldest that a newer engine still takes, when ours has been given up", with("1.52", function()
    fake:answer("GET /version", json(200, '{"ApiVersion":"1.52","MinAPIVersion":"1.44"}'))
    fake:answer("GET /v1.41/*", json(400, '{"message":"client version 1.41 is too old"}'))
    fake:answer("GET /v1.44/containers/json*", json(200, "[]"))
    assert.same({}, call("list"))
  end))

  for theirs, ours in pairs({ ["1.47"] = "1.41", ["1.25"] = "1.25", ["1.41"] = "1.41" }) do
    it(("is %s with an engine of %s that takes it"):format(ours, theirs), with(theirs, function()
      fake:answer("GET /version", json(200, '{"ApiVersion":"1.47","MinAPIVersion":"1.24"}'))
      fake:answer("GET /v" .. ours .. "/containers/json*", json(200, "[]"))
      assert.same({}, call("list"))
    end))
  end

  it("may be too old", with("1.24", function()
    local _, err = call("list")
    assert.equal("unsupported", err.kind)
    assert.is_truthy(err.message:find("1.24", 1, true) and err.message:find("Docker 1.13", 1, true), err.message)
  end))

  it("may be none", with("soon", function()
    local _, err = call("list")
    assert.equal("protocol", err.kind)
  end))
end)

describe("docker: an engine that makes no sense", function()
  local box = { id = "sbx_x", external_id = ID, cwd = "/", env = {}, data = {} }

  --- Calls, and gives the error; that of a mistake in our own code is none.
  local function failure(...)
    local value, err = call(...)
    assert.is_nil(value)
    assert.is_true(err.kind ~= "internal", tostring(err))
    return err
  end

  local FACTS = '{"Id":"' .. ID .. '","Name":"/sbx_x","State":{"Status":"running","Running":true}}'

  it("answers with other values than it should", with(nil, function()
    local spec = { id = "sbx_x", labels = {}, env = {} }
    for _, body in ipairs({ "", "true", "7", '"text"', "[]", "{}", "[7]", "null", "{", '{"Id":7}', '{"State":7,"Id":"x"}',
      '{"Id":"x","State":{"Status":7}}' }) do
      for _, status in ipairs({ 200, 201 }) do
        fake:answer("GET /v1.41/*", json(status, body))
        fake:answer("POST /v1.41/*", json(status, body))
      end
      assert.equal("protocol", failure("get", ID, {}).kind, body)
      assert.equal("protocol", failure("create", spec).kind, body)
      assert.equal("protocol", failure("fork", box, { id = "sbx_y" }).kind, body)
      assert.equal("protocol", failure("spawn", box, { argv = { "true" } }, {}).kind, body)
      assert.equal("protocol", failure("url", box, 80).kind, body)
      assert.equal("protocol", failure("stop", box).kind, body)
      for _, operation in ipairs({ "list", "snapshot_list", "volume_list" }) do
        local value, err = call(operation)
        assert.is_true(value and #value == 0 or err.kind == "protocol", body .. ": " .. operation .. tostring(err))
      end
    end
  end))

  it("has heads and chunks that never end", with(nil, function()
    for _, bytes in ipairs({ "HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(2000000), "HTTP/1.1 200 OK\r\n" .. ("A: b\r\n"):rep(200000),
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "SSH-2.0\r\n", "" }) do
      fake:answer("GET /v1.41/*", bytes)
      fake:answer("POST /v1.41/containers/*/exec", json(201, '{"Id":"e1"}'))
      fake:answer("POST /v1.41/exec/*", bytes)
      local err = failure("get", ID, {})
      assert.is_true(err.kind == "protocol" or err.kind == "unavailable" or err.kind == "quota", tostring(err))
      err = failure("spawn", box, { argv = { "true" } }, {})
      assert.is_true(err.kind == "protocol" or err.kind == "unavailable", tostring(err))
    end
  end))

  it("sends a stream that is none, half a frame, or nothing at all", with(nil, function()
    fake:answer("GET /v1.41/containers/*/json", json(200, FACTS))
    fake:answer("GET /v1.41/exec/*", json(200, '{"Running":false,"ExitCode":0}'))
    fake:answer("POST /v1.41/containers/*/exec", json(201, '{"Id":"e1"}'))
    for _, bytes in ipairs({ "", "\1\0\0", "\1\0\0\0\0\0\0\9half", "not a frame at all", "\3\0\0\0\0\0\0\5fault",
      "\2\0\0\0\0\0\0\5words", "\1\0\0\0\255\255\255\255" .. ("x"):rep(3000000) }) do
      fake:answer("POST /v1.41/exec/*", HIJACKED .. bytes)
      local err = failure("spawn", box, { argv = { "true" } }, {})
      assert.is_true(err.kind == "protocol" or err.kind == "unavailable", ("%q: %s"):format(bytes:sub(1, 20), tostring(err)))
    end
  end))

  it("says nothing any more: the caller's time is the bound", with(nil, function()
    fake:answer("POST /v1.41/containers/*/exec", json(201, '{"Id":"e1"}'))
    for _, bytes in ipairs({ "", "HTTP/1.1 101 UPG", HIJACKED }) do
      fake:hang("POST /v1.41/exec/*", bytes)
      local began = native.loop.monotonic()
      local ok, err, fault = pcall(task.timeout, 0.5, call, "spawn", box, { argv = { "true" } }, {})
      assert.is_false(ok, tostring(fault))
      assert.equal("timeout", err.kind)
      assert.is_true(native.loop.monotonic() - began < 30)
    end
  end))

  it("says nothing at all: it is asked once, for as long as it has", with(nil, function()
    fake:hang("GET /_ping", "")
    local err = failure("create", { id = "sbx_x", labels = {}, env = {} })
    assert.equal("timeout", err.kind)
    assert.equal("GET /_ping\n", fake:asked())
  end))

  it("has events that are none: the sandbox is what it was", with(nil, function()
    fake:answer("GET /v1.41/containers/*/json", json(200, FACTS))
    fake:answer("GET /v1.41/containers/json*", json(200, '[{"Id":"' .. ID .. '"}]'))
    fake:answer("GET /v1.41/events*", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndie\n{}\n7\n"
      .. '{"Action":"die","Actor":7}\n{"Action":"die","Actor":{"ID":7}}\n' .. ("die"):rep(500000))
    local sandbox = object.attach({ id = "sbx_x", provider = "docker", external_id = ID, status = "running", cwd = "/" },
      config.provider("docker"), {})
    object.watch(sandbox)
    until_true("the second stream", function()
      return select(2, fake:asked():gsub("GET /v1.41/events", "")) >= 2
    end)
    assert.equal("running", sandbox.status)
    object.unwatch(sandbox)
  end))
end)
