local fixture = require "spec.support.git_fixture"
local git_server = require "spec.support.git_server"

local sh = git_server.sh
local fails, fresh, token, with = fixture.fails, fixture.fresh, fixture.token, fixture.with
local server

local function it_in(...)
  fixture.it_in(it, ...)
end

if fixture.missing then
  print("the specs of git repository are skipped: " .. fixture.missing)
  return
end

describe("git repository", function()
  setup(function()
    server = fixture.start()
  end)

  teardown(fixture.stop)

  local function cloned(box, script)
    local name = fresh(script or "echo one >a; echo two >b")
    return box:clone(server:url("git", name), token()), name
  end

  it_in("has branches that can be made, checked out and pushed", function(box)
    local repo, name = cloned(box)
    assert.equal(repo, repo:branch("fix"))
    assert.equal("fix", repo:current_branch())
    repo:branch("aside", { checkout = false, from = "main" })
    assert.equal("fix", repo:current_branch())
    box:write_file(repo.path .. "/a", "changed\n")
    box:write_file(repo.path .. "/new/ü", "1")
    local sha = repo:commit("subject\n\n# body stays\n", { author = "An Agent <agent@example.com>" })
    assert.equal(sha, repo:head())
    repo:push(token())
    assert.equal(sha .. "\n", sh("git -C $1 rev-parse fix", server:path(name)))
    assert.equal("origin/fix", repo:status().upstream)
    local log = repo:log({ max = 1 })
    assert.same({ "An Agent", "agent@example.com", "subject", "# body stays", 1 },
      { log[1].author, log[1].email, log[1].subject, log[1].body, #log[1].parents })
    repo:checkout("main")
    assert.equal("one\n", box:read_file(repo.path .. "/a"))
    fails("not_found", repo.checkout, repo, "nope")
    fails("conflict", repo.branch, repo, "fix")
    fails("invalid", repo.branch, repo, "-D")
    fails("invalid", repo.branch, repo, "a..b")
    sh("git -C $1 branch later main", server:path(name))
    repo:fetch(with(token(), { ref = "later" }))
    assert.equal("later", repo:checkout("later"):current_branch())
    repo:checkout(sha)
    assert.is_nil(repo:current_branch())
  end)

  it_in("commits what is asked for, and says when there is nothing", function(box)
    local repo = cloned(box)
    assert.equal("NOTHING_TO_COMMIT", fails("conflict", repo.commit, repo, "x").name)
    assert.truthy(repo:commit("empty", { allow_empty = true }))
    box:write_file(repo.path .. "/staged", "1")
    box:write_file(repo.path .. "/not", "1")
    repo:run({ "add", "staged" }, { check = true })
    repo:commit("only staged", { all = false })
    assert.same({ { code = "??", path = "not" } }, repo:status().entries)
    box:write_file(repo.path .. "/.git/hooks/pre-commit", "#!/bin/sh\nexit 1\n", { mode = 493 })
    fails("io", repo.commit, repo, "refused by a hook")
    fails("invalid", repo.commit, repo, " \n")
    fails("invalid", repo.commit, repo, "x", { author = "nobody" })
  end)

  it_in("tells what is new, changed, renamed, deleted, ignored", function(box)
    local repo = cloned(box, "echo one >a; seq 100 >b; echo x >c; echo '*.o' >.gitignore")
    box:exec("rm a; git mv b 'b 2'; echo y >c; printf 1 >'new\nline'; touch x.o", { cwd = repo.path })
    local found = repo:status({ ignored = true })
    assert.is_false(found.clean)
    assert.same({
      { code = ".D", path = "a" }, { code = "R.", path = "b 2", renamed_from = "b" }, { code = ".M", path = "c" },
      { code = "??", path = "new\nline" }, { code = "!!", path = "x.o" },
    }, found.entries)
  end)

  it_in("makes patches that another clone takes, whatever the configuration prefers", function(box)
    local repo, name = cloned(box, fixture.odd_names)
    box:exec({ "git", "config", "--global", "diff.noprefix", "true" })
    box:exec({ "git", "config", "--global", "color.ui", "always" })
    box:exec({ "git", "config", "--global", "diff.external", "false" })
    box:exec({ "git", "config", "--global", "diff.context", "0" })
    box:exec("printf '\\0changed' >bin; rm -- -dash; echo z >>run; chmod -x run; printf n >'née'; git mv link link2",
      { cwd = repo.path, check = true })
    local other = box:clone(server:url("git", name), with(token(), { path = "other" }))
    assert.is_nil(repo:diff():find("née", 1, true))
    other:apply(repo:diff({ untracked = true }))
    local function tree(r)
      return r:run({ "add", "-A" }, { check = true }) and r:run({ "write-tree" }, { check = true }).stdout
    end
    local before = tree(repo)
    assert.equal(before, tree(other))
    assert.truthy(repo:diff({ staged = true, stat = true }):find("files changed", 1, true))
    assert.equal("", repo:diff())
    assert.truthy(repo:diff({ base = "HEAD", paths = { "run" } }):find("\n #!/bin/sh\n+z\n", 1, true))
    fails("conflict", other.apply, other, repo:diff({ base = "HEAD" }))
    fails("invalid", other.apply, other, "no patch at all")
    fails("quota", repo.diff, repo, { base = "HEAD", max_bytes = 20 })
    fails("quota", repo.diff, repo, { base = "HEAD", untracked = true, max_bytes = 20 })
    fails("invalid", repo.diff, repo, { base = "--output=x" })
    fails("not_found", repo.diff, repo, { base = "nope" })
    fails("not_found", repo.changes, repo, { base = "nope" })
  end)

  it_in("leaves no trace when it looks at changes", function(box)
    local repo = cloned(box)
    box:write_file(repo.path .. "/new", "1")
    repo:run({ "update-index", "--refresh" })
    local function look()
      return sh("cd $1; find . -type f | sort | xargs -d '\\n' sha256sum; ls -A $2", repo.path, box.cwd .. "/../tmp")
    end
    local before = look()
    local found = repo:changes()
    assert.equal(before, look())
    assert.same({ { path = "new", status = "added", mode = "100644", added = 1, deleted = 0 } }, found.files)
    assert.same({ repo.base, repo.base, "main", 0 }, { found.base, found.head, found.branch, #found.commits })
  end)

  it_in("compares with where the work began, also when found again by its path", function(box)
    local repo = cloned(box)
    box:write_file(repo.path .. "/new", "1")
    local sha = repo:commit("mine")
    box:write_file(repo.path .. "/more", "1")
    for _, r in ipairs({ repo, box:git(repo.path) }) do
      local found = r:changes()
      assert.same({ repo.base, sha, 1, 2 }, { found.base, found.head, #found.commits, #found.files })
      assert.equal("mine", found.commits[1].subject)
    end
    local outside = box:git(".")
    fails("not_found", outside.status, outside)
    fails("not_found", function()
      box:git("nowhere"):changes()
    end)
    box:exec("git init -q empty && echo 1 >empty/a", { check = true })
    local found = box:git("empty"):changes()
    assert.is_nil(found.base)
    assert.truthy(found.patch:find("+1", 1, true))
  end)

  it_in("refuses to push over others' work unless forced", function(box)
    local repo, name = cloned(box)
    local theirs = server:change(name, "echo theirs >c")
    box:write_file(repo.path .. "/d", "mine")
    local sha = repo:commit("mine")
    fails("conflict", repo.push, repo, token())
    fails("conflict", repo.push, repo, with(token(), { force = "lease" }))
    assert.equal(theirs .. "\n", sh("git -C $1 rev-parse main", server:path(name)))
    repo:push(with(token(), { force = true }))
    assert.equal(sha .. "\n", sh("git -C $1 rev-parse main", server:path(name)))
    fails("auth", repo.push, repo, { token = "wrong-Password", username = server.user })
    fails("auth", repo.push, repo)
    fails("not_found", repo.push, repo, with(token(), { branch = "nope" }))
    repo:push(with(token(), { remote = server:url("git", name), branch = "main" }))
  end)

  it_in("goes into a bundle and out of the sandbox", { provider = "spec_apart" }, function(box, folder)
    local repo = cloned(box, "head -c 300000 /dev/urandom >big; git add -A; git commit -q -m 1; git branch side")
    local made = repo:bundle({ local_path = folder .. "/all.bundle" })
    assert.is_nil(made.path)
    assert(made.bytes > 300000)
    sh("git clone -q $1 $2", folder .. "/all.bundle", folder .. "/copy")
    assert.equal(repo:head() .. "\n", sh("git -C $1 rev-parse HEAD", folder .. "/copy"))
    assert.equal("", sh("ls $1/.git/*.bundle 2>/dev/null || true", repo.path))
    made = repo:bundle({ path = "side.bundle", refs = { "main" } })
    assert.equal(box.cwd .. "/side.bundle", made.path)
    fails("invalid", repo.bundle, repo, {})
    fails("invalid", repo.bundle, repo, { path = "x", refs = { "--all" } })
  end)

  it_in("runs any other command", function(box)
    local repo = cloned(box)
    assert.is_false(repo:run({ "log", "--no-such-option" }).ok)
    assert.equal("blob\n", repo:run({ "cat-file", "-t", "HEAD:a" }).stdout)
    local result = repo:run({ "hash-object", "--stdin" }, { stdin = "one\n" })
    assert.equal(repo:run({ "rev-parse", "HEAD:a" }).stdout, result.stdout)
    fails("not_found", repo.run, repo, { "show", "nope" }, { check = true })
  end)

  local no_busybox = not pcall(sh, "command -v busybox") and "busybox is not installed"
  if no_busybox then
    print("git_spec: the spec of a sandbox with busybox alone is skipped: " .. no_busybox)
  end
  it_in("works where there is nothing but commands, busybox and git", { limit = 60, provider = not no_busybox and "spec_bare"
    or nil }, function(box, folder)
    if no_busybox then
      return
    end
    fixture.bare_tools = folder .. "/tools"
    sh("mkdir $1; busybox --install -s $1; ln -sf $(command -v git) $1/git", fixture.bare_tools)
    local sub = fresh("echo inner >file")
    local name = fresh(fixture.odd_names .. ("\ngit submodule --quiet add ../%s inner"):format(sub))
    for i, use_mirror in ipairs({ true, false }) do
      local path = "c" .. i
      local repo = box:clone(server:url("git", name), with(token(), { path = path, mirror = use_mirror, submodules = true }))
      assert.is_true(repo:status().clean)
      assert.equal("inner\n", box:read_file(path .. "/inner/file"))
      box:mkdir("e" .. i)
      repo = box:clone(server:url("git", name), with(token(), { path = "e" .. i, mirror = use_mirror }))
      repo:branch("b" .. i)
      box:write_file("e" .. i .. "/née", "new\0")
      local report = box:collect({ dir = folder .. "/run", repo = repo, files = { "**/n*", "bin" } })
      assert.same({}, report.errors)
      assert.same({ "bin", "new\nline", "née" }, { report.files[1].path, report.files[2].path, report.files[3].path })
      assert.equal(1, #report.changed)
      local sha = repo:commit("from busybox")
      repo:push(token())
      assert.equal(sha .. "\n", sh("git -C $1 rev-parse $2", server:path(name), "b" .. i))
      fails("conflict", box.clone, box, server:url("git", name), with(token(), { path = path, mirror = use_mirror }))
    end
    fixture.bare_tools = nil
  end)

  it_in("brings a big file whole, by every way", { limit = 60, provider = "spec_apart" }, function(box)
    local name = fresh("head -c 40000000 /dev/urandom >big")
    local expected = sh("git -C $1 cat-file blob main:big | sha256sum", server:path(name))
    for i, use_mirror in ipairs({ true, false }) do
      local repo = box:clone(server:url("git", name), with(token(), { path = "c" .. i, mirror = use_mirror }))
      assert.equal(expected, sh("sha256sum <$1/big", repo.path))
    end
  end)
end)
