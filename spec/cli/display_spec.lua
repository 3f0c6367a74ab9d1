--- The display on a real terminal: a small model of one reads what the program writes.
local program = require "spec.support.program"
local slow = require "spec.support.slow_provider"
local task = require "luarium.task"

--- A terminal of so many columns and rows that knows what the display uses; anything else is an error.
local function terminal(columns, rows)
  local self = { lines = { "" }, row = 1, col = 0, most = 0, columns = columns, rows = rows }

  local function put(text)
    local line = self.lines[self.row] or ""
    line = line .. (" "):rep(self.col - #line)
    self.lines[self.row] = line:sub(1, self.col) .. text .. line:sub(self.col + #text + 1)
    self.col = self.col + #text
    assert(self.col <= columns, "a line is longer than the terminal is wide: " .. self.lines[self.row])
  end

  local function escape(bytes, at)
    local from, to, number, kind = bytes:find("^\27%[(%d*)(%a)", at)
    assert(from, "an escape sequence that the terminal does not know")
    if kind == "A" then
      self.row = self.row - tonumber(number)
      assert(self.row >= 1 and #self.lines - self.row < rows, "the cursor left the screen")
    elseif kind == "B" then
      self.row = self.row + tonumber(number)
      assert(self.row <= #self.lines, "the cursor left what was drawn")
    elseif kind == "K" then
      self.lines[self.row] = self.lines[self.row]:sub(1, self.col)
    elseif kind == "J" then
      for i = #self.lines, self.row + 1, -1 do
        self.lines[i] = nil
      end
      self.lines[self.row] = (self.lines[self.row] or ""):sub(1, self.col)
    else
      assert(kind == "m", "an escape sequence that the terminal does not know: " .. kind)
    end
    return to + 1
  end

  function self.write(bytes)
    local at = 1
    while at <= #bytes do
      local c = bytes:sub(at, at)
      if c == "\27" then
        at = escape(bytes, at)
      else
        if c == "\r" then
          self.col = 0
        elseif c == "\n" then
          self.row, self.col = self.row + 1, 0 -- the terminal's own \r comes before it
          self.lines[self.row] = self.lines[self.row] or ""
        else
          put(c)
        end
        at = at + 1
      end
    end
  end
  return self
end

local function program_on_terminal(place, words, columns, rows)
  local process = place:spawn(words, { pty = true, cols = columns, rows = rows })
  local screen = terminal(columns, rows)
  local raw = {}
  return process, screen, function(pattern)
    while true do
      local text = table.concat(screen.lines, "\n")
      if pattern and text:find(pattern) then
        return text
      end
      local chunk = task.await(process:read())
      if not chunk then
        assert(not pattern, "the output ended without " .. tostring(pattern) .. ":\n" .. text)
        return text, table.concat(raw)
      end
      raw[#raw + 1] = chunk
      screen.write(chunk)
    end
  end
end

local function run(place, script, columns, rows)
  place:write("script.lua", script)
  return program_on_terminal(place, { "run", "script.lua" }, columns, rows)
end

local within = program.within(30)

describe("the display on a terminal", function()
  it("has one live line per sandbox below the finished operations, and leaves only these", within(function(place)
    local process, _, read = run(place, [[
      luarium.map({ "one", "two" }, function(name)
        local box <close> = luarium.create { name = name }
        box:exec("echo says " .. name .. "; while [ ! -e ../../../../go ]; do sleep 0.02; done")
        print("printed by " .. name)
      end)]], 70, 20)
    local text = read("one +%ds  exec echo[^\n]*says one\ntwo +%ds  exec echo[^\n]*says two$")
    assert.truthy(text:find("%d%d:%d%d:%d%d one create ok %d.%ds\n"), text)
    place:write("go", "")
    text = read()
    assert.truthy(text:find("\nprinted by one\n") and text:find("\nprinted by two\n"), text)
    local _, count = text:gsub("%d%d:%d%d:%d%d ", "")
    assert.equal(6, count, text)
    assert.falsy(text:find("\none  ") or text:find("\ntwo  "), text)
    assert.equal(0, task.await(process:wait()).exit_code)
    process:close()
  end))

  it("stays below the terminal's height, and neutralises what sandboxes say", within(function(place)
    local process, _, read = run(place, [[
      luarium.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9 }, function(i)
        local box <close> = luarium.create { name = "box" .. i }
        box:exec("printf 'evil \\033[2J\\033]0;title\\007 text\\n'; while [ ! -e ../../../../go ]; do sleep 0.02; done")
      end)]], 60, 8)
    read("evil \\x1b%[2J")
    read("9 sandboxes, %d at work[^\n]*\n[^$]*%.%.%. and 5 more$")
    place:write("go", "")
    local _, raw = read()
    assert.falsy(raw:find("\27[2J", 1, true) or raw:find("\7", 1, true))
    process:close()
  end))

  it("takes the live part away before it says that a signal came", within(function(place)
    local process, _, read = run(place, [[
      luarium.map({ "one", "two", "three" }, function(name)
        local box <close> = luarium.create { name = name }
        box:exec("echo a long line of output that goes on beyond the edge of the screen; sleep 60")
      end)]], 60, 20)
    read("three +%ds  exec echo[^\n]*a long[^\n]*$")
    assert(task.await(process:write("\3")))
    local text = read()
    assert.truthy(text:find("\nluarium: SIGINT: cleaning up; once more leaves at once\n", 1, true), text)
    for _, name in ipairs({ "one", "two", "three" }) do
      assert.falsy(text:find("\n" .. name .. "  "), text)
    end
    assert.equal(130, task.await(process:wait()).exit_code)
    process:close()
  end))

  it("keeps the order of what the script prints, also of half a line", within(function(place)
    local process, _, read = run(place, [[
      local box = luarium.create { name = "one" }
      print("after create")
      io.write("half ")
      box:exec("echo out; sleep 0.5")
      io.write("a line\n")
      box:destroy()
      print("last")]], 70, 20)
    local text = read()
    assert.truthy(text:find("one create ok [^\n]+\nafter create\nhalf a line\n[^\n]+ one exec [^\n]+\n[^\n]+ one destroy ok "
      .. "[^\n]+\nlast\n$"), text)
    process:close()
  end))

  it("has a bar for what a provider tells of a create", within(function(place)
    slow.write(place)
    local process, _, read = run(place, 'luarium.create { provider = "slow", name = "demo" }:destroy()', 90, 20)
    read("demo  %ds  create  pull debian:12 %[####%-+%] 25%% 512%.0 KiB of 2%.0 MiB$")
    place:write("pulled", "")
    read("demo  %ds  create  unpack %[%-+%] 0%% 0 of 3 layers$")
    place:write("unpacked", "")
    local text = read()
    assert.truthy(text:find("demo create ok", 1, true), text)
    assert.falsy(text:find("layers", 1, true), text)
    assert.equal(0, task.await(process:wait()).exit_code)
    process:close()
  end))

  it("serves create and cp as well, and leaves nothing of itself", within(function(place)
    slow.write(place)
    local process, screen, read = program_on_terminal(place, { "create", "--provider", "slow", "--name", "demo" }, 90, 20)
    read("^demo  %ds  create  pull debian:12 %[####%-+%] 25%% 512%.0 KiB of 2%.0 MiB$")
    place:write("pulled", "")
    place:write("unpacked", "")
    assert.truthy(read():find("^sbx_%w+\n$"), table.concat(screen.lines, "\n"))
    process:close()
    place:write("file", "text")
    process, screen, read = program_on_terminal(place, { "cp", "file", "demo:to" }, 90, 20)
    read("^demo  %ds  upload to  %[#+%-+%] 75%% 3 B of 4 B$")
    place:write("sent", "")
    assert.equal("copied 1 file, 4 B\n", (read()), table.concat(screen.lines, "\n"))
    process:close()
  end))

  it("is the one of a pipe where nobody knows the terminal", within(function(place)
    place:write("script.lua", "luarium.with({}, function(box) box:exec('true') end)")
    for _, term in ipairs({ "TERM=xterm", "TERM=dumb", "TERM=", "-u TERM" }) do
      place:run({}, { argv = { "script", "-qc", ("env %s %s run script.lua"):format(term, place.program), "typed" } })
      local text = place:read("typed")
      assert.truthy(text:find(" exec true .*ok"), text)
      assert.equal(term == "TERM=xterm", text:find("\27", 1, true) ~= nil, text)
    end
  end))

  it("shows no colours when NO_COLOR is set", within(function(place)
    local script = 'local box <close> = luarium.create() box:exec("true")'
    local process, _, read = run(place, script, 80, 24)
    local _, raw = read()
    assert.truthy(raw:find("\27[32m", 1, true))
    process:close()
    place.env.NO_COLOR = "1"
    process, _, read = run(place, script, 80, 24)
    _, raw = read()
    assert.falsy(raw:find("\27[3", 1, true), raw)
    process:close()
  end))
end)

describe("the display without a terminal", function()
  it("calls git's operations what a person would, without Luarium's options", within(function(place)
    place:write("git.lua", [[
      luarium.with({ name = "demo" }, function(box)
        box:exec("git init -q --bare origin.git; git -C origin.git symbolic-ref HEAD refs/heads/main", { check = true })
        local repo = box:clone("file://" .. box:path("origin.git"), { path = "repo", mirror = false })
        box:write_file("repo/f", "x")
        repo:branch("fix")
        repo:commit("begun")
        repo:push()
        local url = "https://127.0.0.1:1/x.git"
        luarium.try(repo.push, repo, { remote = url, url = url, token = "hunter2-hunter2" })
        luarium.try(box.clone, box, url, { mirror = false, token = "hunter2-hunter2" })
      end)]])
    local result = place:run({ "run", "-v", "git.lua" })
    assert.equal(0, result.exit_code, result.stderr)
    local id = place:ok({ "logs" }):match("sbx_%w+")
    local text = (result.stderr .. place:ok({ "logs", id })):gsub("file://%S+", "ADDRESS")
    for _, words in ipairs({ " demo clone ADDRESS ok ", " demo exec git clone ADDRESS ok ", " demo exec git commit ok ",
      " demo git push origin fix ok ", " demo exec git push origin fix ok ",
      " demo git push https://127.0.0.1:1/x.git fix ", " demo clone https://127.0.0.1:1/x.git ",
      " clone: ADDRESS\n", " exec: git clone ADDRESS\n", " git push: origin fix\n", " exec: git push origin fix\n" }) do
      assert.truthy(text:find(words, 1, true), words .. "\n" .. text)
    end
    for _, ours in ipairs({ " -c ", "credential", "LUARIUM_GIT", "/bin/sh", "protocol.ext" }) do
      assert.falsy(text:find(ours, 1, true), ours .. "\n" .. text)
    end
  end))

  it("tells now and then of what takes long, and how far it is", within(function(place)
    slow.write(place)
    place:write("script.lua", [[
      require("luarium.cli.display").still_after = 0.2
      luarium.create { provider = "slow", name = "demo" }:destroy()]])
    local process = place:spawn({ "run", "script.lua" })
    local text = program.read_until(process, "\n")
    assert.truthy(text:find("^%d%d:%d%d:%d%d demo create: still running, %ds: pull debian:12 25%% 512%.0 KiB"
      .. " of 2%.0 MiB\n"), text)
    place:write("pulled", "")
    program.read_until(process, "demo create: still running, %ds: unpack 0%% 0 of 3 layers\n")
    place:write("unpacked", "")
    text = program.read_all(process)
    assert.equal(0, task.await(process:wait()).exit_code, text)
    process:close()
  end))
end)

describe("the lines at the bottom", function()
  it("are written again only where they have changed", function()
    local tty = require("luarium.native").tty
    local size, written = tty.size, {}
    local shown = terminal(40, 10)
    tty.size = function()
      return 40, 10
    end
    local screen = require("luarium.cli.display.screen").new(2, function(bytes)
      if bytes ~= "" then
        written[#written + 1] = bytes
        shown.write(bytes)
      end
    end)
    local ok, err = pcall(function()
      for _, lines in ipairs({ { "one", "two", "three" }, { "one", "2", "three" }, { "1", "2", "3" },
        { "1", "2", "3" } }) do
        screen:draw({}, lines)
        assert.equal(table.concat(lines, "\n"), table.concat(shown.lines, "\n"))
      end
      screen:draw({ "above" }, { "1" })
    end)
    tty.size = size
    assert(ok, err)
    assert.equal(4, #written)
    assert.falsy(written[2]:find("one", 1, true) or written[2]:find("three", 1, true), written[2])
    assert.equal("above\n1", table.concat(shown.lines, "\n"))
  end)
end)
