local async = require "spec.support.async"
local config = require "luarium.config"
local git_server = require "spec.support.git_server"
local state = require "spec.support.state"
local command = require "luarium.git.command"
local errors = require "luarium.error"
local event = require "luarium.event"
local luarium = require "luarium"
local mirror = require "luarium.git.mirror"
local native = require "luarium.native"
local provider = require "luarium.provider"
local secret = require "luarium.secret"
local status = require "luarium.git.status"
local task = require "luarium.task"
local url = require "luarium.git.url"

local await, fs, process, sh = task.await, native.fs, native.process, git_server.sh

local bare_tools -- folder

--- The local provider as one that does not share files with this machine.
local base = provider.load("local")
local apart = { name = "spec_apart" }
for key, value in pairs(base) do
  if key ~= "name" and key ~= "host_path" then
    apart[key] = value
  end
end
provider.register(provider.define(apart))

--- And as one that can only run commands, with nothing but busybox and git; a token must reach it all the same.
local bare = { name = "spec_bare", create = base.create, get = base.get, list = base.list, destroy = base.destroy }
bare.spawn = function(self, box, cmd, options)
  local argv, env = {}, {}
  for i, word in ipairs(cmd.argv) do
    argv[i] = word == "/bin/sh" and i == 1 and bare_tools .. "/sh" or word
  end
  for key, value in pairs(options.env or {}) do
    env[key] = value
  end
  env.PATH = bare_tools
  local own = {}
  for key, value in pairs(options) do
    own[key] = value
  end
  own.env = env
  return base.spawn(self, box, { argv = argv }, own)
end
provider.register(provider.define(bare))

local function fails(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "expected an error of kind " .. kind)
  assert(errors.is(err, kind), ("expected kind %s, got %s"):format(kind, errors.is(err) and err:trace() or tostring(err)))
  return err
end

describe("git addresses", function()
  local function parse(text)
    return assert(url.parse(text))
  end

  it("are brought to one spelling", function()
    for given, expected in pairs({
      ["HTTPS://GitHub.com:443/a/b.git"] = "https://github.com/a/b.git",
      ["https://github.com/a/b/"] = "https://github.com/a/b",
      ["http://localhost:8080/x"] = "http://localhost:8080/x",
      ["ssh://git@Host:22/a/b.git"] = "ssh://git@host/a/b.git",
      ["git@host.example:a/b.git"] = "git@host.example:a/b.git",
      ["file://localhost/srv/a.git"] = "file:///srv/a.git",
      ["https://[::1]:8443/x"] = "https://[::1]:8443/x",
    }) do
      assert.equal(expected, url.normal(parse(given)))
    end
  end)

  it("give the folder its name", function()
    for given, name in pairs({
      ["https://h/a/b.git"] = "b", ["https://h/a/b/"] = "b", ["git@h:b.git"] = "b", ["/srv/x.git/"] = "x",
      ["https://h/a/my%20repo.git"] = "my repo", ["https://h/..%2f"] = "repository", ["../up"] = "up",
      ["file:///srv/b.bundle"] = "b", ["https://h/-rf"] = "rf", ["/srv/work/.git"] = "work",
    }) do
      assert.equal(name, parse(given).name)
    end
  end)

  it("lose their credentials, which are kept apart", function()
    local address = parse("https://us%40er:p%3Aw@host/a.git")
    assert.equal("https://host/a.git", address.url)
    assert.equal("us@er", address.username)
    assert.equal("p:w", address.password)
    assert.equal("https://host", address.origin)
  end)

  it("are refused when they run programs, hide options or name nothing", function()
    for _, text in ipairs({ "", "-x", "--upload-pack=touch /tmp/x", "ext::sh -c id", "fd::7", "ssh://-oProxyCommand=x/y",
      "-oProxyCommand=x:y", "https://host", "https:///path", "https://ho st/x", "ftp://h/x", "https://h/a\nb",
      "https://h:99999/x", "file://relative", "ssh://u:pw@h/x", "https://h\\evil/x", "ssh://a;b@h/x" }) do
      local value, err = url.parse(text)
      assert.is_nil(value, text)
      assert.equal("invalid", err.kind)
      assert.is_nil(err.message:find("pw", 1, true))
    end
  end)
end)

