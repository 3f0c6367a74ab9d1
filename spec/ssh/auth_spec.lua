--- Getting in: keys of every kind, the agent, what is refused and how that is told; and whether it is the right host.
local async = require "spec.support.async"
local errors = require "luarium.error"
local peer = require "spec.support.peer"
local scratch = require "spec.support.scratch"
local secret = require "luarium.secret"
local ssh = require "luarium.ssh"
local sshd = require "spec.support.sshd"

local server = peer("ssh: getting in", sshd)
if not server then
  return
end

--- The options to reach the server, without the adapter's name.
local function options(more)
  local result = server:provider(more)
  result[1] = nil
  return result
end

--- Logs in with these options; returns what failed.
local function attempt(given)
  local host = assert(ssh.open(given))
  local connection, err = host.pool:take()
  if connection then
    host.pool:give_back(connection)
  end
  host:close()
  return connection ~= nil, err
end

local function expect_in(given)
  local ok, err = attempt(given)
  assert(ok, err and err.message)
end

local function expect_refused(given, kind, ...)
  local ok, err = attempt(given)
  assert.is_false(ok)
  assert.is_true(errors.is(err, kind), err.kind .. ": " .. err.message)
  for _, text in ipairs({ ... }) do
    assert.is_truthy(err.message:find(text, 1, true), err.message)
  end
  return err
end

describe("ssh: keys", function()
  for _, case in ipairs({ { "ed25519" }, { "ecdsa" }, { "ecdsa", "-b 521" }, { "rsa", "-b 2048" },
    { "rsa", "-b 2048 -m PEM" }, { "ecdsa", "-m PEM" } }) do
    local name = ("%s%s"):format(case[1], case[2] and " " .. case[2] or "")
    it(name, async(20, function()
      local path = server:key("key" .. name:gsub("%W", ""), case[1], { more = case[2] })
      expect_in(options({ key = path }))
    end))
  end

  it("with a passphrase: in OpenSSH's format and in PEM", async(20, function()
    local new = server:key("locked_new", "ed25519", { passphrase = "open sesame" })
    local pem = server:key("locked_pem", "rsa", { passphrase = "open sesame", more = "-b 2048 -m PEM" })
    for _, path in ipairs({ new, pem }) do
      expect_in(options({ key = path, passphrase = secret.new("open sesame", "PASSPHRASE") }))
      expect_refused(options({ key = path, passphrase = "wrong one" }), "auth", path)
      expect_refused(options({ key = path }), "auth", path, "passphrase")
    end
  end))

  it("RSA with a passphrase in OpenSSH's format says what to do", async(20, function()
    local path = server:key("locked_rsa", "rsa", { passphrase = "open sesame", more = "-b 2048" })
    expect_refused(options({ key = path, passphrase = "open sesame" }), "auth", "ssh-keygen -p -m PEM")
  end))

  it("a secret may be the key itself", async(20, function()
    local text = scratch.read(server.dir .. "/id")
    expect_in(options({ key = secret.new(text, "KEY") }))
  end))

  it("one that the host does not know, one that is missing, one that is none", async(20, function()
    local stranger = server:key("stranger", "ed25519", { authorize = false })
    expect_refused(options({ key = stranger }), "auth", stranger, "publickey")
    expect_refused(options({ key = server.dir .. "/nowhere" }), "auth", "nowhere", "cannot be read")
    scratch.write(server.dir .. "/garbage", "this is no key\n")
    expect_refused(options({ key = server.dir .. "/garbage" }), "auth", "garbage")
  end))

  --- Another server, with a line of its own; fn gets it and its options.
  local function on_strict(line, fn)
    local strict = sshd.start({ config = line, prepare = function(self)
      scratch.sh(("ssh-keygen -q -t ed25519 -N '' -f %s/ca"):format(self.dir))
    end })
    local ok, err = pcall(fn, strict, function(more)
      local result = strict:provider(more)
      result[1] = nil
      return result
    end)
    strict:stop()
    assert(ok, err)
  end

  it("RSA is signed over SHA-2, and where that is not taken the error says what to use", async(40, function()
    on_strict("PubkeyAcceptedAlgorithms rsa-sha2-512", function(strict, given)
      expect_in(given({ key = strict:key("rsa", "rsa", { more = "-b 2048" }) }))
      expect_refused(given(), "auth", "/id: ") -- an ed25519 key is not taken here
    end)
    on_strict("PubkeyAcceptedAlgorithms rsa-sha2-256,ssh-ed25519", function(strict, given)
      expect_refused(given({ key = strict:key("rsa", "rsa", { more = "-b 2048" }) }), "auth", "rsa-sha2-512",
        "ed25519 key")
      expect_in(given())
    end)
  end))

  it("a host that takes certificates alone: the error says that there are none here", async(40, function()
    on_strict("TrustedUserCAKeys DIR/ca.pub", function(strict, given)
      local path = strict:key("certified", "ed25519", { authorize = false })
      scratch.sh(("ssh-keygen -q -s %s/ca -I me -n $(id -un) %s.pub"):format(strict.dir, path))
      expect_refused(given({ key = path }), "auth", path .. "-cert.pub", "certificates cannot be used")
      local agent = strict.dir .. "/agent"
      local pid = scratch.sh(("ssh-agent -a %s | sed -n 's/.*PID=\\([0-9]*\\);.*/\\1/p'"):format(agent))
      local ok, err = pcall(function()
        scratch.sh(("SSH_AUTH_SOCK=%s ssh-add -q %s"):format(agent, path))
        expect_refused(given({ key = {}, agent = agent, ssh_config = strict.dir .. "/none" }), "auth",
          "the agent's certificate", "certificates cannot be used")
      end)
      scratch.sh("kill " .. pid)
      assert(ok, err)
    end)
  end))

  it("several are tried in turn", async(20, function()
    expect_in(options({ key = { server.dir .. "/stranger", server.dir .. "/id" } }))
  end))

  it("nothing to try at all", async(20, function()
    expect_refused(options({ key = {}, ssh_config = server.dir .. "/no-config", user = "nobody-there" }), "auth",
      "does not let us in")
  end))

  it("no secret is in a message", async(20, function()
    local path = server:key("told", "ed25519", { passphrase = "s3cret-passphrase" })
    local err = expect_refused(options({ key = path, passphrase = "wr0ng-passphrase" }), "auth")
    assert.is_nil(err.message:find("wr0ng-passphrase", 1, true))
  end))
end)

