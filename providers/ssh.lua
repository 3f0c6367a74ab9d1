--- Sandboxes on any machine that SSH reaches: a folder and the processes in it, as the local provider has them here.
--- Nothing has to be installed there but POSIX sh and the usual small tools.
local machine = require "luarium.ssh.machine"
local provider = require "luarium.provider"
local target = require "luarium.ssh.target"
local transfer = require "luarium.ssh.transfer"

local config = {
  root = { about = "the folder of the sandboxes on the host; default: ~/.luarium/sandboxes" },
}
for name, row in pairs(target.options) do
  config[name] = row
end

--- The machine of an instance, found out about when it is first needed.
local function machine_of(self)
  if not self.state.machine then
    local found, err = target.resolve(self.config)
    if not found then
      return nil, err
    end
    self.state.machine = self.state.machine or machine.new(found, self.config.root)
  end
  return self.state.machine
end

local function with_machine(fn)
  return function(self, ...)
    local host, err = machine_of(self)
    if not host then
      return nil, err
    end
    return fn(host, ...)
  end
end

local function across(move)
  return function(self, box, ...)
    local host, err = machine_of(self)
    if not host then
      return nil, err
    end
    return move(self, host, box, ...)
  end
end

return provider.define {
  name = "ssh",
  summary = "a folder and processes on a machine that SSH reaches; no isolation",
  docs = "docs/ssh.md",
  config = config,
  accepts = { "cwd" },
  ignores = { "image", "cpu", "memory", "disk", "options" },
  gives = { "network", "ports" },
  unsupported = { stop = "destroy it" },

  place = function(self)
    local given = self.config
    return ("%s%s%s%s"):format(given.user and given.user .. "@" or "", given.host or "?",
      given.port and ":" .. given.port or "", given.root and " " .. given.root or "")
  end,
  create = function(self, spec)
    spec.nothing_made = true -- until the host lets us in
    local host, err = machine_of(self)
    if not host then
      return nil, err
    end
    return host:create(spec)
  end,
  get = with_machine(function(host, external_id)
    return host:get(external_id)
  end),
  list = with_machine(function(host)
    return host:list()
  end),
  destroy = with_machine(function(host, box)
    return host:destroy(box.external_id)
  end),
  extend = with_machine(function(host, box, seconds)
    return host:extend(box.external_id, seconds)
  end),
  exec = with_machine(function(host, box, command, options)
    return host:exec(box, command, options)
  end),
  spawn = with_machine(function(host, box, command, options)
    return host:spawn(box, command, options)
  end),
  pty = true,
  url = with_machine(function(host, box, port)
    return host:url(box, port)
  end),
  streams = true,

  upload = across(transfer.upload),
  download = across(transfer.download),

  close = function(self)
    if self.state.machine then
      self.state.machine:close()
    end
  end,
}