describe("git commands", function()
  it("have the token in the environment only, bound to one server", function()
    local credentials = command.credentials(url.parse("https://host:8443/a.git"), { token = "tok-12345678" }, "x")
    local argv = command.argv(command.config(credentials), "clone", { "a", "b" })
    local text = table.concat(argv, "\n")
    assert.is_nil(text:find("tok-12345678", 1, true))
    assert.truthy(text:find("credential.https://host:8443.helper=!f()", 1, true))
    local env = command.env(credentials)
    assert.equal("tok-12345678", secret.reveal(env.LUARIUM_GIT_TOKEN))
    assert.equal("x-access-token", env.LUARIUM_GIT_USERNAME)
    assert.equal("0", env.GIT_TERMINAL_PROMPT)
  end)

  it("do not send a token where it would be read on the way, or nowhere", function()
    for text, options in pairs({ ["http://example.com/a"] = {}, ["git@host:a"] = {}, ["/srv/a"] = {} }) do
      options.token = "tok-12345678"
      fails("invalid", command.credentials, url.parse(text), options, "x")
    end
    assert.truthy(command.credentials(url.parse("http://example.com/a"), { token = "t0ken-x", allow_http = true }, "x"))
    fails("invalid", command.credentials, url.parse("https://h/a"), { token = "two\nlines" }, "x")
    fails("invalid", command.credentials, url.parse("https://u:pw@h/a"), { token = "one-too-many" }, "x")
  end)

  it("explain their complaints", function()
    for text, kind in pairs({
      ["fatal: Authentication failed for 'https://h/'"] = "auth",
      ["git@h: Permission denied (publickey)."] = "auth",
      ["remote: Repository not found.\nfatal: repository 'https://h/' not found"] = "not_found",
      ["fatal: unable to access 'https://h/': Could not resolve host: h"] = "unavailable",
      ["fatal: unable to access 'https://h/': The requested URL returned error: 502"] = "unavailable",
      ["fatal: unable to access 'https://h/': The requested URL returned error: 429"] = "rate_limited",
      ["fatal: write error: No space left on device"] = "io",
      ["fatal: destination path 'x' already exists and is not an empty directory."] = "conflict",
      ["error: pathspec 'x' did not match any file(s) known to git"] = "not_found",
      ["something else"] = "io",
    }) do
      local err = command.explain("git.x", { exit_code = 128, stderr = text })
      assert.equal(kind, err.kind, text)
      assert.equal(kind == "unavailable" or kind == "rate_limited" or nil, err.retryable)
    end
    local err = command.explain("git.x", { exit_code = 127, stderr = "sh: git: not found" })
    assert.equal("unsupported", err.kind)
    assert.truthy(err.message:find("apt-get install", 1, true))
    assert.is_nil(command.explain("x", { exit_code = 1, stderr = "fatal: \27[31mred\7" }).message:find("[%c]"))
  end)
end)

describe("git status", function()
  it("survives any name", function()
    local result = status.parse(table.concat({
      "# branch.oid abc", "# branch.head main", "# branch.upstream origin/main", "# branch.ab +2 -1",
      "1 .M N... 100644 100644 100644 aaa bbb a b\nc", "2 R. N... 100644 100644 100644 aaa bbb R100 new name", "old\tname",
      "u UU N... 100644 100644 100644 100644 a b c  lead", "? -rf", "! \255\254",
    }, "\0") .. "\0")
    assert.same({ "main", "abc", 2, 1, false }, { result.branch, result.head, result.ahead, result.behind, result.clean })
    assert.same({
      { code = ".M", path = "a b\nc" }, { code = "R.", path = "new name", renamed_from = "old\tname" },
      { code = "UU", path = " lead" }, { code = "??", path = "-rf" }, { code = "!!", path = "\255\254" },
    }, result.entries)
  end)

  it("knows a detached HEAD and a repository without commits", function()
    local result = status.parse("# branch.oid (initial)\0# branch.head (detached)\0")
    assert.is_nil(result.head)
    assert.is_nil(result.branch)
    assert.is_true(result.clean)
  end)
end)

local missing = git_server.missing()
if missing then
  print("git_spec: the specs with a server are skipped: " .. missing)
  return
end

local server

--- A repository name that no other test uses.
local serial = 0
local function fresh(script)
  serial = serial + 1
  local name = ("r%d.git"):format(serial)
  server:make(name, script)
  return name
end

local function token()
  return { token = server.password, username = server.user }
end

local function with(options, more)
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return options
end