describe("ssh: the agent", function()
  local agent, pid

  setup(function()
    agent = server.dir .. "/agent"
    pid = scratch.sh(("ssh-agent -a %s | sed -n 's/.*PID=\\([0-9]*\\);.*/\\1/p'"):format(agent))
  end)

  teardown(function()
    scratch.sh("kill " .. pid)
  end)

  local function add(path)
    scratch.sh(("SSH_AUTH_SOCK=%s ssh-add -q -D 2>/dev/null; SSH_AUTH_SOCK=%s ssh-add -q %s"):format(agent, agent, path))
  end

  for _, kind in ipairs({ "ed25519", "ecdsa", "rsa" }) do
    it("signs with " .. kind, async(20, function()
      add(server:key("agent_" .. kind, kind))
      expect_in(options({ key = {}, agent = agent, ssh_config = server.dir .. "/no-config" }))
    end))
  end

  it("has no key that helps", async(20, function()
    add(server:key("agent_stranger", "ed25519", { authorize = false }))
    expect_refused(options({ key = server.dir .. "/nowhere", agent = agent }), "auth", "agent")
  end))

  it("is not there", async(20, function()
    expect_refused(options({ key = server.dir .. "/nowhere", agent = server.dir .. "/no-agent" }), "auth", "ssh-agent")
    expect_in(options({ agent = server.dir .. "/no-agent" }))
  end))
end)

