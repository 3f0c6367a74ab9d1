--- Finding a sandbox again, in this process and from another one.
local config = require "luarium.config"
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local sandbox = require "luarium.sandbox"
local secret = require "luarium.secret"
local task = require "luarium.task"

local fs = native.fs
local topic, check = require("luarium.conformance.topic").new("reconnect")

check("by its id in the same process", { own = true }, function(c)
  local box = c:create({ env = { KEPT = "value" }, labels = { a = "b" } })
  box:write_file("file", "content")
  local again = sandbox.reconnect(box.id)
  expect.fields(again, { id = box.id, external_id = box.external_id, provider = c.provider, status = "running",
    cwd = box.cwd, labels = { a = "b" } }, "sandbox")
  expect.equal(again:read_file("file"), "content", "content")
  expect.prints(again:exec('printf %s "$KEPT"'), "value")
end)

check("an unknown id, and what is no id", { own = true }, function()
  expect.raises("sandbox_gone", function()
    sandbox.reconnect("sbx_00000000000000000000000000")
  end, "sbx_00000000000000000000000000")
  for _, id in ipairs({ "nonsense", "../../etc/passwd", "sbx_", "sbx_a/../b", "" }) do
    expect.raises("invalid", function()
      sandbox.reconnect(id)
    end)
  end
end)

-- ---- another process ----

local PROGRAM = [==[
local luarium = require "luarium"
for _, module in ipairs(%s) do
  require(module)
end
luarium.configure(%s)
luarium.run(function()
  local box = luarium.reconnect(%q)
%s
end)
]==]

local function literal(value)
  local kind = type(value)
  if kind == "table" and not secret.is(value) then
    local parts = {}
    for key, item in pairs(value) do
      parts[#parts + 1] = ("[%s] = %s"):format(literal(key), literal(item))
    end
    return "{" .. table.concat(parts, ", ") .. "}"
  elseif kind == "string" then
    return ("%q"):format(value):gsub("\\\n", "\\n")
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif secret.is(value) then
    return ("luarium.env(%q)"):format(value.name)
  end
  error("a configuration with a " .. kind)
end

local function environment()
  local file = io.open("/proc/self/environ", "rb")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  local list = {}
  for entry in text:gmatch("[^%z]+") do
    list[#list + 1] = entry
  end
  return list
end

--- Runs Lua code with `box` being the sandbox, in a process that knows nothing but the state folder.
local function elsewhere(c, box, code)
  local interpreter = c:host(fs.readlink("/proc/self/exe"))
  local settings = { state_dir = config.state_dir() }
  if type(c.session.config) == "table" then
    settings.providers = { [c.provider] = c.session.config }
  end
  local path = c:host_dir() .. "/elsewhere.lua"
  local text = PROGRAM:format(literal(c.session.require), literal(settings), box.id, code)
  c:host(fs.write_file(path, text))
  local argv = { interpreter, path }
  if not interpreter:match("lua[%w%.%-]*$") or interpreter:match("luarium") then
    argv = { interpreter, "run", path }
  end
  local result = c:host(native.process.run({ argv = argv, env = environment(), timeout = 60 }))
  if result.exit_code ~= 0 then
    expect.fail(("the other process failed: %s %s"):format(expect.show(result.stdout), expect.show(result.stderr)), 2)
  end
  return result.stdout
end

check("from another process", { own = true }, function(c)
  local box = c:create({ env = { KEPT = "kept value" }, labels = { a = "b" } })
  box:write_file("file", "from the first process")
  local output = elsewhere(c, box, [[
    io.write(box:read_file("file"), "|", box:exec('printf %s "$KEPT"').stdout, "|", box.labels.a, "|", box.cwd, "\n")
    box:write_file("answer", "from the second process")
  ]])
  expect.equal(output, "from the first process|kept value|b|" .. box.cwd .. "\n", "what the other process saw")
  expect.equal(box:read_file("answer"), "from the second process", "what it wrote")
end)

check("what runs there goes on while nobody is connected", { own = true }, function(c)
  local box = c:create()
  local beat = c:beat({ box = box, quiet = true })
  box:exec(beat.code .. " &")
  beat:await_start()
  elsewhere(c, box, "")
  beat:expect_alive("after another process came and went")
end)

check("another process may destroy it", { own = true }, function(c)
  local box = c:create()
  elsewhere(c, box, "box:destroy()")
  expect.raises("sandbox_gone", function()
    box:exec("true")
  end)
  expect.equal(#task.map(sandbox.list(), function(record)
    return record.id == box.id and record or nil
  end), 0, "records of it")
end)

return topic
