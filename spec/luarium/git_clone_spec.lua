local fixture = require "spec.support.git_fixture"
local git_server = require "spec.support.git_server"
local config = require "luarium.config"
local event = require "luarium.event"
local luarium = require "luarium"
local native = require "luarium.native"
local task = require "luarium.task"

local await, process, sh = task.await, native.process, git_server.sh
local fails, fresh, token, with = fixture.fails, fixture.fresh, fixture.token, fixture.with
local server

local function it_in(...)
  fixture.it_in(it, ...)
end

if fixture.missing then
  print("the specs of git clone are skipped: " .. fixture.missing)
  return
end

describe("git clone", function()
  setup(function()
    server = fixture.start()
  end)

  teardown(fixture.stop)

  for _, way in ipairs({
    { name = "from a mirror on disk" },
    { name = "inside the sandbox", mirror = false },
    { name = "from a bundle", mirror = true, provider = "spec_apart" },
  }) do
    it_in(way.name .. " brings every file, branch and tag", { provider = way.provider }, function(box)
      local name = fresh(fixture.odd_names .. "\ngit add -A; git commit -q -m one; git tag -a v1 -m v1; git branch other")
      local repo = box:clone(server:url("git", name), with(token(), { mirror = way.mirror }))
      assert.equal(box.cwd .. "/" .. name:gsub("%.git$", ""), repo.path)
      assert.equal(server:url("git", name), repo.url)
      assert.equal(sh("git -C $1 rev-parse main", server:path(name)), repo:head() .. "\n")
      assert.equal(repo.base, repo:head())
      assert.equal("main", repo:current_branch())
      local result = repo:run({ "for-each-ref", "--format=%(refname)" }, { check = true })
      assert.equal("refs/heads/main\nrefs/remotes/origin/HEAD\nrefs/remotes/origin/main\nrefs/remotes/origin/other\n"
        .. "refs/tags/v1\n", result.stdout)
      assert.equal(server:url("git", name) .. "\n", repo:run({ "remote", "get-url", "origin" }).stdout)
      assert.equal("refs/remotes/origin/main\n",
        repo:run({ "symbolic-ref", "refs/remotes/origin/HEAD" }).stdout)
      local found = repo:status()
      assert.same({ true, "main", "origin/main", 0, 0 },
        { found.clean, found.branch, found.upstream, found.ahead, found.behind })
      assert.equal("\0\1\2\255", box:read_file(repo.path .. "/bin"))
      assert.equal("x", box:read_file(repo.path .. "/new\nline"))
      assert.equal("0\n", repo:run({ "rev-list", "--count", "main..origin/other" }).stdout)
      repo:run({ "fsck", "--strict" }, { check = true })
      assert.equal("", sh("ls -d $1/*luarium-* $1/.luarium-* 2>/dev/null || true", box.cwd))
    end)

    it_in(way.name .. " tells how far it is, and complaints stay what they are", { provider = way.provider },
      function(box)
        local name = fresh("for i in 1 2 3 4 5 6 7 8 9; do echo $i >$i; done; git add -A; git commit -q -m one")
        local told, last = {}, nil
        local off = event.on("progress", function(record)
          told[record.what], last = record, record
        end)
        box:clone(server:url("git", name), with(token(), { mirror = way.mirror }))
        local received = told["receiving objects"]
        assert.same({ box.id, 11, 11, "objects" }, { received.sandbox, received.done, received.total, received.unit })
        local err = fails("not_found", box.clone, box, server:url("git", name),
          with(token(), { mirror = way.mirror, branch = "nowhere", path = "other" }))
        off()
        assert.truthy(last.span)
        assert.falsy(err.message:find("objects", 1, true), err.message)
      end)

    it_in(way.name .. " takes a branch or tag, and says when there is none", { provider = way.provider },
      function(box)
        local name = fresh("echo 1 >f; git add -A; git commit -q -m one; git tag v1; git checkout -q -b fix; "
          .. "echo 2 >f; git commit -q -am two; git checkout -q main")
        local function clone(branch, path)
          return box:clone(server:url("git", name), with(token(), { mirror = way.mirror, branch = branch, path = path }))
        end
        local repo = clone("fix", "a")
        assert.equal("fix", repo:current_branch())
        assert.equal("2\n", box:read_file("a/f"))
        assert.is_nil(clone("v1", "b"):current_branch())
        assert.equal("1\n", box:read_file("b/f"))
        fails("not_found", clone, "nope", "c")
        assert.is_false(box:exists("c"))
        fails("invalid", clone, "--upload-pack=x", "c")
      end)

    it_in(way.name .. " brings submodules", { provider = way.provider }, function(box)
      local sub = fresh("echo inner >file")
      local top = fresh(("git submodule --quiet add ../%s inner"):format(sub))
      local repo = box:clone(server:url("git", top), with(token(), { mirror = way.mirror, submodules = true }))
      assert.equal("inner\n", box:read_file(repo.path .. "/inner/file"))
      assert.is_true(repo:status().clean)
      repo = box:clone(server:url("git", top), with(token(), { mirror = way.mirror, path = "without" }))
      assert.is_false(box:exists(repo.path .. "/inner/file"))
    end)
  end

  it_in("with depth has only so many commits, of submodules too", function(box)
    local sub = fresh("echo 1 >file; git add -A; git commit -q -m one; echo 2 >file")
    local top = fresh(("git submodule --quiet add ../%s inner; git commit -q -m one; echo 2 >f; git add -A; "
      .. "git commit -q -m two; echo 3 >f"):format(sub))
    local repo = box:clone(server:url("git", top), with(token(), { depth = 1, submodules = true }))
    assert.equal(1, #repo:log())
    assert.equal("1\n", repo:run({ "-C", "inner", "rev-list", "--count", "HEAD" }).stdout)
    repo:fetch(with(token(), { unshallow = true }))
    assert.equal(3, #repo:log())
  end)

  it_in("works with an empty repository", function(box)
    local name = fresh()
    local repo = box:clone(server:url("git", name), token())
    assert.is_nil(repo:head())
    assert.is_nil(repo.base)
    assert.same({}, repo:log())
    assert.equal("main", repo:current_branch())
    box:write_file(repo.path .. "/a", "1")
    local sha = repo:commit("first")
    repo:push(token())
    assert.equal(sha .. "\n", sh("git -C $1 rev-parse main", server:path(name)))
  end)

  it_in("reads file addresses and paths of the sandbox", function(box)
    local path = server:path(fresh("echo 1 >f; git add -A; git commit -q -m 1; echo 2 >f"))
    assert.equal("2\n", box:read_file(box:clone("file://" .. path, { path = "a" }).path .. "/f"))
    assert.equal(1, #box:clone("file://" .. path, { path = "b", depth = 1 }):log())
    local copy = box:clone(path, { path = "c" })
    assert.equal(2, #copy:log())
    assert.equal(1, #box:clone("c", { path = "d e", depth = 1 }):log())
    assert.equal("", sh("find $1/.git/objects -type f -links +1", copy.path)) -- nothing is shared with the source
  end)

  it_in("goes into an empty folder, and never over one that is not", function(box)
    local name = fresh("echo 1 >f; echo 2 >.hidden; echo 3 >..odd")
    box:mkdir("empty")
    local repo = box:clone(server:url("git", name), with(token(), { path = "empty" }))
    assert.is_true(repo:status().clean)
    assert.equal("3\n", box:read_file("empty/..odd"))
    box:write_file("full/x", "mine")
    fails("conflict", box.clone, box, server:url("git", name), with(token(), { path = "full" }))
    fails("conflict", box.clone, box, server:url("git", name), with(token(), { path = "full", mirror = false }))
    assert.equal("mine", box:read_file("full/x"))
    assert.equal("x\n", box:exec({ "ls", "-A", "full" }).stdout)
    box:exec("ln -s nowhere dangling")
    fails("conflict", box.clone, box, server:url("git", name), with(token(), { path = "dangling" }))
    assert.equal("f\n", box:exec({ "ls", box:clone(server:url("git", name), with(token(), { path = "a/b/../c/d" })).path })
      .stdout)
  end)

  it_in("tells bad logins, unknown repositories and dead servers apart", function(box)
    local name = fresh("echo 1 >f")
    local cases = {
      { "auth", server:url("git", name), { token = "wrong-Password", username = server.user } },
      { "auth", server:url("git", name), {} },
      { "not_found", server:url("git", "nope.git"), token() },
      { "not_found", "file:///no/such/repository.git", {} },
      { "unavailable", "http://127.0.0.1:1/x.git", {} },
      { "unavailable", "http://no-such-host.invalid/x.git", {} },
      { "invalid", "ext::sh -c id", {} },
    }
    for _, case in ipairs(cases) do
      for _, use_mirror in ipairs({ true, false }) do
        local err = fails(case[1], box.clone, box, case[2], with(with({ path = "x" }, case[3]),
          { mirror = use_mirror or false }))
        assert.equal(case[1] == "unavailable" or nil, err.retryable)
        assert.truthy(err.op == "git.clone")
        assert.is_nil(tostring(err.data and err.data.stderr):find("wrong-Password", 1, true))
      end
    end
    assert.is_false(box:exists("x"))
  end)

  it_in("says how to install git where there is none", { env = { PATH = "/nonexistent" } }, function(box)
    local err = fails("unsupported", box.clone, box, server:url("open", fresh("echo 1 >f")), { mirror = false })
    assert.truthy(err.message:find("apt-get install -y git", 1, true))
    fails("unsupported", function()
      box:git("."):status()
    end)
  end)

  it_in("says how an address of this machine gets into a sandbox apart", { provider = "spec_apart" }, function(box, folder)
    local err = fails("not_found", box.clone, box, "file://" .. folder .. "/none.git")
    assert.truthy(err.message:find("mirror = true brings it from this machine", 1, true), err.message)
  end)

  it_in("refuses options that cannot be together", function(box)
    local address = server:url("open", "x.git")
    fails("invalid", box.clone, box, address, { depth = 0 })
    fails("invalid", box.clone, box, address, { depth = 1, mirror = true })
    fails("invalid", box.clone, box, "/srv/x", { mirror = true })
    fails("invalid", box.clone, box, address, { brnch = "x" })
    fails("invalid", box.clone, box, address, { token = "has\nnewline" })
  end)

  it_in("ends at its timeout, leaves nothing, and the path is free again", function(box)
    local name = fresh("head -c 6000000 /dev/urandom >big")
    for _, use_mirror in ipairs({ true, false }) do
      local began = luarium.monotonic()
      fails("timeout", box.clone, box, server:url("slow", name), with(token(),
        { path = "p", timeout = 0.7, mirror = use_mirror }))
      assert(luarium.monotonic() - began < 20)
      assert.equal("", box:exec({ "ls", "-A" }).stdout)
      box:mkdir("q")
      pcall(task.timeout, 0.7, box.clone, box, server:url("slow", name), with(token(),
        { path = "q", mirror = use_mirror })) -- cancelled from outside
      assert.equal("", box:exec({ "ls", "-A", "q" }).stdout)
      box:remove("q")
    end
    assert.same({}, await(process.find("LUARIUM_SANDBOX=" .. box.external_id)))
    assert.equal("", sh("ls -d $1/git/*/t-* 2>/dev/null || true", config.cache_dir()))
    assert.truthy(box:clone(server:url("git", name), with(token(), { path = "p" })):head())
  end)

  it_in("moves a password out of the address and warns", { warns = true }, function(box)
    local name = fresh("echo 1 >f")
    local warnings = 0
    local off = event.on("log", function(record)
      warnings = warnings + (record.level == "warn" and 1 or 0)
      assert.is_nil(record.message:find(server.password, 1, true))
    end)
    local encoded = server.password:gsub("%W", function(c)
      return ("%%%02X"):format(c:byte())
    end)
    local address = server:url("git", name):gsub("//", "//dev:" .. encoded:gsub("%%", "%%%%") .. "@", 1)
    local repo = box:clone(address)
    off()
    assert.equal(1, warnings)
    assert.equal(server:url("git", name) .. "\n", repo:run({ "remote", "get-url", "origin" }).stdout)
  end)
end)
