--- Records of creates that did not end well, and what crashes leave beside the records.
local async = require "spec.support.async"
local state = require "spec.support.state"
local config = require "luarium.config"
local errors = require "luarium.error"
local luarium = require "luarium"
local native = require "luarium.native"
local provider = require "luarium.provider"
local registry = require "luarium.registry"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"

local fs = native.fs

local function write(path, text)
  assert(task.await(fs.write_file(path, text, { parents = true })))
end

local function names_in(folder)
  local names = {}
  for _, entry in ipairs(assert(task.await(fs.ls(folder)))) do
    names[#names + 1] = entry.name
  end
  return names
end

describe("leftovers", function()
  it("keep their record while the provider cannot be asked for them", async(function()
    state.with(function()
      local down = true
      package.preload["luarium.providers.spec_flaky"] = function()
        local function fail()
          return nil, errors.new("unavailable", "the vendor is down")
        end
        return provider.define {
          name = "spec_flaky", summary = "fails", docs = "-", config = {},
          create = fail, get = fail, exec = fail,
          list = function()
            if down then
              return fail()
            end
            return {}
          end,
          destroy = function()
            return true
          end,
        }
      end
      luarium.configure { providers = { flaky = { "spec_flaky" } } }
      local _, err = luarium.try(luarium.create, { provider = "flaky" })
      assert.equal("unavailable", err.kind)
      local records = luarium.list()
      assert.equal(1, #records)
      _, err = luarium.try(luarium.destroy, records[1].id)
      assert.equal("unavailable", err.kind)
      assert.equal(1, #luarium.list())
      down = false
      assert.is_true(luarium.destroy(records[1].id))
      assert.equal(0, #luarium.list())
      package.preload["luarium.providers.spec_flaky"] = nil
      package.loaded["luarium.providers.spec_flaky"] = nil
    end)
  end))

  --- Calls fn with a sandbox whose provider has given a sandbox that cannot be written down; how many it has then.
  local function unwritable(fn)
    local living = {}
    local function make(_, _, spec)
      living[spec.id] = true
      return { external_id = spec.id, status = "running", cwd = "/", data = spec.name and { forget = print } }
    end
    provider.register(provider.define {
      name = "spec_unwritable", summary = "gives what is no data", docs = "-", config = {},
      create = function(self, spec) return make(self, nil, spec) end,
      fork = make,
      list = function() return {} end,
      get = function() return nil, errors.new("sandbox_gone", "gone") end,
      exec = function() return nil, errors.new("unsupported", "no exec") end,
      destroy = function(_, box)
        living[box.external_id] = nil
        return true
      end,
    })
    state.with(function()
      local count = 0
      local _, err = luarium.try(fn, { provider = "spec_unwritable" })
      for _ in pairs(living) do
        count = count + 1
      end
      assert.equal("invalid", err.kind)
      assert.truthy(tostring(err):find("sandbox record: json: ", 1, true), tostring(err))
      assert.equal(0, count)
      assert.equal(0, #luarium.list())
    end)
  end

  it("are none when a sandbox that was made cannot be written down", async(function()
    unwritable(function(options)
      options.name = "n"
      luarium.create(options)
    end)
  end))

  it("are none when a copy that was made cannot be written down", async(function()
    unwritable(function(options)
      luarium.with(options, function(box)
        box:fork({ name = "n" })
      end)
    end)
  end))

  --- Creates with these options, which fails; returns the error and how many records are left.
  local function failed(options)
    local _, err
    state.with(function()
      luarium.configure { providers = { p = options } }
      _, err = luarium.try(luarium.create, { provider = "p" })
      err.records = #luarium.list()
    end)
    return err
  end

  it("are none where the provider was never reached", async(function()
    local err = failed { "ssh", host = "", ssh_config = false }
    assert.matches("host: expected a name", err.message, 1, true)
    assert.equal(0, err.records)
    err = failed { "ssh", host = "root@127.0.0.1:1", ssh_config = false, accept_new = true }
    assert.equal("unavailable", err.kind)
    assert.equal(0, err.records)
    err = failed { "docker", host = "unix:///nonexistent/docker.sock" }
    assert.equal("unavailable", err.kind)
    assert.equal(0, err.records)
  end))

  it("are none where a host does not let us in, or a create is given up before it does", async(function()
    if sshd.missing() then
      pending(sshd.missing())
      return
    end
    local server = sshd.start {}
    local err = failed(server:provider { known_hosts = server.dir .. "/nobody_is_known" })
    assert.equal("SSH_HOST_KEY_UNKNOWN", err.name)
    assert.equal(0, err.records)
    err = failed(server:provider { known_hosts = server:know(), key = server:key("other", "ed25519", { authorize = false }) })
    assert.equal("auth", err.kind)
    assert.equal(0, err.records)
    state.with(function()
      luarium.configure { providers = { p = server:provider { known_hosts = server:know() } } }
      local work = task.start(luarium.create, { provider = "p" })
      task.yield()
      work:cancel()
      pcall(work.wait, work)
      assert.equal(0, #luarium.list())
    end)
    server:stop()
  end))

  it("of a destroy that was cut off are removed although the create was never finished", async(function()
    state.with(function()
      local id = "sbx_0123456789abcdefghjkmnpqrs"
      registry.put({ id = id, provider = "local", adapter = "local", status = "creating", labels = {} })
      local folder = config.state_dir() .. "/local"
      write(folder .. "/" .. id .. ".gone/work/a", "a")
      assert.is_true(luarium.destroy(id))
      assert.same({}, names_in(folder))
    end)
  end))

  it("of a destroy that was cut off do not keep the sandbox from being destroyed", async(function()
    state.with(function()
      local box = luarium.create()
      local folder = config.state_dir() .. "/local"
      local root = folder .. "/" .. box.id
      assert(task.await(fs.move(root, root .. ".gone")))
      box:destroy()
      assert.same({}, names_in(folder))
      assert.equal(0, #luarium.list())
    end)
  end))

  it("of a write that was cut off are removed, but not those of a write that runs", async(function()
    state.with(function()
      local folder = config.state_dir() .. "/sandboxes"
      write(folder .. "/.luarium-tmp-0123456789abcdef", "{")
      write(folder .. "/.luarium-tmp-fedcba9876543210", "{")
      os.execute("touch -d '1 minute ago' " .. folder .. "/.luarium-tmp-0123456789abcdef")
      assert.same({}, luarium.list())
      assert.same({ ".luarium-tmp-fedcba9876543210" }, names_in(folder))
    end)
  end))

  it("that cannot be read hide no other record, and can be destroyed", async(function()
    state.with(function()
      local folder = config.state_dir() .. "/sandboxes"
      write(folder .. "/sbx_empty.json", "")
      write(folder .. "/sbx_list.json", "[1]")
      write(folder .. "/sbx_number.json", "5")
      write(folder .. "/sbx_text.json", '{"id":"sbx_other","provider":5}')
      write(config.state_dir() .. "/local/sbx_empty/work/a", "a")
      local box = luarium.create()
      local seen = {}
      for _, record in ipairs(luarium.list()) do
        seen[record.id] = record.status
      end
      assert.same({ [box.id] = "running", sbx_empty = "broken", sbx_list = "broken", sbx_number = "broken",
        sbx_text = "broken" }, seen)
      local _, err = luarium.try(luarium.reconnect, "sbx_empty")
      assert.equal("protocol", err.kind)
      for id in pairs(seen) do
        assert.is_true(luarium.destroy(id))
      end
      assert.same({}, names_in(folder))
      assert.same({}, names_in(config.state_dir() .. "/local"))
    end)
  end))
end)
