--- Bytes between files and channels on threads: luarium.native.ssh, haul_from and haul_into.
local async = require "spec.support.async"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local proxies = require "spec.support.proxy"
local scratch = require "spec.support.scratch"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"

local await = task.await

local server = peer("native.ssh: haul", sshd)
if not server then
  return
end

local function connected(options)
  options = options or {}
  local self = assert(native.ssh.session({
    host = "127.0.0.1", port = options.port or server.port, keepalive = options.keepalive,
  }))
  return server:log_in(self)
end

local function with_dir(fn)
  local dir = scratch.make()
  local ok, err = pcall(fn, dir)
  scratch.drop(dir)
  assert(ok, err)
end

--- Hauls to the end of the part, or of what there is.
local function haul(channel, method, file, offset, length)
  local moved = 0
  while moved < length do
    local count, more = await(channel[method](channel, file, offset + moved, length - moved))
    if not count then
      return nil, more
    end
    moved = moved + count
    if not more then
      break
    end
  end
  return moved
end

local function rest(channel)
  local text = ""
  while true do
    local bytes, err = await(channel:read())
    if not bytes then
      assert.is_nil(err)
      return text
    end
    text = text .. bytes
  end
end

local function started(self, command)
  local channel = assert(self:exec({ command = "echo THE-MARK; " .. command, marker = "THE-MARK" }))
  assert(await(channel:start()))
  return channel
end

local function writer_of(path)
  return assert(await(native.fs.writer(path, { atomic = true })))
end

local function exit_code(channel)
  assert(await(channel:wait()))
  local code = channel:status().exit_code
  channel:close()
  return code
end

