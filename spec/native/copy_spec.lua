local async = require "spec.support.async"
local task = require "luarium.task"
local native = require "luarium.native"
local scratch = require "spec.support.scratch"

local fs, await, sh = native.fs, task.await, scratch.sh
local it_mounts = scratch.it_if(it, pending, scratch.can_mount(), "the right to mount")
local it_as_root = scratch.it_if(it, pending, scratch.is_root(), "root, to become somebody else")

describe("native.fs.copy", function()
  local dir
  before_each(function() dir = scratch.make() end)
  after_each(function() scratch.drop(dir) end)

  local function copy(from, to, opts)
    return await(fs.copy(dir .. "/" .. from, dir .. "/" .. to, opts))
  end

  local function fails(kind, pattern, value, err)
    assert.is_nil(value)
    assert.equal(kind, err.kind, err.message)
    assert.truthy(err.message:find(pattern), err.message)
  end

  local function listing(path)
    return sh(("cd %s/%s && find . -printf '%%p %%y %%m %%T@ %%l %%s\\n' | sed 's/ 4096$//' | LC_ALL=C sort"):format(dir, path))
  end

  it("copies a tree with modes, times and links", async(function()
    sh(([[
      cd %s; mkdir -p t/a/b t/none; echo hi > t/a/f; echo x > t/a/b/g; chmod 751 t/a; chmod 400 t/a/f
      ln -s /etc/passwd t/abs; ln -s ../f t/a/b/up; ln -s nowhere t/dangling; : > t/empty; chmod 6755 t/empty
      printf x > t/'new
line'; printf x > t/-rf; touch -h -d @1000.5 t/abs; touch -d @2000.25 t/a/f; touch -d @3000 t/a/b t/a t/none t; chmod 500 t/a/b]])
      :format(dir))
    local result = assert(copy("t", "u"))
    sh("chmod 755 " .. dir .. "/t/empty") -- set-uid is not copied
    assert.equal(listing("t"), listing("u"))
    assert.same({ 5, 7, 3, 4, 0 },
      { result.files, result.bytes, result.links, result.dirs, result.skipped_count })
  end))

  it("copies a file to exactly the path it is given", async(function()
    scratch.write(dir .. "/f", "one")
    sh("touch -d @5000 " .. dir .. "/f")
    local op = fs.copy(dir .. "/f", dir .. "/g")
    assert.equal(3, assert(await(op)).bytes)
    assert.same({ 3, 3 }, { op:progress() })
    assert.equal("one", scratch.read(dir .. "/g"))
    assert.equal("5000", sh("stat -c %Y " .. dir .. "/g"))
    sh("mkdir " .. dir .. "/d")
    fails("conflict", "folder", copy("f", "d"))
    fails("not_found", "copy", copy("none", "x"))
    fails("not_found", "copy to", copy("f", "no/where"))
  end))

  it("replaces files without writing through links or into other names", async(function()
    scratch.write(dir .. "/f", "new")
    scratch.write(dir .. "/precious", "old")
    sh(("cd %s; ln -s precious l; ln precious h"):format(dir))
    assert(copy("f", "l"))
    assert(copy("f", "h"))
    assert.same({ "old", "new", "new" },
      { scratch.read(dir .. "/precious"), scratch.read(dir .. "/l"), scratch.read(dir .. "/h") })
    assert.equal("f h l precious", sh("echo $(ls -A " .. dir .. ")"))
  end))

  it("merges into a folder and refuses to replace one kind by the other", async(function()
    sh(("cd %s; mkdir -p t/d u/d; echo new > t/d/f; echo old > u/d/f; echo mine > u/d/mine; chmod 711 u/d"):format(dir))
    assert(copy("t", "u"))
    assert.same({ "new\n", "mine\n" }, { scratch.read(dir .. "/u/d/f"), scratch.read(dir .. "/u/d/mine") })
    assert.equal("711", sh("stat -c %a " .. dir .. "/u/d"))
    sh(("cd %s; rm u/d/f; mkdir u/d/f"):format(dir))
    fails("conflict", "u/d/f: there is a folder", copy("t", "u"))
    sh(("cd %s; rm -r u/d; echo x > u/d"):format(dir))
    fails("conflict", "u/d: not a folder", copy("t", "u"))
    sh(("cd %s; rm u/d; mkdir out; ln -s ../out u/d"):format(dir))
    fails("conflict", "u/d: not a folder", copy("t", "u"))
    assert.equal("", sh("ls -A " .. dir .. "/out"))
    scratch.write(dir .. "/file", "")
    fails("conflict", "not a folder", copy("t", "file"))
  end))

  it("does not copy a folder into itself", async(function()
    sh(("cd %s; mkdir -p t/a; echo x > t/f"):format(dir))
    fails("conflict", "inside", copy("t", "t/a/b"))
    fails("conflict", "inside", copy("t", "t/b"))
    fails("conflict", "is what is", copy("t", "t"))
    assert.equal("./a ./f", sh(("cd %s/t; echo $(find . -mindepth 1 | LC_ALL=C sort)"):format(dir)))
    assert(copy("t/f", "t/f"))
    assert.equal("x\n", scratch.read(dir .. "/t/f"))
    assert(copy("t", "t2"))
  end))

  it("skips links that leave the tree when asked", async(function()
    sh(([[cd %s; mkdir -p t/a; cd t; ln -s /etc abs; ln -s ../x up; ln -s ../f a/in; ln -s ../../f a/up2; : > f
      ln -s a/../../f sly; ln -s . self]]):format(dir))
    local result = assert(copy("t", "u", { links = "refuse_outside" }))
    assert.equal("./a ./a/in ./f ./self", sh(("cd %s/u; echo $(find . -mindepth 1 | LC_ALL=C sort)"):format(dir)))
    local paths = {}
    for i, item in ipairs(result.skipped) do paths[i] = item.path end
    assert.same({ "a/up2", "abs", "sly", "up" }, paths)
    assert.equal(4, result.skipped_count)
    assert.error_matches(function() fs.copy("a", "b", { links = "no" }) end, "refuse_outside")
  end))

  it("leaves out what is excluded", async(function()
    sh(("cd %s; mkdir -p t/a/.git t/b; : > t/a/.git/x; : > t/a/f.o; : > t/a/f.c; : > t/b/f.c; : > t/f.c"):format(dir))
    assert(copy("t", "u", { exclude = { ".git", "*.o", "b/*" } }))
    assert.equal("./a ./a/f.c ./b ./f.c",
      sh(("cd %s/u; echo $(find . -mindepth 1 | LC_ALL=C sort)"):format(dir)))
    assert.error_matches(function() fs.copy("a", "b", { exclude = "x" }) end, "exclude")
  end))

  it("skips what is no file, folder or link", async(function()
    sh(("cd %s; mkdir t; mkfifo t/p; i=0; while [ $i -lt 150 ]; do mkfifo t/q$i; i=$((i+1)); done"):format(dir))
    local result = assert(copy("t", "u"))
    assert.same({ 151, 100, "fifo" }, { result.skipped_count, #result.skipped, result.skipped[1].reason })
    assert.equal("", sh("ls -A " .. dir .. "/u"))
  end))

  it("copies very deep trees with few descriptors", async(function()
    sh(("cd %s; mkdir t; cd t; n=%s; i=0; while [ $i -lt 150 ]; do mkdir $n; cd -P $n; : > x; i=$((i+1)); done")
      :format(dir, ("d"):rep(120)))
    assert.equal(150, assert(copy("t", "u")).files)
    assert.equal(301, await(fs.remove(dir .. "/u", { recursive = true })))
    assert.equal(301, await(fs.remove(dir .. "/t", { recursive = true })))
  end))

  it("keeps holes", async(function()
    sh(("cd %s; truncate -s 200M f; printf mid | dd of=f bs=1M seek=100 conv=notrunc status=none"):format(dir))
    assert(copy("f", "g"))
    assert.equal("", sh(("cmp %s/f %s/g"):format(dir, dir)))
    assert.is_true(tonumber(sh("stat -c %b " .. dir .. "/g")) < 1000)
  end))

  it("stops in the middle of a file and leaves none of it", async(function()
    sh(("head -c 300000000 /dev/zero | tr '\\0' x > %s/f"):format(dir))
    local op = fs.copy(dir .. "/f", dir .. "/g")
    while op:progress() == 0 and not op:done() do task.sleep(0.0001) end
    op:cancel()
    local value, err = await(op)
    if value == nil then
      assert.equal("cancelled", err.kind)
      assert.is_true(op:progress() < 300000000)
      assert.is_false(scratch.exists(dir .. "/g"))
    else
      assert.equal(300000000, value.bytes) -- a very fast disk
    end
  end))

  it("crosses file systems", async(function()
    local far = sh("mktemp -d /dev/shm/luarium-spec.XXXXXX")
    sh(("head -c 20000000 /dev/urandom > %s/f"):format(dir))
    assert(await(fs.copy(dir .. "/f", far .. "/f")))
    assert.equal("", sh(("cmp %s/f %s/f; rm -r %s"):format(dir, far, far)))
  end))

  it_mounts("leaves no half file when the disk is full", async(function()
    sh(("cd %s; mkdir m; mount -t tmpfs -o size=1m none m; head -c 3000000 /dev/urandom > f"):format(dir))
    local value, err = copy("f", "m/f")
    local written, write_err = await(fs.write_file(dir .. "/m/g", ("x"):rep(3000000), { atomic = true }))
    local left = sh("ls -A " .. dir .. "/m")
    sh("umount " .. dir .. "/m")
    fails("io", "No space left", value, err)
    fails("io", "No space left", written, write_err)
    assert.equal("", left)
  end))

  it_as_root("works for users without rights of root", async(function()
    sh(([[
      chmod 755 %s; mkdir %s/u; chown 65534 %s/u; cd %s/u
      setpriv --reuid 65534 --clear-groups sh -c 'mkdir -p t/a/b; echo x > t/a/b/f; chmod 0 t/a/b; chmod 500 t/a'
      cat > run.lua <<'LUA'
        local native = require "luarium.native"
        local function await(op)
          while not op:done() do native.loop.poll(1000, {}) end
          return op:result()
        end
        local _, err = await(native.fs.copy("t", "v"))
        print(err.name)
        os.execute("chmod 555 t/a/b")
        print(await(native.fs.copy("t", "v")).files, (await(native.fs.remove("v", { recursive = true }))))
        os.execute("chmod 0 t/a/b")
        print((await(native.fs.remove("t", { recursive = true }))))
        os.execute("mkdir -p w/$(seq -s/ 200); chmod 400 $(find w | tail -n 1)")
        print(await(native.fs.copy("w", "x")).dirs, (await(native.fs.remove("x", { recursive = true }))))
LUA
      ]]):format(dir, dir, dir, dir))
    -- The module is copied to where anybody may read it.
    sh(("mkdir -p %s/u/m/luarium; cp %s %s/u/m/luarium/native.so; chmod -R a+rX %s/u/m"):format(dir,
      scratch.quote(assert(package.searchpath("luarium.native", package.cpath))), dir, dir))
    local out = sh(("cd %s/u; ulimit -n 180; LUA_CPATH=%s setpriv --reuid 65534 --clear-groups %s run.lua"):format(dir,
      scratch.quote("m/?.so"), rawget(_G, "jit") and "luajit" or "lua5.4"))
    assert.equal("EACCES\n1\t4\n4\n201\t201", out)
  end))
end)
