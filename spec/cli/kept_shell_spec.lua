--- `luarium shell --keep` and `--attach`, as somebody at a terminal uses them.
local async = require "spec.support.async"
local bwrap = require "spec.support.bwrap"
local dockerd = require "spec.support.dockerd"
local job_world = require "spec.support.job_world"
local json = require "luarium.json"
local program = require "spec.support.program"
local scratch = require "spec.support.scratch"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"
local tmux = require "spec.support.tmux"

local INSIDE = "luarium shell --keep demo -- env PS1='inside> ' sh"

local function quoted(value)
  return ("%q"):format(value)
end

local function configuration(entry)
  local parts = {}
  for key, value in pairs(entry) do
    parts[#parts + 1] = ("[%s] = %s"):format(quoted(key), type(value) == "string" and quoted(value) or tostring(value))
  end
  return ("luarium.configure { default = 'it', providers = { it = { %s } } }"):format(table.concat(parts, ", "))
end

--- fn(terminal, place, peer) with a sandbox "demo" of a provider.
local function within(entry, fn)
  return async(120, function()
    program.with(function(place)
      local peer
      if type(entry) == "function" then
        entry, peer = entry()
      end
      place:write("luarium.lua", configuration(entry))
      place:ok({ "create", "--name", "demo" })
      tmux.with(place, 80, 24, function(terminal)
        fn(terminal, place, peer)
      end)
    end)
  end)
end

local function usable(terminal)
  terminal:enter("clear; stty -a | grep -c -w -e -icanon -e -echo")
  terminal:see("^0\nready>")
end

local function state(place, key)
  for _, status in ipairs(json.decode(place:ok({ "jobs", "--json", "demo" }))) do
    if status.key == key then
      return status.state
    end
  end
end

local function comes_and_goes(terminal, place)
  terminal:enter(INSIDE)
  terminal:see("\ninside>")
  terminal:enter("stty size; word=remembered; echo said before")
  terminal:see("\n24 80\nsaid before\ninside>")
  terminal:keys("C-]")
  terminal:see("luarium: detached; `luarium shell demo %-%-attach=shell%-1` comes back\nready>")
  usable(terminal)
  assert.equal("running", state(place, "shell-1"))
  terminal:resize(70, 20)
  terminal:enter("clear; luarium shell --attach demo; echo code $?")
  terminal:see("\nsaid before\ninside>")
  terminal:enter("echo $word; stty size")
  terminal:see("\nremembered\n20 70\ninside>")
  terminal:resize(60, 15)
  terminal:enter("clear; until stty size | grep -qx '15 60'; do sleep 0.05; done; echo fits")
  terminal:see("^fits\n")
  terminal:enter("exit 7")
  terminal:see("\ncode 7\nready>")
  usable(terminal)
  assert.equal("finished", state(place, "shell-1"))
end

local OURS = [[for f in /proc/[0-9]*; do tr '\0' ' ' <$f/cmdline | grep -q '^luarium shell --keep' &&
  grep -q %s $f/environ && echo ${f#/proc/}; done 2>/dev/null; true]]

local CONNECTIONS = [[for f in /proc/[0-9]*; do case $(readlink $f/cwd) in "$HOME"/.luarium/jobs/*)
  grep -q 'open_keys()' $f/cmdline && echo $f ;; esac; done 2>/dev/null; true]]

local function is_killed(terminal, place)
  terminal:enter(INSIDE)
  terminal:see("\ninside>")
  terminal:enter("word=remembered; echo $word")
  terminal:see("\nremembered\n")
  assert.truthy(place:ok({ "exec", "demo", CONNECTIONS }) ~= "")
  scratch.sh("kill -9 " .. assert(scratch.sh(OURS:format(place.dir)):match("%d+"), "no process of ours"))
  terminal:see("Killed.*ready>")
  usable(terminal)
  job_world.until_true("nothing of the connection is left", function()
    return place:ok({ "exec", "demo", CONNECTIONS }) == ""
  end)
  terminal:enter("clear; luarium shell demo -a")
  terminal:see("\nremembered\n+inside>")
  terminal:enter("echo $word again; exit")
  terminal:see("\nremembered again\n")
end

describe("luarium shell --keep", function()
  it("goes on without us: local", within({ "local" }, comes_and_goes))

  local no_bwrap = bwrap.missing()
  if no_bwrap then
    pending("goes on without us: bubblewrap: " .. no_bwrap)
  else
    it("goes on without us: bubblewrap", within({ "bubblewrap" }, comes_and_goes))
  end

  it("outlives a kill -9, and the terminal stays usable: local", within({ "local" }, is_killed))

  it("is for several at once", within({ "local" }, function(terminal, place)
    terminal:enter(INSIDE)
    terminal:see("\ninside>")
    local other = place:spawn({ "shell", "demo", "--attach=shell-1" }, { pty = true, cols = 80, rows = 24 })
    program.read_until(other, "inside>")
    task.await(other:write("echo from the $((1 + 1))nd\r"))
    terminal:see("\nfrom the 2nd\ninside>")
    terminal:enter("echo from the $((0 + 1))st")
    program.read_until(other, "from the 1st")
    terminal:enter("exit 3")
    terminal:see("ready>")
    program.read_all(other)
    assert.equal(3, assert(task.await(other:wait())).exit_code)
    other:close()
  end))

  it("asks which, when there are several; forgets those that have ended", within({ "local" }, function(terminal, place)
    terminal:enter("luarium shell --attach demo; echo code $?")
    terminal:see("no terminal is kept in demo.*luarium shell %-%-keep demo.*\ncode 125\n")
    for i = 1, 2 do
      terminal:enter("clear; luarium shell --keep demo -- env PS1=" .. i .. "'> ' sh")
      terminal:see("^" .. i .. ">")
      terminal:keys("C-]")
      terminal:see("detached; `luarium shell demo %-%-attach=shell%-" .. i .. "`")
    end
    terminal:enter("clear; luarium shell --attach demo")
    terminal:see("2 terminals are kept in demo: shell%-1, shell%-2")
    place:ok({ "jobs", "demo", "--kill", "shell-1" })
    terminal:enter("clear; luarium shell --keep demo -- true; echo code $?")
    terminal:see("code 0\n")
    assert.equal("finished", state(place, "shell-1"))
    assert.equal(2, #json.decode(place:ok({ "jobs", "--json", "demo" })))
  end))

  it("tells how it ended while nobody looked", within({ "local" }, function(terminal, place)
    terminal:enter("luarium shell --keep demo -- sh -c 'echo begun; until [ -e go ]; do sleep 0.05; done; echo done; exit 9'")
    terminal:see("\nbegun\n")
    terminal:keys("C-]")
    terminal:see("detached")
    place:ok({ "exec", "demo", "touch go" })
    place:run({ "attach", "demo", "shell-1" })
    terminal:enter("clear; luarium shell --attach demo; echo code $?")
    terminal:see("^begun\ndone\nluarium: shell%-1 has ended\ncode 9\nready>")
  end))

  it("ends with its sandbox", within({ "local" }, function(terminal, place)
    terminal:enter(INSIDE .. "; echo code $?")
    terminal:see("\ninside>")
    place:ok({ "destroy", "demo" })
    terminal:see("luarium: .*\ncode 125\nready>")
    usable(terminal)
  end))

  it("of a program that has the whole screen comes back as it was", within({ "local" }, function(terminal, place)
    place:write("full.sh", [[
draw() { printf '\033[H\033[2Jfull screen, %s\033[5;3Hhere' "$(stty size)"; }
trap draw WINCH
printf '\033[?1049h\033[?25l'
draw
while :; do sleep 0.05; done
]])
    terminal:enter("echo before; luarium shell --keep demo -- sh " .. place.dir .. "/full.sh")
    terminal:see("^full screen, 24 80\n\n\n\n  here\n")
    terminal:keys("C-]")
    terminal:see("\nbefore\n.*detached")
    usable(terminal)
    assert.equal("1", (terminal:call("display-message", "-p", "#{cursor_flag}"):gsub("\n", "")))
    terminal:enter("luarium shell --attach demo")
    terminal:see("^full screen, 24 80\n\n\n\n  here\n")
    assert.equal("1", (terminal:call("display-message", "-p", "#{alternate_on}"):gsub("\n", "")))
    place:ok({ "jobs", "demo", "--kill", "shell-1" })
    terminal:see("shell %-%-attach demo\n.*ready>")
    assert.equal("0", (terminal:call("display-message", "-p", "#{alternate_on}"):gsub("\n", "")))
    usable(terminal)
  end))

  it("does not answer questions again that were answered", within({ "local" }, function(terminal)
    terminal:enter("luarium shell --keep demo -- sh -c 'stty raw -echo; printf \"where\\033[6n\"; od -An -c -w1'")
    terminal:see("R")
    terminal:keys("C-]")
    terminal:see("detached")
    terminal:enter("clear; luarium shell --attach demo")
    terminal:see("where")
    terminal:keys("x")
    local screen = terminal:see("\n +x")
    local _, answers = screen:gsub("\n +R\n", "")
    assert.equal(1, answers, screen)
  end))

  it("where nobody can hold a terminal says so before, and is as without it", within({ "local" }, function(terminal, place)
    place:write("bin/none", "")
    scratch.sh(("cd %s/bin && for f in $(ls /usr/bin /bin | sort -u); do [ $f = script ] || ln -s $(command -v $f) $f; "
      .. "done 2>/dev/null; true"):format(place.dir))
    terminal:enter(("PATH=%s/bin:%s"):format(place.dir, program.path:match("^/") and program.path:match("^(.*)/")
      or place.program:match("^(.*)/")))
    terminal:enter("clear; " .. INSIDE)
    terminal:see("^luarium: demo has no `script` for %-%-keep: the detach key ends what runs here\n.*inside>")
    terminal:keys("C-]")
    terminal:see("luarium: left demo, which stays; what ran here has ended\nready>")
  end))

  it("refuses what makes no sense", within({ "local" }, function(_, place)
    for _, words in ipairs({ { "--keep" }, { "--cwd", "/" }, { "demo", "--", "true" } }) do
      table.insert(words, 1, "--attach")
      table.insert(words, 1, "shell")
      if words[3] ~= "demo" then
        words[#words + 1] = "demo"
      end
      local result = place:run(words)
      assert.equal(2, result.exit_code)
      assert.truthy(result.stderr:find("--attach comes back to what runs: leave out", 1, true), result.stderr)
    end
  end))
end)

describe("luarium shell --keep over ssh", function()
  local reason = sshd.missing()
  if reason then
    return pending(reason)
  end
  local server

  setup(function()
    server = sshd.start()
  end)
  teardown(function()
    server:stop()
  end)

  local function entry()
    return server:provider(), server
  end

  it("goes on without us", within(entry, comes_and_goes))

  it("outlives a kill -9", within(entry, is_killed))

  it("outlives a cut connection", within(entry, function(terminal)
    terminal:enter(INSIDE .. "; echo code $?")
    terminal:see("\ninside>")
    terminal:enter("word=remembered; echo $word")
    terminal:see("\nremembered\n")
    server:cut()
    terminal:see("luarium: cut off; `luarium shell demo %-%-attach=shell%-1` comes back\n.*code 125\nready>")
    usable(terminal)
    terminal:enter("clear; luarium shell demo --attach=shell-1")
    terminal:see("inside>")
    terminal:enter("echo $word again; exit")
    terminal:see("\nremembered again\n")
  end))
end)

describe("luarium shell --keep in a container", function()
  local reason = dockerd.missing()
  if reason then
    return pending(reason)
  end
  local engine

  setup(function()
    engine = dockerd.start()
    dockerd.rootfs(engine.dir .. "/with_script")
    scratch.sh(([[cd %s/with_script && for f in $(command -v script) \
      $(ldd $(command -v script) | grep -o '/[^ ]*'); do mkdir -p .${f%%/*} && cp -L $f .$f; done]]):format(engine.dir))
    engine:import(engine.dir .. "/with_script", "script:spec")
  end)
  teardown(function()
    engine:stop()
  end)

  it("goes on without us", within(function()
    return { "docker", host = engine.host, image = "script:spec" }, engine
  end, comes_and_goes))

  it("outlives a kill -9", within(function()
    return { "docker", host = engine.host, image = "script:spec" }, engine
  end, is_killed))

  it("ends with it", within(function()
    return { "docker", host = engine.host, image = "script:spec" }, engine
  end, function(terminal, place)
    terminal:enter(INSIDE .. "; echo code $?")
    terminal:see("\ninside>")
    place:ok({ "destroy", "demo" })
    terminal:see("luarium: .*\ncode 125\nready>")
    usable(terminal)
  end))
end)
