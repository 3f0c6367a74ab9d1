--- The commands for what a sandbox can do besides exec, over folders and through a real sshd.
local async = require "spec.support.async"
local json = require "luarium.json"
local native = require "luarium.native"
local program = require "spec.support.program"
local saving = require "spec.support.saving_provider"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"

local within = program.within(60, function(place)
  saving.write(place)
  place.env.LUARIUM_PROVIDER = "saving"
end)

local function make(place, name)
  return (place:ok({ "create", "--name", name }):gsub("\n", ""))
end

local function status(place, name)
  for _, row in ipairs(json.decode(place:ok({ "ls", "--json" }))) do
    if row.name == name then
      return row.status
    end
  end
end

--- What a command that fails says.
local function fails(place, code, words)
  local result = place:run(words)
  assert.equal(code, result.exit_code, result.stderr)
  return result.stderr, result.stdout
end

describe("the life of a sandbox, by commands:", function()
  it("stop, start, pause, resume", within(function(place)
    local one, two = make(place, "one"), make(place, "two")
    for _, case in ipairs({ { "stop", "stopped" }, { "start", "started", "running" }, { "pause", "paused" },
      { "resume", "resumed", "running" } }) do
      local done = json.decode(place:ok({ case[1], "one", "two", one, "--json" }))
      assert.same({ [case[2]] = { one, two }, failed = {} }, done)
      assert.equal(case[3] or case[2], status(place, "one"))
      assert.equal(case[3] or case[2], status(place, "two"))
    end
    local result = place:run({ "stop", "one" })
    assert.same({ 0, "", ("stopped %s\n"):format(one) }, { result.exit_code, result.stdout, result.stderr })
    assert.equal("", place:run({ "start", "one", "-q" }).stderr)
  end))

  it("what a provider lacks is told with what to use instead; the others are done", within(function(place)
    make(place, "able")
    local unable = place:ok({ "create", "--provider", "local", "--name", "unable" }):gsub("\n", "")
    local advice = "provider 'local' has no 'stop': destroy it; its processes are yours"
    assert.equal(("luarium: stop: %s\nhint: `luarium providers` shows what each provider can do\n"):format(advice),
      (fails(place, 1, { "stop", "unable" })))
    assert.equal("unsupported", json.decode((fails(place, 1, { "stop", "unable", "--json" }))).error.kind)
    local said = fails(place, 1, { "stop", "unable", "able" })
    assert.matches("1 of 2 could not be stopped; " .. unable .. ": stop: " .. advice, said, 1, true)
    assert.equal("stopped", status(place, "able"))
    for command, text in pairs({ pause = "has no 'pause': leave it running",
      snapshot = "has no 'snapshot': download what matters",
      fork = "has no 'fork': create another one and upload into it" }) do
      assert.matches(text, (fails(place, 1, { command, "unable" })), 1, true)
    end
    assert.equal(2, place:records())
    assert.matches("BOX ... is missing", (fails(place, 2, { "stop" })), 1, true)
    place:ok({ "start", "able" })
    assert.matches("there is no sandbox 'nobody'; nothing was done to the others",
      (fails(place, 1, { "stop", "able", "nobody" })), 1, true)
    assert.equal("running", status(place, "able")) -- all are found before anything is done
  end))

  it("snapshot, snapshots", within(function(place)
    make(place, "demo")
    assert.equal("[]\n", place:ok({ "snapshots", "--json" }))
    assert.matches("no snapshots; `luarium snapshot BOX` makes one", place:run({ "snapshots" }).stderr, 1, true)
    local id = place:ok({ "snapshot", "demo" }):gsub("\n", "")
    local base = json.decode(place:ok({ "snapshot", "demo", "--name", "base", "--json" }))
    assert.equal("base", base.name)
    local list = json.decode(place:ok({ "snapshots", "--json" }))
    assert.same({ base.id, "base" }, { list[1].id, list[1].name })
    assert.equal(id, list[2].id)
    assert.matches("^demo%-%d+%-%d+$", list[2].name)
    assert.matches("^NAME +SIZE +AGE +ID\nbase +%- +%S+ +" .. base.id:gsub("%-", "%%-") .. "\n", place:ok({ "snapshots" }))
    assert.equal("base\t" .. base.id .. "\n", place:ok({ "__complete", "--", "snapshots", "--delete", "b" }))
    assert.equal("--delete=base\t" .. base.id .. "\n",
      place:ok({ "__complete", "--", "--provider", "saving", "snapshots", "--delete=b" }))
    local again = place:run({ "snapshot", "demo", "--name", "again" })
    assert.equal(("luarium: saved as again; `luarium create --image %s` begins with it\n"):format(
      (again.stdout:gsub("\n", ""))), again.stderr)
    place:ok({ "snapshots", "--delete", "again" })
    assert.matches("there is one named 'base' already", (fails(place, 1, { "snapshot", "demo", "-n", "base" })), 1, true)
    local said = fails(place, 1, { "snapshots", "--delete", "nothing", "--delete", id })
    assert.matches("1 of 2 could not be deleted; nothing: ", said, 1, true)
    assert.matches("deleted " .. id, said, 1, true)
    assert.same({ deleted = { "base" }, failed = {} }, json.decode(place:ok({ "snapshots", "--delete", "base", "--json" })))
    assert.equal("[]\n", place:ok({ "snapshots", "--json" }))
    assert.matches("there is no snapshot named 'base'", (fails(place, 1, { "snapshots", "--delete", "base" })), 1, true)
    assert.matches("provider 'local' has no list of snapshots: --provider chooses another one",
      (fails(place, 1, { "snapshots", "--provider", "local" })), 1, true)
  end))

  it("volumes", within(function(place)
    place:write("volumes.lua", [[luarium.volume(nil, "data") luarium.volume(nil, "more")]])
    place:ok({ "run", "volumes.lua" })
    assert.matches("^NAME +SIZE +AGE +ID\ndata ", place:ok({ "volumes" }))
    assert.same({ "data", "more" }, json.decode(place:ok({ "volumes", "--delete", "data", "--delete", "more", "--delete",
      "data", "--json" })).deleted)
    assert.equal("[]\n", place:ok({ "volumes", "--json" }))
  end))

  it("fork", within(function(place)
    local demo = make(place, "demo")
    place:ok({ "exec", "demo", "echo first >file" })
    local copy = place:ok({ "fork", "demo", "--name", "copy" }):gsub("\n", "")
    assert.matches("^sbx_%w+$", copy)
    assert.is_true(copy ~= demo)
    place:ok({ "exec", "demo", "echo second >file" })
    assert.equal("first\n", place:ok({ "exec", "copy", "cat file" }))
    local result = place:run({ "fork", "demo", "--name", "other", "--json" })
    assert.same({ "other", "saving", "running" }, { json.decode(result.stdout).name, json.decode(result.stdout).provider,
      json.decode(result.stdout).status })
    result = place:run({ "fork", "demo", "-n", "demo" })
    assert.equal(1, result.exit_code)
    assert.matches("a sandbox is called 'demo' already", result.stderr, 1, true)
  end))

  it("extend", within(function(place)
    local id = place:ok({ "create", "--name", "demo", "--timeout", "1h" }):gsub("\n", "")
    local function left()
      return json.decode(place:ok({ "ls", "--json" }))[1].expires_at - native.loop.realtime()
    end
    local before = left()
    assert.equal(id .. " ends in 2h00m\n", place:run({ "extend", "demo", "2h" }).stderr)
    assert.is_true(left() > before + 3000)
    local facts = json.decode(place:ok({ "extend", "demo", "90", "--json" }))
    assert.equal(id, facts.id)
    assert.is_true(left() <= 90 and facts.expires_at > native.loop.realtime())
    assert.matches("seconds: expected more than 0 seconds, or such as 90s, 30m, 1.5h, 2d, got 'soon'",
      (fails(place, 2, { "extend", "demo", "soon" })), 1, true)
    assert.equal("5d\tdays\n5h\thours\n5m\tminutes\n5s\tseconds\n", place:ok({ "__complete", "--", "extend", "demo", "5" }))
  end))

  it("destroy --expired ends those past their end, and ls and doctor tell of them", within(function(place)
    local function let_pass(id) -- its time, while no program of ours is there
      local path = ".state/sandboxes/" .. id .. ".json"
      local record = json.decode(place:read(path))
      record.expires_at = 1
      place:write(path, json.encode(record))
    end
    local kept = place:ok({ "create", "--name", "kept", "--timeout", "1h" }):gsub("\n", "")
    assert.same({ destroyed = {}, failed = {} }, json.decode(place:ok({ "destroy", "--expired", "--json" })))
    assert.falsy(place:run({ "ls" }).stderr:find("past", 1, true))
    local one = make(place, "one")
    let_pass(one)
    let_pass(place:ok({ "create", "--label", "team=docs" }):gsub("\n", ""))
    assert.matches("2 past their end; `luarium destroy --expired` ends them", place:run({ "ls" }).stderr, 1, true)
    assert.matches("warn  sandboxes +2 of 3 [^\n]+\n +%-> luarium destroy %-%-expired\n", place:run({ "doctor" }).stdout)
    assert.matches("^destroyed sbx_%w+\n$", place:run({ "destroy", "--expired", "--label", "team=docs" }).stderr)
    assert.equal("expired", status(place, "one"))
    assert.same({ destroyed = { one }, failed = {} }, json.decode(place:ok({ "destroy", "--expired", "--json" })))
    assert.equal("running", status(place, "kept"))
    assert.equal(1, place:records())
    assert.matches("either sandboxes or --expired", (fails(place, 2, { "destroy", "--expired", "kept" })), 1, true)
    assert.matches("either --all or --expired", (fails(place, 2, { "destroy", "--expired", "--all" })), 1, true)
    place:ok({ "destroy", kept })
    assert.matches("no sandbox fits", place:run({ "ls", "--label", "team=docs" }).stderr, 1, true)
  end))

  it("url", within(function(place)
    make(place, "demo")
    assert.equal("http://127.0.0.1:8080\n", place:ok({ "url", "demo", "8080" }))
    assert.same({ url = "http://127.0.0.1:80", headers = {}, held = false },
      json.decode(place:ok({ "url", "demo", "80", "--json" })))
    for _, port in ipairs({ "0", "65536", "http", "1.5" }) do
      assert.matches("port: expected a port from 1 to 65535, got '" .. port .. "'",
        (fails(place, 2, { "url", "demo", port })), 1, true)
    end
    assert.matches("make it with `luarium create --network on`", (fails(place, 1, { "url",
      place:ok({ "create", "--provider", "bubblewrap" }):gsub("\n", ""), "80" })), 1, true)
  end))
end)

local missing = sshd.missing()
if missing then
  describe("luarium url", function()
    pending(missing)
  end)
  return
end

describe("luarium url", function()
  it("keeps a tunnel open until Ctrl-C", async(60, function()
    local server = sshd.start()
    local ok, err = pcall(program.with, function(place)
      local given = {}
      for key, value in pairs(server:provider()) do
        given[#given + 1] = key == 1 and ("%q"):format(value) or ("%s = %q"):format(key, value)
      end
      place:write("luarium.lua", ("return { default = 'host', providers = { host = { %s } } }"):format(
        table.concat(given, ", ")))
      make(place, "demo")
      local process = place:spawn({ "url", "demo", tostring(server.port) })
      local address, port = program.read_until(process, "\n"):match("^(http://127.0.0.1:(%d+))\n")
      assert.is_true(tonumber(port) ~= server.port)
      local greeting = place:run({}, { argv = { "sh", "-c", "echo | socat -t 5 - TCP:127.0.0.1:" .. port .. " | head -n 1" } })
      assert.matches("^SSH%-2.0%-", greeting.stdout, address)
      process:kill("INT")
      assert.equal(0, task.await(process:wait()).exit_code)
      process:close()
    end)
    server:stop()
    assert(ok, err)
  end))
end)
