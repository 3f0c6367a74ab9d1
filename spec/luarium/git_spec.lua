local fixture = require "spec.support.git_fixture"
local command = require "luarium.git.command"
local secret = require "luarium.secret"
local status = require "luarium.git.status"
local url = require "luarium.git.url"

local fails = fixture.fails

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
