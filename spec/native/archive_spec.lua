local async = require "spec.support.async"
local task = require "luarium.task"
local native = require "luarium.native"
local rawtar = require "spec.support.rawtar"
local scratch = require "spec.support.scratch"
local until_true = require "spec.support.until_true"

local archive, await, sh = native.archive, task.await, scratch.sh
local it_mounts = scratch.it_if(it, pending, scratch.can_mount(), "the right to mount")

describe("native.archive", function()
  local dir, dest
  before_each(function()
    dir = scratch.make()
    dest = dir .. "/dest"
  end)
  after_each(function() scratch.drop(dir) end)

  --- Unpacks bytes in pieces; the result of finish, or the first error.
  local function unpack(bytes, opts, piece)
    opts = opts or {}
    opts.dest = opts.dest or dest
    local u = assert(archive.unpack(opts))
    piece = piece or 65536
    for at = 1, #bytes, piece do
      local ok, err = await(u:write(bytes:sub(at, at + piece - 1)))
      if not ok then
        assert.same({ nil, err.message }, { nil, select(2, await(u:finish())).message })
        return nil, err
      end
    end
    return await(u:finish())
  end

  local function pack(opts)
    local p, pieces = assert(archive.pack(opts)), {}
    while true do
      local piece, err = await(p:read())
      if not piece then
        assert.is_nil(err)
        p:close()
        return table.concat(pieces)
      end
      pieces[#pieces + 1] = piece
    end
  end

  --- Every name below a folder with type, mode and what is in it; sorted.
  local function tree(root)
    return sh(("cd %s && find . -mindepth 1 -printf '%%p %%y %%m %%l ' -type f -printf '%%s\\n' -o -printf '\\n' "
      .. "| LC_ALL=C sort"):format(root))
  end

  local function nothing_left()
    assert.equal("", sh("cd " .. dir .. " && ls -A | grep -v '^keep' || true"))
  end

  local function refused(kind, pattern, bytes, opts, piece)
    local value, err = unpack(bytes, opts, piece)
    assert.is_nil(value)
    assert.equal(kind, err.kind, err.message)
    assert.truthy(err.message:find(pattern), err.message)
    assert.is_nil(err.message:find("[%c]"), err.message)
    nothing_left()
    return err
  end

  describe("pack and unpack", function()
    before_each(function()
      sh(([[
        mkdir -p %s/keep/sub/deep %s/keep/empty; cd %s/keep
        printf one > a; printf two > sub/b; printf '#!/bin/sh\n' > sub/deep/run; chmod 755 sub/deep/run; chmod 600 a
        ln -s ../a sub/up; ln -s sub/b down; touch -d @1234567890 sub/b; chmod 700 empty
        printf x > -rf; printf x > 'new
line'; printf x > "$(printf 'bad\377\376')"; printf x > 'ünïcode €'; printf x > ' space '
        n=$(printf '%%0200d' 0); mkdir -p $n/$n; printf long > $n/$n/$n]]):format(dir, dir, dir))
    end)

    for _, format in ipairs { "tar", "pax" } do
      for _, compress in ipairs { "none", "gzip", "zstd" } do
        it(("round trip %s %s"):format(format, compress), async(function()
          local bytes = pack { root = dir .. "/keep", format = format, compress = compress }
          local result = assert(unpack(bytes))
          assert.equal(tree(dir .. "/keep"), tree(dest))
          assert.equal("", sh(("diff -r --no-dereference %s/keep %s"):format(dir, dest)))
          assert.equal("1234567890", sh("stat -c %Y " .. dest .. "/sub/b"))
          assert.same({ 9, 5, 2, 0 }, { result.files, result.dirs, result.links, result.skipped_count })
        end))
      end
    end

    it("is understood by tar, and understands tar", async(function()
      scratch.write(dir .. "/keep.tar", pack { root = dir .. "/keep" })
      sh(("mkdir %s && tar -C %s -xf %s/keep.tar"):format(dest, dest, dir))
      assert.equal(tree(dir .. "/keep"), tree(dest))
      for _, flags in ipairs { "--format=gnu", "--format=pax", "-z --format=ustar --exclude=0*", "--zstd --format=pax" } do
        sh(("rm -rf %s; tar -C %s/keep %s -cf %s/keep.tar ."):format(dest, dir, flags, dir))
        assert(unpack(scratch.read(dir .. "/keep.tar")))
        if not flags:find("exclude") then
          assert.equal(tree(dir .. "/keep"), tree(dest))
        end
      end
    end))

    it("understands zip", async(function()
      sh(("cd %s/keep && zip -qr ../keep.zip a sub empty"):format(dir))
      assert(unpack(scratch.read(dir .. "/keep.zip")))
      assert.equal("one", scratch.read(dest .. "/a"))
      assert.equal("two", scratch.read(dest .. "/sub/b"))
    end))

    it("takes input byte by byte", async(function()
      local bytes = pack { root = dir .. "/keep", paths = { "a" }, compress = "zstd" }
      assert(unpack(bytes, nil, 1))
      bytes = pack { root = dir .. "/keep", paths = { "a" }, compress = "gzip" }
      assert(unpack(bytes, nil, 1))
      assert(unpack(pack { root = dir .. "/keep", paths = { "a" } }, nil, 1))
      assert.equal("one", scratch.read(dest .. "/a"))
    end))

    it("gives the same bytes for the same tree", async(function()
      local opts = { root = dir .. "/keep", compress = "gzip" }
      local first = pack(opts)
      sh(("cp -a %s/keep %s/keep2"):format(dir, dir))
      assert.equal(first, pack { root = dir .. "/keep2", compress = "gzip" })
      scratch.write(dir .. "/keep.tgz", first)
      local owner = sh(("tar -tvzf %s/keep.tgz --numeric-owner | awk '{print $2}' | sort -u"):format(dir))
      assert.equal("0/0", owner)
    end))

    it("packs chosen paths without what is excluded", async(function()
      assert(unpack(pack { root = dir .. "/keep", paths = { "sub", "a" }, exclude = { "deep" } }))
      assert.equal("./a ./sub ./sub/b ./sub/up", sh(("cd %s; echo $(find . -mindepth 1 | LC_ALL=C sort)"):format(dest)))
      sh("rm -r " .. dest)
      assert(unpack(pack { root = dir .. "/keep", exclude = { "sub/*", "*[!a]", "0*" } }))
      assert.equal("./a", sh(("cd %s; echo $(find . -type f)"):format(dest)))
    end))

    it("refuses paths that leave the root or go through links", async(function()
      for _, path in ipairs { "../x", "/etc", "", ".", "a/../b", "a//b", "sub/" } do
        local p, err = archive.pack { root = dir, paths = { path } }
        assert.is_nil(p, path)
        assert.equal("invalid", err.kind)
      end
      sh(("ln -s /etc %s/keep/etc"):format(dir))
      local p = assert(archive.pack { root = dir .. "/keep", paths = { "etc/passwd" } })
      local value, err = await(p:read())
      assert.is_nil(value)
      assert.equal("not_found", err.kind)
      assert.error_matches(function() p:read() end, "closed")
      local _, missing = await(archive.pack({ root = dir .. "/keep", paths = { "none" } }):read())
      assert.equal("not_found", missing.kind)
      local _, no_root = await(archive.pack({ root = dir .. "/none" }):read())
      assert.equal("not_found", no_root.kind)
    end))

    it("leaves out what is no file, folder or link, and counts it", async(function()
      sh(("cd %s/keep && mkfifo pipe"):format(dir))
      local p = assert(archive.pack { root = dir .. "/keep" })
      repeat local piece = await(p:read()) until not piece
      assert.same({ 9, 5, 2, 1 }, { p:stats().files, p:stats().dirs, p:stats().links, p:stats().skipped })
      p:close()
    end))

    it("packs an empty folder", async(function()
      local bytes = pack { root = dir .. "/keep/empty" }
      assert.equal(1024, #bytes)
      local result = assert(unpack(bytes))
      assert.same({ 0, 0 }, { result.files, result.dirs })
      assert.equal("", tree(dest))
    end))

    it("leaves out what exclude names, with all that is below", async(function()
      local bytes = pack { root = dir .. "/keep" }
      for _, globs in ipairs { { "deep" }, { "sub/*", "*[!a]", "0*" } } do
        sh("rm -rf " .. dest)
        assert(unpack(pack { root = dir .. "/keep", exclude = globs }))
        local want = tree(dest)
        sh("rm -rf " .. dest)
        assert(unpack(bytes, { exclude = globs, links = "skip" }))
        assert.equal(want, tree(dest))
      end
    end))

    it("strips leading folders", async(function()
      assert(unpack(pack { root = dir .. "/keep", paths = { "sub", "a" } }, { strip = 1, links = "skip" }))
      assert.equal("./b ./deep ./deep/run", sh(("cd %s; echo $(find . -mindepth 1 | LC_ALL=C sort)"):format(dest)))
    end))
  end)

  describe("refuses", function()
    local passwd = { name = "x", data = "root::0:0" }
    local function named(name) return { name = name, data = "x" } end

    local cases = {
      { "an absolute name", "absolute", { named "/etc/x" } },
      { "a name with ..", "'%.%.'", { named "../x" } },
      { "a name with .. inside", "'%.%.'", { named "a/../../x" } },
      { "a name that is ..", "'%.%.'", { { name = "..", type = "5" } } },
      { "a long name with ..", "'%.%.'", { rawtar.long_name(("a/"):rep(100) .. "../x"), named "y" } },
      { "a pax path with ..", "'%.%.'", { rawtar.pax { { "path", "../x" } }, named "y" } },
      { "an absolute prefix", "absolute", { { name = "x", prefix = "/etc", data = "x" } } },
      { "a link to an absolute path", "leads out", { { name = "l", type = "2", target = "/etc/passwd" } } },
      { "a link that leads up", "leads out", { { name = "l", type = "2", target = "../x" } } },
      { "a link that leads up from below", "leads out", { { name = "a/l", type = "2", target = "../../x" } } },
      { "a link that leads up behind a name", "leads out",
        { { name = "a/b", type = "2", target = "." }, { name = "l", type = "2", target = "a/b/../../x" } } },
      { "a link to nowhere", "no target", { { name = "l", type = "2" } } },
      { "a file through a link of the archive", "through a link",
        { { name = "d/", type = "5" }, { name = "l", type = "2", target = "d" }, named "l/x" } },
      { "a file over a link of the archive", "twice", { { name = "l", type = "2", target = "d" }, named "l" } },
      { "a folder over a link of the archive", "twice",
        { { name = "d/", type = "5" }, { name = "l", type = "2", target = "d" }, { name = "l/", type = "5" } } },
      { "a file below a file", "through a file", { named "f", named "f/x" } },
      { "a file over a folder", "twice", { { name = "d", type = "5" }, named "d" } },
      { "a folder over a file", "twice", { named "d", { name = "d", type = "5" } } },
      { "the same name twice", "twice", { named "f", passwd, named "f" } },
      { "the same name twice, spelt otherwise", "twice", { named "d/f", named "./d//f" } },
      { "a hard link out", "leads out", { { name = "h", type = "1", target = "../../etc/passwd" } } },
      { "a hard link to an absolute path", "leads out", { { name = "h", type = "1", target = "/etc/passwd" } } },
      { "a hard link to what is not there", "hard link", { { name = "h", type = "1", target = "none" } } },
      { "a hard link below what is not there", "hard link", { { name = "h", type = "1", target = "none/x" } } },
      { "a hard link to a link", "hard link",
        { { name = "l", type = "2", target = "f" }, { name = "h", type = "1", target = "l" } } },
      { "a hard link through a link", "through a link",
        { named "d/f", { name = "l", type = "2", target = "d" }, { name = "h", type = "1", target = "l/f" } } },
      { "a character device", "device", { { name = "null", type = "3", major = 1, minor = 3 } } },
      { "a block device", "device", { { name = "sda", type = "4", major = 8 } } },
      { "a fifo", "fifo", { { name = "p", type = "6" } } },
      { "an empty name", "name", { named "." } },
    }
    for _, case in ipairs(cases) do
      it(case[1], async(function()
        refused("protocol", case[2], rawtar.archive { named "first", case[3][1], case[3][2], case[3][3] })
      end))
    end

    it("names the entry without control characters", async(function()
      local err = refused("protocol", "absolute", rawtar.archive { named "/\27[2J\nx" })
      assert.truthy(err.message:find("/\\x1b[2J\\x0ax", 1, true), err.message)
    end))

    it("what is no archive", async(function()
      refused("protocol", "empty", "")
      refused("protocol", "not a sound archive", ("hello world\n"):rep(1000))
      refused("protocol", "not a sound archive", rawtar.header { name = "x", checksum = 1 } .. rawtar.END)
      refused("protocol", "", "\31\139" .. ("x"):rep(1000))
      refused("protocol", "", "\40\181\47\253" .. ("x"):rep(1000))
    end))

    it("what ends too early, anywhere", async(20, function()
      local whole = rawtar.archive { named "a", { name = "b", data = ("x"):rep(2000) }, { name = "d/", type = "5" } }
      for cut = 1, #whole - 1024, 128 do
        refused("protocol", "", whole:sub(1, cut))
      end
      assert(unpack(whole:sub(1, -513))) -- one block of the mark is enough
      scratch.write(dir .. "/keep.tar", whole)
      for _, tool in ipairs { "gzip -nc", "zstd -qc" } do
        local packed = (function()
          sh(("%s < %s/keep.tar > %s/keep.z"):format(tool, dir, dir))
          return scratch.read(dir .. "/keep.z")
        end)()
        sh("rm -rf " .. dest)
        for cut = 1, #packed - 1 do
          refused("protocol", "", packed:sub(1, cut))
        end
        assert(unpack(packed))
      end
    end))

    it("any changed byte in a compressed archive", async(20, function()
      local data = native.crypto.random(700)
      scratch.write(dir .. "/keep.tar", rawtar.archive { { name = "b", data = data } })
      for _, tool in ipairs { "gzip -nc", "zstd -qc" } do
        sh(("%s < %s/keep.tar > %s/keep.z"):format(tool, dir, dir))
        local packed = scratch.read(dir .. "/keep.z")
        for at = 13, #packed, 7 do
          local byte = packed:byte(at)
          local result, err = unpack(packed:sub(1, at - 1) .. string.char((byte + 1) % 256) .. packed:sub(at + 1))
          if result then -- a bit that means nothing, such as padding
            assert.equal(data, scratch.read(dest .. "/b"))
            sh("rm -r " .. dest)
          else
            assert.equal("protocol", err.kind)
          end
          nothing_left()
        end
      end
    end))

    it("what is wrong with a zip", async(function()
      sh(("mkdir %s/keepers; cd %s/keepers; seq 1000 > ../keep; zip -q ../keep.zip ../keep"):format(dir, dir))
      refused("protocol", "'%.%.'", scratch.read(dir .. "/keep.zip"))
      sh(("cd %s; rm keep.zip; zip -q keep.zip keep; zip -qP secret keep.enc.zip keep"):format(dir))
      local whole = scratch.read(dir .. "/keep.zip")
      refused("protocol", "", whole:sub(1, 200))
      refused("protocol", "", whole:sub(1, 300) .. string.char((whole:byte(301) + 1) % 256) .. whole:sub(302))
      refused("protocol", "", scratch.read(dir .. "/keep.enc.zip"))
    end))

    it("more than the limits", async(function()
      local two = { named "a", { name = "b", data = ("x"):rep(1000) } }
      refused("quota", "bytes", rawtar.archive(two), { limits = { bytes = 1000 } })
      refused("quota", "files", rawtar.archive(two), { limits = { files = 1 } })
      refused("quota", "files", rawtar.archive { named "a/b/c/d" }, { limits = { files = 3 } })
      refused("quota", "depth", rawtar.archive { named "a/b/c/d" }, { limits = { depth = 3 } })
      refused("quota", "name", rawtar.archive { named "abcdef" }, { limits = { name = 5 } })
      refused("quota", "name", rawtar.archive { rawtar.long_name(("n"):rep(300)), named "x" })
      refused("quota", "bytes", rawtar.archive { { name = "huge", size = 2 ^ 32, data = "x" } }, { limits = { bytes = 2 ^ 20 } })
      assert(unpack(rawtar.archive(two), { limits = { bytes = 1001, files = 2, depth = 1, name = 1 } }))
    end))

    it("bombs", async(20, function()
      for _, tool in ipairs { "gzip -9", "zstd -19" } do
        sh(("head -c 40000000 /dev/zero > %s/keep.big; tar -C %s -cf - keep.big | %s -qc > %s/keep.z"):format(
          dir, dir, tool, dir))
        refused("quota", "ratio", scratch.read(dir .. "/keep.z"), { limits = { ratio = 100 } })
        refused("quota", "bytes", scratch.read(dir .. "/keep.z"), { limits = { bytes = 39999999, ratio = 0 } })
      end
      sh(("cd %s && zip -q keep.zip keep.big"):format(dir))
      refused("quota", "ratio", scratch.read(dir .. "/keep.zip"), { limits = { ratio = 100 } })
      sh(("cd %s && truncate -s 100G keep.sparse && tar -S -cf keep.tar keep.sparse"):format(dir))
      refused("quota", "bytes", scratch.read(dir .. "/keep.tar"), { limits = { ratio = 0 } })
    end))
  end)

  it("drops set-uid and the like, ignores owners, keeps folders usable", async(function()
    assert(unpack(rawtar.archive {
      { name = "d", type = "5", mode = 0 }, { name = "d/s", data = "x", mode = 4095, uid = 12345, gid = 12345 },
    }))
    assert.equal("./d d 700\n./d/s f 777", (tree(dest):gsub("  1", ""):gsub(" *\n", "\n")))
    assert.equal(sh("id -u"), sh("stat -c %u " .. dest .. "/d/s"))
  end))

  it("keeps hard links and links inside the tree", async(function()
    local result = assert(unpack(rawtar.archive {
      { name = "d/f", data = "x" }, { name = "h", type = "1", target = "d/f" },
      { name = "d/e/l", type = "2", target = "../../h" }, { name = "dangling", type = "2", target = "d/none" },
    }))
    assert.equal(sh("stat -c %i " .. dest .. "/h"), sh("stat -c %i " .. dest .. "/d/f"))
    assert.equal("x", scratch.read(dest .. "/d/e/l"))
    assert.same({ 1, 2, 3 }, { result.files, result.dirs, result.links })
  end))

  it("leaves unsafe links out when asked", async(function()
    local result = assert(unpack(rawtar.archive {
      { name = "a", data = "x" }, { name = "l", type = "2", target = "/etc" }, { name = "h", type = "1", target = "../x" },
    }, { links = "skip" }))
    assert.equal("./a f 644  1", tree(dest))
    assert.equal(2, result.skipped_count)
    assert.same({ "l", "h" }, { result.skipped[1].path, result.skipped[2].path })
  end))

  it("unpacks sparse files", async(function()
    sh(("cd %s && truncate -s 5M keep.s && printf end >> keep.s && truncate -s 9M keep.s && tar -S -cf keep.tar keep.s")
      :format(dir))
    assert(unpack(scratch.read(dir .. "/keep.tar")))
    assert.equal("", sh(("cmp %s/keep.s %s/keep.s"):format(dir, dest)))
    assert.is_true(tonumber(sh("stat -c %b " .. dest .. "/keep.s")) < 1000)
  end))

  describe("into a folder that is there", function()
    before_each(function()
      sh(("mkdir -p %s/d %s/keep; cd %s; printf old > d/f; printf mine > d/mine; ln -s ../keep out; chmod 750 d")
        :format(dest, dir, dest))
    end)

    it("merges, replaces files, leaves the rest", async(function()
      assert(unpack(rawtar.archive {
        { name = "d/f", data = "new" }, { name = "d/g/h", data = "h" }, { name = "l", type = "2", target = "d" },
      }))
      assert.equal("./d d 750\n./d/f f 644  3\n./d/g d 755\n./d/g/h f 644  1\n./d/mine f 644  4\n./l l 777 d\n"
        .. "./out l 777 ../keep", (tree(dest):gsub("(d %d+) *\n", "%1\n"):gsub(" *\n", "\n"):gsub(" $", "")))
      assert.equal("new", scratch.read(dest .. "/d/f"))
    end))

    local function untouched(kind, pattern, bytes)
      local before = tree(dest)
      local value, err = unpack(bytes)
      assert.is_nil(value)
      assert.equal(kind, err.kind)
      assert.truthy(err.message:find(pattern), err.message)
      assert.equal(before, tree(dest))
      assert.equal("", sh("ls -A " .. dir .. "/keep"))
    end

    it("follows no link there", async(function()
      untouched("conflict", "out", rawtar.archive { { name = "a", data = "x" }, { name = "out/x", data = "x" } })
    end))

    it("looks for conflicts before it touches anything", async(function()
      untouched("conflict", "d/f", rawtar.archive { { name = "a", data = "x" }, { name = "d/f/x", data = "x" } })
      untouched("conflict", "d", rawtar.archive { { name = "a", data = "x" }, { name = "d", data = "x" } })
    end))

    it("leaves it alone when the archive is bad", async(function()
      untouched("protocol", "absolute", rawtar.archive { { name = "d/f", data = "new" }, { name = "/x", data = "x" } })
    end))
  end)

  it("says what is wrong with the target", async(function()
    local bytes = rawtar.archive { { name = "a", data = "x" } }
    scratch.write(dir .. "/keep", "")
    refused("conflict", "not a folder", bytes, { dest = dir .. "/keep" })
    refused("not_found", "none", bytes, { dest = dir .. "/none/dest" })
    assert.error_matches(function() archive.unpack {} end, "dest")
    assert.error_matches(function() archive.unpack { dest = dest, links = "follow" } end, "links")
    assert.error_matches(function() archive.pack {} end, "root")
  end))

  it_mounts("leaves nothing behind when the disk is full", async(function()
    sh(("mkdir %s && mount -t tmpfs -o size=2m none %s"):format(dest, dest))
    local value, err = unpack(rawtar.archive { { name = "a", data = ("x"):rep(3000000) } })
    local left = sh("ls -A " .. dest)
    sh("umount " .. dest)
    assert.is_nil(value)
    assert.same({ "io", "ENOSPC" }, { err.kind, err.name })
    assert.equal("", left)
  end))

  it("leaves nothing behind when it is aborted, cancelled or forgotten", async(function()
    local half = rawtar.archive { { name = "d/a", data = ("x"):rep(100000) } }:sub(1, 60000)
    local function temp() return sh("ls -A " .. dir) end
    local u = assert(archive.unpack { dest = dest })
    assert(await(u:write(half)))
    assert.equal("cancelled", select(2, await(u:abort())).kind)
    assert.equal("", temp())
    assert.is_nil(u:abort())
    assert.error_matches(function() u:write("x") end, "closed")
    u = assert(archive.unpack { dest = dest })
    assert(await(u:write(half)))
    local op = u:finish()
    op:cancel()
    assert.equal("cancelled", select(2, await(op)).kind == "protocol" and "cancelled" or select(2, op:result()).kind)
    u = assert(archive.unpack { dest = dest })
    assert(await(u:write(half)))
    u = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    until_true("the folder is empty", function() return temp() == "" end)
  end))

  it("does not lose a result when the object is dropped", async(function()
    local bytes = rawtar.archive { { name = "a", data = "x" } }
    local function start()
      local u = assert(archive.unpack { dest = dest })
      u:write(bytes)
      return u:finish()
    end
    local op = start()
    collectgarbage()
    collectgarbage()
    assert(await(op))
    assert.equal("x", scratch.read(dest .. "/a"))
  end))

  it("makes a fast writer wait", async(function()
    local u = assert(archive.unpack { dest = dest })
    assert(await(u:write(rawtar.header { name = "big", size = 64 * 2 ^ 20 })))
    local piece, waited = ("x"):rep(2 ^ 20), 0
    for _ = 1, 64 do
      local op = u:write(piece)
      if not op:done() then waited = waited + 1 end
      assert(await(op))
    end
    assert(await(u:write(rawtar.END)))
    assert.equal(64 * 2 ^ 20, assert(await(u:finish())).bytes)
    assert.is_true(waited > 0)
  end))

  it("streams a big file with flat memory", async(60, function()
    local function rss()
      return tonumber(scratch.read("/proc/self/status"):match("VmRSS:%s*(%d+)"))
    end
    sh(("mkdir %s/keep && head -c 104857600 /dev/urandom > %s/keep/big"):format(dir, dir))
    local p, u = assert(archive.pack { root = dir .. "/keep" }), assert(archive.unpack { dest = dest })
    for _ = 1, 40 do -- what the allocator keeps for the pieces is there before it is measured
      assert(await(u:write(await(p:read()))))
    end
    collectgarbage()
    local before, most, pieces = rss(), 0, 0
    while true do
      local piece = await(p:read())
      if not piece then break end
      assert(await(u:write(piece)))
      pieces = pieces + 1
      if pieces % 16 == 0 then
        collectgarbage() -- how much garbage Lua lets lie depends on the specs before this one
      end
      most = math.max(most, rss())
    end
    p:close()
    assert(await(u:finish()))
    assert.equal("", sh(("cmp %s/keep/big %s/big"):format(dir, dest)))
    if os.getenv("ASAN_OPTIONS") then return end -- its quarantine keeps what was freed
    assert.is_true(most - before < 24 * 1024, ("grew by %d KiB"):format(most - before))
  end))

  it("runs a hundred at once", async(30, function()
    sh(("mkdir -p %s/keep/d; cd %s/keep; for i in 1 2 3 4 5; do echo $i > d/$i; done"):format(dir, dir))
    local targets = {}
    for i = 1, 100 do targets[i] = i end
    task.map(targets, function(i)
      assert(unpack(pack { root = dir .. "/keep", compress = "gzip" }, { dest = dir .. "/out" .. i }))
    end)
    assert.equal("500", sh(("find %s/out* -type f | wc -l"):format(dir)))
  end))
end)
