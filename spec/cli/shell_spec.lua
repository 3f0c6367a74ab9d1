--- `luarium shell` and `luarium exec -it` on a real terminal.
local async = require "spec.support.async"
local native = require "luarium.native"
local program = require "spec.support.program"
local task = require "luarium.task"
local tmux = require "spec.support.tmux"
local until_true = require "spec.support.until_true"

local sizes = { { 80, 24 }, { 200, 50 } }

local function within(columns, rows, fn)
  return async(60, function()
    program.with(function(place)
      place:ok({ "create", "--name", "demo" })
      tmux.with(place, columns, rows, function(terminal)
        fn(terminal, place)
      end)
    end)
  end)
end

--- The terminal at the prompt is as it was: it echoes, and lines are edited.
local function usable(terminal)
  terminal:enter("stty -a | grep -c -w -e -icanon -e -echo")
  terminal:see("\n0\nready>")
end

for _, size in ipairs(sizes) do
  describe(("luarium shell at %dx%d"):format(size[1], size[2]), function()
    it("has the size of the terminal, follows it, and passes the exit code on", within(size[1], size[2],
      function(terminal)
        terminal:enter("luarium shell demo -- env PS1='inside> ' sh")
        terminal:see("\ninside>")
        terminal:enter("stty size")
        terminal:see(("\n%d %d\n"):format(size[2], size[1]))
        terminal:resize(size[1] - 10, size[2] - 5)
        terminal:enter("clear; until stty size | grep -qx '" .. (size[2] - 5) .. " " .. (size[1] - 10)
          .. "'; do sleep 0.01; done; echo fits")
        terminal:see("^fits\n")
        terminal:enter("exit 7")
        terminal:see("\nready>")
        terminal:enter("echo code $?")
        terminal:see("\ncode 7\n")
        usable(terminal)
      end))
  end)
end

