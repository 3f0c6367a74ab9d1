--- Wrong calls: each is refused before anything happens, and says what was expected.
local expect = require "luarium.conformance.expect"
local sandbox = require "luarium.sandbox"

local topic, check = require("luarium.conformance.topic").new("usage")

local function refused(fn, ...)
  return expect.raises("invalid", fn, ...)
end

check("create: an option that does not exist", { own = true }, function(c)
  refused(function()
    sandbox.create({ provider = c.provider, tiemout = 5 })
  end, "create", "tiemout", "timeout")
end)

check("create: options of the wrong type, all at once", { own = true }, function(c)
  refused(function()
    sandbox.create({ provider = c.provider, timeout = "soon", env = "A=B", labels = 3, name = {} })
  end, "timeout", "env", "labels", "name")
  refused(function()
    sandbox.create({ provider = c.provider, timeout = -1 })
  end, "timeout", "-1")
  refused(function()
    sandbox.create({ provider = c.provider, env = { ["A=B"] = "x" } })
  end, "env", "A=B")
  refused(function()
    sandbox.create(42)
  end, "create")
end)

check("create: a provider that does not exist", { own = true }, function()
  refused(function()
    sandbox.create({ provider = "no_such_provider" })
  end, "no_such_provider")
  refused(function()
    sandbox.create({ provider = "../evil" })
  end, "evil")
end)

check("exec: options that do not exist or are of the wrong type", function(c)
  for _, case in ipairs({
    { { time_out = 5 }, "time_out", "timeout" }, { { timeout = "5" }, "timeout", "seconds" },
    { { timeout = -1 }, "timeout", "-1" }, { { timeout = 0 / 0 }, "timeout" }, { { cwd = 5 }, "cwd", "5" },
    { { env = "A=B" }, "env" }, { { env = { "A=B" } }, "env" }, { { on_stdout = "print" }, "on_stdout", "function" },
    { { max_output = -1 }, "max_output" }, { { max_output = 1.5 }, "max_output" }, { { check = 1 }, "check" },
    { { pty = "yes" }, "pty" }, { { cols = 0 }, "cols" }, { { rows = 1000000 }, "rows" },
    { { merge = "both" }, "merge" }, { { user = 0 }, "user" }, { { cwd = "a\0b" }, "cwd", "NUL" },
  }) do
    refused(function()
      c.box:exec("echo wrong", case[1])
    end, "exec", case[2], case[3] or case[2])
  end
  refused(function()
    c.box:exec("true", "quickly")
  end, "exec", "options")
end)

check("exec: what is no command", function(c)
  for _, command in ipairs({ 42, true, { 1, 2 }, { "echo", 5 }, { echo = "x" } }) do
    refused(function()
      c.box:exec(command)
    end, "exec", "command")
  end
  refused(function()
    c.box:exec(nil)
  end, "exec", "command")
end)

check("spawn: options of the wrong type", { needs = { "spawn" } }, function(c)
  refused(function()
    c.box:spawn("true", { timeout = "5" })
  end, "spawn", "timeout")
  refused(function()
    c.box:spawn({})
  end, "spawn", "empty")
end)

check("files: what is no path, what are no options", function(c)
  for _, method in ipairs({ "read_file", "ls", "stat", "mkdir", "remove", "exists" }) do
    for _, path in ipairs({ 42, {}, true }) do
      refused(function()
        c.box[method](c.box, path)
      end, "path")
    end
    refused(function()
      c.box[method](c.box, nil)
    end, "path")
  end
  refused(function()
    c.box:mkdir("x", { parent = true })
  end, "mkdir", "parent", "parents")
  refused(function()
    c.box:remove("x", { recurse = true })
  end, "remove", "recurse")
  refused(function()
    c.box:move("x", nil)
  end, "path")
  refused(function()
    c.box:write_file("x", { "bytes" })
  end, "write_file", "content")
end)

check("transfers: what is no path, what are no options", function(c)
  refused(function()
    c.box:upload(nil, "x")
  end, "upload", "local path")
  refused(function()
    c.box:download("x", nil)
  end, "download", "local path")
  refused(function()
    c.box:upload("/etc/hostname", "x", { exclude = "*.log" })
  end, "upload", "exclude")
  refused(function()
    c.box:download("x", "y", { progress = print })
  end, "download", "progress")
end)

check("the rest", function(c)
  refused(function()
    c.box:can("fly")
  end, "fly")
  refused(function()
    c.box:url("http")
  end, "url")
  refused(function()
    c.box:extend("long")
  end, "extend")
  refused(function()
    c.box:extend(-5)
  end, "extend")
  refused(function()
    sandbox.list({ label = {} })
  end, "list", "label", "labels")
  refused(function()
    sandbox.reconnect(42)
  end, "reconnect")
  refused(function()
    sandbox.with({ provider = c.provider })
  end, "with", "function")
end)

return topic
