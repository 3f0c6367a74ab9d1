local json = require "luarium.json"
local program = require "spec.support.program"
local task = require "luarium.task"

local within = program.within(30)

describe("luarium", function()
  it("explains itself and every command, with an example", within(function(place)
    local overview = place:ok({})
    assert.equal(overview, place:ok({ "--help" }))
    assert.equal(overview, place:ok({ "help" }))
    for _, name in ipairs(require("luarium.cli").commands) do
      assert.truthy(overview:find("\n  " .. name .. " ", 1, true), name)
      local words = { "help" }
      for word in name:gmatch("%S+") do
        words[#words + 1] = word
      end
      local text = place:ok(words)
      assert.truthy(text:find("^Usage: luarium " .. name), text)
      assert.truthy(text:find("\nExample:\n  ", 1, true), name)
      table.remove(words, 1)
      words[#words + 1] = "--help"
      assert.equal(text, place:ok(words))
    end
  end))

  it("prints its version", within(function(place)
    local version = require("luarium.native").version
    assert.equal(("luarium %s (Lua 5.4)\n"):format(version), place:ok({ "version" }))
    assert.equal(place:ok({ "version" }), place:ok({ "--version" }))
    assert.equal(version, json.decode(place:ok({ "--json", "version" })).version)
    assert.equal(version, json.decode(place:ok({ "--version", "--json" })).version)
    assert.equal(version, json.decode(place:ok({ "--json", "-V" })).version)
  end))

  local wrong = {
    { { "lss" }, "there is no command 'lss': did you mean 'ls'?" },
    { { "provider", "nwe" }, "there is no command 'provider nwe': did you mean 'provider new'?" },
    { { "provider" }, "provider: expected one of new, test" },
    { { "--version", "--nope" }, "unknown option '--nope'" },
    { { "create", "--memory", "0" }, "option --memory: expected more than 0 bytes, or such as 512m or 2g, got '0'" },
    { { "create", "--memory", "9999999999t" }, "option --memory: expected more than 0 bytes" },
    { { "create", "--cwd", "" }, "create: option --cwd is empty" },
    { { "ls", "--config=" }, "ls: option --config is empty" },
    { { "cp", "", "box:" }, "cp: from is empty" },
    { { "destroy", "" }, "destroy: box is empty" },
    { { "create", "--nmae", "x" }, "create: unknown option '--nmae': did you mean '--name'?" },
    { { "create", "--name" }, "create: option --name needs its NAME" },
    { { "create", "--json=1" }, "create: option --json takes no value" },
    { { "create", "--timeout", "soon" }, "create: option --timeout: expected more than 0 seconds, or such as 90s, 30m, 1.5h, 2d, "
      .. "got 'soon'" },
    { { "create", "--timeout", "0" }, "create: option --timeout: expected more than 0 seconds, or such as 90s, 30m, 1.5h, 2d, "
      .. "got '0'" },
    { { "create", "--timeout", "0h" }, "2d, got '0h'" },
    { { "create", "--timeout", "-1" }, "2d, got '-1'" },
    { { "create", "--timeout", "1h30m" }, "2d, got '1h30m'" },
    { { "create", "--timeout", "3651d" }, "2d, got '3651d'" },
    { { "create", "--timeout", "inf" }, "2d, got 'inf'" },
    { { "run", "--busy-limit", "5w", "x.lua" }, "option --busy-limit: expected seconds, or such as 90s, 30m, 1.5h, 2d" },
    { { "create", "-n", "a:b" }, "option -n: expected a name of 1 to 100 bytes of UTF-8 without control characters, ':' and '/', "
      .. "that does not begin with '-', 'sbx_' or 'run_', got 'a:b'" },
    { { "create", "-n", "" }, "option -n: expected a name" },
    { { "create", "-n", "sbx_01" }, "'sbx_' or 'run_', got 'sbx_01'" },
    { { "create", "-n", "run_01" }, "'sbx_' or 'run_', got 'run_01'" },
    { { "create", "-e", "1A=2" }, "create: option -e: expected NAME=VALUE" },
    { { "provider", "new", "local" }, "provider new: 'local' is built in" },
    { { "create", "-e", "no value" }, "create: option -e: expected NAME=VALUE, or the NAME" },
    { { "create", "-l", "novalue" }, "create: option -l: expected KEY=VALUE, got 'novalue'" },
    { { "script.lua" }, "there is no command 'script.lua'\nhint: try `luarium run script.lua`" },
    { { "create", "extra" }, "create: 'extra' is too much" },
    { { "--color", "blue", "ls" }, "ls: option --color: expected one of auto, always, never, got 'blue'" },
    { { "exec" }, "exec: BOX is missing" },
    { { "exec", "box" }, "exec: which command?" },
    { { "cp", "a", "b" }, "cp: exactly one of the two paths is BOX:PATH" },
    { { "destroy" }, "destroy: which sandbox?" },
    { { "logs", "--tail", "-1" }, "option --tail: expected a whole number, got '-1'" },
    { { "destroy", "--all", "x" }, "destroy: either sandboxes or --all" },
    { { "destroy", "--all", "--yes", "--lable", "a=b" }, "did you mean '--label'?" },
    { { "--nonsense" }, "unknown option '--nonsense'" },
  }
  it("refuses what it does not know, with code 2, one line and a hint", within(function(place)
    for _, case in ipairs(wrong) do
      local result = place:run(case[1])
      assert.equal(2, result.exit_code, table.concat(case[1], " "))
      assert.equal("", result.stdout)
      assert.truthy(result.stderr:find("luarium: " .. case[2], 1, true) or result.stderr:find(case[2], 1, true),
        result.stderr)
      assert.truthy(result.stderr:find("^luarium: [^\n]+\nhint: [^\n]+\n$"), result.stderr)
    end
  end))

  it("tells errors as JSON when asked", within(function(place)
    local result = place:run({ "--json", "exec", "nobody", "true" })
    assert.equal(125, result.exit_code)
    local err = json.decode(result.stderr).error
    assert.equal("provider: expected one of new, test", json.decode(place:run({ "provider", "--json" }).stderr).error.message)
    assert.same({ "not_found", "there is no sandbox 'nobody'", 125 }, { err.kind, err.message, err.exit_code })
    assert.equal(2, json.decode(place:run({ "lss", "--json" }).stderr).error.exit_code)
  end))

  it("makes, lists, uses and destroys a sandbox", within(function(place)
    local id = place:ok({ "create", "--name", "demo", "-e", "GREETING=hello there", "-lteam=a b", "-t", "600" })
    assert.truthy(id:find("^sbx_%w+\n$"), id)
    id = id:gsub("\n", "")
    assert.equal("hello there\n", place:ok({ "exec", "demo", "echo $GREETING" }))
    assert.equal("a  b\n", place:ok({ "exec", id, "--", "echo", "a  b" }))
    assert.equal("hello there\n", place:ok({ "exec", id:sub(5, 16), "echo $GREETING" }))
    local list = place:ok({ "ls" })
    assert.truthy(list:find("^ID +NAME +PROVIDER +STATUS +AGE +LABELS\n" .. id .. " +demo +local +running +%S+ +"
      .. "team=a b\n$"), list)
    local row = json.decode(place:ok({ "ls", "--json" }))[1]
    assert.same({ id, "demo", "local", "running", "a b" }, { row.id, row.name, row.provider, row.status, row.labels.team })
    assert.equal("[]\n", place:ok({ "ls", "--json", "--label", "team=other" }))
    place:ok({ "destroy", "demo" })
    assert.equal(0, place:records())
    local gone = place:run({ "exec", "demo", "true" })
    assert.equal(125, gone.exit_code)
  end))

  it("takes durations with units", within(function(place)
    for _, case in ipairs({ { "90", 90 }, { "90s", 90 }, { "1.5h", 5400 }, { "2d", 172800 }, { "30M", 1800 },
      { ".5m", 30 } }) do
      local id = place:ok({ "create", "--timeout", case[1] }):match("%S+")
      local record = json.decode(place:read(".state/sandboxes/" .. id .. ".json"))
      local given = record.expires_at - record.created_at -- two readings of the clock, one after the other
      assert.truthy(given >= case[2] and given < case[2] + 30, case[1] .. " became " .. given)
    end
    place:write("wait.lua", [[return { inputs = { limit = "seconds" }, run = function(input) print(input.limit) end }]])
    assert.equal("5400.0\n", place:ok({ "run", "wait.lua", "limit=1.5h" }))
    local result = place:run({ "run", "wait.lua", "limit=1w" })
    assert.truthy(result.stderr:find("expected seconds, or such as 90s, 30m, 1.5h, 2d", 1, true), result.stderr)
    local offered = place:ok({ "__complete", "--", "create", "--timeout", "15" })
    assert.equal("15d\tdays\n15h\thours\n15m\tminutes\n15s\tseconds\n", offered)
    assert.equal("", place:ok({ "__complete", "--", "create", "--timeout", "15m" }))
  end))

  it("names the nearest sandbox, and all that an unclear name fits", within(function(place)
    place:ok({ "create", "-n", "frontend" })
    local result = place:run({ "exec", "frontned", "true" })
    assert.truthy(result.stderr:find("there is no sandbox 'frontned': did you mean 'frontend'?", 1, true), result.stderr)
    place:write("second.lua", "print(luarium.create({ name = 'frontend' }).id)")
    local id = place:ok({ "run", "-q", "second.lua" }):gsub("\n", "")
    assert.equal("yes", place:ok({ "exec", id:sub(-6), "printf yes" }))
    result = place:run({ "exec", "frontend", "true" })
    assert.equal(125, result.exit_code)
    assert.truthy(result.stderr:find("'frontend' fits 2 sandboxes by name: sbx_", 1, true), result.stderr)
  end))

  it("makes no second one of a name, which is an address", within(function(place)
    local id = place:ok({ "create", "-n", "frontend" }):gsub("\n", "")
    local result = place:run({ "create", "-n", "frontend" })
    assert.equal(1, result.exit_code)
    assert.equal(("luarium: a sandbox is called 'frontend' already: %s (running)\n"
      .. "hint: choose another name, or `luarium destroy` the one that has it\n"):format(id), result.stderr)
    assert.equal("", result.stdout)
    local err = json.decode(place:run({ "create", "-n", "frontend", "--json" }).stderr).error
    assert.same({ "conflict", "NAME_TAKEN" }, { err.kind, err.name })
    assert.equal(1, place:records())
    place:ok({ "destroy", "frontend" })
    place:ok({ "create", "-n", "frontend" })
  end))

  it("destroys all only when told twice", within(function(place)
    for _, name in ipairs({ "a", "b", "c" }) do
      place:ok({ "create", "-n", name, "-l", "keep=" .. (name == "c" and "yes" or "no") })
    end
    local result = place:run({ "destroy", "--all" })
    assert.equal(2, result.exit_code)
    assert.truthy(result.stderr:find("add --yes", 1, true), result.stderr)
    assert.equal(3, place:records())
    local report = json.decode(place:ok({ "destroy", "--all", "--yes", "--label", "keep=no", "--json" }))
    assert.same({ 2, 0 }, { #report.destroyed, #report.failed })
    assert.equal(1, place:records())
  end))

  it("hands limits, ports and volumes on to the provider", within(function(place)
    place:write("providers/echo.lua", [[
      local errors = require "luarium.error"
      local function none() return nil, errors.new("unavailable", "this one only listens") end
      return require("luarium.provider").define { name = "echo", summary = "tells what it was asked for", docs = "-",
        config = {}, accepts = { "user", "cpu", "memory", "disk", "network", "ports", "volumes" },
        create = function(_, spec)
          spec.nothing_made = true
          return nil, errors.new("invalid", ("%s %s %d %d %s %s %s"):format(spec.user, spec.cpu, spec.memory, spec.disk,
            spec.network, table.concat(spec.ports or {}, ","), table.concat(spec.volumes or {}, ",")))
        end,
        get = none, list = none, destroy = none, exec = none }]])
    local function asked(...)
      return place:run({ "create", "--provider", "echo", ... }).stderr
    end
    assert.matches("me 1.5 536870912 2147483648 false 80,9000:81 data:/data\n", asked("-u", "me", "--cpu", "1.5",
      "--memory", "512m", "--disk", "2G", "--network", "none", "-p", "80", "-p", "9000:81", "--volume", "data:/data"),
      1, true)
    assert.matches("me 1 1 1 true  \n", asked("-u", "me", "--cpu", "1", "--memory", "1", "--disk", "1", "--network",
      "on"), 1, true)
    assert.matches("--memory: expected more than 0 bytes, or such as 512m or 2g, got 'much'",
      asked("--memory", "much"), 1, true)
    local said = place:run({ "create", "--provider", "local", "--port", "9000:80" }).stderr
    assert.matches("provider 'local' cannot do --port", said, 1, true)
  end))

  it("tells in one line what the provider ignores", within(function(place)
    local result = place:run({ "create", "--image", "foo", "--cpu", "2" })
    assert.matches("^sbx_%w+\n$", result.stdout)
    assert.matches("^%d%d:%d%d:%d%d warn provider 'local' ignores cpu, image: 'docker' takes them, "
      .. "use %-%-provider docker\n$", result.stderr)
    result = place:run({ "create", "--image", "foo", "--json" })
    assert.same({ "image" }, json.decode(result.stdout).ignored)
    assert.equal("", result.stderr)
    result = place:run({ "create", "--label", "a=b" })
    assert.equal("", result.stderr)
    place:write("one.lua", [[local box <close> = luarium.create { image = "foo" }]])
    local _, lines = place:run({ "run", "one.lua" }).stderr:gsub("ignores image", "")
    assert.equal(1, lines)
  end))

  it("forgets what cannot be destroyed when told to, and nothing else", within(function(place)
    place:write("luarium.lua", [[require("luarium").configure { providers = { away = { "local", dir = "boxes" } } }]])
    local lost = place:ok({ "create", "--provider", "away", "--name", "lost" }):match("sbx_%w+")
    place:ok({ "create", "--provider", "local", "--name", "there" })
    place:write("luarium.lua", "return {}")
    local result = place:run({ "destroy", "lost" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("1 of 1 could not be destroyed; " .. lost .. ": ", 1, true), result.stderr)
    assert.truthy(place:ok({ "ls" }):find("lost", 1, true))
    local report = json.decode(place:ok({ "destroy", "--all", "--yes", "--forget", "--json" }))
    assert.same({ 1, 0, lost }, { #report.destroyed, #report.failed, report.forgotten[1].id })
    assert.same({}, json.decode(place:ok({ "ls", "--json" })))
  end))

  it("asks on a terminal before it destroys all", within(function(place)
    for answer, left in pairs({ n = 1, y = 0 }) do
      if place:records() == 0 then
        place:ok({ "create" })
      end
      local process = place:spawn({ "destroy", "--all" }, { pty = true })
      program.read_until(process, "destroy 1 sandbox%? %[y/N%] ")
      assert(task.await(process:write(answer .. "\n")))
      program.read_all(process)
      assert.same({ left, left }, { task.await(process:wait()).exit_code, place:records() })
      process:close()
    end
  end))

  it("keeps the state where it is told", within(function(place)
    place:ok({ "--state-dir", place.dir .. "/elsewhere", "create" })
    assert.equal(0, place:records())
    assert.truthy(place:ok({ "ls", "--state-dir=" .. place.dir .. "/elsewhere" }):find("sbx_"))
    place:ok({ "destroy", "--all", "-y", "--state-dir", place.dir .. "/elsewhere" })
  end))

  it("reads the configuration file, and chooses the provider by option, variable, file", within(function(place)
    place:write("luarium.lua", "luarium.configure { default = 'mine', providers = { mine = { 'local' } } }")
    assert.equal("mine", json.decode(place:ok({ "create", "--json" })).provider)
    place.env.LUARIUM_PROVIDER = "local"
    assert.equal("local", json.decode(place:ok({ "create", "--json" })).provider)
    assert.equal("mine", json.decode(place:ok({ "--provider", "mine", "create", "--json" })).provider)
    place:write("broken.lua", "return {\n providers = 3 = }")
    local result = place:run({ "--config", "broken.lua", "create" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stderr:find("broken.lua:2:", 1, true), result.stderr)
    result = place:run({ "create", "--provider", "locl" })
    assert.truthy(result.stderr:find("did you mean 'local'?", 1, true), result.stderr)
  end))

  it("shows what providers can do", within(function(place)
    local text = place:ok({ "providers" })
    assert.truthy(text:find("^ +bubblewrap +docker +local +ssh\n"), text)
    assert.truthy(text:find("\nexec +native +native +native +native\n"), text)
    assert.truthy(text:find("\nread_file +emulated +%a+ +native +%a+\n"), text)
    assert.truthy(text:find("\nsnapshot +%- +native +%- +%-\n"), text)
    local list = json.decode(place:ok({ "providers", "--json" })).providers
    assert.equal("unsupported", list[1].capabilities.fork)
  end))

  it("looks for what stands in the way", within(function(place)
    local checks = {}
    local result = place:run({ "doctor", "--json" })
    for _, check in ipairs(json.decode(result.stdout).checks) do
      checks[check.name] = check
    end
    for _, name in ipairs({ "kernel", "libraries", "clock", "files", "git", "bubblewrap", "config", "providers",
      "state", "disk", "sandboxes" }) do
      assert.truthy(checks[name] and checks[name].message, name)
    end
    assert.equal("ok", checks.state.status)
    place:write("luarium.lua", "return { default = 'safe' }")
    result = place:run({ "doctor" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stdout:find("\nfail  providers +there is no provider 'safe'"), result.stdout)
    place:write("luarium.lua", "return 3")
    place.env.LUARIUM_STATE_DIR = "/proc/nowhere"
    result = place:run({ "doctor" })
    assert.equal(1, result.exit_code)
    assert.truthy(result.stdout:find("\nfail  config +luarium.lua: expected"), result.stdout)
    assert.truthy(result.stdout:find("\nfail  state .-\n +%-> choose another folder"), result.stdout)
  end))
end)

describe("luarium exec", function()
  local function with_box(fn)
    return within(function(place)
      place:ok({ "create", "-n", "box" })
      fn(place)
    end)
  end

  it("passes exit codes, signals and timeouts on", with_box(function(place)
    assert.equal(7, place:run({ "exec", "box", "exit 7" }).exit_code)
    assert.equal(137, place:run({ "exec", "box", "kill -9 $$" }).exit_code)
    assert.equal(143, place:run({ "exec", "box", "kill -TERM $$" }).exit_code)
    assert.equal(127, place:run({ "exec", "box", "--", "no-such-program" }).exit_code)
    local result = place:run({ "exec", "--timeout", "0.3", "box", "echo begun; sleep 60" })
    assert.same({ 124, "begun\n" }, { result.exit_code, result.stdout })
    assert.truthy(result.duration < 30)
  end))

  it("keeps the streams apart, with options before and after the sandbox", with_box(function(place)
    local result = place:run({ "exec", "-e", "A=1", "box", "-e", "B=2", "--cwd", "..", "echo $A$B; pwd >&2" })
    assert.equal("12\n", result.stdout)
    assert.truthy(result.stderr:find("/local/sbx_%w+\n$"), result.stderr)
    assert.equal("--json -v\n", place:ok({ "exec", "box", "echo", "--json", "-v" }))
  end))

  it("takes secrets from our environment, and keeps them out of the records", with_box(function(place)
    place.env.MY_TOKEN = "s3cret-value"
    place:ok({ "create", "-n", "safe", "-e", "MY_TOKEN" })
    assert.equal("s3cret-value", place:ok({ "exec", "safe", "printf %s $MY_TOKEN" }))
    assert.equal("s3cret-value", place:ok({ "exec", "box", "-e", "MY_TOKEN", "printf %s $MY_TOKEN" }))
    local records = place:run({}, { argv = { "sh", "-c", "grep -r s3cret .state/sandboxes" } })
    assert.equal("", records.stdout)
  end))

  it("starts commands with every signal at its default", with_box(function(place)
    assert.equal("SigIgn:\t0000000000000000\n", place:ok({ "exec", "box", "grep SigIgn /proc/self/status" }))
  end))

  it("passes output on while the command runs", with_box(function(place)
    local process = place:spawn({ "exec", "box", "echo first; read line; echo got $line" })
    program.read_until(process, "first\n") -- it waits for us now
    task.await(process:write("an answer\n"))
    assert.equal("got an answer\n", program.read_all(process))
    process:close()
  end))

  it("reads standard input from a pipe, a file, a closed one, and not before it has to", with_box(function(place)
    local bytes = ("some bytes\0\n"):rep(300000)
    assert.equal(bytes, place:ok({ "exec", "box", "cat" }, { stdin = bytes }))
    assert.equal("text of a file", place:ok({ "exec", "box", "cat" }, { stdin_file = place:write("in", "text of a file") }))
    assert.equal("", place:ok({ "exec", "box", "cat" }))
    local process = place:spawn({ "exec", "box", "echo done" }) -- its stdin stays open and empty
    program.read_until(process, "done\n")
    assert.equal(0, task.await(process:wait()).exit_code)
    process:close()
  end))

  it("ends the command when nobody reads its output", with_box(function(place)
    local shell = { "sh", "-c", '"$0" exec box yes | head -n 1', place.program }
    local result = assert(task.await(require("luarium.native").process.run(
      place:options({}, { argv = shell, timeout = 10 }))))
    assert.same({ "y\n", false, "" }, { result.stdout, result.timed_out, result.stderr })
  end))

  it("gives everything as one object with --json", with_box(function(place)
    local result = place:run({ "exec", "--json", "box", "echo out; echo err >&2; exit 3" })
    assert.equal(3, result.exit_code)
    local object = json.decode(result.stdout)
    assert.same({ 3, "out\n", "err\n", false }, { object.exit_code, object.stdout, object.stderr, object.timed_out })
  end))
end)

describe("luarium cp", function()
  it("copies files and trees both ways, as cp -r does", within(function(place)
    place:ok({ "create", "-n", "box" })
    place:write("src/a.txt", "one")
    place:write("src/deep/b c.txt", "two")
    place:ok({ "cp", "src", "box:app" })
    assert.equal("two", place:ok({ "exec", "box", "cat 'app/deep/b c.txt'" }))
    place:ok({ "cp", "src", "box:app" }) -- it exists now: into it
    assert.equal("one", place:ok({ "exec", "box", "cat app/src/a.txt" }))
    place:ok({ "cp", "src/.", "box:app" }) -- the contents
    place:ok({ "cp", "src/a.txt", "box:app/deep/" })
    assert.equal("one", place:ok({ "exec", "box", "cat app/deep/a.txt" }))
    place:ok({ "cp", "box:app/deep", "back" })
    assert.equal("two", place:read("back/b c.txt"))
    place:ok({ "cp", "box:app/a.txt", "." })
    assert.equal("one", place:read("a.txt"))
    place:ok({ "cp", "-x", "*.txt", "src", "box:bare" })
    assert.equal("bare\nbare/deep\n", place:ok({ "exec", "box", "find bare | sort" }))
    local result = place:run({ "cp", "nowhere", "box:x" })
    assert.same({ 1, true }, { result.exit_code, result.stderr:find("cp: there is no nowhere here\n", 1, true) ~= nil })
    assert.matches("cp: there is no nowhere in box\n", place:run({ "cp", "box:nowhere", "." }).stderr, 1, true)
    assert.equal(2, json.decode(place:ok({ "cp", "--json", "src", "box:again" })).files)
  end))
end)

describe("luarium provider new", function()
  it("writes an adapter that passes its own spec and the conformance suite", program.within(60)(function(place)
    assert.equal("providers/acme.lua\nspec/providers/acme_spec.lua\n", place:ok({ "provider", "new", "acme" }))
    local again = place:run({ "provider", "new", "acme" })
    assert.same({ 1, true }, { again.exit_code, again.stderr:find("exists already", 1, true) ~= nil })
    assert.equal(2, place:run({ "provider", "new", "Acme!" }).exit_code)
    assert.truthy(place:ok({ "providers" }):find("^ +acme +bubblewrap +docker +local +ssh\n"))
    local function here(list)
      local root = assert(task.await(require("luarium.native").fs.realpath(".")))
      return (list:gsub("[^;]+", function(path)
        return path:sub(1, 1) == "/" and path or root .. "/" .. path
      end))
    end
    place.env.LUA_PATH, place.env.LUA_CPATH = here(package.path), here(package.cpath)
    local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
    local result = place:run({}, { argv = { lua, "/usr/bin/busted", "spec/providers/acme_spec.lua" } })
    assert.equal(0, result.exit_code, result.stdout .. result.stderr)
    local text = place:ok({ "provider", "test", "acme", "--filter", "^exec:" })
    assert.truthy(text:find("\n%d+ passed, 0 failed, 0 skipped\n$"), text)
    text = place:ok({ "provider", "test", "acme", "--filter", "^time: .*holds the output" })
    assert.truthy(text:find("\n1 passed, 0 failed, 0 skipped\n$"), text)
    local id = place:ok({ "create", "--provider", "acme" }):match("%S+")
    local own = place:ok({ "exec", id, 'echo "$HOME|$TMPDIR"' }) -- below HOME are the jobs: never those of another
    assert.truthy(own:find("^/[^|]+/" .. id .. "/home|/[^|]+/" .. id .. "/tmp\n$"), own)
    place:ok({ "destroy", id })
    assert.equal(2, place:run({ "provider", "test", "acme", "--filter", "no such check" }).exit_code)
  end))
end)

describe("commands", function()
  it("keep their state where HOME says, which is no relative path", within(function(place)
    local function at_home(home, words)
      return place:run({}, { argv = { "sh", "-c", ("unset LUARIUM_STATE_DIR XDG_STATE_HOME; HOME=%s; export HOME; exec %s %s")
        :format(home, place.program, words) } })
    end
    local result = at_home("relative", "ls")
    assert.equal(1, result.exit_code, result.stdout)
    assert.truthy(result.stderr:find('the variable HOME is "relative": expected an absolute path', 1, true), result.stderr)
    result = place:run({}, { argv = { "env", "-u", "HOME", "-u", "LUARIUM_STATE_DIR", place.program, "create" } })
    assert.same({ 1, "" }, { result.exit_code, result.stdout })
    assert.matches("the variable HOME is not set: set it, or LUARIUM_STATE_DIR", result.stderr, 1, true)
    assert.equal(0, place:run({}, { argv = { "env", "-u", "HOME", place.program, "ls" } }).exit_code)
    local made = at_home(place.dir .. "/home", "create")
    assert.equal(0, made.exit_code, made.stderr)
    assert.equal(0, at_home(place.dir .. "/home", "destroy " .. made.stdout).exit_code)
    assert.equal("", place:run({}, { argv = { "find", "relative" } }).stdout)
  end))

  it("create: names what it made when nobody can be told", within(function(place)
    local result = place:run({}, { argv = { "sh", "-c", place.program .. " create >/dev/full" } })
    assert.equal(1, result.exit_code)
    local id = assert(result.stderr:match("luarium: made: (sbx_%w+)"), result.stderr)
    place:ok({ "destroy", id })
  end))
end)