describe("native.ssh: haul", function()
  it("moves parts at their places, both ways, and the session goes on", async(60, function()
    with_dir(function(dir)
      local bytes = native.crypto.random(1048576):rep(11) .. native.crypto.random(4321)
      scratch.write(dir .. "/in", bytes)
      local reader, writer = assert(await(native.fs.reader(dir .. "/in"))), writer_of(dir .. "/back")
      scratch.write(dir .. "/there", "")
      local sessions = { connected(), connected() }
      local half = 5 * 1048576
      local parts = { { offset = 0, length = half }, { offset = half, length = #bytes - half } }
      local function at_once(fn)
        task.scope(function(scope)
          for i, part in ipairs(parts) do
            scope:spawn(fn, sessions[i], part.offset, part.length)
          end
        end)
      end
      at_once(function(self, offset, length)
        local channel = started(self, ("dd of=%s/there bs=1048576 seek=%d conv=notrunc 2>/dev/null"):format(dir,
          math.floor(offset / 1048576)))
        assert.are.equal(length, haul(channel, "haul_from", reader, offset, length))
        channel:close_stdin()
        assert.are.equal("", rest(channel))
        assert.are.equal(0, exit_code(channel))
      end)
      at_once(function(self, offset, length)
        local channel = started(self, ("tail -c +%d %s/there | head -c %d; echo end; exit 3"):format(offset + 1, dir,
          length))
        assert.are.equal(length, haul(channel, "haul_into", writer, offset, length))
        assert.are.equal("end\n", rest(channel))
        assert.are.equal(3, exit_code(channel))
      end)
      assert(await(writer:close()))
      reader:close()
      assert.is_true(scratch.read(dir .. "/there") == bytes)
      assert.is_true(scratch.read(dir .. "/back") == bytes)
      for _, self in ipairs(sessions) do
        assert.are.equal("still here\n", rest(started(self, "echo still here")))
        self:close()
      end
    end)
  end))

  it("what ends early, or reads no more, is left to a read", async(30, function()
    with_dir(function(dir)
      local self, writer = connected(), writer_of(dir .. "/out")
      local channel = started(self, "printf 12345; echo no >&2; exit 7")
      assert.are.equal(5, haul(channel, "haul_into", writer, 0, 100))
      assert.are.equal("no\n", rest(channel))
      assert.are.equal(7, exit_code(channel))
      writer:abort()

      scratch.write(dir .. "/in", ("x"):rep(33554432))
      local reader = assert(await(native.fs.reader(dir .. "/in")))
      channel = started(self, "head -c 10 >/dev/null; exit 9")
      assert.is_true(haul(channel, "haul_from", reader, 0, 33554432) < 33554432)
      rest(channel)
      assert.are.equal(9, exit_code(channel))

      channel = started(self, "exec wc -c")
      assert.are.equal(432, haul(channel, "haul_from", reader, 33554000, 1000)) -- the file has no more
      channel:close_stdin()
      assert.are.equal("432\n", rest(channel))
      assert.are.equal(0, exit_code(channel))
      reader:close()
      self:close()
    end)
  end))

  it("everything else is refused meanwhile, and it can be called off", async(30, function()
    with_dir(function(dir)
      local self, writer = connected(), writer_of(dir .. "/out")
      local channel = started(self, "exec cat /dev/zero")
      local hauling = assert(channel:haul_into(writer, 0, 2 ^ 40))
      for name, call in pairs({
        exec = function() return self:exec({ command = "true" }) end,
        methods = function() return self:methods("x") end,
        read = function() return channel:read() end,
        write = function() return channel:write("x") end,
        wait = function() return channel:wait() end,
        haul = function() return channel:haul_into(writer, 0, 1) end,
      }) do
        local ok, err = call()
        assert.is_nil(ok, name)
        assert.are.equal("conflict", err.kind, name)
      end
      assert.is_nil(self:hostkey())
      assert.is_nil(channel:status())
      assert.has_error(function() channel:haul_into("no file", 0, 1) end)
      hauling:cancel()
      assert.are.equal("cancelled", select(2, await(hauling)).kind)
      assert.are.equal("io", select(2, await(writer:close())).kind)
      channel:close()
      assert.are.equal("usable\n", rest(started(self, "echo usable")))
      self:close()
    end)
  end))

  for name, close in pairs({
    ["the session is closed"] = function(self) self:close() end,
    ["the channel is closed"] = function(_, channel) channel:close() end,
    ["the file is closed"] = function(self, _, writer)
      writer:abort()
      self:close()
    end,
  }) do
    it("ends when " .. name .. " under it", async(30, function()
      with_dir(function(dir)
        local self, writer = connected(), writer_of(dir .. "/out")
        local channel = started(self, "exec cat /dev/zero")
        local hauling = assert(channel:haul_into(writer, 0, 2 ^ 40))
        task.sleep(0.02)
        close(self, channel, writer)
        local count, err = await(hauling)
        assert.is_true(count ~= nil or err.kind == "cancelled")
        local reading, refused = channel:read()
        assert.is_truthy(({ cancelled = true, invalid = true })[(refused or select(2, await(reading))).kind])
        channel:close()
        self:close()
        writer:abort()
        assert.is_false(scratch.exists(dir .. "/out"))
      end)
    end))
  end

  for _, action in ipairs({ "cut", "stall" }) do
    it("a connection that is lost is told: " .. action, async(30, function()
      with_dir(function(dir)
        local proxy = proxies.start(server.port)
        local self, writer = connected({ port = proxy.port, keepalive = 0.3 }), writer_of(dir .. "/out")
        local channel = started(self, "exec cat /dev/zero")
        proxy:say("after 3000000 " .. action)
        local count, err = haul(channel, "haul_into", writer, 0, 2 ^ 40)
        if count then -- the thread saw the end
          count, err = await(channel:read())
        end
        assert.is_nil(count)
        assert.are.equal("SSH_LOST", err.name)
        writer:abort()
        self:close()
        proxy:stop()
      end)
    end))
  end

  it("is not begun on a session that carries connections", async(30, function()
    with_dir(function(dir)
      local self, writer = connected(), writer_of(dir .. "/out")
      local channel = started(self, "exec cat /dev/zero")
      local forward = assert(self:forward({ host = "127.0.0.1", port = server.port }))
      local through = connected({ port = forward:port() })
      local ok, err = channel:haul_into(writer, 0, 1)
      assert.is_nil(ok)
      assert.are.equal("conflict", err.kind)
      through:close()
      forward:close()
      writer:abort()
      self:close()
    end)
  end))

  it("survives new keys in the middle", async(90, function()
    local strict = sshd.start({ config = "RekeyLimit 4M" })
    local ok, failure = pcall(with_dir, function(dir)
      local bytes = native.crypto.random(1048576):rep(40)
      scratch.write(dir .. "/in", bytes)
      local self = assert(native.ssh.session({ host = "127.0.0.1", port = strict.port }))
      assert(await(self:connect()))
      assert(await(self:methods(scratch.sh("id -un"))))
      assert(await(self:key(scratch.sh("id -un"), scratch.read(strict.dir .. "/id"))))
      local reader, writer = assert(await(native.fs.reader(dir .. "/in"))), writer_of(dir .. "/back")
      local channel = started(self, ("exec cat >%s/there"):format(dir))
      assert.are.equal(#bytes, haul(channel, "haul_from", reader, 0, #bytes))
      channel:close_stdin()
      rest(channel)
      assert.are.equal(0, exit_code(channel))
      channel = started(self, ("exec cat %s/there"):format(dir))
      assert.are.equal(#bytes, haul(channel, "haul_into", writer, 0, #bytes))
      assert(await(writer:close()))
      assert.is_true(scratch.read(dir .. "/there") == bytes)
      assert.is_true(scratch.read(dir .. "/back") == bytes)
      reader:close()
      self:close()
    end)
    strict:stop()
    assert(ok, failure)
  end))

  it("an engine that ends waits for the thread", async(60, function()
    with_dir(function(dir)
      local code = ([[
        local native, task = require "luarium.native", require "luarium.task"
        task.run(function()
          local s = native.ssh.session({ host = "127.0.0.1", port = %d })
          assert(task.await(s:connect()))
          assert(task.await(s:methods(%q)))
          assert(task.await(s:key(%q, io.open(%q):read("*a"))))
          local channel = s:exec({ command = "exec cat /dev/zero" })
          assert(task.await(channel:start()))
          local writer = assert(task.await(native.fs.writer(%q, { atomic = true })))
          local hauling = assert(channel:haul_into(writer, 0, 2 ^ 40))
          task.sleep(0.05)
          keep = { s, channel, writer, hauling }
        end)
      ]]):format(server.port, scratch.sh("id -un"), scratch.sh("id -un"), server.dir .. "/id", dir .. "/out")
      local exe = _VERSION == "Lua 5.4" and "lua5.4" or "luajit"
      scratch.write(dir .. "/x.lua", code)
      assert.are.equal("", scratch.sh(exe .. " " .. dir .. "/x.lua"))
      assert.is_false(scratch.exists(dir .. "/out"))
    end)
  end))
end)
