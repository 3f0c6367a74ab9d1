-- The first steps: luarium run scripts/quickstart.lua
-- Another provider: luarium run --provider bubblewrap scripts/quickstart.lua
local luarium = require "luarium"

-- `<close>` destroys the sandbox however the script ends, also on Ctrl-C.
local box <close> = luarium.create { name = "quickstart", env = { GREETING = "hello" } }

-- A text goes through the sandbox's shell, a list is a program and its arguments.
local result = box:exec("echo $GREETING from $(uname -s)")
print("it says:", (result.stdout:gsub("\n$", "")))

-- A command that fails is a result; check = true makes it an error.
print("exit code of false:", box:exec({ "false" }).exit_code)

-- A timeout kills the command and everything it started, and keeps the output so far.
local slow = box:exec("echo begun; sleep 60", { timeout = 0.5 })
print("timed out:", slow.timed_out, "after printing", (slow.stdout:gsub("\n$", "")))

-- Files in and out.
box:write_file("notes/today.txt", "one line\n")
box:exec("echo another line >> notes/today.txt", { check = true })
io.write(box:read_file("notes/today.txt"))

-- Several things at once, two at a time.
local squares = luarium.map({ 1, 2, 3, 4 }, function(n)
  return tonumber(box:exec({ "expr", tostring(n), "*", tostring(n) }).stdout)
end, { concurrency = 2 })
print("squares:", table.concat(squares, " "))
