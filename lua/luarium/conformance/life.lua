--- The life of a sandbox: made, found, ended.
local contract = require "luarium.provider.contract"
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local sandbox = require "luarium.sandbox"
local task = require "luarium.task"
local unsupported = require "luarium.conformance.unsupported"

local topic, check = require("luarium.conformance.topic").new("life")

local function has(records, box)
  for _, record in ipairs(records) do
    if record.external_id == box.external_id then
      return record
    end
  end
end

local function provider_list(c)
  return c:ask("list")
end

check("a sandbox knows itself", { own = true }, function(c)
  local name = c:unique()
  local box = c:create({ name = name, labels = { purpose = "conformance", number = 7 } })
  expect.matches(box.id, "^sbx_%w+$", "id")
  expect.yes(type(box.external_id) == "string" and #box.external_id > 0, "external_id", box.external_id)
  expect.fields(box, { name = name, provider = c.provider, status = "running",
    labels = { purpose = "conformance", number = "7" } }, "sandbox")
  expect.matches(box.cwd, "^/", "cwd")
  expect.between(box.created_at, native.loop.realtime() - 600, native.loop.realtime(), "created_at")
  expect.fields(box:info(), { external_id = box.external_id, status = "running" }, "info")
end)

check("list shows it, and filters", { own = true }, function(c)
  local mark = c:unique()
  local box = c:create({ name = mark, labels = { mark = mark, other = "x" } })
  local another = c:create({ labels = { mark = mark } })
  expect.equal(#sandbox.list({ labels = { mark = mark } }), 2, "sandboxes with the label")
  expect.equal(#sandbox.list({ labels = { mark = mark, other = "x" } }), 1, "sandboxes with both labels")
  expect.equal(#sandbox.list({ labels = { mark = mark, other = "y" } }), 0, "sandboxes with another value")
  expect.equal(#sandbox.list({ labels = { mark = mark }, provider = "no-such-provider" }), 0, "of another provider")
  local record = sandbox.list({ name = mark })[1]
  expect.fields(record, { id = box.id, provider = c.provider, external_id = box.external_id, status = "running" },
    "record")
  another:destroy()
  expect.equal(#sandbox.list({ labels = { mark = mark } }), 1, "sandboxes after one was destroyed")
end)

check("the provider lists it until it is destroyed", { own = true }, function(c)
  local box = c:create({ labels = { mark = "provider" } })
  local record = has(provider_list(c), box)
  expect.yes(record, "the provider's list has it")
  expect.equal((record.labels or {}).mark, "provider", "its label there")
  box:destroy()
  expect.equal(has(provider_list(c), box), nil, "after destroy the provider's list has it")
end)

check("it is found by label and by name", { own = true, needs = { "find_by_label", "find_by_name" } }, function(c)
  local mark = c:unique()
  local box = c:create({ name = mark, labels = { mark = mark } })
  local found = c:ask("find_by_label", { mark = mark })
  expect.equal(#found, 1, "sandboxes found by label")
  expect.equal(found[1].external_id, box.external_id, "external_id found by label")
  expect.equal(#c:ask("find_by_label", { mark = mark .. "x" }), 0, "found by another label")
  expect.equal(c:ask("find_by_name", mark).external_id, box.external_id, "found by name")
  local value, err = c.instance:call("find_by_name", mark .. "x")
  expect.equal(value, nil, "found by another name")
  expect.equal(err.kind, "not_found", "kind of the error")
end)

check("two sandboxes share nothing", { own = true }, function(c)
  local a, b = c:create(), c:create()
  expect.yes(a.id ~= b.id and a.external_id ~= b.external_id, "their ids differ")
  a:write_file("mine", "a")
  expect.equal(b:exists("mine"), false, "the other one has the file")
  b:write_file("mine", "b")
  expect.equal(a:read_file("mine"), "a", "content")
  a:destroy()
  expect.prints(b:exec("cat mine"), "b", "the other one after destroy")
end)

check("files stay from command to command", function(c)
  local dir = c:dir()
  c:sh('echo first >"$1/notes"', dir)
  c:sh('echo second >>"$1/notes"', dir)
  expect.equal(c.box:read_file(dir .. "/notes"), "first\nsecond\n", "content")
end)

check("destroy twice, and at once from two sides", { own = true }, function(c)
  local box = c:create()
  box:destroy()
  box:destroy()
  expect.equal(box.status, "destroyed", "status")
  expect.equal(sandbox.destroy(box.id), false, "destroying it by id finds it")
  local other = c:create()
  task.all({
    function()
      other:destroy()
    end,
    function()
      other:destroy()
    end,
  })
  expect.equal(other.status, "destroyed", "status of the other one")
end)

check("destroy by id", { own = true }, function(c)
  local box = c:create()
  expect.equal(sandbox.destroy(box.id), true, "it existed")
  expect.equal(sandbox.destroy(box.id), false, "it existed the second time")
  expect.equal(has(provider_list(c), box), nil, "the provider still has it")
end)

check("after destroy every call raises sandbox_gone", { own = true }, function(c)
  local box = c:create()
  box:destroy()
  for name, fn in pairs({
    exec = function()
      box:exec("true")
    end,
    read_file = function()
      box:read_file("x")
    end,
    write_file = function()
      box:write_file("x", "y")
    end,
    ls = function()
      box:ls(".")
    end,
    stat = function()
      box:stat(".")
    end,
    exists = function()
      box:exists(".")
    end,
    mkdir = function()
      box:mkdir("x")
    end,
    move = function()
      box:move("x", "y")
    end,
    remove = function()
      box:remove("x")
    end,
    upload = function()
      box:upload("/etc/hostname", "x")
    end,
    download = function()
      box:download("x", "/tmp/never-written")
    end,
    spawn = function()
      box:spawn("true")
    end,
    info = function()
      box:info()
    end,
  }) do
    expect.raises("sandbox_gone", fn, name ~= "exists" and name or box.id)
  end
  expect.raises("sandbox_gone", function()
    sandbox.reconnect(box.id)
  end, box.id)
end)

check("one that vanished behind our back is noticed", { own = true }, function(c)
  local box = c:create()
  box:exec("true")
  c:ask("destroy", box)
  expect.raises("sandbox_gone", function()
    box:exec("true")
  end)
  expect.equal(box.status, "destroyed", "status")
  expect.equal(#sandbox.list({ name = box.name, labels = box.labels }) > 0 and has(sandbox.list(), box) or nil, nil,
    "its record")
  local again = c:create()
  c:ask("destroy", again)
  expect.raises("sandbox_gone", function()
    again:read_file("x")
  end)
end)

check("the provider says of an unknown one that it is gone", function(c)
  local other = c:create()
  local external_id, data = other.external_id, other.data
  other:destroy()
  local value, err = c.instance:call("get", external_id, data)
  expect.equal(value, nil, "what get found")
  expect.equal(err.kind, "sandbox_gone", "kind of the error")
  expect.equal(c:ask("destroy", { id = other.id, external_id = external_id, data = data, env = {} }),
    true, "destroying it again")
end)

check("destroy ends everything that runs in it", { own = true }, function(c)
  local box = c:create()
  local plain = c:beat({ box = box, stubborn = true })
  local quiet = c:beat({ box = box, stubborn = true, quiet = true })
  local detached = c:beat({ box = box, stubborn = true, quiet = true, detached = true })
  local running
  task.scope(function(scope)
    scope:spawn(function()
      running = { pcall(box.exec, box, plain.code .. " & " .. quiet.code .. " & " .. detached.code
        .. " & wait; sleep 60") } -- to be killed itself, though they are killed before it
    end)
    for _, beat in ipairs({ plain, quiet, detached }) do
      beat:await_start()
      beat:expect_alive("before destroy")
    end
    box:destroy()
  end)
  expect.yes(running, "the command that ran has come back")
  expect.yes(not running[1] or running[2].exit_code ~= 0, "it did not end well", running[2])
  for _, beat in ipairs({ plain, quiet, detached }) do
    beat:expect_gone("after destroy")
  end
end)

check("what is started while it is being destroyed does not survive", { own = true }, function(c)
  local box = c:create()
  box:exec("mkdir many && cd many && i=0; while [ $i -lt 1000 ]; do : >f$i; i=$((i+1)); done") -- to remove, slowly
  local beat = c:beat({ box = box, stubborn = true, quiet = true })
  local started = 0
  task.scope(function(scope)
    for _ = 1, 3 do
      scope:spawn(function()
        local ok
        repeat
          ok = pcall(box.exec, box, beat.code .. " & true")
          started = started + (ok and 1 or 0)
        until not ok
      end)
    end
    beat:await_start()
    box:destroy()
  end)
  expect.yes(started > 0, "some were started", started)
  beat:expect_gone("after destroy")
  expect.equal(has(provider_list(c), box), nil, "the provider still has it")
end)

check("with destroys it, also after an error", { own = true }, function(c)
  local seen
  expect.equal(sandbox.with(c:options(), function(box)
    seen = box
    return box:exec("echo in").stdout
  end), "in\n", "what with returned")
  expect.equal(seen.status, "destroyed", "status")
  local ok, err = pcall(sandbox.with, c:options(), function(box)
    seen = box
    error("the script's own mistake", 0)
  end)
  expect.equal(ok, false, "the error went on")
  expect.contains(tostring(err), "the script's own mistake", "the error")
  expect.equal(seen.status, "destroyed", "status after the error")
end)

check("a lifetime ends it", { own = true }, function(c)
  local box
  for _, seconds in ipairs({ 1, 8 }) do -- where the way there takes longer than a short life
    box = c:create({ timeout = seconds })
    expect.yes(box.expires_at - native.loop.realtime() <= seconds + 0.5, "it lives longer than it was given")
    local ok, result = pcall(box.exec, box, "echo alive")
    if ok then
      expect.prints(result, "alive\n")
      break
    elseif native.loop.realtime() < box.expires_at or seconds == 8 then
      error(result, 0)
    end
  end
  c:poll("the provider ends it", 28, function()
    local value, err = c.instance:call("get", box.external_id, box.data)
    return value == nil and err.kind == "sandbox_gone" or value ~= nil and value.status == "destroyed"
  end)
  expect.raises("sandbox_gone", function()
    box:exec("true")
  end)
  c:poll("its record goes", 5, function()
    return has(sandbox.list(), box) == nil
  end)
end)

check("extend pushes the end out", { own = true, needs = { "extend" } }, function(c)
  local box, before
  for _, seconds in ipairs({ 2, 16 }) do -- where making it takes most of a short life
    box = c:create({ timeout = seconds })
    before = box.expires_at
    if before - native.loop.realtime() > seconds / 2 then
      break
    end
  end
  box:extend(600)
  expect.between(box.expires_at - before, 590, 610, "seconds gained")
  expect.between(box:info().expires_at - native.loop.realtime(), 580, 620, "seconds left, as the provider says")
  c:poll("its first end passes", 20, function()
    return native.loop.realtime() > before + 0.3
  end)
  expect.prints(box:exec("echo alive"), "alive\n")
end)

check("what can be done is known, and what cannot says so", function(c)
  for _, operation in ipairs(contract.operations) do
    local capability = c.instance:can(operation.name)
    expect.yes(capability == "native" or capability == "emulated" or capability == "unsupported",
      "capability of " .. operation.name, capability)
    if capability == "unsupported" then
      unsupported.verify(c, operation.name)
    else
      expect.equal(c.box:can(operation.name), capability, "can " .. operation.name)
    end
  end
end)

check("stop keeps the files, start brings it back", { own = true, needs = { "stop", "start" } }, function(c)
  local box = c:create()
  box:write_file("kept", "content")
  box:stop()
  expect.equal(box.status, "stopped", "status")
  box:start()
  expect.equal(box.status, "running", "status after start")
  expect.equal(box:read_file("kept"), "content", "content")
  expect.prints(box:exec("echo usable"), "usable\n")
end)

check("pause freezes, resume thaws", { own = true, needs = { "pause", "resume" } }, function(c)
  local box = c:create()
  box:write_file("kept", "content")
  box:pause()
  expect.equal(box.status, "paused", "status")
  box:resume()
  expect.equal(box.status, "running", "status after resume")
  expect.prints(box:exec("cat kept"), "content")
end)

check("a fork has the files and goes its own way", { own = true, needs = { "fork" } }, function(c)
  local box = c:create()
  box:write_file("shared", "before")
  local copy = box:fork()
  c:defer(copy.destroy, copy)
  expect.yes(copy.id ~= box.id and copy.external_id ~= box.external_id, "its ids differ")
  expect.equal(copy:read_file("shared"), "before", "content")
  copy:write_file("shared", "after")
  expect.equal(box:read_file("shared"), "before", "content of the first one")
end)

check("a snapshot is listed and can be deleted",
  { own = true, needs = { "snapshot", "snapshot_list", "snapshot_delete" } }, function(c)
    local box = c:create()
    local name = c:unique()
    box:snapshot(name)
    local function listed()
      for _, entry in ipairs(c:ask("snapshot_list")) do
        if entry.name == name then
          return true
        end
      end
      return false
    end
    expect.equal(listed(), true, "the list has it")
    c:ask("snapshot_delete", name)
    expect.equal(listed(), false, "the list has it after deleting")
  end)

check("url gives an address for a port", { needs = { "url" } }, function(c)
  expect.matches(c.box:url(8080), "^https?://[%w%.%-_:]+", "url")
  for _, port in ipairs({ 0, 65536, -1 }) do
    expect.raises("invalid", function()
      c.box:url(port)
    end, "port")
  end
end)

return topic
