--- What cp copied as nothing, and what it does with folders, slashes, targets and links.
local json = require "luarium.json"
local program = require "spec.support.program"

local SETUP = [[
mkfifo fifo; mkdir -p tree/sub here; echo new >tree/f; echo x >tree/sub/g; mkfifo tree/pipe; ln -s f tree/inside
ln -s /etc/passwd tree/outside; ln -s tree ltree; ln -s tree/f lfile; ln -s fifo lfifo; ln -s nowhere dangling
perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("sock"))']]

for _, provider in ipairs({ "local", "bubblewrap" }) do
  local within = program.within(60, function(place)
    place:run({}, { argv = { "sh", "-c", SETUP } })
    place:ok({ "create", "--name", "b", "--provider", provider })
  end)

  describe("cp with " .. provider, function()
    it("names what is no file and no folder", within(function(place)
      place:ok({ "exec", "b", "mkfifo fifo; ln -s fifo lfifo; echo old >f" })
      for _, case in ipairs({ { "fifo", "b:x", "FIFO" }, { "lfifo", "b:x", "FIFO" }, { "/dev/zero", "b:x", "device" },
        { "sock", "b:x", "socket" }, { "b:fifo", "x", "FIFO" }, { "b:lfifo", "x", "FIFO" },
        { "b:/dev/zero", "x", "device" }, { "tree/f", "b:fifo", "FIFO" }, { "tree/f", "b:/dev/null", "device" },
        { "b:f", "fifo", "FIFO" }, { "b:f", "/dev/null", "device" } }) do
        local result = place:run({ "cp", case[1], case[2] })
        assert.equal(1, result.exit_code, table.concat(case, " "))
        assert.match(("^luarium: cp: %%S+ is a %s: expected a file or a folder\n"):format(case[3]), result.stderr)
      end
      assert.equal("prw", place:ok({ "exec", "b", "ls -l fifo; test -c /dev/null" }):sub(1, 3))
      assert.equal(1, place:run({ "cp", "dangling", "b:x" }).exit_code)
    end))

    it("tells what it skips inside a folder", within(function(place)
      local result = place:run({ "cp", "tree", "b:" })
      assert.equal(0, result.exit_code)
      assert.match("copied 2 files, .-\nskipped [^\n]+\n$", result.stderr)
      assert.equal(1, json.decode(place:ok({ "cp", "--json", "tree", "b:again" })).skipped_count)
      local back = place:run({ "cp", "b:tree", "back" })
      assert.match("copied 2 files, .-\nskipped outside: [^\n]+\n$", back.stderr)
    end))

    it("does with folders, slashes and targets what its help says", within(function(place)
      for _, case in ipairs({
        { "tree", "b:one", "one/f" }, { "tree", "b:one", "one/tree/f" }, { "tree/", "b:two", "two/f" },
        { "tree/.", "b:three", "three/f" }, { "tree/.", "b:three", "three/sub/g" }, { "tree", "b:new/", "new/tree/f" },
        { "tree/f", "b:deep/er/name", "deep/er/name" }, { "tree/f", "b:", "f" }, { "ltree", "b:four", "four/f" },
        { "lfile", "b:five", "five" }, { "lfile", "b:six/", "six/lfile" },
      }) do
        place:ok({ "cp", case[1], case[2] })
        assert.equal("f", place:ok({ "exec", "b", ('[ -f %s ] && [ ! -L %s ] && printf f'):format(case[3], case[3]) }),
          table.concat(case, " "))
      end
      place:ok({ "cp", "b:one/", "here" })
      place:ok({ "cp", "b:one/.", "here" })
      place:ok({ "cp", "b:five", "here/" })
      assert.same({ "new\n", "new\n", "new\n" }, { place:read("here/one/f"), place:read("here/f"),
        place:read("here/five") })
    end))

    it("merges folders, replaces files, and neither by the other", within(function(place)
      place:ok({ "exec", "b", "mkdir -p d/sub; echo old >d/f; echo kept >d/kept; echo f >file" })
      place:ok({ "cp", "tree/.", "b:d" })
      assert.equal("new\nkept\nx\n", place:ok({ "exec", "b", "cat d/f d/kept d/sub/g" }))
      assert.equal(1, place:run({ "cp", "tree", "b:file" }).exit_code)
      place:ok({ "exec", "b", "mkdir -p into/f" })
      assert.equal(1, place:run({ "cp", "tree/f", "b:into" }).exit_code)
      assert.equal("f\n", place:ok({ "exec", "b", "cat file; rmdir into/f" }))
    end))

    it("takes what has no name of its own for its contents, and goes nowhere else", within(function(place)
      place:ok({ "cp", "tree/sub/..", "b:up/" })
      place:ok({ "cp", "tree/sub/../", "b:." })
      place:ok({ "exec", "b", "test -f f -a -f sub/g -a -f up/f -a -f up/sub/g" })
      place:run({}, { argv = { "mkdir", "-p", "here/out" } })
      place:ok({ "cp", "b:up/sub/..", "here/out" })
      assert.equal("out\n", place:run({}, { argv = { "ls", "here" } }).stdout)
      assert.equal("new\nx\n", place:read("here/out/f") .. place:read("here/out/sub/g"))
      for _, ends in ipairs({ { "/", "b:." }, { "b:/", "here" } }) do
        local result = place:run({ "cp", "--exclude", "*", table.unpack(ends) })
        if provider == "local" then -- whose folders lie there
          assert.match("it lies inside what is to be copied", result.stderr)
        else
          assert.equal(0, result.exit_code, result.stderr)
        end
      end
      assert.equal("out\n", place:run({}, { argv = { "ls", "here" } }).stdout)
    end))

    it("follows a link in the sandbox to a file, and replaces one here", within(function(place)
      place:ok({ "exec", "b", "echo old >f; ln -s f link; mkdir d; ln -s d ld" })
      place:ok({ "cp", "lfile", "b:link" })
      place:ok({ "cp", "lfile", "b:ld" })
      assert.equal("f\nnew\nnew\n", place:ok({ "exec", "b", "readlink link; cat f d/lfile" }))
      place:ok({ "cp", "b:link", "lfile" })
      assert.equal("new\n", place:read("tree/f"))
      assert.equal(1, place:run({}, { argv = { "test", "-L", "lfile" } }).exit_code)
      assert.equal("new\n", place:read("lfile"))
    end))
  end)
end
