--- From what a script asks of create to what the engine is asked for.
local check = require "luarium.check"
local compat = require "luarium.compat"
local errors = require "luarium.error"
local json = require "luarium.json"
local utf8 = require "luarium.utf8"

local M = {}

local LARGEST = 99999999999999 -- whole numbers are written with 14 digits

--- The engine's own options, as `options = { ... }` of create.
M.template = {
  pull = { type = "text", one_of = { "missing", "always", "never" } },
  build = "text|table", snapshot = "text",
  entrypoint = "strings", hostname = "text", runtime = "text", init = "boolean", read_only = "boolean",
  privileged = "boolean", pids = { type = "integer", min = 1, max = LARGEST }, gpus = "boolean|integer|strings",
  shm_size = { type = "size", min = 1, max = LARGEST },
  mounts = "list", tmpfs = "strings", cap_add = "strings", cap_drop = "strings", security = "strings", dns = "strings",
  hosts = "map", ulimits = "table", health = "table", ready_timeout = "seconds", stop_timeout = "seconds",
  platform = "text", oom_score = { type = "integer", min = -1000, max = 1000 }, restart = "boolean",
}

local build_template = {
  context = { type = "text", required = true }, dockerfile = "text", args = "map", target = "text", tag = "text",
  no_cache = "boolean", pull = "boolean",
}
local health_template = {
  command = { type = "text|strings", required = true },
  interval = { type = "seconds", min = 0.001, max = 86400 }, timeout = { type = "seconds", min = 0.001, max = 86400 },
  retries = { type = "integer", min = 1, max = 1000000 }, start = { type = "seconds", min = 0, max = 86400 },
}
local port_template = {
  port = { type = "integer", required = true, min = 1, max = 65535 },
  host_port = { type = "integer", min = 0, max = 65535 }, address = "text",
  protocol = { type = "text", one_of = { "tcp", "udp", "sctp" } },
}
local mount_template = {
  type = { type = "text", one_of = { "bind", "volume", "tmpfs" } }, source = "text",
  target = { type = "text", required = true }, read_only = "boolean",
  size = { type = "size", min = 1, max = LARGEST },
}
local ulimit_template = {
  soft = { type = "size", required = true, min = 0, max = LARGEST },
  hard = { type = "size", required = true, min = 0, max = LARGEST },
}
-- What Linux can limit, as the engine calls it.
local ULIMITS = { "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
  "rtprio", "rttime", "sigpending", "stack" }

--- Commands that keep a container alive: a shell that also takes care of orphans, and ends at once when asked to.
M.KEEP = { "/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done" }

local NANO = 1e9

local function invalid(...)
  errors.raise("invalid", "create: " .. string.format(...))
end

local function check_ulimits(map)
  for _, name in ipairs(check.sorted_keys(map or {})) do
    local limit, known = map[name], false
    for _, other in ipairs(ULIMITS) do
      known = known or other == name
    end
    if not known then
      invalid("options.ulimits: there is no limit %s: expected one of %s", tostring(name), table.concat(ULIMITS, ", "))
    elseif type(limit) == "table" then
      check.options(limit, ulimit_template, "create: options.ulimits." .. name)
      if limit.soft > limit.hard then
        invalid("options.ulimits.%s: the soft limit %d is above the hard one, %d", name, limit.soft, limit.hard)
      end
    elseif not compat.is_integer(limit) or limit < 0 or limit > LARGEST then
      invalid("options.ulimits.%s: expected a whole number of at least 0, or { soft = , hard = }", name)
    end
  end
end

local function is_address(text)
  return text:find("^%d+%.%d+%.%d+%.%d+$") ~= nil or text:find("^%[?%x*:[%x:.]*%]?$") ~= nil
end

