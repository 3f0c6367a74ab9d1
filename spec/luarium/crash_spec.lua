--- What another process finds after the engine was killed without warning, at each point of a sandbox's life.
local async = require "spec.support.async"
local engines = require "spec.support.engines"
local state = require "spec.support.state"
local config = require "luarium.config"
local luarium = require "luarium"
local native = require "luarium.native"
local registry = require "luarium.registry"
local task = require "luarium.task"

local fs, process = native.fs, native.process
local engine, kill, runs = engines.start, engines.kill, engines.runs

local function crash_test(fn)
  return async(20, function()
    state.with(fn)
  end)
end

describe("after a crash", function()
  it("a running sandbox is listed, reconnected, goes on, and is destroyed with all its processes", crash_test(function(folder)
    local child, line = engine(folder, [[
      local box = luarium.create({ labels = { run = "crashed" }, env = { KEPT = "yes" } })
      box:write_file("notes.txt", "before the crash")
      box:exec("setsid sh -c 'echo $$ >pid.t; mv pid.t pid; exec sleep 1000' >/dev/null 2>&1 &")
      print(box.id)
      box:exec("while [ ! -e pid ]; do :; done; cat pid; sleep 1000", { on_stdout = function(text) io.stdout:write(text) end })
    ]])
    local id, pid = line(), line()
    kill(child)
    local records = luarium.list({ labels = { run = "crashed" } })
    assert.equal(id, records[1].id)
    local box = luarium.reconnect(id)
    assert.equal("before the crash", box:read_file("notes.txt"))
    assert.equal("yes\n", box:exec("echo $KEPT").stdout)
    assert.is_true(runs(pid))
    box:destroy()
    assert.is_false(runs(pid))
    assert.same({}, (task.await(process.find("LUARIUM_SANDBOX=" .. id))))
    assert.is_false(fs.exists(folder .. "/state/local/" .. id))
    assert.same({}, luarium.list())
  end))

  it("a command that was cut off is found and killed with its sandbox", crash_test(function(folder)
    local child, line = engine(folder, [[
      local box = luarium.create()
      print(box.id)
      box:exec("echo started; exec sleep 1000", { on_stdout = function(text) io.stdout:write(text) end })
    ]])
    local id = line()
    assert.equal("started", line())
    kill(child)
    assert.is_true(luarium.destroy(id)) -- it may be between sh and sleep at this moment: not even then is it missed
    assert.same({}, (task.await(process.find("LUARIUM_SANDBOX=" .. id))))
  end))

  it("a record without a sandbox is destroyed by its id", crash_test(function()
    registry.put({ id = "sbx_01only0record", provider = "local", adapter = "local", status = "creating", labels = {},
      created_at = 0 })
    assert.is_true(luarium.destroy("sbx_01only0record"))
    assert.same({}, luarium.list())
  end))

  it("a sandbox whose answer was never recorded is destroyed by its id", crash_test(function(folder)
    local instance = config.provider("local")
    registry.put({ id = "sbx_01lost0answer", provider = "local", adapter = "local", status = "creating", labels = {},
      created_at = 0 })
    assert(instance:call("create", { id = "sbx_01lost0answer", labels = {}, env = {} }))
    assert.is_true(fs.exists(folder .. "/state/local/sbx_01lost0answer"))
    assert.is_true(luarium.destroy("sbx_01lost0answer"))
    assert.is_false(fs.exists(folder .. "/state/local/sbx_01lost0answer"))
    assert.same({}, luarium.list())
  end))

  it("a sandbox that was cut off while it was made is destroyed by its id", crash_test(function(folder)
    registry.put({ id = "sbx_01half0made", provider = "local", adapter = "local", status = "creating", labels = {},
      created_at = 0 })
    assert(task.await(fs.mkdir(folder .. "/state/local/sbx_01half0made/home", { parents = true })))
    assert.equal("broken", config.provider("local"):call("list")[1].status)
    assert.is_true(luarium.destroy("sbx_01half0made"))
    assert.is_false(fs.exists(folder .. "/state/local/sbx_01half0made"))
  end))

  it("a sandbox whose state is damaged is told of, and destroyed by its id", crash_test(function(folder)
    local box = luarium.create()
    local instance, id = config.provider("local"), box.id
    local function with(fields)
      return ('{"id":"%s"%s}'):format(id, fields)
    end
    for text, fault in pairs({ ["{"] = "json: ", ["null"] = "a table, got a nil", ["3"] = "a table, got a number",
      ["{}"] = "the field 'id' is missing", ['{"id":"sbx_other"}'] = "that of another one",
      [with ',"expires_at":"soon"'] = "the field 'expires_at' is a string", [with ',"labels":3'] = "'labels'" }) do
      assert(task.await(fs.write_file(folder .. "/state/local/" .. id .. "/state.json", text)))
      local facts, err = instance:call("get", id, {})
      assert.is_nil(facts)
      assert.equal("protocol", err.kind)
      assert.truthy(err.message:find("damaged: ", 1, true) and err.message:find(fault, 1, true), err.message)
      local found = instance:call("list")
      assert.same({ { external_id = id, status = "broken", labels = {} } }, found)
    end
    assert.is_true(luarium.destroy(id))
    assert.is_false(fs.exists(folder .. "/state/local/" .. id))
  end))

  it("a destroy that was cut off is finished by the next one", crash_test(function(folder)
    local box = luarium.create()
    local record = registry.get(box.id)
    record.status = "destroying"
    registry.put(record)
    assert(task.await(fs.remove(folder .. "/state/local/" .. box.id .. "/home", { recursive = true })))
    assert.is_true(luarium.destroy(box.id))
    assert.is_false(fs.exists(folder .. "/state/local/" .. box.id))
  end))
end)

describe("a full disk", function()
  it("is one clear error and leaves nothing behind", crash_test(function(folder)
    local mount = folder .. "/small"
    assert(task.await(fs.mkdir(mount, {})))
    local mounted = task.await(process.run({
      argv = { "mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "tmpfs", mount }, env = { "PATH=" .. os.getenv("PATH") },
    }))
    if mounted.exit_code ~= 0 then
      print("not checked here: a tmpfs cannot be mounted: " .. mounted.stderr)
      return
    end
    local ok, err = pcall(function()
      config.configure({ providers = { small = { "local", dir = mount .. "/boxes" } } })
      local box = luarium.create("small")
      local _, full = pcall(box.write_file, box, "big", ("x"):rep(200000))
      assert.equal("io", full.kind)
      assert.equal("ENOSPC", full.name)
      assert.same({}, box:ls("."))
      assert.equal(0, box:exec("true").exit_code)
      local boxes = {}
      local _, no_more = pcall(function()
        for i = 1, 40 do
          boxes[i] = luarium.create("small")
        end
      end)
      assert.equal("ENOSPC", no_more.name)
      assert.equal(#boxes + 1, #luarium.list({ provider = "small" }))
      boxes[#boxes + 1] = box
      for _, each in ipairs(boxes) do
        each:destroy()
      end
      assert.same({}, (task.await(fs.ls(mount .. "/boxes"))))
    end)
    task.await(process.run({ argv = { "umount", mount }, env = { "PATH=" .. os.getenv("PATH") } }))
    if not ok then
      error(err, 0)
    end
  end))
end)