--- it() with a private state and cache, and a sandbox. A warning fails it: one is given when a mirror was of no use.
local function it_in(name, options, fn)
  if not fn then
    options, fn = {}, options
  end
  it(name, async(options.limit or 30, function()
    local warnings = {}
    local off = event.on("log", function(record)
      warnings[#warnings + 1] = record.message
    end)
    state.with(function(folder)
      luarium.with({ provider = options.provider or "local", env = options.env }, function(box)
        fn(box, folder)
      end)
    end)
    off()
    assert.same({}, options.warns and {} or warnings)
  end))
end

local function generations(folder)
  local found = {}
  for path in sh("ls -d " .. folder .. "/cache/git/*/g-* 2>/dev/null || true"):gmatch("[^\n]+") do
    found[#found + 1] = path
  end
  return found
end

local odd_names = [[
  mkdir -p 'dir with blank'; echo a >'dir with blank/ü-ñ-日本'; printf 'x' >"new
line"; printf 'y' >'-dash'; printf '\0\1\2\377' >bin; ln -s bin link; printf '#!/bin/sh\n' >run; chmod +x run
  printf '%s' "$(printf 'latin\351')" >"$(printf 'latin\351')"]]

describe("git", function()
  setup(function()
    server = git_server.start()
  end)

  teardown(function()
    server:stop()
  end)

  describe("clone", function()
    for _, way in ipairs({
      { name = "from a mirror on disk" },
      { name = "inside the sandbox", mirror = false },
      { name = "from a bundle", mirror = true, provider = "spec_apart" },
    }) do
      it_in(way.name .. " brings every file, branch and tag", { provider = way.provider }, function(box)
        local name = fresh(odd_names .. "\ngit add -A; git commit -q -m one; git tag -a v1 -m v1; git branch other")
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
        assert(luarium.monotonic() - began < 8)
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

  describe("token", function()
    local function forms()
      local plain = server.password
      local encoded = plain:gsub("[^%w%-_%.~]", function(c)
        return ("%%%02X"):format(c:byte())
      end)
      return { plain, encoded, (native.crypto.base64_encode(server.user .. ":" .. plain):gsub("=+$", "")),
        (native.crypto.base64_encode(plain):gsub("=+$", "")) }
    end

    local function assert_clean(text, where)
      for _, form in ipairs(forms()) do
        assert(not text:find(form, 1, true), "the token is in " .. where)
      end
    end

    local function files_clean(folder)
      for _, form in ipairs(forms()) do
        assert.equal("", sh("grep -rlsF -e $1 $2 || true", form, folder))
      end
    end

    local function read(path)
      local file = io.open(path, "rb")
      local text = file and file:read("*a") or ""
      if file then
        file:close()
      end
      return text
    end

    --- Every process whose environment has the token; no argument list may have it.
    local function look_at_processes()
      local holders = {}
      for _, entry in ipairs(await(fs.ls("/proc"))) do
        if entry.name:match("^%d+$") then
          assert_clean(read("/proc/" .. entry.name .. "/cmdline"), "the arguments of " .. entry.name)
          if read("/proc/" .. entry.name .. "/environ"):find(server.password, 1, true) then
            holders[#holders + 1] = read("/proc/" .. entry.name .. "/cmdline"):gsub("%z", " ")
          end
        end
      end
      return holders
    end

    for _, case in ipairs({
      { name = "a clone in the sandbox", options = { mirror = false } },
      { name = "a clone from a mirror", options = {} },
      { name = "a clone from a bundle", options = { mirror = true }, provider = "spec_apart" },
    }) do
      it_in("of " .. case.name .. " is nowhere but in that command's environment", { provider = case.provider },
        function(box, folder)
          local name = fresh("head -c 600000 /dev/urandom >big")
          local records = {}
          local off = event.on("*", function(record)
            records[#records + 1] = event.to_json(record)
          end)
          local seen, finished = {}, false
          luarium.all({
            function()
              box:clone(server:url("slow", name), with(token(), case.options))
              finished = true
            end,
            function()
              while not finished do
                for _, holder in ipairs(look_at_processes()) do
                  seen[holder] = true
                end
                files_clean(folder)
                luarium.sleep(0.05)
              end
            end,
          })
          off()
          local count = 0
          for holder in pairs(seen) do
            count = count + 1
            assert(holder:find("git", 1, true), holder)
          end
          assert(count > 0, "nobody was seen with the token: the look came too late")
          assert.same({}, look_at_processes())
          files_clean(folder)
          assert_clean(table.concat(records, "\n"), "the events")
          assert.truthy(table.concat(records, "\n"):find("sandbox.clone", 1, true))
        end)
    end

    it_in("is not given to the sandbox at all when there is a mirror", function(box)
      local name = fresh("echo 1 >f")
      local hooks = box:path("spy")
      box:write_file("spy/post-checkout", "#!/bin/sh\nenv >" .. hooks .. "/env\n", { mode = 493 })
      box:exec("git config --global core.hooksPath " .. hooks, { check = true })
      box:clone(server:url("git", name), token())
      assert.is_nil(box:read_file("spy/env"):find(server.password, 1, true))
    end)

    it_in("is not stored by helpers that the sandbox has", function(box)
      local name = fresh("echo 1 >f")
      local origin = server:url("", ""):gsub("/+$", "")
      box:exec({ "git", "config", "--global", "credential." .. origin .. ".helper", "!f() { cat >>$HOME/stolen; }; f" },
        { check = true })
      box:exec({ "git", "config", "--global", "credential.helper", "!f() { cat >>$HOME/stolen; }; f" }, { check = true })
      box:clone(server:url("git", name), with(token(), { mirror = false }))
      assert.equal("no\n", box:exec("test -e $HOME/stolen && cat $HOME/stolen || echo no").stdout)
    end)

    it_in("goes to no other server, neither by redirect nor by submodule", function(box)
      local other = git_server.start()
      local ok, err = pcall(function()
        local name = fresh("echo 1 >f")
        other:make(name, "echo 1 >f")
        local middle = git_server.start({ away = other:url("git", ""):gsub("/+$", "") })
        local fine, problem = pcall(function()
          for _, use_mirror in ipairs({ true, false }) do
            fails("auth", box.clone, box, middle:url("away", name), with(token(), { mirror = use_mirror, path = "x" }))
          end
        end)
        middle:stop()
        assert(fine, problem)
        local top = fresh(("git submodule --quiet add %s inner; git config -f .gitmodules submodule.inner.url %s"):format(
          other:url("open", name), other:url("git", name)))
        for _, use_mirror in ipairs({ true, false }) do
          fails("auth", box.clone, box, server:url("git", top), with(token(), { submodules = true, path = "y",
            mirror = use_mirror }))
          assert.equal("", box:exec({ "ls", "-A" }).stdout)
        end
        assert(other:requests("401") > 0)
        assert.equal(0, other:requests("Basic"))
      end)
      other:stop()
      if not ok then
        error(err, 0)
      end
    end)

    it_in("is out of reach of hooks, unless they are asked for", function(box)
      local repo = box:clone(server:url("git", fresh("echo 1 >f")), token())
      box:write_file(repo.path .. "/.git/hooks/pre-push", "#!/bin/sh\nenv >$HOME/env\n", { mode = 493 })
      repo:push(token())
      assert.equal("no\n", box:exec("test -e $HOME/env && echo yes || echo no").stdout)
      repo:push(with(token(), { hooks = true }))
      assert.equal("yes\n", box:exec("test -e $HOME/env && echo yes || echo no").stdout)
    end)

    it_in("follows the address that was cloned, not what the repository says later", function(box)
      local repo = box:clone(server:url("git", fresh("echo 1 >f")), token())
      local other = git_server.start()
      local ok, err = pcall(function()
        other:make("steal.git")
        repo:run({ "remote", "set-url", "origin", other:url("git", "steal.git") }, { check = true })
        fails("auth", repo.push, repo, token())
        assert.equal(0, other:requests("Basic"))
        fails("invalid", function()
          box:git(repo.path):push(token())
        end)
      end)
      other:stop()
      if not ok then
        error(err, 0)
      end
    end)
  end)

  describe("mirror", function()
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

    it_in("shares one bundle among clones and removes it", { provider = "spec_apart" }, function(box, folder)
      local address = server:url("open", fresh("head -c 200000 /dev/urandom >f"))
      luarium.map({ 1, 2, 3, 4, 5, 6 }, function(i)
        box:clone(address, { path = "c" .. i, mirror = true })
      end)
      assert.equal("", sh("ls -d $1/cache/git/*/b-* 2>/dev/null || true", folder))
      assert.equal("c1\nc2\nc3\nc4\nc5\nc6\n", box:exec({ "ls", "-A" }).stdout)
    end)
  end)

  describe("repository", function()
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
      local repo, name = cloned(box, odd_names)
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
    bare_tools = folder .. "/tools"
    sh("mkdir $1; busybox --install -s $1; ln -sf $(command -v git) $1/git", bare_tools)
    local sub = fresh("echo inner >file")
    local name = fresh(odd_names .. ("\ngit submodule --quiet add ../%s inner"):format(sub))
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
    bare_tools = nil
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
