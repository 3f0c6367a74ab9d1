--- A vendor that gives machines with SSH and nothing else, as an adapter over its HTTP interface: these calls create and
--- destroy, luarium.provider.over_ssh does the rest. spec/support/vm_service.lua is the vendor. Requiring it registers it.
local client = require "luarium.provider.client"
local errors = require "luarium.error"
local over_ssh = require "luarium.provider.over_ssh"
local provider = require "luarium.provider"

local function http(self)
  self.state.client = self.state.client or client.new({
    base_url = self.config.url, provider = "vm_vendor", bearer = self.config.api_key,
  })
  return self.state.client
end

local function describe(machine)
  return { external_id = machine.id, status = machine.status, name = machine.name, labels = machine.labels or {} }
end

local function gone(err)
  if errors.is(err, "not_found") then
    return errors.new("sandbox_gone", "the vendor has no such machine")
  end
  return err
end

local definition = over_ssh.define {
  name = "vm_vendor",
  summary = "machines with SSH",
  docs = "spec/support/vm_vendor.lua",
  config = {
    url = { required = true, about = "of the service" },
    api_key = { secret = true, required = true, env = "VM_VENDOR_API_KEY" },
    key = { required = true, about = "the private key that the machines know" },
  },
  accepts = { "cwd" },
  ignores = { "image", "cpu", "memory", "disk" },

  create = function(self, spec)
    local labels = { ["luarium.id"] = spec.id }
    for key, value in pairs(spec.labels or {}) do
      labels[key] = value
    end
    local machine, err = http(self):post("/machines", { name = spec.name, labels = labels })
    if not machine then
      return nil, err
    end
    return {
      external_id = machine.id,
      ssh = { host = "127.0.0.1", port = machine.port, user = "root", host_key = machine.fingerprint },
    }
  end,
  login = function(self)
    return { key = self.config.key, agent = false }
  end,
  get = function(self, external_id)
    local machine, err = http(self):get("/machines/" .. external_id)
    if not machine then
      return nil, gone(err)
    end
    return describe(machine)
  end,
  list = function(self)
    local machines, err = http(self):get("/machines")
    if not machines then
      return nil, err
    end
    local found = {}
    for i, machine in ipairs(machines) do
      found[i] = describe(machine)
    end
    return found
  end,
  destroy = function(self, box)
    local ok, err = http(self):delete("/machines/" .. box.external_id)
    if not ok and not errors.is(err, "not_found") then
      return nil, err
    end
    return true
  end,
}

provider.register(definition)

return definition
