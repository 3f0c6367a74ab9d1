--- The environment of commands.
local expect = require "luarium.conformance.expect"

local topic, check = require("luarium.conformance.topic").new("environment")

--- Values that break what quotes carelessly.
local odd = {
  SPACES = "  two  words  ", LINES = "one\ntwo\n", SINGLE = "it's", DOUBLE = 'say "hi"',
  DOLLAR = "$HOME ${PATH} $(id)", TICKS = "`id`",
  BACKSLASH = "a\\b\\n\\", EQUALS = "a=b=c=", UNICODE = "gr\195\188n \226\152\131", BYTES = "\255\254\1",
  GLOB = "* ? [a-z]", HASH = "# no comment", SEMI = "a; exit 9", EMPTY = "", PERCENT = "%s%d%%", BANG = "!x !!",
  TAB = "a\tb", LEADING = "-n", RETURN = "a\r\nb",
}

check("create gives every command its environment", { own = true }, function(c)
  local box = c:create({ env = { GREETING = "hello world", COUNT = 42, FLAG = true } })
  expect.prints(box:exec('printf "%s|%s|%s" "$GREETING" "$COUNT" "$FLAG"'), "hello world|42|true", "a text")
  expect.prints(box:exec({ "sh", "-c", 'printf "%s" "$GREETING"' }), "hello world", "a list")
end)

check("exec adds to it and overrides it", { own = true }, function(c)
  local box = c:create({ env = { KEPT = "from create", CHANGED = "from create" } })
  expect.prints(box:exec('printf "%s|%s|%s" "$KEPT" "$CHANGED" "$ADDED"',
    { env = { CHANGED = "from exec", ADDED = "from exec" } }), "from create|from exec|from exec", "with env")
  expect.prints(box:exec('printf "%s|%s|%s" "$KEPT" "$CHANGED" "${ADDED-unset}"'), "from create|from create|unset",
    "the next command")
end)

check("odd values arrive unchanged", function(c)
  for name, value in pairs(odd) do
    local result = c.box:exec({ "sh", "-c", 'eval "printf %s \\"\\$$1\\""', "sh", name }, { env = odd })
    expect.prints(result, value, name)
  end
end)

check("odd values of create arrive unchanged", { own = true }, function(c)
  local box = c:create({ env = odd })
  for name, value in pairs(odd) do
    expect.prints(box:exec({ "sh", "-c", 'eval "printf %s \\"\\$$1\\""', "sh", name }), value, name)
  end
end)

check("an empty variable is set, another one is not", function(c)
  expect.prints(c.box:exec('echo "${EMPTY+set}|${OTHER+set}"', { env = { EMPTY = "" } }), "set|\n")
end)

check("a variable set by a command ends with it", function(c)
  expect.prints(c.box:exec("export LEFT=1; X=2; echo $LEFT"), "1\n", "inside")
  expect.prints(c.box:exec('echo "${LEFT-unset} ${X-unset}"'), "unset unset\n", "the next command")
end)

check("a value of 100,000 bytes arrives", function(c)
  local value = ("0123456789"):rep(10000)
  expect.prints(c.box:exec('printf %s "$LONG"', { env = { LONG = value } }), value)
end)

check("names that cannot be variables are refused", function(c)
  for _, name in ipairs({ "", "A=B", "A\0B" }) do
    expect.raises("invalid", function()
      c.box:exec("true", { env = { [name] = "x" } })
    end, "env")
  end
  expect.raises("invalid", function()
    c.box:exec("true", { env = { A = "x\0y" } })
  end, "env", "A")
  expect.raises("invalid", function()
    c.box:exec("true", { env = { A = {} } })
  end, "env")
end)

check("PATH finds the usual tools, HOME and TMPDIR can be written", function(c)
  expect.prints(c.box:exec("command -v sh >/dev/null && command -v cat >/dev/null && echo found"), "found\n")
  expect.prints(c.box:exec('f="$HOME/.luarium-c$$"; echo x >"$f" && cat "$f" && rm "$f"'), "x\n", "HOME")
  expect.prints(c.box:exec('f="${TMPDIR:-/tmp}/luarium-c$$"; echo y >"$f" && cat "$f" && rm "$f"'), "y\n", "TMPDIR")
end)

--- Variables that any machine may well have alike.
local common = {
  PATH = true, HOME = true, PWD = true, OLDPWD = true, SHLVL = true, _ = true, LANG = true, USER = true,
  LOGNAME = true, TERM = true, TMPDIR = true, SHELL = true, HOSTNAME = true, TZ = true, DEBIAN_FRONTEND = true,
}

check("the host's environment does not leak in", function(c)
  local file = io.open("/proc/self/environ", "rb")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  local inside = "\n" .. c.box:exec("env", { check = true }).stdout
  local tried = 0
  for name, value in text:gmatch("([^=%z]+)=([^%z]*)") do
    if not common[name] and not name:match("^LC_") and #value > 2 then
      tried = tried + 1
      expect.lacks(inside, "\n" .. name .. "=" .. value, "the environment inside")
    end
  end
  if tried == 0 then
    c:skip("the host has no variable of its own to look for")
  end
end)

return topic