describe("ssh: the host's key", function()
  local function known(name)
    return server.dir .. "/" .. name
  end

  it("unknown: refused, with its fingerprint and what to do", async(20, function()
    local err = expect_refused(options({ known_hosts = known("none") }), "auth", server:fingerprint(), "host_key",
      "accept_new")
    assert.are.equal("SSH_HOST_KEY_UNKNOWN", err.name)
    assert.is_false(scratch.exists(known("none")))
  end))

  it("accept_new remembers it", async(20, function()
    expect_in(options({ known_hosts = known("fresh"), accept_new = true }))
    expect_in(options({ known_hosts = known("fresh") }))
    local text = scratch.read(known("fresh"))
    assert.is_truthy(text:find(("[127.0.0.1]:%d ssh-ed25519 "):format(server.port), 1, true), text)
    assert.are.equal("600", scratch.sh("stat -c %a " .. known("fresh")))
  end))

  it("in hashed known_hosts", async(20, function()
    local path = server:know(true)
    assert.is_truthy(scratch.read(path):find("^|1|"))
    expect_in(options())
    server:know()
  end))

  it("changed: refused with both fingerprints, also with accept_new", async(20, function()
    scratch.sh(("ssh-keygen -q -t ed25519 -N '' -f %s"):format(known("other_host")))
    local key = scratch.read(known("other_host.pub")):match("^(%S+ %S+)")
    scratch.write(known("changed"), ("[127.0.0.1]:%d %s\n"):format(server.port, key))
    local print = scratch.sh("ssh-keygen -l -f " .. known("other_host.pub")):match("SHA256:%S+")
    for _, accept in ipairs({ false, true }) do
      local err = expect_refused(options({ known_hosts = known("changed"), accept_new = accept }), "auth",
        server:fingerprint(), print, "ssh-keygen -R")
      assert.are.equal("SSH_HOST_KEY_CHANGED", err.name)
    end
  end))

  it("revoked: refused", async(20, function()
    local text = scratch.read(server:know())
    scratch.write(known("revoked"), text .. "@revoked " .. text)
    local err = expect_refused(options({ known_hosts = known("revoked") }), "auth", "revoked")
    assert.are.equal("SSH_HOST_KEY_REVOKED", err.name)
  end))

  it("pinned: the right fingerprint is enough, a wrong one never", async(20, function()
    expect_in(options({ known_hosts = known("none"), host_key = server:fingerprint() }))
    local err = expect_refused(options({ host_key = "SHA256:wrong" }), "auth", server:fingerprint(), "SHA256:wrong")
    assert.are.equal("SSH_HOST_KEY_CHANGED", err.name)
  end))

  it("is asked for in the kind that is known", async(30, function()
    -- The host has an ecdsa key too, which would be chosen when nobody asks for the known one.
    local two = sshd.start({ second = "ecdsa" })
    local given = two:provider()
    given[1] = nil
    local ok, err = pcall(expect_in, given)
    two:stop()
    assert(ok, err)
  end))

  it("other lines of known_hosts do not disturb", async(20, function()
    local line = scratch.read(server:know())
    scratch.write(known("mixed"), "# a comment\n\n@cert-authority *.example.com ssh-rsa AAAA\nbroken\n"
      .. "host ssh-future AAAA\n" .. line)
    expect_in(options({ known_hosts = known("mixed") }))
  end))
end)

describe("ssh: what is no SSH server", function()
  it("a closed port", async(20, function()
    expect_refused(options({ port = 1 }), "unavailable", "cannot connect")
  end))

  it("a name that does not exist", async(20, function()
    expect_refused(options({ host = "no-such-host.invalid" }), "unavailable", "no-such-host.invalid")
  end))

  it("no host at all", async(20, function()
    local host, err = ssh.open({ ssh_config = false })
    assert.is_nil(host)
    assert.are.equal("invalid", err.kind)
    assert.is_truthy(err.message:find("LUARIUM_SSH_HOST", 1, true))
  end))
end)
