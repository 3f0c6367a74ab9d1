--- Credentials of registries: from the configuration, from ~/.docker/config.json, from the helpers that this names.
local check = require "luarium.check"
local errors = require "luarium.error"
local json = require "luarium.json"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local M = {}

local await = task.await
local HUB = "https://index.docker.io/v1/"
local HELPER_TIMEOUT = 20

local template = { username = "text", password = "secret", token = "secret" }

--- Checks the table `registries` of the configuration.
---@param registries table?
function M.check(registries)
  for host, entry in pairs(registries or {}) do
    if type(entry) ~= "table" then
      errors.raise("invalid", ("docker: registries[%q]: expected { username = , password = } or { token = }"):format(
        tostring(host)))
    end
    check.options(entry, template, ("docker: registries[%q]"):format(tostring(host)))
  end
end

--- The registry that an image comes from.
---@param image string
---@return string host as config.json calls it
function M.registry_of(image)
  local first = image:match("^([^/]+)/")
  if first and (first:find("[.:]") or first == "localhost") and first ~= "docker.io" and first ~= "index.docker.io" then
    return first
  end
  return HUB
end

local function from_configuration(registries, host)
  local entry = (registries or {})[host] or host == HUB and ((registries or {})["docker.io"])
  if not entry then
    return nil
  end
  return { username = entry.username, password = secret.reveal(entry.password),
    identitytoken = secret.reveal(entry.token), serveraddress = host }
end

local function config_file()
  local folder = os.getenv("DOCKER_CONFIG")
  folder = folder ~= "" and folder or (os.getenv("HOME") or "/root") .. "/.docker"
  local text = await(native.fs.read_file(folder .. "/config.json", { max = 1048576 }))
  local value = text and json.decode_plain(text)
  return type(value) == "table" and value or {}
end

--- The names under which config.json may have a host.
local function names_of(host)
  if host == HUB then
    return { HUB, "docker.io", "index.docker.io" }
  end
  return { host, "https://" .. host, "http://" .. host, "https://" .. host .. "/v1/", "https://" .. host .. "/v2/" }
end

local function from_helper(helper, host)
  if not helper:find("^[%w_%-]+$") then
    return nil
  end
  local result = await(native.process.run({ argv = { "docker-credential-" .. helper, "get" }, stdin = host .. "\n",
    timeout = HELPER_TIMEOUT }))
  local value = result and result.exit_code == 0 and json.decode_plain(result.stdout)
  if type(value) ~= "table" or type(value.Secret) ~= "string" then
    return nil
  end
  if value.Username == "<token>" then
    return { identitytoken = value.Secret, serveraddress = host }
  end
  return { username = value.Username, password = value.Secret, serveraddress = host }
end

local function from_entry(entry, host)
  if type(entry.identitytoken) == "string" and entry.identitytoken ~= "" then
    return { identitytoken = entry.identitytoken, serveraddress = host }
  end
  local plain = type(entry.auth) == "string" and native.crypto.base64_decode(entry.auth)
  local username, password = (plain or ""):match("^([^:]*):(.*)$")
  if not username then
    return entry.username and { username = entry.username, password = entry.password, serveraddress = host }
  end
  return { username = username, password = password:gsub("%z+$", ""), serveraddress = host }
end

local function from_file(host)
  local file = config_file()
  for _, name in ipairs(names_of(host)) do
    local helper = type(file.credHelpers) == "table" and file.credHelpers[name]
    local found = helper and from_helper(helper, name)
    local entry = type(file.auths) == "table" and file.auths[name]
    if not found and type(entry) == "table" and next(entry) then
      found = from_entry(entry, host)
    end
    if found then
      return found
    end
  end
  return type(file.credsStore) == "string" and from_helper(file.credsStore, host) or nil
end

local function credentials(registries, host)
  local found = from_configuration(registries, host) or from_file(host)
  if found and found.password then
    secret.register(found.password, "registry password")
    secret.register((found.username or "") .. ":" .. found.password, "registry password") -- as config.json has it
  end
  if found and found.identitytoken then
    secret.register(found.identitytoken, "registry token")
  end
  return found
end

local function header(value)
  local text = native.crypto.base64_encode(json.encode(value)):gsub("+", "-"):gsub("/", "_")
  return secret.new(text, "registry credentials")
end

--- The header for pulling an image.
---@async
---@param registries table? of the configuration
---@param image string
---@return table<string, luarium.Secret> headers
function M.pull_headers(registries, image)
  local found = credentials(registries, M.registry_of(image))
  return found and { ["X-Registry-Auth"] = header(found) } or {}
end

--- The header for a build, whose Dockerfile may name images of every registry there are credentials for.
---@async
---@param registries table? of the configuration
---@return table<string, luarium.Secret> headers
function M.build_headers(registries)
  local hosts, all = {}, {}
  for host in pairs(registries or {}) do
    hosts[host == "docker.io" and HUB or host] = true
  end
  local file = config_file()
  for _, key in ipairs({ "auths", "credHelpers" }) do
    for host in pairs(type(file[key]) == "table" and file[key] or {}) do
      hosts[host:gsub("^https?://", ""):find("^index%.docker%.io") and HUB or host:gsub("^https?://", "")] = true
    end
  end
  for host in pairs(hosts) do
    all[host] = credentials(registries, host)
  end
  return next(all) and { ["X-Registry-Config"] = header(all) } or {}
end

return M
