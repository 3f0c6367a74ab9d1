--- What was written to the wrong place, lost, or shown although it was secret.
local program = require "spec.support.program"
local tmux = require "spec.support.tmux"

local within = program.within(60)

describe("output", function()
  it("that cannot be written is a failure", within(function(place)
    place:ok({ "create", "-n", "demo" })
    local line = [["$0" "$@" >/dev/full]]
    for words, code in pairs({ [{ "ls" }] = 1, [{ "exec", "--json", "demo", "echo text" }] = 125,
      [{ "create", "--json" }] = 1,
      [{ "ls", "--help" }] = 1, [{ "help" }] = 1 }) do
      local result = place:run({}, { argv = { "sh", "-c", line, place.program, table.unpack(words) } })
      assert.equal(code, result.exit_code)
      assert.match("No space left on device", result.stderr)
    end
    local unread = [[(until [ -e closed ]; do :; done; exec "$0" ls) | { exec <&-; : >closed; }; exit ${PIPESTATUS[0]}]]
    local result = place:run({}, { argv = { "bash", "-c", unread, place.program } })
    assert.same({ 141, "" }, { result.exit_code, result.stderr })
  end))

  it("has no secret, also where it would be escaped or cut into lines", within(function(place)
    place.env.TRICKY = 'quo"te-back\\slash\nsecond-line-of-it'
    place:write("script.lua", [[
      local s = luarium.env "TRICKY"
      luarium.with({}, function(box)
        local value = box:exec('printf %s "$T"', { env = { T = s } }).stdout
        if input.how == "raise" then error({ token = value }) end
        box:exec('printf "%s\n" "$T" >&2; exit 1', { env = { T = s }, check = true })
      end)]])
    for _, how in ipairs({ "raise", "check" }) do
      for _, option in ipairs({ "--json", "-v" }) do
        local result = place:run({ "run", "script.lua", "how=" .. how, option })
        assert.equal(1, result.exit_code)
        assert.not_match("slash", result.stdout .. result.stderr)
        assert.not_match("second%-line", result.stdout .. result.stderr)
      end
    end
    local result = place:run({ "repl" }, { stdin = "luarium.with({}, function(b) return "
      .. "b:exec('printf %s \"$T\"', { env = { T = luarium.env 'TRICKY' } }).stdout end)\n" })
    assert.match("redacted TRICKY", result.stdout)
    assert.not_match("second%-line", result.stdout .. result.stderr)
  end))

  it("of a value that cannot tell itself says why, and the session goes on", within(function(place)
    tmux.with(place, 80, 24, function(screen)
      screen:enter("luarium repl")
      screen:see("\n>\n")
      screen:enter("setmetatable({}, { __tostring = function() error('untold') end })")
      screen:see("<table: its __tostring failed: line:1: untold>\n")
      screen:enter("6 * 7")
      screen:see("\n42\n")
    end)
  end))

  it("of completion has no word that a shell would run", within(function(place)
    place:ok({ "create", "-n", "$(touch owned)" })
    place:ok({ "create", "-n", "fine" })
    local words = place:ok({ "__complete", "--", "exec", "" })
    assert.match("fine", words)
    for line in words:gmatch("[^\n]+") do
      assert.not_match("[$(]", line:match("^[^\t]*"))
    end
  end))

  it("of two writers is put aside once", within(function(place)
    place:write("script.lua", [[
      local outlog, event = require "luarium.outlog", require "luarium.event"
      luarium.list() -- logs are kept from the first use of the library
      local path = outlog.path("sbx_1")
      local function emit(letter)
        event.emit("output", { sandbox = "sbx_1", stream = "stdout", text = letter:rep(60000) })
      end
      for _ = 1, outlog.MAX_BYTES / 60000 - 1 do
        emit("a")
      end
      assert(os.rename(path, path .. ".1")) -- the other writer was first, and has begun anew
      io.open(path, "w"):write('{"time":1,"stream":"stdout","bytes":3}\nnew\n'):close()
      for _ = 1, 4 do
        emit("b")
      end
      local aside = io.open(path .. ".1")
      print(aside:seek("end") > outlog.MAX_BYTES)]])
    assert.equal("true\n", place:ok({ "run", "-q", "script.lua" }))
  end))

  it("asks before all is destroyed, and a signal ends the question", within(function(place)
    place:ok({ "create", "-n", "demo" })
    tmux.with(place, 80, 24, function(screen)
      screen:enter("luarium destroy --all; echo code=$?")
      screen:see("destroy 1 sandbox%? %[y/N%]")
      screen:keys("C-c")
      screen:see("code=130")
      screen:enter("clear; luarium destroy --all; echo code=$?")
      screen:see("destroy 1 sandbox%? %[y/N%]")
      screen:enter("y")
      screen:see("destroyed sbx_.-code=0")
    end)
  end))
end)

describe("a program started by others", function()
  it("outlives the terminal under nohup, and minds no signals that were ignored or blocked", within(function(place)
    place:ok({ "create", "-n", "demo" })
    local script = [[
      trap '' CHLD HUP
      "$0" exec demo 'exit 3'; echo "code $?"
      "$0" exec demo "until [ -e $PWD/go ]; do sleep 0.02; done; echo went on" >out & pid=$!
      until "$0" logs demo | grep -q 'exec: until'; do sleep 0.02; done
      kill -HUP $pid; : >go; wait $pid; echo "code $?"; cat out]]
    local result = place:run({}, { argv = { "bash", "-c", script, place.program } })
    assert.equal("code 3\ncode 0\nwent on\n", result.stdout, result.stderr)
  end))
end)
