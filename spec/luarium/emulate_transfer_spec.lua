local async = require "spec.support.async"
local emulated = require "spec.support.emulated"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local MIB = 1048576

local function fails(kind, name, value, err)
  assert.is_nil(value)
  assert.equal(kind, err and err.kind, tostring(err))
  if name then
    assert.equal(name, err.name, tostring(err))
  end
  return err
end

--- Kibibytes of memory this process holds now.
local function resident()
  collectgarbage()
  return tonumber(scratch.read("/proc/self/status"):match("VmRSS:%s*(%d+)"))
end

for _, kind in ipairs(emulated.kinds) do
  describe("emulated transfers under " .. kind.name, function()
    local world, dir, call, here

    before_each(function()
      world = emulated.new({ kind = kind })
      dir, call, here = world.dir, world.call, world.top .. "/here"
      scratch.sh("mkdir " .. here)
    end)

    after_each(function()
      emulated.drop(world)
    end)

    --- Names, types, modes, sizes, targets and contents of a tree, as text.
    local function look(path)
      return scratch.sh("cd " .. path .. [[ && find . -print0 | sort -z | xargs -0 stat -c '%n %F %a %N' && ]]
        .. [[find . -type f -print0 | sort -z | xargs -0 sha256sum]])
    end

    local function make_tree(path)
      scratch.sh("mkdir -p " .. path .. "/sub/deep/empty " .. path .. "/'odd\nname' && cd " .. path .. [[ &&
        printf 'one' > one && printf 'two\n' > sub/two && : > sub/deep/nothing && head -c 300000 /dev/urandom > sub/big &&
        chmod 755 one && chmod 600 sub/two && chmod 700 sub/deep &&
        printf x > 'odd
name'/'-rf' && printf y > "$(printf '\377\376')" && printf z > ' quote'\''"$(id)' &&
        printf long > "$(printf '%0255d' 7)" && mkdir -p "$(printf '%0200d' 8)/$(printf '%0200d' 9)" &&
        printf deep > "$(printf '%0200d' 8)/$(printf '%0200d' 9)/f" &&
        ln -s sub/two link && ln -s ../one sub/up && ln -s nowhere dangling]])
    end

    it("carry a file up and down", async(function()
      for _, bytes in ipairs({ "", "x", ("\0\1\255\n"):rep(200000) }) do
        scratch.write(here .. "/f", bytes)
        scratch.sh("chmod 751 " .. here .. "/f")
        local up = assert(call("upload", here .. "/f", dir .. "/made/for/it/g"))
        assert.same({ 1, #bytes }, { up.files, up.bytes })
        assert.equal(bytes, scratch.read(dir .. "/made/for/it/g"))
        assert.equal("751", scratch.sh("stat -c %a " .. dir .. "/made/for/it/g"))
        local down = assert(call("download", dir .. "/made/for/it/g", here .. "/new/folder/h"))
        assert.same({ 1, #bytes }, { down.files, down.bytes })
        assert.equal(bytes, scratch.read(here .. "/new/folder/h"))
        assert.equal("751", scratch.sh("stat -c %a " .. here .. "/new/folder/h"))
      end
      assert.equal("g", scratch.sh("ls -A " .. dir .. "/made/for/it"))
    end))

    it("carry a file of 100 MiB with flat memory", async(120, function()
      scratch.sh("head -c 104857600 /dev/urandom > " .. here .. "/big")
      local peak, calls, last = 0, 0, 0
      local before = resident()
      local function on_progress(done, total)
        assert.equal(100 * MIB, total)
        assert.is_true(done > last)
        last, calls = done, calls + 1
        if calls % 40 == 0 then
          peak = math.max(peak, resident())
        end
      end
      assert.equal(100 * MIB, assert(call("upload", here .. "/big", dir .. "/big", { on_progress = on_progress })).bytes)
      assert.equal(100 * MIB, last)
      last = 0
      assert.equal(100 * MIB, assert(call("download", dir .. "/big", here .. "/back", { on_progress = on_progress })).bytes)
      assert.equal(100 * MIB, last)
      scratch.sh(("cmp %s/big %s/big && cmp %s/big %s/back"):format(here, dir, here, here))
      assert.is_true(peak - before < 16384, ("memory grew by %d KiB"):format(peak - before))
    end))

    it("put no tree in place whose stream ended early, wherever that was", async(60, function()
      scratch.sh(("mkdir -p %s/tree/sub && cd %s/tree && echo 1 >a && echo 2 >sub/b && echo 3 >z"):format(here, here))
      local total = 0
      assert(call("upload", here .. "/tree", dir .. "/whole", { on_progress = function(done)
        total = done
      end }))
      for at = 0, 3584, 512 do -- the blocks of tar before the mark: between two files it does not see that something is missing
        world.instance.state.cut = at
        fails("io", nil, call("upload", here .. "/tree", dir .. "/made"))
        assert.equal("whole", scratch.sh("ls -A " .. dir), "after " .. at .. " bytes")
        scratch.sh("mkdir " .. dir .. "/there")
        fails("io", nil, call("upload", here .. "/tree", dir .. "/there"))
        assert.is_nil(scratch.sh("ls -A " .. dir .. "/there"):find("%.luarium"), "after " .. at .. " bytes")
        scratch.sh("rm -r " .. dir .. "/there")
      end
      world.instance.state.cut = total
      assert(call("upload", here .. "/tree", dir .. "/made"))
      assert.equal(look(here .. "/tree"), look(dir .. "/made"))
    end))

    it("carry a tree up and down", async(30, function()
      make_tree(here .. "/tree")
      local progress = 0
      local up = assert(call("upload", here .. "/tree", dir .. "/into/tree", { on_progress = function(done, total)
        assert.equal(0, total)
        progress = done
      end }))
      assert.same({ 9, 3 }, { up.files, up.links })
      assert.is_true(progress > 300000)
      assert.equal(look(here .. "/tree"), look(dir .. "/into/tree"))
      assert.equal("tree", scratch.sh("ls -A " .. dir .. "/into"))
      local down = assert(call("download", dir .. "/into/tree", here .. "/back/again"))
      assert.same({ 9, 0 }, { down.files, #down.skipped })
      assert.equal(look(here .. "/tree"), look(here .. "/back/again"))
      assert.equal("again", scratch.sh("ls -A " .. here .. "/back"))
    end))

    it("merge a tree into a folder that is there", async(function()
      scratch.sh("cd " .. here .. " && mkdir -p t/sub && echo up > t/a && echo up > t/sub/b")
      scratch.sh("cd " .. dir .. " && mkdir -p t/sub && echo old > t/a && echo kept > t/sub/c && mkdir t/own")
      assert(call("upload", here .. "/t", dir .. "/t"))
      assert.equal("a own sub sub/b sub/c", scratch.sh("cd " .. dir .. "/t && echo $(find * | sort)"))
      assert.equal("up\nkept", scratch.sh("cd " .. dir .. "/t && cat a sub/c"))
      scratch.sh("echo mine > " .. here .. "/t/sub/d")
      assert(call("download", dir .. "/t", here .. "/t"))
      assert.equal("a own sub sub/b sub/c sub/d", scratch.sh("cd " .. here .. "/t && echo $(find * | sort)"))
    end))

    it("leave out what is excluded, both ways alike", async(function()
      scratch.sh("cd " .. here .. [[ && mkdir -p t/node_modules/x t/src/node_modules t/src/gen/deep t/other/src/gen &&
        touch t/node_modules/x/y t/src/node_modules/z t/a.o t/src/.b.o t/src/c.c t/src/gen/d t/src/gen/deep/e
        touch t/other/src/gen/f t/keep.object]])
      local exclude = { "node_modules", "*.o", "src/gen/*" }
      assert(call("upload", here .. "/t", dir .. "/t", { exclude = exclude }))
      local wanted = "keep.object other other/src other/src/gen other/src/gen/f src src/c.c src/gen"
      assert.equal(wanted, scratch.sh("cd " .. dir .. "/t && echo $(find * | sort)"))
      assert(call("upload", here .. "/t", dir .. "/all"))
      if not pcall(scratch.sh, ("PATH=%s sh -c 'tar -cf /dev/null --exclude=x /dev/null'"):format(
        world.instance.state.path)) then
        local err = fails("unsupported", nil, call("download", dir .. "/all", here .. "/back", { exclude = exclude }))
        assert.matches("no %-%-exclude", err.message)
        emulated.settle(here)
        assert.equal("t", scratch.sh("ls -A " .. here))
        return
      end
      assert(call("download", dir .. "/all", here .. "/back", { exclude = exclude }))
      assert.equal(wanted, scratch.sh("cd " .. here .. "/back && echo $(find * | sort)"))
    end))

    it("skip what would lead out of the local folder", async(function()
      scratch.sh("cd " .. dir .. [[ && mkdir -p t/sub && echo 1 > t/sub/f && ln -s /etc/passwd t/absolute &&
        ln -s ../../../outside t/sub/out && ln -s sub/f t/inside]])
      local result = assert(call("download", dir .. "/t", here .. "/t"))
      local skipped = {}
      for _, item in ipairs(result.skipped) do
        skipped[#skipped + 1] = item.path:gsub("^%./", "")
      end
      table.sort(skipped)
      assert.same({ "absolute", "sub/out" }, skipped)
      assert.equal("inside sub sub/f", scratch.sh("cd " .. here .. "/t && echo $(find * | sort)"))
    end))

    it("say what is missing or in the way", async(function()
      scratch.sh("cd " .. dir .. " && mkdir folder && echo f > file && mkfifo pipe")
      scratch.sh("cd " .. here .. " && mkdir folder && echo f > file && mkfifo pipe")
      fails("not_found", "ENOENT", call("upload", here .. "/none", dir .. "/x"))
      fails("invalid", nil, call("upload", here .. "/pipe", dir .. "/x"))
      fails("invalid", nil, call("upload", here .. "/file", "relative"))
      fails("conflict", "EISDIR", call("upload", here .. "/file", dir .. "/folder"))
      fails("conflict", "EEXIST", call("upload", here .. "/folder", dir .. "/file"))
      fails("not_found", "ENOENT", call("download", dir .. "/none", here .. "/x/y"))
      fails("invalid", "EINVAL", call("download", dir .. "/pipe", here .. "/x"))
      fails("conflict", nil, call("download", dir .. "/file", here .. "/folder"))
      fails("conflict", nil, call("download", dir .. "/folder", here .. "/file"))
      emulated.settle(here)
      assert.equal("file folder pipe", scratch.sh("echo $(ls -A " .. here .. ")"))
      assert.equal("file folder pipe", scratch.sh("echo $(ls -A " .. dir .. ")"))
      assert.equal("f", scratch.sh("cat " .. here .. "/file"))
    end))

    it("say what may not be read or written", async(function()
      if not scratch.is_root() then
        print("skipped: becoming another user needs root")
        return
      end
      local user = emulated.new({ kind = kind, user = true })
      scratch.sh("cd " .. dir .. " && mkdir -p t/closed && echo s > t/secret && chmod 600 t/secret && chmod 755 .")
      scratch.sh("cd " .. here .. " && mkdir t && echo x > t/f")
      fails("io", "EACCES", user.call("download", dir .. "/t/secret", here .. "/x"))
      fails("io", "EACCES", user.call("download", dir .. "/t", here .. "/x"))
      fails("io", "EACCES", user.call("upload", here .. "/t/f", dir .. "/f"))
      fails("io", "EACCES", user.call("upload", here .. "/t", dir .. "/g"))
      fails("io", "EACCES", user.call("upload", here .. "/t", dir .. "/t"))
      emulated.settle(here)
      assert.equal("t", scratch.sh("echo $(ls -A " .. here .. ")"))
      assert.equal("t", scratch.sh("echo $(ls -A " .. dir .. ")"))
      emulated.drop(user)
    end))

    it("need tar only for trees, and say so", async(function()
      scratch.sh("rm -f " .. world.programs .. "/tar " .. world.programs .. "/sh")
      scratch.sh("for p in cat stat mkdir mv rm chmod chown readlink; do ln -sf $(command -v $p) " .. world.programs
        .. "; done; ln -s $(command -v dash) " .. world.programs .. "/sh")
      world.instance.state.path = world.programs
      scratch.sh("mkdir " .. here .. "/t " .. dir .. "/u && echo 1 > " .. here .. "/f")
      assert.matches("no 'tar'", fails("unsupported", nil, call("upload", here .. "/t", dir .. "/t")).message)
      assert.matches("no 'tar'", fails("unsupported", nil, call("download", dir .. "/u", here .. "/u")).message)
      assert(call("upload", here .. "/f", dir .. "/f"))
      assert(call("download", dir .. "/f", here .. "/g"))
      assert.equal("f g t", scratch.sh("echo $(ls -A " .. here .. ")"))
    end))

    it("leave nothing when they are cancelled or a callback raises", async(60, function()
      scratch.sh("cd " .. here .. " && head -c 30000000 /dev/zero > big && mkdir t && cp big t && echo old > old")
      scratch.sh("cd " .. dir .. " && head -c 30000000 /dev/zero > big && mkdir t && cp big t && echo old > old")
      local transfers = {
        { "upload", here .. "/big", dir .. "/old" }, { "upload", here .. "/t", dir .. "/t2" },
        { "download", dir .. "/big", here .. "/old" }, { "download", dir .. "/t", here .. "/t2" },
      }
      for _, transfer in ipairs(transfers) do
        local ok, value, err = pcall(call, transfer[1], transfer[2], transfer[3], { on_progress = function(done)
          if done > 5000000 then
            error("stop it", 0)
          end
        end })
        assert.matches("stop it", tostring(ok and err or value))
        local reached, over = false, nil
        task.scope(function(scope)
          scope:spawn(function()
            over = pcall(call, transfer[1], transfer[2], transfer[3], { on_progress = function(done)
              if done > 5000000 then
                reached = true
                scope:cancel("enough")
                task.sleep(60)
              end
            end })
          end)
        end)
        assert.same({ true, false }, { reached, over })
      end
      emulated.settle(here)
      assert.equal("big old t", scratch.sh("echo $(ls -A " .. here .. ")"))
      assert.equal("big old t", scratch.sh("echo $(ls -A " .. dir .. ")"))
      assert.equal("old\nold", scratch.sh(("cat %s/old %s/old"):format(here, dir)))
    end))

    it("do not take a part for the whole", async(function()
      scratch.sh("head -c 3000000 /dev/zero > " .. here .. "/big")
      -- The command sees the end of its input before all is there.
      local real = world.instance.definition.spawn
      finally(function()
        world.instance.definition.spawn = real
      end)
      world.instance.definition.spawn = function(...)
        local process = assert(real(...))
        local room = 3
        return setmetatable({ write = function(_, bytes)
          room = room - 1
          return room >= 0 and process:write(bytes) or nil
        end }, { __index = function(_, name)
          return function(_, ...)
            return process[name](process, ...)
          end
        end })
      end
      fails("io", "EPIPE", call("upload", here .. "/big", dir .. "/big"))
      scratch.sh("mkdir " .. here .. "/t && mv " .. here .. "/big " .. here .. "/t")
      assert.is_nil((call("upload", here .. "/t", dir .. "/t")))
      assert.equal("", scratch.sh("ls -A " .. dir))
    end))

    it("tell a full disk", async(function()
      if not pcall(scratch.sh, "mkdir " .. dir .. "/m && mount -t tmpfs -o size=64k tmpfs " .. dir .. "/m") then
        print("skipped: a small file system cannot be mounted here")
        return
      end
      finally(function()
        scratch.sh("umount " .. dir .. "/m")
      end)
      scratch.sh("mkdir " .. here .. "/t && head -c 300000 /dev/zero > " .. here .. "/t/f")
      fails("io", "ENOSPC", call("upload", here .. "/t/f", dir .. "/m/f"))
      fails("io", "ENOSPC", call("upload", here .. "/t", dir .. "/m/t"))
      assert.equal("", scratch.sh("ls -A " .. dir .. "/m"))
    end))
  end)
end

describe("what the sandbox sends", function()
  local world

  before_each(function()
    world = emulated.new({ adapter = "emulated_spawn" })
  end)

  after_each(function()
    emulated.drop(world)
  end)

  --- A sandbox that answers every command with these bytes.
  local function answering(bytes, body)
    scratch.write(world.top .. "/answer", bytes)
    local real = world.instance.definition.spawn
    world.instance.definition.spawn = function(self, box, _, options)
      return real(self, box, { argv = { "cat", world.top .. "/answer" } }, options)
    end
    local ok, err = pcall(body)
    world.instance.definition.spawn = real
    if not ok then
      error(err, 0)
    end
  end

  it("is not trusted: nonsense is an error and leaves nothing", async(function()
    local answers = { "", "x", "\n", "41ed\n", "zz 5\nhello", ("1"):rep(1000), "81a4 5\nhel", "41ed 0\nno tar at all",
      "41ed 0\n" .. ("\0"):rep(100) .. "x", "10000 5\n" }
    for i, answer in ipairs(answers) do
      answering(answer, function()
        local value, err = world.call("download", world.dir .. "/f", world.top .. "/local" .. i)
        assert.is_nil(value, answer)
        assert.is_truthy(err.kind, answer)
      end)
    end
    emulated.settle(world.top)
    assert.equal("answer box programs", scratch.sh("echo $(ls -A " .. world.top .. ")"))
  end))

  it("is not trusted in listings and facts either", async(function()
    for _, answer in ipairs({ "", "x", "41ed 1 2\n", "81a4 5 1 2/./a\n", "\255\254" }) do
      answering(answer, function()
        fails("protocol", nil, world.call("stat", "/x"))
        if answer ~= "" then
          fails("protocol", nil, world.call("ls", "/x"))
        end
      end)
    end
  end))

  it("comes whole when it is long", async(60, function()
    scratch.sh("head -c 104857600 /dev/urandom > " .. world.dir .. "/big")
    assert(world.call("download", world.dir .. "/big", world.top .. "/big"))
    scratch.sh(("cmp %s/big %s/big"):format(world.dir, world.top))
  end))
end)
