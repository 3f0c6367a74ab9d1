--- luarium.native.ssh below the provider: order of calls, ends, what is refused.
local async = require "spec.support.async"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local scratch = require "spec.support.scratch"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"

local await = task.await

local server = peer("native.ssh", sshd)
if not server then
  return
end

local function session()
  return assert(native.ssh.session({ host = "127.0.0.1", port = server.port }))
end

local function connected()
  return server:log_in(session())
end

--- What comes on both streams.
local function output(channel)
  local parts = { stdout = "", stderr = "" }
  while true do
    local bytes, stream = await(channel:read())
    if not bytes then
      return parts.stdout, parts.stderr
    end
    parts[stream] = parts[stream] .. bytes
  end
end

describe("native.ssh", function()
  it("runs a command; 0 is told apart from nothing yet", async(function()
    local self = connected()
    local channel = assert(self:exec({ command = "read x; echo got $x; echo err >&2" }))
    assert(await(channel:start()))
    assert.is_nil(channel:status())
    assert(await(channel:write("input\n")))
    local out, err = output(channel)
    assert.are.equal("got input\n", out)
    assert.are.equal("err\n", err)
    assert(await(channel:wait()))
    assert.are.equal(0, channel:status().exit_code)
    assert.are.equal("EPIPE", select(2, channel:write("more")).name)
    channel:close()
    channel:close()
    self:close()
  end))

  it("tells signals, exit codes, and output that somebody else holds open", async(function()
    local self = connected()
    for command, want in pairs({
      ["exit 7"] = { exit_code = 7 }, ["kill -9 $$"] = { signal = "SIGKILL" }, ["kill -USR1 $$"] = { signal = "SIGUSR1" },
      ["sleep 20 & echo x"] = { exit_code = 0, held_open = true },
    }) do
      local channel = assert(self:exec({ command = command }))
      output(channel)
      assert(await(channel:wait()))
      local status = channel:status()
      assert.are.equal(want.exit_code, status.exit_code, command)
      assert.are.equal(want.signal, status.signal, command)
      assert.are.equal(want.held_open or false, status.held_open, command)
      channel:close()
    end
    self:close()
  end))

  it("drops what comes before the marker, on both streams", async(function()
    local self = connected()
    local channel = assert(self:exec({
      command = "echo noise; printf more; echo warn >&2; echo THE-MARK 12 x; echo THE-MARK >&2; echo out; echo err >&2",
      marker = "THE-MARK", marks_stderr = true,
    }))
    assert(await(channel:start()))
    assert.are.equal(" 12 x", channel:note())
    local out, told = output(channel)
    assert.are.equal("out\n", out)
    assert.are.equal("err\n", told)
    assert.are.equal(5, channel:noise())
    channel:close()
    channel = assert(self:exec({ command = "echo not today; exit 1", marker = "THE-MARK" }))
    local ok, err = await(channel:start())
    assert.is_nil(ok)
    assert.are.equal("SSH_SHELL", err.name)
    assert.is_truthy(err.message:find("not today", 1, true))
    channel:close()
    self:close()
  end))

  --- What a command writes, its stdout through a file.
  local function poured(self, dir, command)
    local channel = assert(self:exec({ command = command }))
    local writer, told, total = assert(await(native.fs.writer(dir .. "/out", { atomic = true }))), "", 0
    while true do
      local count = assert(await(channel:pour(writer)))
      total = total + count
      local bytes, stream = await(channel:read())
      if not bytes then
        assert.is_nil(stream)
        break
      elseif stream == "stderr" then
        told = told .. bytes
      else
        total = total + #bytes
        assert(await(writer:write(bytes)))
      end
    end
    assert(await(writer:close()))
    channel:close()
    assert.are.equal(#scratch.read(dir .. "/out"), total)
    return scratch.read(dir .. "/out"), told
  end

  it("pours output into a file: all of it, in order, and stderr apart", async(30, function()
    local self, dir = connected(), scratch.make()
    local bytes = native.crypto.random(1000000):rep(3)
    scratch.write(dir .. "/in", bytes:rep(3))
    for command, want in pairs({
      [("cat %s/in"):format(dir)] = { bytes:rep(3), "" },
      [("cat %s/in; echo told >&2; cat %s/in; echo more >&2"):format(dir, dir)] = { bytes:rep(6), "told\nmore\n" },
      ["echo one; sleep 0.2; echo two; sleep 0.2; echo three >&2"] = { "one\ntwo\n", "three\n" },
      ["true"] = { "", "" },
      ["echo kept; sleep 5 &"] = { "kept\n", "" }, -- somebody else holds the stream open
    }) do
      local out, told = poured(self, dir, command)
      assert.is_true(out == want[1], command)
      assert.are.equal(want[2], told)
    end
    self:close()
    scratch.drop(dir)
  end))

  it("a pour that is cut off leaves a file that counts as broken", async(function()
    local self, dir = connected(), scratch.make()
    local channel = assert(self:exec({ command = "cat /dev/zero" }))
    local writer = assert(await(native.fs.writer(dir .. "/out", { atomic = true })))
    local pouring = assert(channel:pour(writer))
    assert.are.equal("conflict", select(2, channel:read()).kind)
    assert.has_error(function()
      writer:write("x") -- the file is the pour's
    end)
    pouring:cancel()
    assert.are.equal("cancelled", select(2, await(pouring)).kind)
    local another = assert(channel:pour(writer))
    self:close()
    assert.are.equal("cancelled", select(2, await(another)).kind)
    assert.are.equal("io", select(2, await(writer:close())).kind)
    assert.is_false(scratch.exists(dir .. "/out"))
    scratch.drop(dir)
  end))

  local full = scratch.it_if(it, pending, scratch.can_mount(), "the right to mount")
  full("a pour onto a full disk says so", async(function()
    local self, dir = connected(), scratch.make()
    scratch.sh("mount -t tmpfs -o size=1m none " .. dir)
    local ok, failure = pcall(function()
      local channel = assert(self:exec({ command = "cat /dev/zero" }))
      local writer = assert(await(native.fs.writer(dir .. "/out", { atomic = true })))
      local count, err
      repeat
        count, err = await(channel:pour(writer))
      until not count
      assert.are.equal("ENOSPC", err.name)
      assert.are.equal("io", select(2, await(writer:close())).kind)
      channel:close()
    end)
    self:close()
    scratch.sh("umount " .. dir)
    scratch.drop(dir)
    assert(ok, failure)
  end))

  it("refuses calls out of order", async(function()
    local self = session()
    assert.are.equal("invalid", select(2, self:methods("x")).kind)
    assert.are.equal("invalid", select(2, self:exec({ command = "true" })).kind)
    local connecting = assert(self:connect())
    assert.are.equal("conflict", select(2, self:connect()).kind)
    assert(await(connecting))
    assert.are.equal("invalid", select(2, self:forward({ host = "127.0.0.1", port = 1 })).kind)
    self:close()
    assert.are.equal("cancelled", self:error().kind)
    assert.are.equal("cancelled", select(2, self:connect()).kind)
    assert.has_error(function()
      native.ssh.session({})
    end)
    assert.has_error(function()
      native.ssh.session({ host = "x", port = 70000 })
    end)
  end))

  it("tells why nothing could be connected", async(function()
    local self = assert(native.ssh.session({ host = "127.0.0.1", port = 1 }))
    local ok, err = await(self:connect())
    assert.is_nil(ok)
    assert.are.equal("unavailable", err.kind)
    assert.are.equal("ECONNREFUSED", err.name)
    assert.are.equal("ssh: cannot connect to 127.0.0.1 port 1: Connection refused", err.message)
  end))

  it("closing it ends everything that waits", async(function()
    local self = connected()
    local channel = assert(self:exec({ command = "sleep 30" }))
    assert(await(channel:start()))
    local reading, waiting = assert(channel:read()), assert(channel:wait())
    self:close()
    assert.are.equal("cancelled", select(2, await(reading)).kind)
    assert.are.equal("cancelled", select(2, await(waiting)).kind)
    assert.are.equal("cancelled", select(2, await(channel:read())).kind)
    channel:close()
    assert.are.equal("invalid", select(2, channel:read()).kind)
  end))

  it("is collected with all it has", async(function()
    for _ = 1, 3 do
      local self = connected()
      for _ = 1, 4 do
        assert(await(assert(self:exec({ command = "cat" })):start()))
      end
      assert(self:forward({ host = "127.0.0.1", port = server.port }))
    end
    collectgarbage()
    collectgarbage()
  end))

  it("many commands at once, and reads that are given up", async(function()
    local self = connected()
    local channels = {}
    for i = 1, 9 do
      channels[i] = assert(self:exec({ command = "cat; echo " .. i }))
    end
    for _, channel in ipairs(channels) do
      assert(await(channel:start()))
      local reading = assert(channel:read())
      reading:cancel()
      assert.are.equal("cancelled", select(2, await(reading)).kind)
      channel:close_stdin()
    end
    for i, channel in ipairs(channels) do
      assert.are.equal(i .. "\n", (output(channel)))
      channel:close()
    end
    self:close()
  end))

  it("more channels than the host allows are refused, the session lives on", async(function()
    local self = connected()
    local channels, refused = {}, 0
    for i = 1, 12 do
      channels[i] = assert(self:exec({ command = "cat" }))
    end
    for _, channel in ipairs(channels) do
      local ok, err = await(channel:start())
      if not ok then
        refused = refused + 1
        assert.are.equal("SSH_REFUSED", err.name)
      end
    end
    assert.are.equal(2, refused)
    for _, channel in ipairs(channels) do
      channel:close()
    end
    self:close()
  end))

  it("an engine that ends takes its sessions along", async(20, function()
    local code = ([[
      local native, task = require "luarium.native", require "luarium.task"
      task.run(function()
        local s = native.ssh.session({ host = "127.0.0.1", port = %d })
        assert(task.await(s:connect()))
        keep = s
      end)
      local s = native.ssh.session({ host = "127.0.0.1", port = %d })
      s:connect()
      also = s
    ]]):format(server.port, server.port)
    local exe = _VERSION == "Lua 5.4" and "lua5.4" or "luajit"
    local dir = scratch.make()
    scratch.write(dir .. "/x.lua", code)
    assert.are.equal("", scratch.sh(exe .. " " .. dir .. "/x.lua"))
    scratch.drop(dir)
  end))

  it("known_hosts: plain, hashed, other ports, garbage", function()
    local key = native.crypto.base64_decode(scratch.read(server.dir .. "/host_key.pub"):match("^%S+ (%S+)"))
    local plain = scratch.read(server:know())
    local hashed = scratch.read(server:know(true))
    server:know()
    for _, text in ipairs({ plain, hashed, "garbage\n\0\255\n" .. plain, plain:gsub("\n", "\r\n"), (plain:gsub("\n", "")) }) do
      assert.are.equal("known", native.ssh.known_host(text, "127.0.0.1", server.port, key))
      assert.are.equal("unknown", native.ssh.known_host(text, "127.0.0.1", server.port % 65535 + 1, key))
      assert.are.equal("unknown", native.ssh.known_host(text, "127.0.0.2", server.port, key))
      assert.are.equal("changed", native.ssh.known_host(text, "127.0.0.1", server.port, key:sub(1, -2) .. "x"))
    end
    assert.are.equal("unknown", native.ssh.known_host("", "127.0.0.1", 22, key))
    assert.are_not.equal("known", native.ssh.known_host(plain, "127.0.0.1", server.port, ""))
  end)
end)
