--- Archives that mean harm, from something that says of itself that it is an engine: a download ends with an error, and
--- leaves nothing here, neither in its place nor beside it nor anywhere else.
local config = require "luarium.config"
local errors = require "luarium.error"
local fakes = require "spec.support.fake_docker"
local native = require "luarium.native"
local rawtar = require "spec.support.rawtar"
local scratch = require "spec.support.scratch"

if fakes.missing() then
  describe("docker: a download that means harm", function()
    pending(fakes.missing())
  end)
  return
end

local sh = scratch.sh
local ID = ("ab"):rep(32)
local FOLDER = 2147484141 -- Go's bits of a folder with the mode 0755
local box = { id = "sbx_x", external_id = ID, cwd = "/", env = {}, data = { archives = true } }

local function header(facts)
  return "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nConnection: close\r\nX-Docker-Container-Path-Stat: "
    .. native.crypto.base64_encode(facts) .. "\r\n"
end

--- A test with such an engine: fn(fake, dir). What its archive is said to be comes as facts in JSON.
local function with(fn)
  return fakes.test(nil, function(fake)
    local dir = scratch.make()
    local ok, err = pcall(fn, fake, dir)
    scratch.drop(dir)
    if not ok then
      error(err, 0)
    end
  end)
end

local function send(fake, mode, archive)
  local facts = header(('{"name":"x","size":3,"mode":%s}'):format(mode))
  fake:answer("HEAD *", facts .. "Content-Length: 0\r\n\r\n")
  fake:answer("GET /v1.41/containers/*/archive*", facts .. "\r\n" .. archive)
end

--- Downloads to dir/out/got, which is refused, with nothing left.
local function refused(dir)
  sh(("rm -rf %s/out; mkdir -p %s/out"):format(dir, dir))
  local value, err = config.provider("docker"):call("download", box, "/x", dir .. "/out/got", {})
  assert.is_nil(value)
  assert.is_true(errors.is(err), tostring(err))
  assert.is_true(err.kind ~= "internal", tostring(err))
  assert.is_nil(err.message:find("%c"), err.message)
  assert.equal("", sh(("ls -A %s/out"):format(dir)))
  return err
end

local function named(name)
  return { name = name, data = "x" }
end

--- A size in the way of numbers that do not fit: 12 bytes, the first with its highest bit set.
local function base256(...)
  local bytes = string.char(...)
  return "\128" .. ("\0"):rep(11 - #bytes) .. bytes
end

describe("docker: a tree that means harm", function()
  for what, entries in pairs({
    ["an absolute name"] = { named "/etc/luarium-x" },
    ["a name with .."] = { named "a/../../x" },
    ["a file through a link"] = { { name = "l", type = "2", target = "d" }, named "l/x" },
    ["a hard link to nothing"] = { { name = "h", type = "1", target = "none" } },
    ["a device"] = { { name = "sda", type = "4", major = 8 } },
    ["a fifo"] = { { name = "p", type = "6" } },
    ["a name with control characters"] = { named "/\27[2J\n" },
    ["more than any disk has"] = { { name = "big", raw_size = base256(255, 255, 255, 255, 255, 255, 255), data = "" } },
    ["a size that is negative"] = { { name = "big", raw_size = ("\255"):rep(12), data = "" } },
    ["a sparse file of 4 EiB"] = {
      rawtar.pax { { "GNU.sparse.major", "1" }, { "GNU.sparse.minor", "0" }, { "GNU.sparse.name", "s" },
        { "GNU.sparse.realsize", "4611686018427387904" } },
      { name = "GNUSparseFile.0/s", data = "1\n4611686018427387900\n4\n" .. ("\0"):rep(487) .. "data" } },
  }) do
    it("with " .. what, with(function(fake, dir)
      send(fake, FOLDER, rawtar.archive { named "first", entries[1], entries[2] })
      refused(dir)
    end))
  end

  it("with links out: they are left out and told", with(function(fake, dir)
    send(fake, FOLDER, rawtar.archive { { name = "up", type = "2", target = "../../x" },
      { name = "hard", type = "1", target = "../x" }, { name = "away", type = "2", target = "/etc/passwd" },
      { name = "run", data = "x", mode = 3565 } })
    local result = assert(config.provider("docker"):call("download", box, "/x", dir .. "/got", {}))
    assert.equal(3, #result.skipped)
    assert.equal("run 755", sh(("cd %s/got && echo $(ls -A) $(stat -c %%a run)"):format(dir)))
  end))

  it("that is cut anywhere", with(function(fake, dir)
    local whole = rawtar.archive { named "a", named "b" }
    for _, length in ipairs({ 0, 1, 511, 512, 513, 1024, 1536, 2048, 2049 }) do
      send(fake, FOLDER, whole:sub(1, length))
      refused(dir)
    end
  end))

  it("that never ends", with(function(fake, dir)
    send(fake, FOLDER, rawtar.archive { named "a" })
    sh(("truncate -s 1T %s/answer%d"):format(fake.dir, fake.count)) -- zeros without end follow
    refused(dir)
  end))
end)

describe("docker: a file that means harm", function()
  for what, archive in pairs({
    ["whose size is more than any disk has"] = rawtar.header { name = "x", raw_size = ("\128\255"):rep(6) },
    ["whose size leaves the numbers there are"] = rawtar.header { name = "x", raw_size = base256(1, 0, 0, 0, 0, 0, 0, 0, 0) },
    ["whose size is negative when it is cut to 64 bits"] =
      rawtar.header { name = "x", raw_size = base256(128, 0, 0, 0, 0, 0, 0, 0) },
    ["with a size in words of 30 digits"] =
      rawtar.pax { { "size", ("9"):rep(30) } } .. rawtar.header { name = "x" },
    ["whose extended header is larger than all memory"] =
      rawtar.header { name = "x", type = "x", raw_size = base256(255, 255, 255, 255, 255, 255) },
    ["whose extended header has a size below nothing"] =
      rawtar.header { name = "x", type = "x", raw_size = base256(255, 255, 255, 255, 255, 255, 255, 255) },
  }) do
    it(what, with(function(fake, dir)
      send(fake, "420", archive .. ("x"):rep(100000))
      sh(("truncate -s 1T %s/answer%d"):format(fake.dir, fake.count)) -- whoever believes it reads for ever
      local err = refused(dir)
      assert.equal("protocol", err.kind, err.message)
    end))
  end

  it("that is cut anywhere", with(function(fake, dir)
    local whole = rawtar.pax { { "mtime", "1" } } .. rawtar.entry { name = "x", data = ("x"):rep(1000) }
    for _, length in ipairs({ 0, 1, 511, 512, 1023, 1024, 1536, 1537, 2535 }) do
      send(fake, "420", whole:sub(1, length))
      refused(dir)
    end
  end))

  it("whose facts are none", with(function(fake, dir)
    for _, mode in ipairs({ "420.5", "-1", "1e300", "null", '"420"', "[]", "NaN" }) do
      send(fake, mode, rawtar.archive { named "x" })
      refused(dir)
    end
  end))
end)
