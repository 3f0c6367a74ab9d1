--- Errors that users of commands see speak of commands and their options, not of functions of the API.
local bwrap = require "spec.support.bwrap"
local cli = require "luarium.cli"
local errors = require "luarium.error"
local json = require "luarium.json"
local program = require "spec.support.program"
local terms = require "luarium.cli.terms"

local within = program.within(60, function(place)
  place:ok({ "create", "--name", "demo" })
end)

local function first_line(result)
  return (result.stderr:match("^[^\n]*"))
end

describe("the error of a command", function()
  it("names the command or the provider, and options as they are typed", within(function(place)
    place:ok({ "exec", "-d", "--key", "other", "demo", "true" })
    place:ok({ "exec", "-d", "--key", "long", "demo", "sleep 1000" })
    for _, case in ipairs({
      { { "create", "--port", "9000:80" }, "create: provider 'local' cannot do --port: leave it out or choose another provider"
        .. " (`luarium providers` shows what each can do)" },
      { { "create", "--cwd", "/proc/x" }, "local: mkdir /proc/x: No such file or directory" },
      { { "create", "--provider", "ssh" }, "ssh: which host? Set `host` of the provider in luarium.lua, or the variable "
        .. "LUARIUM_SSH_HOST" },
      { { "exec", "--cwd", "/nowhere", "demo", "true" }, "local: --cwd '/nowhere': No such file or directory" },
      { { "exec", "--user", "x", "demo", "true" }, "exec: provider 'local' runs everything as one user: leave out --user, "
        .. "or use docker or ssh" },
      { { "exec", "-d", "--key", "a b", "demo", "true" }, "exec: the key \"a b\": expected up to 100 letters, digits and "
        .. "_ . : -, first no . : or -" },
      { { "exec", "-d", "-e", "LUARIUM_JOB=1", "demo", "true" }, "exec: --env: the name LUARIUM_JOB is Luarium's own" },
      { { "exec", "-d", "--key", "other", "demo", "false" }, "exec: 'other' was started with another command, working "
        .. "directory or input: choose another key, or remove it first" },
      { { "jobs", "demo", "--kill", "other", "--signal", "NOPE" }, "jobs: there is no signal NOPE" },
      { { "jobs", "demo", "--remove", "long" }, "jobs: 'long' still runs: kill it first" },
      { { "cp", "/etc/passwd", "demo:/proc/x" }, "local: copy to /proc/x: No such file or directory" },
      { { "stop", "demo" }, "stop: provider 'local' has no 'stop': destroy it; its processes are yours" },
      { { "snapshots" }, "provider 'local' has no list of snapshots: --provider chooses another one" },
      { { "volumes", "--delete", "x" }, "volumes: provider 'local' has no 'volumes --delete': use the vendor's own tool" },
    }) do
      assert.equal("luarium: " .. case[2], first_line(place:run(case[1])))
    end
    local err = json.decode(place:run({ "exec", "--json", "--user", "x", "demo", "true" }).stderr).error
    assert.same({ "exec: provider 'local' runs everything as one user: leave out --user, or use docker or ssh",
      "local.spawn" },
      { err.message, err.op })
  end))

  it("is the same for one of several", within(function(place)
    local two = place:ok({ "create" }):match("sbx_%w+")
    local line = first_line(place:run({ "stop", "demo", two }))
    assert.match("^luarium: 2 of 2 could not be stopped; sbx_%w+: stop: provider 'local' has no 'stop': ", line)
  end))

  it("says of one that was never finished, and of one that is gone, what was typed", within(function(place)
    local id = json.decode(place:ok({ "ls", "--json" }))[1].id
    local record = place:read(".state/sandboxes/" .. id .. ".json")
    local unfinished = json.decode(record)
    unfinished.external_id = nil
    place:write(".state/sandboxes/" .. id .. ".json", json.encode(unfinished))
    local result = place:run({ "cp", "demo:x", "y" })
    assert.equal(("luarium: cp: the sandbox %s was never finished: destroy it with `luarium destroy %s`\n"):format(id, id),
      result.stderr)
    place:write(".state/sandboxes/" .. id .. ".json", record)
    place:run({}, { argv = { "rm", "-r", ".state/local/" .. id } })
    assert.equal(("luarium: local: the sandbox %s no longer exists"):format(id),
      first_line(place:run({ "exec", "demo", "true" })))
  end))

  it("of a script is that of its call", within(function(place)
    place:write("script.lua", "luarium.create({ ports = { \"9000:80\" } })")
    assert.match("^luarium: create: provider 'local' cannot do `ports`: ", place:run({ "run", "script.lua" }).stderr)
  end))

  local missing = bwrap.missing
  it("gives advice that can be typed", within(function(place)
    assert.equal("docker: --port: \"x\" makes no sense", terms.message(errors.new("invalid",
      'create: ports: "x" makes no sense', { op = "docker.create", provider = "docker" }), cli.command("create")))
    assert.equal("away: port 80 is not published: make it with `luarium create --port 80`", terms.message(
      errors.new("conflict", "url: port 80 is not published: create{ ports = { 80 } }",
        { op = "away.url", provider = "away" }), cli.command("url")))
    if missing() then
      print("\n  not tried with bubblewrap: " .. missing())
      return
    end
    place:ok({ "create", "--provider", "bubblewrap", "--name", "safe" })
    assert.equal("luarium: url: provider 'bubblewrap' has no 'url': make it with `luarium create --network on` and use "
      .. "http://127.0.0.1:PORT", first_line(place:run({ "url", "safe", "80" })))
  end))
end)
