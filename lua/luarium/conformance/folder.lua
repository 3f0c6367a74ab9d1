--- The working directory of commands.
local expect = require "luarium.conformance.expect"

local topic, check = require("luarium.conformance.topic").new("folder")

--- A path as the kernel sees it.
local function physical(c, path)
  return c:sh('cd -- "$1" && pwd -P; printf .', path):sub(1, -2)
end

check("commands start in the sandbox's working directory", function(c)
  expect.matches(c.box.cwd, "^/", "cwd")
  expect.prints(c.box:exec("pwd -P"), physical(c, c.box.cwd))
  expect.prints(c.box:exec({ "pwd" }), physical(c, c.box.cwd), "a list")
end)

check("a relative cwd starts there, an absolute one anywhere", function(c)
  local dir = c:dir()
  c.box:mkdir(dir .. "/deep/er", { parents = true })
  local name = dir:match("[^/]+$")
  expect.prints(c.box:exec("pwd -P", { cwd = name .. "/deep" }), physical(c, dir .. "/deep"), "relative")
  expect.prints(c.box:exec("pwd -P", { cwd = dir .. "/deep/er" }), physical(c, dir .. "/deep/er"), "absolute")
  expect.prints(c.box:exec("pwd -P", { cwd = name .. "/deep/er/.." }), physical(c, dir .. "/deep"), "with ..")
  expect.prints(c.box:exec("pwd", { cwd = "/" }), "/\n", "the root")
end)

check("a cwd with an odd name", function(c)
  local dir = c:dir()
  for _, name in ipairs({ "a b", "it's", 'say "hi"', "$HOME", "two\nlines", "-P", "\255\254", "*" }) do
    c.box:mkdir(dir .. "/" .. name)
    c.box:write_file(dir .. "/" .. name .. "/here", name)
    expect.prints(c.box:exec("cat here", { cwd = dir .. "/" .. name }), name, "cwd " .. expect.show(name))
  end
end)

check("a cwd that does not exist is an error, not a result", function(c)
  expect.raises("not_found", function()
    c.box:exec("echo wrong", { cwd = c.box.cwd .. "/no/such/folder" })
  end, "no/such/folder")
  expect.raises("not_found", function()
    c.box:exec({ "true" }, { cwd = "no-such-folder" })
  end, "no-such-folder")
end)

check("a cwd that is a file is an error", function(c)
  local dir = c:dir()
  c.box:write_file(dir .. "/file", "x")
  expect.raises({ "not_found", "conflict", "io" }, function()
    c.box:exec("echo wrong", { cwd = dir .. "/file" })
  end, "file")
end)

check("changing it ends with the command", function(c)
  local here = c.box:exec("pwd").stdout
  expect.prints(c.box:exec("cd / && pwd"), "/\n", "inside")
  expect.prints(c.box:exec("pwd"), here, "the next command")
end)

check("relative paths of files start there too", function(c)
  local name = c:dir():match("[^/]+$")
  c.box:write_file(name .. "/relative", "by name")
  expect.equal(c.box:read_file(c.box.cwd .. "/" .. name .. "/relative"), "by name", "content")
  expect.prints(c.box:exec({ "cat", name .. "/relative" }), "by name")
end)

return topic
