--- Errors that teach: what was probably meant, where a key comes from, what a check is for.
local json = require "luarium.json"
local program = require "spec.support.program"
local sshd = require "spec.support.sshd"

local within = program.within(30)

--- Runs a script that fails; returns what was said about it.
local function failure(place, script)
  place:write("script.lua", script)
  local result = place:run({ "run", "-q", "script.lua" })
  assert.equal(1, result.exit_code, result.stderr)
  return result.stderr
end

describe("an error", function()
  local misspelt = {
    { "local box <close> = luarium.create() box:exce('true')", "method 'exce'.*did you mean 'exec'%?" },
    { "local box <close> = luarium.create() box:git('.'):comit('x')", "method 'comit'.*did you mean 'commit'%?" },
    { "local box <close> = luarium.create() box:spawn('cat'):close_stdn()", "method 'close_stdn'.*did you mean 'close_stdin'%?" },
    { "luarium.craete {}", "field 'craete'.*did you mean 'create'%?" },
    { "luarium.scope(function(scope) scope:spwan(print) end)", "method 'spwan'.*did you mean 'spawn'%?" },
    { "local box <close> = luarium.create() box:can('puase')", "'puase': did you mean 'pause'%?" },
    { "luarium.create { provider = 'lcoal' }", "there is no provider 'lcoal': did you mean 'local'%?" },
  }
  for _, case in ipairs(misspelt) do
    it("of a misspelt name says what is near: " .. case[1], within(function(place)
      local said = failure(place, case[1])
      assert.truthy(said:find(case[2]), said)
      assert.truthy(said:find("script.lua:1", 1, true), said)
    end))
  end

  it("offers nothing where nothing is near, and leaves other messages alone", within(function(place)
    assert.falsy(failure(place, "nonsense()"):find("did you mean", 1, true))
    assert.falsy(failure(place, "luarium.zzzzzzzz()"):find("did you mean", 1, true))
    assert.truthy(failure(place, "error('attempt to call it a day', 0)"):find("^luarium: attempt to call it a day"))
  end))

  it("of a provider that does not exist knows the configured ones", within(function(place)
    place:write("luarium.lua", [[return { providers = { builders = { "local" } } }]])
    local said = place:run({ "create", "--provider", "bilders" }).stderr
    assert.matches("there is no provider 'bilders': did you mean 'builders'?", said, 1, true)
    assert.matches("known: bubblewrap, builders, docker, local, ssh", said, 1, true)
  end))

  it("of a missing key names the variable, what it is and where to look", within(function(place)
    place:write("providers/cloudy.lua", [[
      local provider = require "luarium.provider"
      local function none() return nil end
      return provider.define { name = "cloudy", summary = "for this spec", docs = "https://cloudy.example/docs",
        config = { key = { env = "CLOUDY_API_KEY", secret = true, required = true, about = "from the page API keys" } },
        create = none, get = none, list = none, destroy = none, exec = none }]])
    local result = place:run({ "create", "--provider", "cloudy" })
    assert.equal(1, result.exit_code)
    for _, part in ipairs({ "CLOUDY_API_KEY", "from the page API keys", "https://cloudy.example/docs" }) do
      assert.truthy(result.stderr:find(part, 1, true), result.stderr)
    end
    assert.truthy(result.stderr:find("hint: set the variable named above", 1, true), result.stderr)
  end))

  it("whose message says what to do is followed by no other advice", within(function(place)
    local said = place:run({ "create", "--env", "NO_SUCH_VARIABLE" }).stderr
    assert.truthy(said:find("NO_SUCH_VARIABLE is not set", 1, true), said)
    assert.falsy(said:find("hint:", 1, true), said)
  end))

  it("of a login that was refused is no missing variable", within(function(place)
    local missing = sshd.missing()
    if missing then
      pending(missing)
      return
    end
    local server = sshd.start {}
    local key = server:key("other", "ed25519", { authorize = false })
    place:write("luarium.lua", ([[
      require("luarium").configure { providers = {
        stranger = { "ssh", host = "127.0.0.1:%d", key = "%s", known_hosts = "%s", ssh_config = false, agent = false },
        unknown = { "ssh", host = "127.0.0.1:%d", key = "%s", known_hosts = "%s/none", ssh_config = false, agent = false },
      } }]]):format(server.port, key, server:know(), server.port, key, server.dir))
    local said = place:run({ "create", "--provider", "stranger" }).stderr
    assert.truthy(said:find("does not let us in", 1, true), said)
    assert.truthy(said:find("hint: `ssh -v`", 1, true), said)
    said = place:run({ "create", "--provider", "unknown" }).stderr
    assert.truthy(said:find("is not known", 1, true), said)
    assert.falsy(said:find("hint:", 1, true), said)
    server:stop()
  end))
end)

describe("luarium doctor", function()
  it("leaves nothing in a state folder that it cannot write", within(function(place)
    local line = [[trap '' XFSZ; ulimit -f 0; "$0" doctor; find "$1" -name .doctor]] -- every file is too long
    local result = place:run({}, { argv = { "bash", "-c", line, place.program, place.dir } })
    assert.match("fail%s+state%s+write %S+/%.doctor: ", result.stdout)
    assert.falsy(result.stdout:find("/.doctor\n", 1, true), result.stdout)
  end))

  it("explains every check", within(function(place)
    local checks = json.decode(place:ok({ "doctor", "--json" })).checks
    assert(#checks > 5)
    local help, verbose = place:ok({ "doctor", "--help" }), place:ok({ "doctor", "-v" })
    for _, check in ipairs(checks) do
      assert(#check.about > 10, check.name)
      assert.truthy(help:find(check.name .. " +" .. check.about:gsub("%p", "%%%0")), check.name)
      assert.truthy(verbose:find(check.about, 1, true), check.name)
      assert.falsy(place:ok({ "doctor" }):find(check.about, 1, true))
    end
  end))

  it("looks at the configuration that --config names, and at no other", within(function(place)
    place:write("luarium.lua", [[return { providers = { here = { "local" } } }]])
    place:write("other.lua", [[return { providers = { there = { "local" } } }]])
    local said = place:ok({ "doctor", "--config", "other.lua" })
    assert.matches("ok +config +other%.lua\n", said)
    assert.matches("ok +providers +there\n", said)
    assert.matches("ok +providers +here\n", place:ok({ "doctor" }))
  end))

  it("tells of every host, also beside one whose options are wrong", within(function(place)
    local missing = sshd.missing()
    if missing then
      pending(missing)
      return
    end
    local server = sshd.start {}
    place:write("luarium.lua", ([[
      require("luarium").configure { providers = {
        fine = { "ssh", host = "127.0.0.1:%d", key = "%s/id", known_hosts = "%s", ssh_config = false, agent = false },
        closed = { "ssh", host = "127.0.0.1:1", ssh_config = false, agent = false },
        empty = { "ssh", host = "127.0.0.1:1", ssh_config = false, agent = false,
          password = require("luarium").env "NO_SUCH_VARIABLE" },
        typo = { "ssh", hots = "127.0.0.1" },
      } }]]):format(server.port, server.dir, server:know()))
    local said = place:run({ "doctor" }).stdout
    server:stop()
    local line = said:match("warn  ssh[^\n]*")
    assert.truthy(line, said)
    for _, part in ipairs({ "closed: ssh: cannot connect", "empty: ", "we can log in to fine" }) do
      assert.matches(part, line, 1, true)
    end
    assert.matches("warn  providers +provider typo: unknown option 'hots'", said)
  end))
end)