local function check_texts(options)
  for _, entry in ipairs(options.tmpfs or {}) do
    if entry:sub(1, 1) ~= "/" then
      invalid("options.tmpfs: expected \"/path\" or \"/path:options\", got %q", entry)
    end
  end
  for _, entry in ipairs(options.dns or {}) do
    if not is_address(entry) then
      invalid("options.dns: expected addresses such as 10.0.0.2, got %q", entry)
    end
  end
  for _, key in ipairs({ "snapshot", "runtime", "platform", "hostname", "build" }) do
    if options[key] == "" then
      invalid("options.%s is empty: leave it out", key)
    end
  end
  if options.hostname and #options.hostname > 64 then
    invalid("options.hostname has %d bytes, and Linux takes 64 at most", #options.hostname)
  end
end

--- What a script asks of create itself, where the engine would take something else for it or say nothing that helps.
---@param spec table of create
function M.check_spec(spec)
  if spec.cpu and (spec.cpu < 0.01 or spec.cpu > 100000) then
    invalid("cpu: expected cores, from 0.01 on, got %s", tostring(spec.cpu))
  end
  for _, key in ipairs({ "memory", "disk" }) do
    local value = spec[key]
    if value and (not compat.is_integer(value) or value < 1 or value > LARGEST) then
      invalid("%s: expected a whole number of bytes, such as 512 * 1024 * 1024, got %s", key, tostring(value))
    end
  end
  for _, key in ipairs({ "network", "user", "cwd" }) do
    local value = spec[key]
    if type(value) == "string" and (value == "" or value:find("%c")) then
      invalid("%s: expected a text without control characters, got %q", key, value)
    end
  end
  if spec.command and #spec.command == 0 then
    invalid("command: the list is empty: leave it out, and a shell keeps the container alive")
  end
  for name, value in pairs(spec.labels or {}) do
    if not utf8.is_valid(name) or not utf8.is_valid(value) then
      invalid("labels: %q is no text in UTF-8, or its value is none", name)
    end
  end
end

--- Checks the table `options` of create.
---@param options table?
---@return table options
function M.check(options)
  options = check.options(options, M.template, "create: options")
  if options.build and options.snapshot then
    invalid("options: build and snapshot exclude each other")
  end
  if type(options.build) == "table" then
    check.options(options.build, build_template, "create: options.build")
  end
  if options.health then
    check.options(options.health, health_template, "create: options.health")
    if #options.health.command == 0 then -- dockerd 20.10 ends over an empty list
      invalid("options.health.command is empty: expected a text for the shell, or a program and its arguments")
    end
  end
  local gpus = options.gpus
  if type(gpus) == "number" and gpus < 1 or type(gpus) == "table" and #gpus == 0 then
    invalid("options.gpus: expected true, a number of at least 1, or a list of ids")
  end
  check_ulimits(options.ulimits)
  check_texts(options)
  return options
end

-- ---- ports ----

local function parse_port(item)
  if type(item) == "number" then
    item = { port = item }
  elseif type(item) == "string" then
    local text, protocol = item:match("^(.-)/(%a+)$")
    text = text or item
    local address, host, port = text:match("^(.+):(%d*):(%d+)$")
    if not port then
      host, port = text:match("^(%d*):(%d+)$")
      port = port or text:match("^%d+$")
    end
    if not port then
      invalid("ports: %q makes no sense: expected 8080, \"8080\", \"9000:8080\" or \"127.0.0.1:9000:8080/tcp\"", item)
    end
    item = { port = tonumber(port), host_port = tonumber(host), address = address, protocol = protocol }
  end
  check.options(item, port_template, "create: ports")
  if item.address and not is_address(item.address) then
    invalid("ports: %q is no address to publish a port on: expected one such as 127.0.0.1", item.address)
  end
  return item
end

local function ports_of(list, default_address)
  local exposed, bindings = {}, {}
  for _, item in ipairs(list or {}) do
    local port = parse_port(item)
    local key = ("%d/%s"):format(port.port, port.protocol or "tcp")
    exposed[key] = {}
    bindings[key] = bindings[key] or {}
    table.insert(bindings[key], { HostIp = port.address or default_address,
      HostPort = port.host_port and ("%d"):format(port.host_port) or "" })
  end
  return exposed, bindings
end

-- ---- mounts ----

local function parse_mount(item, kind)
  if type(item) == "string" then
    local source, target, mode = item:match("^([^:]+):([^:]+):?(%a*)$")
    if not source or mode ~= "" and mode ~= "ro" and mode ~= "rw" then
      invalid("%s: %q makes no sense: expected \"source:/target\" or \"source:/target:ro\"",
        kind == "volume" and "volumes" or "options.mounts", item)
    end
    item = { source = source, target = target, read_only = mode == "ro" }
  end
  check.options(item, mount_template, kind == "volume" and "create: volumes" or "create: options.mounts")
  local type_of = item.type or kind
  if type_of == "bind" and (not item.source or item.source:sub(1, 1) ~= "/") then
    invalid("options.mounts: the source of a bind mount is an absolute path of the engine's machine, got %q",
      tostring(item.source))
  elseif item.target:sub(1, 1) ~= "/" then
    invalid("mounts: the target %q is no absolute path in the container", item.target)
  end
  return {
    Type = type_of, Source = item.source, Target = item.target, ReadOnly = item.read_only or false,
    TmpfsOptions = type_of == "tmpfs" and item.size and { SizeBytes = item.size } or nil,
  }
end

local function mounts_of(spec, options)
  local list = {}
  for _, item in ipairs(spec.volumes or {}) do
    list[#list + 1] = parse_mount(item, "volume")
  end
  for _, item in ipairs(options.mounts or {}) do
    list[#list + 1] = parse_mount(item, "bind")
  end
  return list
end

-- ---- the rest ----

local function gpus_of(value)
  if value == nil or value == false then
    return nil
  end
  local request = { Driver = "", Capabilities = { { "gpu" } }, Count = value == true and -1 or 0 }
  if type(value) == "number" then
    request.Count = value
  elseif type(value) == "table" then
    request.DeviceIDs = value
  end
  return { request }
end

local function ulimits_of(map)
  local list = {}
  for _, name in ipairs(check.keys(map or {})) do
    local limit = map[name]
    list[#list + 1] = { Name = name, Soft = type(limit) == "table" and limit.soft or limit,
      Hard = type(limit) == "table" and limit.hard or limit }
  end
  return list
end

local function health_of(health)
  if not health then
    return nil
  end
  local test = { "CMD-SHELL", health.command }
  if type(health.command) == "table" then
    test = { "CMD" }
    for _, word in ipairs(health.command) do
      test[#test + 1] = word
    end
  end
  return { Test = test, Interval = (health.interval or 1) * NANO, Timeout = (health.timeout or 10) * NANO,
    Retries = health.retries or 3, StartPeriod = (health.start or 0) * NANO }
end

local function network_of(network)
  if network == false then
    return "none"
  elseif network == true or network == nil then
    return "default"
  end
  return network
end

local function environment(spec)
  local list = { "LUARIUM_SANDBOX=" .. spec.id }
  if spec.command then -- a command of an exec gets its own; the engine shows what is here to all who may ask it
    for _, name in ipairs(check.keys(spec.env or {})) do
      list[#list + 1] = name .. "=" .. spec.env[name]
    end
  end
  return list
end

local function labels_of(spec, cwd)
  local labels, names = {}, {}
  for name, value in pairs(spec.labels or {}) do
    labels[name] = value
    names[#names + 1] = name
  end
  table.sort(names)
  labels["luarium.id"] = spec.id
  labels["luarium.labels"] = json.encode(json.array(names))
  labels["luarium.cwd"] = cwd
  labels["luarium.name"] = spec.name or ""
  labels["luarium.expires"] = spec.expires_at and require("luarium.text").number(spec.expires_at, "%.3f") or ""
  return labels
end

--- A sandbox outlives a restart of its engine, as far as its files go. A command of the script's own that ends has
--- ended.
local function restarts(spec, options)
  if options.restart ~= nil then
    return options.restart
  end
  return not spec.command and not options.entrypoint
end

local function host_part(spec, options, bindings)
  local tmpfs = {}
  for _, path in ipairs(options.tmpfs or {}) do
    local target, rest = path:match("^([^:]+):?(.*)$")
    tmpfs[target] = rest
  end
  local hosts = {}
  for _, name in ipairs(check.keys(options.hosts or {})) do
    hosts[#hosts + 1] = name .. ":" .. tostring(options.hosts[name])
  end
  return {
    NetworkMode = network_of(spec.network), PortBindings = next(bindings) and bindings or nil,
    Mounts = json.array(mounts_of(spec, options)), Tmpfs = next(tmpfs) and tmpfs or nil,
    NanoCpus = spec.cpu and math.floor(spec.cpu * NANO + 0.5) or nil, Memory = spec.memory, MemorySwap = spec.memory,
    PidsLimit = options.pids, StorageOpt = spec.disk and { size = ("%.0f"):format(spec.disk) } or nil,
    ReadonlyRootfs = options.read_only or false, Runtime = options.runtime, Init = options.init or nil,
    Privileged = options.privileged or false, ShmSize = options.shm_size, DeviceRequests = gpus_of(options.gpus),
    CapAdd = options.cap_add, CapDrop = options.cap_drop, SecurityOpt = options.security, Dns = options.dns,
    ExtraHosts = #hosts > 0 and hosts or nil, Ulimits = json.array(ulimits_of(options.ulimits)),
    OomScoreAdj = options.oom_score,
    RestartPolicy = { Name = restarts(spec, options) and "unless-stopped" or "no" },
  }
end

---@class luarium.docker.CreateBody: table what POST /containers/create gets

--- The body of a create request.
---@param spec table of create
---@param options table checked
---@param image string
---@param cwd string
---@param default_address string that ports are bound to
---@return luarium.docker.CreateBody
function M.body(spec, options, image, cwd, default_address)
  local exposed, bindings = ports_of(spec.ports, default_address)
  local keeps = not spec.command and not options.entrypoint
  return {
    Image = image, Cmd = keeps and M.KEEP or spec.command,
    Entrypoint = (options.entrypoint or keeps) and json.array(options.entrypoint or {}) or nil, -- or it would get KEEP
    Env = environment(spec), Labels = labels_of(spec, cwd), WorkingDir = cwd, User = spec.user,
    Hostname = options.hostname,
    ExposedPorts = next(exposed) and exposed or nil, Healthcheck = health_of(options.health),
    StopTimeout = options.stop_timeout and math.ceil(options.stop_timeout) or nil,
    HostConfig = host_part(spec, options, bindings),
  }
end

--- Labels of a container as the script gave them, and our own.
---@param labels table<string, string>
---@return table<string, string>
function M.own_labels(labels)
  local names = json.decode_plain(labels["luarium.labels"] or "")
  if type(names) ~= "table" then
    return labels
  end
  local own = { ["luarium.id"] = labels["luarium.id"] }
  for _, name in ipairs(names) do
    own[name] = labels[name]
  end
  return own
end

return M
