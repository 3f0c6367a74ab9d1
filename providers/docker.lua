--- Containers on a local or remote Docker engine, or on Podman's interface that is compatible with it. Nothing but the
--- engine's socket is needed. luarium.docker has the parts; here they are held against the contract.
local auth = require "luarium.docker.auth"
local container = require "luarium.docker.container"
local creation = require "luarium.docker.create"
local errors = require "luarium.error"
local events = require "luarium.docker.events"
local files = require "luarium.docker.files"
local finding = require "luarium.docker.find"
local life = require "luarium.docker.life"
local native = require "luarium.native"
local provider = require "luarium.provider"
local settling = require "luarium.docker.settle"
local snapshot = require "luarium.docker.snapshot"
local spawning = require "luarium.docker.spawn"
local tunnel = require "luarium.docker.tunnel"

--- Environment of a command: our two cookies, by which everything that it starts is found again.
local function environment(box, options)
  local cookie = native.crypto.ulid():lower()
  local env = { LUARIUM_SANDBOX = box.id, LUARIUM_EXEC = cookie }
  for name, value in pairs(options.env or {}) do
    env[name] = value
  end
  return env, "LUARIUM_EXEC=" .. cookie
end

local function spawn(self, box, command, options)
  local engine, err = container.engine(self)
  if not engine then
    return nil, err
  end
  local env, cookie = environment(box, options)
  local function explain()
    return container.explain(self, engine, box.external_id)
  end
  local started
  started, err = spawning.spawn({
    engine = engine, provider = self.name, container = box.external_id, explain = explain, argv = command.argv,
    cwd = options.cwd or box.cwd, env = env, cookie = cookie, user = options.user, merge = options.merge,
    pty = options.pty, cols = options.cols, rows = options.rows, timeout = options.timeout,
    pids_limit = box.data and box.data.pids,
  })
  if started then
    return started
  elseif errors.is(err) and (err.status == 404 or err.status == 409 or err.status == 500) then
    return nil, explain() or err
  end
  return nil, err
end

return provider.define {
  name = "docker",
  summary = "containers of a Docker or Podman engine, here or elsewhere",
  docs = "docs/docker.md",
  config = {
    host = { env = "DOCKER_HOST", about = "unix:///path, tcp://HOST:PORT, https://HOST:PORT or ssh://USER@HOST:PORT; "
      .. "default: unix:///var/run/docker.sock" },
    ssh = { type = "table", about = "how a host ssh://... is reached: the options of the ssh provider" },
    tls_verify = { type = "boolean", env = "DOCKER_TLS_VERIFY", about = "tcp:// means TLS; false: any certificate" },
    cert_path = { env = "DOCKER_CERT_PATH", about = "folder with ca.pem, cert.pem and key.pem" },
    allow_plain = { type = "boolean", about = "tcp:// without TLS to another machine" },
    image = { default = "debian:12", about = "for sandboxes that name none" },
    cwd = { about = "working directory; default /work" },
    registries = { type = "table", about = "host = { username = , password = } or { token = }" },
  },
  accepts = { "image", "cwd", "cpu", "memory", "disk", "network", "user", "command", "ports", "volumes" },
  unsupported = { archive = "use stop, or snapshot", recover = "create another one" },
  folds_signals = true,
  setup = function(self)
    auth.check(self.config.registries)
    tunnel.check(self.config.ssh)
  end,

  place = function(self)
    return self.config.host or "unix:///var/run/docker.sock"
  end,
  create = creation.create,
  get = finding.get,
  list = finding.list,
  find_by_label = finding.find_by_label,
  destroy = life.destroy,
  start = life.start,
  stop = life.stop,
  pause = life.pause,
  resume = life.resume,
  extend = life.extend,
  url = life.url,
  spawn = spawn,
  pty = true,
  upload = files.upload,
  download = files.download,
  snapshot = snapshot.snapshot,
  snapshot_list = snapshot.list,
  snapshot_delete = snapshot.delete,
  fork = snapshot.fork,
  volume = snapshot.volume,
  volume_list = snapshot.volume_list,
  volume_delete = snapshot.volume_delete,

  watch = events.watch,
  settle = settling.settle,
  close = function(self)
    if self.state.engine then
      self.state.engine:close()
    end
  end,
}
