local async = require "spec.support.async"
local emulated = require "spec.support.emulated"
local scratch = require "spec.support.scratch"

local all_bytes = {}
for i = 0, 255 do
  all_bytes[#all_bytes + 1] = string.char(i)
end
all_bytes = table.concat(all_bytes)

local odd_names = {
  "a b", "quote'\"`", "new\nline", "ends\n", "-rf", "--help", "*", "?[a]", "$(id)", "\\", "tab\there",
  "\255\254bytes", "\195\164", ".hidden", "..dots", "~", "#", ";&|", ("x"):rep(255), " ", "%s",
}

local function fails(kind, name, value, err)
  assert.is_nil(value)
  assert.equal(kind, err and err.kind, tostring(err))
  if name then
    assert.equal(name, err.name, tostring(err))
  end
  return err
end

local function names(entries)
  local list = {}
  for _, entry in ipairs(entries) do
    list[#list + 1] = entry.name
  end
  return list
end

for _, kind in ipairs(emulated.kinds) do
  describe("emulated files under " .. kind.name, function()
    local world, dir, call

    before_each(function()
      world = emulated.new({ kind = kind })
      dir, call = world.dir, world.call
    end)

    after_each(function()
      emulated.drop(world)
    end)

    local function sh(command)
      return scratch.sh("cd " .. dir .. " && " .. command)
    end

    it("writes and reads bytes of every kind", async(function()
      for _, bytes in ipairs({ "", "x", "\0", all_bytes, all_bytes:rep(4096), "no newline", "newline\n\n" }) do
        assert.is_true(call("write_file", dir .. "/f", bytes))
        assert.equal(bytes, scratch.read(dir .. "/f"))
        assert.equal(bytes, call("read_file", dir .. "/f"))
      end
      assert.same({ "f" }, names(assert(call("ls", dir))))
    end))

    it("takes every name in every operation", async(30, function()
      for _, name in ipairs(odd_names) do
        local path = dir .. "/" .. name
        assert(call("mkdir", path))
        assert(call("write_file", path .. "/" .. name, name))
        assert.equal(name, scratch.read(path .. "/" .. name))
        assert.equal(name, call("read_file", path .. "/" .. name))
        assert.equal("file", assert(call("stat", path .. "/" .. name)).type)
        assert.same({ name }, names(assert(call("ls", path))))
        assert(call("move", path .. "/" .. name, dir .. "/moved"))
        assert(call("move", dir .. "/moved", path .. "/" .. name))
        assert(call("remove", path .. "/" .. name))
        assert(call("remove", path))
        assert.same({}, assert(call("ls", dir)))
      end
    end))

    it("lists what is there, sorted by bytes", async(function()
      for _, name in ipairs(odd_names) do
        scratch.write(dir .. "/" .. name, "12345")
      end
      sh("mkdir folder && chmod 0710 folder && ln -s nowhere dangling && mkfifo pipe")
      sh("ln -s 'odd\ntarget\n' strange")
      sh("chmod 0640 -- -rf && touch -d @1000000000.25 -- -rf")
      local entries = assert(call("ls", dir))
      local wanted = { "folder", "dangling", "strange", "pipe" }
      for _, name in ipairs(odd_names) do
        wanted[#wanted + 1] = name
      end
      table.sort(wanted)
      assert.same(wanted, names(entries))
      local by_name = {}
      for _, entry in ipairs(entries) do
        by_name[entry.name] = entry
      end
      assert.equal("dir", by_name.folder.type)
      assert.equal(456, by_name.folder.mode)
      assert.same({ "link", "nowhere" }, { by_name.dangling.type, by_name.dangling.target })
      assert.equal("odd\ntarget\n", by_name.strange.target)
      assert.equal("fifo", by_name.pipe.type)
      assert.same({ name = "-rf", type = "file", size = 5, mode = 416, mtime = 1000000000.25 }, by_name["-rf"])
      assert.is_nil(by_name["*"].target)
    end))

    it("lists thousands of entries", async(30, function()
      sh("i=0; while [ $i -lt 3000 ]; do : > a-rather-long-name-for-a-file-of-no-content-$i; i=$((i+1)); done")
      assert.equal(3000, #assert(call("ls", dir)))
    end))

    it("lists an empty folder, through a link too, and says what is no folder", async(function()
      sh("mkdir empty && ln -s empty link && : > file && ln -s nowhere dangling")
      assert.same({}, call("ls", dir .. "/empty"))
      assert.same({}, call("ls", dir .. "/link/"))
      fails("not_found", "ENOENT", call("ls", dir .. "/none"))
      fails("not_found", "ENOTDIR", call("ls", dir .. "/file"))
      fails("not_found", "ENOENT", call("ls", dir .. "/dangling"))
    end))

    it("tells the facts of a path", async(function()
      sh("printf 12345 > f && chmod 4755 f && touch -d @1000000000.5 f && ln -s f l && ln -s gone d")
      local stat = assert(call("stat", dir .. "/f"))
      assert.same({ "file", 5, 2541, 1000000000.5 }, { stat.type, stat.size, stat.mode, stat.mtime })
      assert.equal(sh("stat -c %u:%g:%i f"), ("%d:%d:%d"):format(stat.uid, stat.gid, stat.ino))
      assert.equal("file", call("stat", dir .. "/l").type)
      local link = assert(call("stat", dir .. "/l", { follow = false }))
      assert.same({ "link", "f" }, { link.type, link.target })
      assert.equal("gone", call("stat", dir .. "/d", { follow = false }).target)
      fails("not_found", "ENOENT", call("stat", dir .. "/d"))
      assert.equal("dir", call("stat", "/").type)
      fails("not_found", "ENOENT", call("stat", dir .. "/none"))
      fails("not_found", "ENOTDIR", call("stat", dir .. "/f/below"))
      assert.equal("char", call("stat", "/dev/null").type)
    end))

    it("reads ranges", async(function()
      scratch.write(dir .. "/f", all_bytes)
      assert.equal(all_bytes:sub(1, 10), call("read_file", dir .. "/f", { length = 10 }))
      assert.equal(all_bytes:sub(101), call("read_file", dir .. "/f", { offset = 100 }))
      assert.equal(all_bytes:sub(101, 105), call("read_file", dir .. "/f", { offset = 100, length = 5 }))
      assert.equal(all_bytes:sub(251), call("read_file", dir .. "/f", { offset = 250, length = 50 }))
      assert.equal("", call("read_file", dir .. "/f", { offset = 256 }))
      assert.equal("", call("read_file", dir .. "/f", { offset = 9000000000 }))
      assert.equal("", call("read_file", dir .. "/f", { length = 0 }))
    end))

    it("bounds what it reads", async(function()
      scratch.write(dir .. "/f", ("x"):rep(1000))
      assert.equal(1000, #assert(call("read_file", dir .. "/f", { max = 1000 })))
      local err = fails("quota", "EFBIG", call("read_file", dir .. "/f", { max = 999 }))
      assert.matches("is 1000 bytes, the limit is 999", err.message)
      assert.equal(10, #assert(call("read_file", dir .. "/f", { max = 10, offset = 990 })))
      assert.equal(10, #assert(call("read_file", dir .. "/f", { max = 10, length = 10 })))
      fails("quota", "EFBIG", call("read_file", dir .. "/f", { max = 9, length = 10 }))
      sh("truncate -s 70000000 big")
      err = fails("quota", "EFBIG", call("read_file", dir .. "/big"))
      assert.matches("70000000", err.message)
      fails("invalid", nil, call("read_file", dir .. "/f", { offset = -1 }))
      -- Files of /proc say that they are empty.
      assert.matches("^Linux", assert(call("read_file", "/proc/version")))
      fails("quota", "EFBIG", call("read_file", "/proc/version", { max = 5 }))
    end))

    it("says why it cannot read", async(function()
      sh("mkdir folder && ln -s nowhere dangling && : > file")
      fails("not_found", "ENOENT", call("read_file", dir .. "/none"))
      fails("not_found", "ENOENT", call("read_file", dir .. "/dangling"))
      fails("not_found", "ENOTDIR", call("read_file", dir .. "/file/below"))
      local err = fails("conflict", "EISDIR", call("read_file", dir .. "/folder"))
      assert.equal("emulated.read_file", err.op)
      assert.equal("emulated", err.provider)
    end))

    it("appends, makes parents and sets modes", async(function()
      assert(call("write_file", dir .. "/a/b/c", "1", { append = true, mode = 384 }))
      assert(call("write_file", dir .. "/a/b/c", "2", { append = true, mode = 493 }))
      assert.equal("12", scratch.read(dir .. "/a/b/c"))
      assert.equal("600", sh("stat -c %a a/b/c"))
      assert(call("write_file", dir .. "/x/y", "3", { mode = 493 }))
      assert.equal("755", sh("stat -c %a x/y"))
      assert(call("write_file", dir .. "/x/y", "4"))
      assert.equal("755", sh("stat -c %a x/y"))
      assert(call("write_file", dir .. "/x/y", "5", { mode = 292 }))
      assert.equal("444", sh("stat -c %a x/y"))
      assert(call("write_file", dir .. "/plain", "6"))
      assert.equal("644", sh("stat -c %a plain"))
    end))

    it("writes through a link, keeps the owner, leaves no hard link behind", async(function()
      sh("mkdir real && printf old > real/f && chmod 600 real/f && ln real/f hard")
      sh("ln -s real/f l && ln -s real/none n")
      if scratch.is_root() then
        sh("chown 1234:2345 real/f")
      end
      assert(call("write_file", dir .. "/l", "through"))
      assert.equal("through", scratch.read(dir .. "/real/f"))
      assert.equal("symbolic link", sh("stat -c %F l"))
      assert.equal("600", sh("stat -c %a real/f"))
      if scratch.is_root() then
        assert.equal("1234:2345", sh("stat -c %u:%g real/f"))
      end
      assert.equal("old", scratch.read(dir .. "/hard")) -- the new file came in one step
      assert(call("write_file", dir .. "/n", "made"))
      assert.equal("made", scratch.read(dir .. "/real/none"))
      sh("ln -s ../n real/n2 && ln -s real dirlink && ln -s $PWD/dirlink/n2 absolute")
      assert(call("write_file", dir .. "/absolute", "over three hops"))
      assert.equal("over three hops", scratch.read(dir .. "/real/none"))
      sh("rm real/n2")
      sh("ln -s loop loop")
      fails("io", "ELOOP", call("write_file", dir .. "/loop", ""))
      assert.equal("f none", sh("echo $(ls -A real)"))
    end))

    it("says why it cannot write, and leaves nothing", async(function()
      sh("mkdir folder && : > file && mkfifo pipe")
      fails("conflict", "EISDIR", call("write_file", dir .. "/folder", "x"))
      fails("conflict", "EISDIR", call("write_file", dir .. "/folder", "x", { append = true }))
      local _, err = call("write_file", dir .. "/file/below/it", "x")
      assert.is_true(err.kind == "conflict" or err.kind == "not_found", tostring(err))
      fails("invalid", "EINVAL", call("write_file", dir .. "/pipe", "x"))
      fails("invalid", "ENAMETOOLONG", call("write_file", dir .. "/" .. ("x"):rep(256), "x"))
      assert.equal("file folder pipe", sh("echo $(ls -A)"))
      fails("invalid", nil, call("write_file", dir .. "/f", 12))
    end))

    it("refuses paths that cannot be", async(function()
      for _, operation in ipairs({ "read_file", "ls", "stat", "mkdir", "remove" }) do
        fails("invalid", nil, call(operation, "relative"))
        fails("invalid", nil, call(operation, dir .. "/a\0b"))
        fails("invalid", nil, call(operation, ""))
      end
      fails("invalid", "ENAMETOOLONG", call("stat", dir .. "/" .. ("x"):rep(256)))
      fails("invalid", "ENAMETOOLONG", call("mkdir", dir .. "/" .. ("x"):rep(256)))
      fails("invalid", "ENAMETOOLONG", call("read_file", dir .. ("/xxx"):rep(2000)))
    end))

    it("makes folders", async(function()
      assert(call("mkdir", dir .. "/a"))
      fails("conflict", "EEXIST", call("mkdir", dir .. "/a"))
      fails("not_found", "ENOENT", call("mkdir", dir .. "/b/c"))
      assert(call("mkdir", dir .. "/b/c/d/", { parents = true, mode = 448 }))
      assert.equal("700", sh("stat -c %a b/c/d"))
      assert(call("mkdir", dir .. "/b/c/d", { parents = true }))
      sh(": > file")
      fails("conflict", "EEXIST", call("mkdir", dir .. "/file", { parents = true }))
      fails("conflict", "EEXIST", call("mkdir", dir .. "/file"))
    end))

    it("moves to exactly the target", async(function()
      sh("echo 1 > a && echo 2 > b && mkdir d e full && : > full/x && ln -s d to_d && ln -s nowhere dangling")
      assert(call("move", dir .. "/a", dir .. "/b"))
      assert.equal("1", sh("cat b"))
      fails("conflict", "EEXIST", call("move", dir .. "/b", dir .. "/d"))
      fails("conflict", "EEXIST", call("move", dir .. "/b", dir .. "/full"))
      fails("conflict", "EEXIST", call("move", dir .. "/full", dir .. "/b"))
      fails("conflict", "EEXIST", call("move", dir .. "/full", dir .. "/d"))
      assert(call("move", dir .. "/b", dir .. "/to_d"))
      assert.equal("1", sh("[ ! -L to_d ] && cat to_d"))
      assert(call("move", dir .. "/dangling", dir .. "/link"))
      assert.equal("nowhere", sh("readlink link"))
      assert(call("move", dir .. "/full/", dir .. "/fresh"))
      assert.equal("x", sh("ls fresh"))
      fails("not_found", "ENOENT", call("move", dir .. "/none", dir .. "/x"))
      fails("not_found", "ENOENT", call("move", dir .. "/to_d", dir .. "/no/where"))
      fails("invalid", "EINVAL", call("move", dir .. "/e", dir .. "/e/inside"))
      assert(call("move", dir .. "/e", dir .. "/e"))
    end))

    it("removes", async(function()
      sh("echo 1 > a && mkdir empty full && : > full/x && ln -s full l && ln -s nowhere dangling")
      sh("mkdir -p t/u && : > t/u/v")
      assert(call("remove", dir .. "/a"))
      fails("not_found", "ENOENT", call("remove", dir .. "/a"))
      assert(call("remove", dir .. "/empty"))
      fails("conflict", "ENOTEMPTY", call("remove", dir .. "/full"))
      assert(call("remove", dir .. "/l", { recursive = true }))
      assert(call("remove", dir .. "/dangling"))
      assert.equal("full t", sh("echo $(ls)"))
      assert(call("remove", dir .. "/t", { recursive = true }))
      fails("not_found", "ENOENT", call("remove", dir .. "/t", { recursive = true }))
      for _, path in ipairs({ "/", "//", dir .. "/.", dir .. "/full/.." }) do
        fails("invalid", nil, call("remove", path, { recursive = true }))
      end
      assert.equal("full", sh("echo $(ls)"))
    end))

    it("tells when permission is missing", async(function()
      if not scratch.is_root() then
        print("skipped: becoming another user needs root")
        return
      end
      local user = emulated.new({ kind = kind, user = true })
      sh("mkdir closed && echo s > closed/secret && chmod 700 closed && echo s > private && chmod 600 private")
      sh("mkdir shut && chmod 711 shut && chmod 755 .")
      local ucall = user.call
      fails("io", "EACCES", ucall("read_file", dir .. "/private"))
      fails("io", "EACCES", ucall("read_file", dir .. "/closed/secret"))
      fails("io", "EACCES", ucall("ls", dir .. "/closed"))
      fails("io", "EACCES", ucall("ls", dir .. "/shut"))
      fails("io", "EACCES", ucall("stat", dir .. "/closed/secret"))
      fails("io", "EACCES", ucall("mkdir", dir .. "/new"))
      fails("io", "EACCES", ucall("write_file", dir .. "/new", "x"))
      fails("io", "EACCES", ucall("write_file", dir .. "/private", "x"))
      fails("io", "EACCES", ucall("write_file", dir .. "/private", "x", { append = true }))
      fails("io", "EACCES", ucall("write_file", dir .. "/closed/deep/er", "x"))
      fails("io", "EACCES", ucall("move", dir .. "/private", dir .. "/other"))
      fails("io", "EACCES", ucall("remove", dir .. "/private"))
      fails("io", "EACCES", ucall("remove", dir .. "/closed", { recursive = true }))
      assert.equal("s", sh("cat private"))
      -- A file that may be written in a folder that may not is written in place.
      sh("echo old > open && chmod 666 open")
      assert(ucall("write_file", dir .. "/open", "x"))
      assert.equal("x", sh("cat open"))
      -- What the user owns can be removed, whatever its mode.
      assert(ucall("write_file", user.dir .. "/t/u/f", "x"))
      scratch.sh("chmod 000 " .. user.dir .. "/t/u")
      assert(ucall("remove", user.dir .. "/t", { recursive = true }))
      emulated.drop(user)
    end))

    it("tells a full disk and a read-only one apart", async(function()
      if not pcall(scratch.sh, "mkdir " .. dir .. "/m && mount -t tmpfs -o size=64k tmpfs " .. dir .. "/m") then
        print("skipped: a small file system cannot be mounted here")
        return
      end
      finally(function()
        scratch.sh("umount " .. dir .. "/m")
      end)
      scratch.write(dir .. "/m/f", "old")
      fails("io", "ENOSPC", call("write_file", dir .. "/m/f", ("x"):rep(100000)))
      assert.equal("old", scratch.read(dir .. "/m/f"))
      assert.equal("f", sh("ls -A m"))
      scratch.sh("mount -o remount,ro " .. dir .. "/m")
      fails("io", "EROFS", call("write_file", dir .. "/m/f", "x"))
      fails("io", "EROFS", call("mkdir", dir .. "/m/d"))
      fails("io", "EROFS", call("remove", dir .. "/m/f"))
    end))

    it("writes a mounted file in place", async(function()
      sh("echo one > a && echo two > b")
      if not pcall(scratch.sh, "mount --bind " .. dir .. "/a " .. dir .. "/b") then
        print("skipped: a file cannot be mounted here")
        return
      end
      finally(function()
        scratch.sh("umount " .. dir .. "/b")
      end)
      assert(call("write_file", dir .. "/b", "three"))
      assert.equal("three", sh("cat a"))
      assert.equal("a b", sh("echo $(ls -A)"))
    end))

    it("names the tool that is missing", async(function()
      scratch.sh("rm -f " .. world.programs .. "/* && ln -s $(command -v dash) " .. world.programs .. "/sh")
      world.instance.state.path = world.programs
      local operations = {
        { "stat", "stat", dir }, { "readlink", "ls", dir, "stat" }, { "head", "read_file", dir, "stat" },
        { "cat", "write_file", dir .. "/f" }, { "mkdir", "mkdir", dir .. "/f" },
      }
      for _, row in ipairs(operations) do
        scratch.sh("rm -f " .. world.programs .. "/stat")
        if row[4] then
          scratch.sh("ln -s $(command -v " .. row[4] .. ") " .. world.programs)
        end
        local err = fails("unsupported", nil, call(row[2], row[3], "x"))
        assert.matches("no '" .. row[1] .. "'", err.message)
      end
      scratch.sh("rm " .. world.programs .. "/sh")
      assert.matches("no 'sh'", fails("unsupported", nil, call("stat", dir)).message)
    end))
  end)
end

describe("emulated searches", function()
  local world

  before_each(function()
    world = emulated.new()
    world.instance.state.records = {
      { external_id = "1", name = "one", labels = { team = "a", job = "7" } },
      { external_id = "2", name = "two", labels = { team = "a" } },
      { external_id = "3", name = "two" },
    }
  end)

  after_each(function()
    emulated.drop(world)
  end)

  it("find by all labels given", function()
    local function find(labels)
      local ids = {}
      for _, record in ipairs(world.instance:call("find_by_label", labels)) do
        ids[#ids + 1] = record.external_id
      end
      return table.concat(ids)
    end
    assert.equal("12", find({ team = "a" }))
    assert.equal("1", find({ team = "a", job = 7 }))
    assert.equal("", find({ team = "b" }))
    assert.equal("123", find({}))
  end)

  it("find by name, but only the one there is", function()
    assert.equal("1", world.instance:call("find_by_name", "one").external_id)
    fails("not_found", nil, world.instance:call("find_by_name", "three"))
    assert.matches("2, 3", fails("conflict", nil, world.instance:call("find_by_name", "two")).message)
  end)
end)
