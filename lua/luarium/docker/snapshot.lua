--- Saved states, copies and volumes. A snapshot is an image with our label; processes are in neither.
local ascii = require "luarium.ascii"
local container = require "luarium.docker.container"
local creation = require "luarium.docker.create"
local errors = require "luarium.error"
local gate = require "luarium.docker.gate"
local http = require "luarium.http"
local json = require "luarium.json"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

local REPOSITORY = "luarium-snapshot"
local COMMIT_TIMEOUT = 600

--- The image of a snapshot. Names that are no tags get one of their own.
---@param name string
---@return string image
function M.image_of(name)
  if #name <= 100 and name:find("^[%w_][%w_.%-]*$") and not name:find("^x%-%x+$") then
    return REPOSITORY .. ":" .. name
  end
  return REPOSITORY .. ":x-" .. native.crypto.sha256(name):sub(1, 40)
end

local function check_name(name)
  if type(name) ~= "string" or name == "" or name:find("%c") then
    return nil, errors.new("invalid", "snapshot: expected a name without control characters")
  end
  return true
end

--- What a saved state is of is no matter of the sandboxes that begin with it.
local function changes(labels)
  local list = {}
  for _, key in ipairs({ "id", "name", "expires", "labels", "fork", "of" }) do
    list[#list + 1] = ('LABEL luarium.%s=""'):format(key)
  end
  for key, value in pairs(labels or {}) do
    list[#list + 1] = ('LABEL %s="%s"'):format(key, (value:gsub('[\\"$]', "\\%0")))
  end
  return list
end

local function commit(engine, box, query, labels)
  query.container, query.pause, query.changes = box.external_id, 1, changes(labels)
  return gate.freeze(engine, box.external_id, function()
    return engine:request("POST", "/commit?" .. http.encode_query(query),
      { json = {}, timeout = COMMIT_TIMEOUT, shape = "made" })
  end)
end

local function image_facts(engine, image)
  local facts, err = engine:request("GET", "/images/" .. image .. "/json", { shape = "made" })
  if not facts and err.status ~= 404 then
    return nil, err
  end
  return facts or false
end

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param name string
---@return {name: string, image: string, id: string}? snapshot
---@return luarium.Error? err
function M.snapshot(self, box, name)
  local engine, err = container.engine(self)
  local ok = engine
  if ok then
    ok, err = check_name(name)
  end
  if not ok then
    return nil, err
  end
  local image = M.image_of(name)
  local there
  there, err = image_facts(engine, image)
  if there == nil then
    return nil, err
  elseif there then
    return nil, errors.new("conflict", ("snapshot: there is one named '%s' already: delete it, or choose another name")
      :format(name))
  end
  local made
  made, err = commit(engine, box, { repo = REPOSITORY, tag = image:match(":(.*)$") }, { ["luarium.snapshot"] = name })
  if made then
    return { name = name, image = image, id = made.Id }
  elseif err.status == 404 then
    return nil, container.gone(engine, box.external_id)
  elseif not err.status then -- the answer is lost, the snapshot may be there
    local facts = image_facts(engine, image)
    if facts then
      return { name = name, image = image, id = facts.Id }
    end
  end
  return nil, err
end

---@async
---@param self luarium.ProviderInstance
---@return {name: string, image: string, id: string, size: integer, created_at: number}[]? list
---@return luarium.Error? err
function M.list(self)
  local engine, err = container.engine(self)
  local found
  if engine then
    found, err = engine:request("GET", "/images/json?" .. http.encode_query({
      filters = json.encode({ label = { "luarium.snapshot" } }) }), { shape = "list" })
  end
  if not found then
    return nil, err
  end
  local list = {}
  for _, facts in ipairs(found) do
    local name = (facts.Labels or {})["luarium.snapshot"]
    for _, tag in ipairs(facts.RepoTags or {}) do
      if name and tag:match("[^/]*$") == M.image_of(name) then -- children of a snapshot carry its label too
        list[#list + 1] = { name = name, image = M.image_of(name), id = facts.Id, size = facts.Size,
          created_at = facts.Created }
      end
    end
  end
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
  return list
end

---@async
---@param self luarium.ProviderInstance
---@param name string
---@return boolean? ok
---@return luarium.Error? err
function M.delete(self, name)
  local engine, err = container.engine(self)
  local ok = engine
  if ok then
    ok, err = check_name(name)
  end
  if ok then
    ok, err = engine:request("DELETE", "/images/" .. M.image_of(name))
  end
  if ok then
    return true
  elseif err.status == 404 then
    return nil, errors.new("not_found", ("there is no snapshot named '%s'"):format(name))
  end
  return nil, err
end

-- ---- copies ----

local HOST_FIELDS = { "NetworkMode", "Mounts", "Tmpfs", "NanoCpus", "Memory", "MemorySwap", "PidsLimit", "StorageOpt",
  "ReadonlyRootfs", "Runtime", "Init", "Privileged", "ShmSize", "DeviceRequests", "CapAdd", "CapDrop", "SecurityOpt",
  "Dns", "ExtraHosts", "Ulimits", "OomScoreAdj", "RestartPolicy" }
local FIELDS = { "Cmd", "Env", "WorkingDir", "User", "Healthcheck", "StopTimeout" }

--- Copies what says something: an empty table may have been a list or an object.
local function pick(from, fields)
  local result = {}
  for _, key in ipairs(fields) do
    local value = (from or {})[key]
    if type(value) ~= "table" or next(value) then
      result[key] = value
    end
  end
  return result
end

local function copy_body(facts, image, id, name)
  local config = facts.Config or {}
  local body = pick(config, FIELDS)
  body.Image = image
  body.Entrypoint = config.Entrypoint and #config.Entrypoint > 0 and config.Entrypoint or json.array({})
  body.Labels = {}
  for key, value in pairs(config.Labels or {}) do
    body.Labels[key] = value
  end
  body.Labels["luarium.id"], body.Labels["luarium.name"], body.Labels["luarium.fork"] = id, name or "", image
  body.Labels["luarium.of"] = "" -- that of its image
  body.HostConfig = pick(facts.HostConfig, HOST_FIELDS)
  for _, limit in ipairs(body.HostConfig.Ulimits or {}) do
    limit.Name = ascii.lower((limit.Name:gsub("^RLIMIT_", ""))) -- Podman says it one way and takes another
  end
  local ports, bindings = {}, {}
  for key, list in pairs((facts.HostConfig or {}).PortBindings or {}) do
    ports[key], bindings[key] = {}, {}
    for i, entry in ipairs(list) do
      bindings[key][i] = { HostIp = entry.HostIp, HostPort = "" } -- the first one has its own
    end
  end
  if next(ports) then
    body.ExposedPorts, body.HostConfig.PortBindings = ports, bindings
  end
  for i, entry in ipairs(body.Env or {}) do
    if entry:find("^LUARIUM_SANDBOX=") then
      body.Env[i] = "LUARIUM_SANDBOX=" .. id
    end
  end
  return body
end

local function start_copy(engine, box, body, spec)
  local id, err = creation.make(engine, spec, body, { name = spec.id })
  if not id then
    return nil, err
  end
  local ok, started, fault = pcall(engine.request, engine, "POST", "/containers/" .. id .. "/start", { safe = true })
  if ok and started then
    local data = {}
    for key, value in pairs(box.data or {}) do
      data[key] = value
    end
    data.fork_image = body.Image
    return { external_id = id, status = "running", data = data }
  end
  pcall(task.shield, 30, container.remove, engine, id)
  if not ok then
    error(started, 0)
  end
  return nil, fault
end

--- A copy of the files as they are now, in a container of the same kind. Named volumes are shared by both.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param options {id: string, name: string?}
---@return {external_id: string, status: string, data: table}? made
---@return luarium.Error? err
function M.fork(self, box, options)
  local engine, facts, err = container.look(self, box)
  if not facts then
    return nil, err
  end
  local image
  image, err = commit(engine, box, {}, { ["luarium.of"] = options.id })
  if not image then
    return nil, err.status == 404 and container.gone(engine, box.external_id) or err
  end
  local ok, made, fault = pcall(start_copy, engine, box, copy_body(facts, image.Id, options.id, options.name),
    { id = options.id })
  if not ok or not made then
    pcall(task.shield, 30, engine.request, engine, "DELETE", "/images/" .. image.Id)
  end
  if not ok then
    error(made, 0)
  end
  return made, fault
end

-- ---- volumes ----

---@async
---@param self luarium.ProviderInstance
---@param name string
---@return {name: string}? volume
---@return luarium.Error? err
function M.volume(self, name)
  local engine, err = container.engine(self)
  local made
  if engine then
    made, err = engine:request("POST", "/volumes/create", { safe = true, shape = "table",
      json = { Name = name, Labels = { ["luarium.volume"] = "1" } } })
  end
  if not made then
    return nil, err
  end
  return { name = made.Name, id = made.Name }
end

---@async
---@param self luarium.ProviderInstance
---@return {name: string}[]? list
---@return luarium.Error? err
function M.volume_list(self)
  local engine, err = container.engine(self)
  local found
  if engine then
    found, err = engine:request("GET", "/volumes?" .. http.encode_query({
      filters = json.encode({ label = { "luarium.volume" } }) }), { shape = "table" })
  end
  if not found then
    return nil, err
  end
  local list = {}
  for i, facts in ipairs(found.Volumes or {}) do
    list[i] = { name = facts.Name, id = facts.Name }
  end
  return list
end

---@async
---@param self luarium.ProviderInstance
---@param name string
---@return boolean? ok
---@return luarium.Error? err
function M.volume_delete(self, name)
  local engine, err = container.engine(self)
  local ok
  if engine then
    ok, err = engine:request("DELETE", "/volumes/" .. http.escape(name))
  end
  return ok and true or nil, err
end

return M
