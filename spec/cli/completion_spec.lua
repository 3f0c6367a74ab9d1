--- Completion in the real shells, and the manual that is made of the same rows as the help.
local native = require "luarium.native"
local program = require "spec.support.program"
local task = require "luarium.task"
local tmux = require "spec.support.tmux"

local within = program.within(60, function(place)
  place.env.PATH = place.program:match("^(.*)/") .. ":" .. os.getenv("PATH")
  place:ok({ "create", "--name", "demo", "--label", "team=docs" })
  place:write("task.lua", [[return { inputs = { prompt = { type = "text", about = "what to do" } }, run = print }]])
end)

--- What the shell offers for a line, sorted, by its own machinery.
local function offered(place, shell, line)
  local scripts = {
    bash = [[eval "$(luarium completion bash)"; COMP_LINE=$1; COMP_POINT=${#1}; _luarium; printf '%s\n' "${COMPREPLY[@]}"]],
    fish = [[luarium completion fish | source; complete -C $argv[1] ]],
  }
  local argv = shell == "bash" and { "bash", "--norc", "-c", scripts.bash, "bash", line }
    or { "fish", "--no-config", "-c", scripts.fish, line }
  local result = place:run({}, { argv = argv })
  assert.equal(0, result.exit_code, result.stderr)
  local words = {}
  for word in result.stdout:gmatch("[^\n]+") do
    words[#words + 1] = word:match("^[^\t]*")
  end
  table.sort(words)
  return words
end

describe("completion", function()
  local cases = {
    { "luarium exe", { "exec" } },
    { "~/bin/luarium exe", { "exec" } },
    { "luarium st", { "start", "stop" } },
    { "luarium stop d", { "demo" } },
    { "luarium extend demo 15", { "15d", "15h", "15m", "15s" } },
    { "luarium provider ", { "new", "test" } },
    { "luarium exec d", { "demo" } },
    { "luarium exec --time", { "--timeout" } },
    { "luarium --color ", { "always", "auto", "never" } },
    { "luarium create --provider b", { "bubblewrap" } },
    { "luarium run task.lua pro", { "prompt=" } },
    { "luarium run ta", { "task.lua" } },
    { "luarium destroy nothing", {} },
    { "luarium cp nothing:", {} },
  }
  for _, shell in ipairs({ "bash", "fish" }) do
    it("in " .. shell, within(function(place)
      place:run({}, { argv = { "sh", "-c", 'mkdir bin && ln -s "$0" bin', place.program } })
      for _, case in ipairs(cases) do
        assert.same(case[2], offered(place, shell, case[1]), case[1])
      end
    end))
  end

  it("in zsh, with a key pressed", within(function(place)
    tmux.with(place, 80, 24, function(terminal)
      terminal:enter("zsh -f")
      terminal:enter("PS1='zsh> '; autoload -Uz compinit; compinit -u -d .zcompdump; eval \"$(luarium completion zsh)\"; clear")
      terminal:see("^zsh>")
      terminal:enter("mkdir bin; ln -s " .. place.program .. " bin; clear")
      terminal:see("^zsh>\n")
      terminal:keys("~/bin/luarium exec --time", "Tab")
      terminal:see("luarium exec %-%-timeout")
      terminal:keys("1 d", "Tab")
      terminal:see("%-%-timeout 1 demo")
      terminal:keys("C-u") -- a key: the shell may lose the signal of C-c while it completes
      terminal:see("^zsh>\n")
      terminal:keys("luarium run task.lua pro", "Tab")
      terminal:see("task.lua prompt=\n")
      terminal:keys("x")
      terminal:see("task.lua prompt=x")
    end)
  end))

  for _, shell in ipairs({ "bash", "zsh" }) do
    it("of paths in a sandbox, in " .. shell .. " with keys pressed", within(function(place)
      place:ok({ "exec", "demo", "mkdir -p source/inner; touch source/one.txt source/inner/x=y:z result.json 'two words'" })
      tmux.with(place, 100, 24, function(terminal)
        terminal:enter(shell == "bash" and "bash --norc" or "zsh -f")
        terminal:enter(shell == "bash" and "PS1='now> '; eval \"$(luarium completion bash)\"; clear"
          or "PS1='now> '; autoload -Uz compinit; compinit -u -d .zd; eval \"$(luarium completion zsh)\"; clear")
        terminal:see("^now>")
        terminal:keys("luarium cp de", "Tab")
        terminal:see("luarium cp demo:\n")
        terminal:keys("s", "Tab")
        terminal:see("luarium cp demo:source/\n")
        terminal:keys("o", "Tab")
        terminal:see("luarium cp demo:source/one.txt\n") -- and a blank, which the screen does not show
        terminal:keys("demo:res", "Tab")
        terminal:see("luarium cp demo:source/one.txt demo:result.json\n")
        terminal:keys("C-u")
        terminal:see("^now>\n")
        terminal:keys("luarium cp demo:", "Tab", "Tab")
        terminal:see("result.json%s+.*source/")
      end)
    end))
  end

  it("refuses other shells, and never fails on a strange line", within(function(place)
    local result = place:run({ "completion", "bsh" })
    assert.equal(2, result.exit_code)
    assert.truthy(result.stderr:find("did you mean 'bash'?", 1, true), result.stderr)
    for _, words in ipairs({ {}, { "nonsense", "" }, { "exec", "--nonsense", "" }, { "run", "missing.lua", "" },
      { "help", "" }, { "\27[2J", "\255" } }) do
      assert.equal("", place:run({ "__complete", "--", table.unpack(words) }).stderr)
    end
  end))
end)

describe("the manual", function()
  it("is docs/cli.md", within(function(place)
    assert.equal(place:ok({ "help", "--markdown" }), (task.await(native.fs.read_file("docs/cli.md"))),
      "docs/cli.md is not what the commands say: write it with ./dev docs")
  end))

  it("is a man page without faults that names every command and option", within(function(place)
    place:write("luarium.1", place:ok({ "help", "--man" }))
    local result = place:run({}, { argv = { "sh", "-ec", "MANWIDTH=100 man --warnings -l luarium.1 | col -b" } })
    assert.equal("", result.stderr)
    for _, name in ipairs(require("luarium.cli").commands) do
      assert.truthy(result.stdout:find("luarium " .. name, 1, true), name)
      for _, row in ipairs(require("luarium.cli").command(name).options or {}) do
        local flag = row[1]:match("%-%-%S+")
        assert.truthy(result.stdout:find(flag, 1, true), name .. " " .. flag)
      end
    end
  end))

  it("names every variable that is read", within(function(place)
    local manual = place:ok({ "help", "--markdown" })
    local command = [[cd "$1" && grep -rhoE '(LUARIUM|SANDBOX)_[A-Z_]+' lua/luarium/*.lua | sort -u]]
    local found = place:run({}, { argv = { "sh", "-c", command, "sh", place.program:match("^(.*)/build/") } }).stdout
    assert.truthy(found:find("LUARIUM_STATE_DIR", 1, true))
    for name in found:gmatch("%S+") do
      local private = name == "LUARIUM_SANDBOX" or name == "LUARIUM_EXEC" or name:find("^LUARIUM_JOB")
      assert.truthy(private or manual:find(name, 1, true), name)
    end
  end))
end)
