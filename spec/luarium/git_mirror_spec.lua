local fixture = require "spec.support.git_fixture"
local git_server = require "spec.support.git_server"
local luarium = require "luarium"
local mirror = require "luarium.git.mirror"
local native = require "luarium.native"
local task = require "luarium.task"

local await, fs, process, sh = task.await, native.fs, native.process, git_server.sh
local fails, fresh, token, with, generations = fixture.fails, fixture.fresh, fixture.token, fixture.with, fixture.generations
local server

local function it_in(...)
  fixture.it_in(it, ...)
end

if fixture.missing then
  print("the specs of git mirror are skipped: " .. fixture.missing)
  return
end

describe("git mirror", function()
  setup(function()
    server = fixture.start()
  end)

  teardown(fixture.stop)

  it_in("serves many clones at once from few requests", { limit = 60 }, function(box, folder)
    local name = fresh("for i in 1 2 3 4 5; do echo $i >f$i; done")
    local before = server:requests("POST /git/" .. name)
    local numbers = {}
    for i = 1, 100 do
      numbers[i] = i
    end
    local heads = luarium.map(numbers, function(i)
      return box:clone(server:url("git", name), with(token(), { path = "c" .. i })).base
    end, { concurrency = 100 })
    for i = 1, 100 do
      assert.equal(heads[1], heads[i])
    end
    local requests = server:requests("POST /git/" .. name) - before
    assert(requests <= 6, requests .. " requests")
    assert.equal(1, #generations(folder))
  end)

  --- Runs a script in a process of its own, with `box` and `address`.
  local function elsewhere(folder, address, body)
    local script = ([[
      local luarium = require "luarium"
      luarium.configure { state_dir = %q, cache_dir = %q }
      local address = %q
      luarium.run(function()
        luarium.with("local", function(box)
          %s
        end)
      end)]]):format(folder .. "/state", folder .. "/cache", address, body)
    local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
    return await(process.run({ argv = { lua, "-e", script }, timeout = 50, env = {
      "PATH=" .. os.getenv("PATH"), "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath, "HOME=" .. folder } }))
  end

  it_in("is shared by processes", { limit = 60 }, function(_, folder)
    local name = fresh("for i in 1 2 3 4 5; do echo $i >f$i; done")
    local run = function()
      return elsewhere(folder, server:url("open", name), [[
        local n = {}
        for i = 1, 15 do n[i] = i end
        luarium.map(n, function(i) box:clone(address, { path = "c" .. i }) end)
        print "fine"]])
    end
    for _, result in pairs(luarium.all({ run, run, run })) do
      assert.equal("fine\n", result.stdout, result.stderr)
    end
    assert(server:requests("POST /open/" .. name) <= 3 * 4 + 2)
    assert.equal(1, #generations(folder))
  end)

  it_in("uses no login that this machine keeps", function(_, folder)
    local helper = server.dir .. "/helper"
    sh("printf '#!/bin/sh\\ntouch %s.used; echo username=dev; echo password=%s\\n' $1 \"$2\" >$1; chmod +x $1; "
      .. "printf '[credential]\\n helper = %s\\n' $1 >$3/.gitconfig", helper, server.password, folder)
    local result = elsewhere(folder, server:url("git", fresh("echo 1 >f")), [[
      local value, err = luarium.try(box.clone, box, address)
      print(value, err and err.kind)]])
    assert.equal("nil\tauth\n", result.stdout, result.stderr)
    assert.is_false(fs.exists(helper .. ".used"))
  end)

  it_in("has what was pushed before the call", function(box, folder)
    local name = fresh("echo 1 >f; git add -A; git commit -q -m 1; git branch gone; git branch slash")
    local address = server:url("open", name)
    local first = box:clone(address, { path = "a" })
    local sha = server:change(name, "echo 2 >f")
    sh("git -C $1 branch -q -D gone slash; git -C $1 branch slash/deep; git -C $1 branch trunk; "
      .. "git -C $1 symbolic-ref HEAD refs/heads/trunk", server:path(name))
    local second = box:clone(address, { path = "b" })
    assert.not_equal(first.base, second.base)
    assert.equal(sha, second.base)
    assert.equal("trunk", second:current_branch())
    assert.equal("HEAD\nmain\nslash/deep\ntrunk\n",
      second:run({ "for-each-ref", "--format=%(refname:strip=3)", "refs/remotes" }).stdout)
    assert.equal(2, #generations(folder))
    assert.not_equal("", sh("find $1/objects/pack -name '*.pack' -links 2", generations(folder)[2])) -- grown, not made anew
    mirror.keep_older = 0
    server:change(name, "echo 3 >f")
    box:clone(address, { path = "c" })
    mirror.keep_older = 3600
    assert.equal(1, #generations(folder))
  end)

  it_in("opens nothing to those who may not read it", function(box)
    local address = server:url("git", fresh("echo 1 >f"))
    box:clone(address, with(token(), { path = "a" }))
    fails("auth", box.clone, box, address, { path = "b", token = "wrong-Password", username = server.user })
    fails("auth", box.clone, box, address, { path = "b" })
    mirror.max_age = 60
    local ok, err = pcall(function()
      box:clone(address, with(token(), { path = "c" }))
      fails("auth", box.clone, box, address, { path = "b" })
    end)
    mirror.max_age = 0
    assert(ok, err)
  end)

  it_in("is not asked for again within max_age, except after a push", function(box)
    local name = fresh("echo 1 >f")
    local address = server:url("git", name)
    mirror.max_age = 60
    local ok, err = pcall(function()
      local repo = box:clone(address, with(token(), { path = "a" }))
      local before = server:requests("POST /git/" .. name)
      box:clone(address, with(token(), { path = "b" }))
      assert.equal(before, server:requests("POST /git/" .. name))
      box:write_file("a/f", "2")
      local sha = repo:commit("two")
      repo:push(token())
      assert.equal(sha, box:clone(address, with(token(), { path = "c" })).base)
    end)
    mirror.max_age = 0
    assert(ok, err)
  end)

  for what, damage in pairs({
    ["a cut pack"] = "chmod -R u+w $1; for f in $1/objects/pack/*.pack; do truncate -s -10 $f; done",
    ["a missing pack"] = "rm -f $1/objects/pack/*.pack",
    ["a missing HEAD"] = "rm -f $1/HEAD",
    ["no refs"] = ": >$1/packed-refs",
    ["an emptied folder"] = "rm -rf $1/*",
    ["a broken record"] = "echo '{' >$1/../current",
    ["a record of something else"] = "echo '{\"generation\":\"../../x\",\"facts\":{}}' >$1/../current",
    ["a half-made generation"] = "mkdir $1/../t-01; echo x >$1/../t-01/HEAD; rm $1/../current",
  }) do
    it_in("is made anew after damage: " .. what, function(box, folder)
      local address = server:url("open", fresh("echo 1 >f"))
      box:clone(address, { path = "a" })
      sh(damage, generations(folder)[1])
      local repo = box:clone(address, { path = "b" })
      assert.equal("1\n", box:read_file("b/f"))
      repo:run({ "fsck", "--strict" }, { check = true })
      assert.equal("", sh("ls -d $1/cache/git/*/t-* 2>/dev/null || true", folder))
      local current = sh("cat $1/cache/git/*/current", folder)
      assert.truthy(current:match('"generation":"g%-%w+"'))
    end)
  end

  it_in("cannot be written through a clone", function(box, folder)
    local address = server:url("open", fresh("echo 1 >f"))
    local repo = box:clone(address)
    assert.equal("", sh("find $1/.git/objects -type f -links +1", repo.path))
    assert.equal("drwx------", sh("ls -ld $1/cache/git/*.git", folder):sub(1, 10))
  end)

  it_in("is of an address, and the refusal of a path shows how it is written as one", function(box)
    local _, err = luarium.try(box.clone, box, "/srv/app", { mirror = true })
    assert.matches("write the path as file:///srv/app", err.message, 1, true)
  end)

  it_in("shares one bundle among clones and removes it", { provider = "spec_apart" }, function(box, folder)
    local address = server:url("open", fresh("head -c 200000 /dev/urandom >f"))
    luarium.map({ 1, 2, 3, 4, 5, 6 }, function(i)
      box:clone(address, { path = "c" .. i, mirror = true })
    end)
    assert.equal("", sh("ls -d $1/cache/git/*/b-* 2>/dev/null || true", folder))
    assert.equal("c1\nc2\nc3\nc4\nc5\nc6\n", box:exec({ "ls", "-A" }).stdout)
  end)
end)
