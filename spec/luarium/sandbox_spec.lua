local async = require "spec.support.async"
local state = require "spec.support.state"
local errors = require "luarium.error"
local event = require "luarium.event"
local luarium = require "luarium"
local native = require "luarium.native"
local provider = require "luarium.provider"
local registry = require "luarium.registry"
local task = require "luarium.task"

local fs, process = native.fs, native.process

local function with_state(fn)
  return async(20, function()
    state.with(fn)
  end)
end

local function fails(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert(errors.is(err, kind), ("expected kind %s, got %s"):format(kind, errors.is(err) and err:trace() or tostring(err)))
  return err.message
end

--- A provider over local whose create misbehaves on request.
local trouble = {}
local base = provider.load("local")
local definition = { name = "spec_trouble" }
for key, value in pairs(base) do
  if key ~= "name" then
    definition[key] = value
  end
end
definition.create = function(self, spec)
  local made, err = base.create(self, spec)
  if trouble.after then
    return trouble.after(made)
  end
  return made, err
end
definition.destroy = function(self, box)
  if trouble.destroy then
    return trouble.destroy(box)
  end
  return base.destroy(self, box)
end
definition.list = function(self)
  if trouble.list then
    return trouble.list()
  end
  return base.list(self)
end
provider.register(provider.define(definition))

describe("sandbox", function()
  before_each(function()
    trouble = {}
  end)

  it("keeps a record while it lives and removes it at the end", with_state(function(folder)
    local box = luarium.create({ name = "one", labels = { team = "a", n = 5 } })
    local records = luarium.list()
    assert.equal(1, #records)
    assert.equal(box.id, records[1].id)
    assert.same({ team = "a", n = "5" }, records[1].labels)
    assert.equal(1, #luarium.list({ labels = { team = "a" } }))
    assert.equal(0, #luarium.list({ labels = { team = "b" } }))
    assert.equal(0, #luarium.list({ provider = "docker" }))
    local facts = assert(task.await(fs.stat(folder .. "/state/sandboxes")))
    assert.equal(448, facts.mode)
    facts = assert(task.await(fs.stat(folder .. "/state/sandboxes/" .. box.id .. ".json")))
    assert.equal(384, facts.mode)
    box:destroy()
    assert.equal("destroyed", box.status)
    assert.same({}, luarium.list())
    assert.is_false(fs.exists(folder .. "/state/local/" .. box.external_id))
  end))

  it("is destroyed by `with`, also after an error and when cancelled", with_state(function()
    local kept
    fails("internal", luarium.with, {}, function(box)
      kept = box
      error("oops")
    end)
    assert.equal("destroyed", kept.status)
    fails("timeout", task.timeout, 0.05, luarium.with, {}, function(box)
      kept = box
      box:exec("sleep 60")
    end)
    assert.equal("destroyed", kept.status)
    assert.same({}, luarium.list())
  end))

  if not rawget(_G, "jit") then
    it("is destroyed by <close>, also when its task is cancelled", with_state(function()
      local run = assert(load([[
        local luarium = ...
        local box <close> = luarium.create()
        box:exec("sleep 60")
      ]]))
      fails("timeout", task.timeout, 0.05, run, luarium)
      assert.same({}, luarium.list())
    end))
  end

  it("teaches the colon, and that a record is no sandbox", with_state(function()
    luarium.with({}, function(box)
      for _, name in ipairs({ "exec", "read_file", "ls", "job", "destroy" }) do
        for _, first in ipairs({ "text", { "a", "list" } }) do
          assert.equal(("%s: expected a sandbox in front, got a %s: write box:%s(...), with a colon"):format(name, type(first),
            name), fails("invalid", box[name], first))
        end
        assert.matches("got nothing: write box:" .. name, fails("invalid", box[name]), 1, true)
      end
      local _, err = luarium.try(function() return luarium.list()[1]:exec("true") end)
      assert.matches("luarium.reconnect(record.id) the sandbox", err.message, 1, true)
    end)
    assert.same({}, luarium.list())
  end))

  it("says which provider takes no user", with_state(function()
    for _, name in ipairs({ "local", "bubblewrap" }) do
      luarium.with({ provider = name }, function(box)
        assert.matches("provider '" .. name .. "' runs everything as one user",
          fails("unsupported", box.exec, box, "true", { user = "nobody" }), 1, true)
      end)
    end
  end))

  it("refuses wrong arguments with one clear error, and leaves nothing", with_state(function()
    assert.truthy(fails("invalid", luarium.create, { image = 5, tiemout = 3 }):find("did you mean 'timeout'", 1, true))
    assert.truthy(fails("unsupported", luarium.create, { network = false }):find("cannot do `network`", 1, true))
    fails("invalid", luarium.create, { provider = "nonsense" })
    fails("invalid", luarium.create, { env = { ["A=B"] = "x" } })
    fails("invalid", luarium.create, { env = { A = "x\0y" } })
    fails("invalid", luarium.with, {}, "no function")
    fails("invalid", luarium.reconnect, "nonsense")
    fails("invalid", luarium.reconnect, "../../etc/passwd")
    fails("sandbox_gone", luarium.reconnect, "sbx_0000000000")
    assert.same({}, luarium.list())
    luarium.with({}, function(box)
      fails("invalid", box.exec, box, {})
      fails("invalid", box.exec, box, { "" })
      fails("invalid", box.exec, box, 5)
      fails("invalid", box.exec, box, "true", { timout = 3 })
      fails("invalid", box.exec, box, "true", { stdin = {} })
      fails("invalid", box.exec, box, "a\0b")
      fails("invalid", box.read_file, box, "")
      fails("invalid", box.read_file, box, nil)
      fails("invalid", box.write_file, box, "x", 5)
      fails("invalid", box.url, box, 0)
      fails("invalid", box.url, box, 70000)
      fails("unsupported", box.snapshot, box, "name")
    end)
  end))

  it("takes what asks for nothing but what every sandbox has: a network, ports under their own numbers", with_state(function()
    luarium.with({ network = true, ports = { 8080, "9090" } }, function(box)
      assert.equal("http://127.0.0.1:8080", (box:url(8080)))
    end)
    for _, ports in ipairs({ { "9000:8080" }, { 8080, "8081/udp" }, { "0.0.0.0:80:80" } }) do
      assert.matches("cannot do `ports`", fails("unsupported", luarium.create, { ports = ports }), 1, true)
    end
    fails("unsupported", luarium.create, { network = "office" })
    assert.same({}, luarium.list())
  end))

  it("knows of each provider where its sandboxes are", with_state(function(folder)
    for _, case in ipairs({
      { "local", {}, folder .. "/state/local" }, { "bubblewrap", { dir = "/boxes" }, "/boxes" },
      { "docker", { host = "unix:///other.sock" }, "unix:///other.sock" },
      { "ssh", { host = "example.com", user = "me", port = 2222, root = "/boxes" }, "me@example.com:2222 /boxes" },
      { "ssh", { host = "me@example.com" }, "me@example.com" },
    }) do
      assert.equal(case[3], require("luarium.provider").open("here", case[1], case[2]):place())
    end
  end))

  it("has no networks of a name in bubblewrap, and leaves nothing of the attempt", with_state(function()
    assert.matches("there is no network 'office' here", fails("unsupported", luarium.create,
      { provider = "bubblewrap", network = "office" }), 1, true)
    assert.same({}, luarium.list())
  end))

  it("warns once of options that the provider ignores, and says who takes them", with_state(function()
    local warnings = {}
    local off = event.on("log", function(record)
      warnings[#warnings + 1] = record
    end)
    luarium.with({ image = "debian:12", memory = 1048576, labels = { a = "b" }, timeout = 60, cwd = "work" }, function(box)
      box:exec("true")
      assert.same({ sandbox = box.id, provider = "local", ignored = { "image", "memory" } }, warnings[1].fields)
    end)
    assert.equal(1, #warnings)
    assert.equal("warn", warnings[1].level)
    assert.equal("provider 'local' ignores image, memory: 'docker' takes them, use --provider docker",
      warnings[1].message)
    luarium.configure({ providers = { boxes = { "docker" } } })
    luarium.with({ cpu = 1 }, task.yield)
    assert.equal("provider 'local' ignores cpu: 'boxes' takes it, use --provider boxes", warnings[2].message)
    luarium.with({ labels = { a = "b" }, name = "plain", options = {} }, task.yield)
    assert.equal(2, #warnings)
    luarium.with({ options = { snapshot = "base" } }, task.yield)
    assert.matches("provider 'local' ignores options: ", warnings[3].message, 1, true)
    off()
  end))

  it("takes back a sandbox whose create failed half-way", with_state(function(folder)
    trouble.after = function()
      return nil, errors.new("unavailable", "the answer was lost")
    end
    assert.equal("the answer was lost", fails("unavailable", luarium.create, "spec_trouble"))
    assert.same({}, luarium.list())
    assert.same({}, (task.await(fs.ls(folder .. "/state/spec_trouble"))))
  end))

  it("takes back a sandbox whose create was cancelled", with_state(function(folder)
    local made_it = task.event("the folder")
    trouble.after = function(made)
      made_it:set()
      task.sleep(60)
      return made
    end
    task.scope(function(scope)
      local creation = scope:spawn(luarium.create, "spec_trouble")
      made_it:wait()
      task.cancel(creation)
      fails("cancelled", creation.wait, creation)
    end)
    assert.same({}, luarium.list())
    assert.same({}, (task.await(fs.ls(folder .. "/state/spec_trouble"))))
  end))

  it("keeps the record of what it could not take back, and destroys it later by id", with_state(function()
    trouble.after = function()
      return nil, errors.new("unavailable", "lost")
    end
    trouble.destroy = function()
      return nil, errors.new("unavailable", "still down")
    end
    fails("unavailable", luarium.create, "spec_trouble")
    local records = luarium.list()
    assert.equal(1, #records)
    assert.equal("creating", records[1].status)
    fails("conflict", luarium.reconnect, records[1].id)
    fails("unavailable", luarium.destroy, records[1].id)
    trouble = {}
    assert.is_true(luarium.destroy(records[1].id))
    assert.is_false(luarium.destroy(records[1].id))
    assert.same({}, luarium.list())
  end))

  it("keeps the record when nobody can tell whether something was made", with_state(function()
    trouble.after = function()
      return nil, errors.new("unavailable", "lost")
    end
    trouble.list = function()
      return nil, errors.new("unavailable", "no answer")
    end
    fails("unavailable", luarium.create, "spec_trouble")
    local records = luarium.list()
    assert.equal(1, #records)
    trouble = {}
    assert.is_true(luarium.destroy(records[1].id))
  end))

  it("stays known when destroying fails, and can be destroyed again", with_state(function()
    local box = luarium.create("spec_trouble")
    trouble.destroy = function()
      return nil, errors.new("unavailable", "down")
    end
    fails("unavailable", box.destroy, box)
    assert.equal("destroying", luarium.list()[1].status)
    trouble = {}
    box:destroy()
    assert.same({}, luarium.list())
  end))

  it("survives a record that is damaged or of a provider that is not configured", with_state(function(folder)
    local box = luarium.create()
    local record = registry.get(box.id)
    record.provider = "somewhere_else"
    record.id = "sbx_elsewhere"
    registry.put(record)
    assert.truthy(fails("invalid", luarium.reconnect, "sbx_elsewhere"):find("somewhere_else", 1, true))
    registry.delete("sbx_elsewhere")
    assert(task.await(fs.write_file(folder .. "/state/sandboxes/sbx_damaged.json", "{ half", {})))
    assert.truthy(fails("protocol", luarium.reconnect, "sbx_damaged"):find("json", 1, true))
    registry.delete("sbx_damaged")
    box:destroy()
  end))

  it("never writes the value of a secret to a record, and reads the variable again", with_state(function(folder)
    local box = luarium.create({ env = { TOKEN = luarium.env("HOME"), PLAIN = "visible",
      GIVEN = luarium.secret("a-given-secret", "GIVEN_SECRET") } })
    local text = assert(task.await(fs.read_file(folder .. "/state/sandboxes/" .. box.id .. ".json", {})))
    assert.truthy(text:find("visible", 1, true))
    assert.falsy(text:find("a-given-secret", 1, true))
    assert.same({ TOKEN = "HOME", GIVEN = "GIVEN_SECRET" }, registry.get(box.id).secret_env)
    assert.equal(os.getenv("HOME") .. " a-given-secret\n", box:exec('echo "$TOKEN $GIVEN"').stdout)
    box:destroy()
  end))

  it("shows no secret in events, results of errors included", with_state(function()
    local lines = {}
    local off = event.on("*", function(record)
      lines[#lines + 1] = event.to_json(record)
    end)
    luarium.with({ env = { KEY = luarium.secret("shown-nowhere-1234", "KEY") } }, function(box)
      box:exec("echo $KEY; echo $KEY >&2")
      pcall(box.exec, box, "echo shown-nowhere-1234; echo shown-nowhere-1234 >&2; exit 1", { check = true })
      pcall(box.read_file, box, "/shown-nowhere-1234")
    end)
    off()
    local all = table.concat(lines, "\n")
    assert.truthy(all:find("sandbox.exec", 1, true))
    assert.truthy(all:find("[redacted KEY]", 1, true))
    assert.falsy(all:find("shown-nowhere-1234", 1, true))
  end))

  it("ends by itself when its time is over", with_state(function(folder)
    local box = luarium.create({ timeout = 0.3 })
    box:exec("sleep 100 >/dev/null 2>&1 &")
    local expired = task.event("expiry")
    local off = event.on("sandbox.destroy", function(record)
      if record.phase == "stop" then
        expired:set()
      end
    end)
    task.timeout(5, expired.wait, expired)
    off()
    assert.equal("destroyed", box.status)
    fails("sandbox_gone", box.exec, box, "true")
    assert.same({}, luarium.list())
    assert.is_false(fs.exists(folder .. "/state/local/" .. box.external_id))
    assert.same({}, (task.await(process.find("LUARIUM_SANDBOX=" .. box.external_id))))
  end))

  it("lives longer when extended", with_state(function()
    local box = luarium.create({ timeout = 0.2 })
    box:extend(60)
    task.sleep(0.3)
    assert.equal(0, box:exec("true").exit_code)
    assert.is_true(box:info().expires_at > native.loop.realtime() + 50)
    box:destroy()
  end))

  it("explains a failed command when asked to check", with_state(function()
    luarium.with({}, function(box)
      local ok, err = pcall(box.exec, box, "echo working; echo it broke >&2; exit 4", { check = true })
      assert.is_false(ok)
      assert.equal("EXIT", err.name)
      assert.equal("exec: `echo working; echo it broke >&2; exit 4` exited with 4: it broke", err.message)
      assert.equal(4, err.data.exit_code)
      assert.equal("timeout", select(2, pcall(box.exec, box, "sleep 60", { check = true, timeout = 0.05 })).kind)
    end)
  end))

  it("is one object per process and id", with_state(function()
    local box = luarium.create()
    assert.equal(box, luarium.reconnect(box.id))
    box:destroy()
    fails("sandbox_gone", luarium.reconnect, box.id)
  end))

  it("notices that its folder was deleted behind its back", with_state(function(folder)
    local box = luarium.create()
    assert(task.await(fs.remove(folder .. "/state/local/" .. box.external_id, { recursive = true })))
    fails("sandbox_gone", box.exec, box, "true")
    assert.equal("destroyed", box.status)
    box:destroy()
    assert.same({}, luarium.list())
  end))

  it("destroys once when many ask at the same time", with_state(function()
    local box, calls = luarium.create(), 0
    local off = event.on("sandbox.destroy", function(record)
      calls = calls + (record.phase == "start" and 1 or 0)
    end)
    task.map({ 1, 2, 3, 4 }, function()
      box:destroy()
    end)
    off()
    assert.equal(1, calls)
  end))

  it("try returns nil and the error, but lets the task's own end through", with_state(function()
    local value, err = luarium.try(luarium.reconnect, "sbx_0000000000")
    assert.is_nil(value)
    assert.equal("sandbox_gone", err.kind)
    assert.equal(5, luarium.try(function()
      return 5
    end))
    fails("timeout", task.timeout, 0.02, function()
      luarium.try(task.sleep, 60)
      error("not reached")
    end)
  end))
end)