describe("luarium shell", function()
  it("hands Ctrl-C to the sandbox, and leaves on Ctrl-]", within(80, 24, function(terminal, place)
    terminal:enter("luarium shell demo -- env PS1='inside> ' sh")
    terminal:see("\ninside>")
    terminal:enter("echo began; cat")
    terminal:see("\nbegan\n")
    terminal:keys("C-c")
    terminal:see("%^C\n+inside>")
    terminal:enter("echo still here")
    terminal:see("\nstill here\n")
    terminal:keys("C-]")
    terminal:see("luarium: left demo, which stays; what ran here has ended\nready>")
    usable(terminal)
    assert.equal("on\n", place:ok({ "exec", "demo", "echo on" }))
  end))

  it("leaves on another key, which then is the only one", within(80, 24, function(terminal, place)
    terminal:enter("luarium shell --detach-key ctrl-q demo -- sh -c 'stty raw -echo; echo go; head -c 1 | od -c; cat'")
    terminal:see("\ngo\n")
    terminal:keys("C-]")
    terminal:see("035")
    terminal:keys("C-q")
    terminal:see("luarium: left demo[^\n]*\nready>")
    usable(terminal)
    local result = place:run({ "shell", "--detach-key", "q", "demo" })
    assert.equal(2, result.exit_code)
    assert.truthy(result.stderr:find("option --detach-key: expected ctrl-LETTER", 1, true), result.stderr)
  end))

  it("leaves a usable terminal when it is killed", within(80, 24, function(terminal)
    terminal:enter("luarium shell demo -- env PS1='inside> ' sh")
    terminal:see("\ninside>")
    terminal:enter("kill -9 $(ps -o ppid= -p $$)")
    terminal:see("Killed.*ready>")
    usable(terminal)
    terminal:enter("clear; luarium shell demo -- env PS1='inside> ' sh")
    terminal:see("^inside>")
    terminal:enter("kill -9 -$(ps -o pgid= -p $(ps -o ppid= -p $$) | tr -d ' ')") -- all of its group
    terminal:see("Killed.*ready>")
    usable(terminal)
  end))

  --- All that a program can switch on, and what tmux tells of it.
  local ALL = [[printf '\033[?104'; printf '9h\033[?25l\033[?1003h\033[?1006h\033[5;10r\033[?6h\033[?7l\033[?1h\033=]]
    .. [[\033[4h\033(0\033)0\016\033[31;7m\033]0;title without an end']]
  local function state(terminal)
    return terminal:call("display-message", "-p", "-t", "spec", "alternate=#{alternate_on} cursor=#{cursor_flag} "
      .. "mouse=#{mouse_any_flag}#{mouse_all_flag}#{mouse_sgr_flag} keypad=#{keypad_cursor_flag}#{keypad_flag} "
      .. "insert=#{insert_flag} wrap=#{wrap_flag} origin=#{origin_flag} lines=#{scroll_region_upper},#{scroll_region_lower}")
  end

  for how, act in pairs({
    ["it is left"] = function(terminal) terminal:keys("C-]") end,
    ["it is told to end"] = function(_, _, pid) task.await(native.process.run({ argv = { "kill", pid } })) end,
    ["it is killed"] = function(_, _, pid) task.await(native.process.run({ argv = { "kill", "-9", pid } })) end,
    ["its sandbox is destroyed"] = function(_, place) place:ok({ "destroy", "demo" }) end,
    ["its program ends like that"] = function(_, place) place:write("end", "") end,
  }) do
    it("gives the terminal back as it was when " .. how, within(80, 24, function(terminal, place)
      place:write("all.sh", ALL .. "; echo $PPID >pid; while [ ! -e end ]; do sleep 0.05; done")
      local before = state(terminal)
      terminal:enter("luarium shell demo --cwd $PWD -- sh all.sh")
      until_true("all is switched on", function()
        return state(terminal):find("alternate=1 cursor=0 mouse=111 keypad=11 insert=1 wrap=0 origin=1 lines=4,9", 1, true)
          and (place:read("pid") or ""):find("\n")
      end)
      act(terminal, place, place:read("pid"):match("%d+"))
      until_true("all is as it was", function()
        return state(terminal) == before
      end)
      terminal:enter("") -- the shell's own words about a killed program may have come too early
      terminal:see("ready>\n*$")
      terminal:enter("echo plain text")
      terminal:see("\nplain text\nready>")
    end))
  end

  it("takes a large paste whole", within(80, 24, function(terminal, place)
    place:write("paste", ("0123456789abcdef\n"):rep(8192)) -- 136 KiB, more than the buffers between us hold
    terminal:enter("luarium shell demo -- sh -c 'stty -echo; echo go; head -c 139264 | cksum'")
    terminal:see("\ngo\n")
    terminal:call("load-buffer", place.dir .. "/paste")
    terminal:call("paste-buffer", "-r", "-t", "spec")
    terminal:see("\n" .. place:ok({ "exec", "demo", "cksum <" .. place.dir .. "/paste" }):match("^%d+ %d+"))
  end))

  it("says what to do without a terminal", within(80, 24, function(_, place)
    local result = place:run({ "shell", "demo" })
    assert.equal(2, result.exit_code)
    assert.truthy(result.stderr:find("shell: this needs a terminal.*luarium exec demo %-%- COMMAND"), result.stderr)
    assert.equal(2, place:run({ "exec", "-it", "demo", "true" }).exit_code)
  end))
end)

describe("luarium exec", function()
  it("-it talks to a program on our terminal", within(80, 24, function(terminal)
    terminal:enter("luarium exec -it demo -- sh -c 'read -r line; echo \"got $line\"; exit 3'; echo code $?")
    terminal:enter("typed")
    terminal:see("\ngot typed\ncode 3\n")
    usable(terminal)
  end))

  it("-t gives the command a terminal, -i our standard input", within(80, 24, function(terminal, place)
    assert.equal("yes\r\n", place:ok({ "exec", "-t", "demo", "[ -t 1 ] && echo yes" }))
    terminal:enter("luarium exec -i demo -- sh -c 'cat; echo end'")
    terminal:enter("a line")
    terminal:keys("C-d")
    terminal:see("\na line\na line\nend\n")
  end))
end)
