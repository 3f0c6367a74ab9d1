--- What a sandbox's holder does to its container: stop, start, pause, resume, extend, destroy, and ask for a port.
local container = require "luarium.docker.container"
local errors = require "luarium.error"
local gate = require "luarium.docker.gate"
local native = require "luarium.native"

local M = {}

local ACT_TIMEOUT = 120 -- seconds

-- ---- ending ----

--- The image that a fork began with: it goes with its container.
local function fork_image(engine, box)
  if box.data and next(box.data) then
    return box.data.fork_image
  end
  local facts = container.inspect(engine, box.external_id)
  local image = facts and ((facts.Config or {}).Labels or {})["luarium.fork"]
  return image ~= "" and image or nil
end

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@return boolean? ok
---@return luarium.Error? err
function M.destroy(self, box)
  local engine, err = container.engine(self)
  if not engine then
    return nil, err
  elseif not container.check_id(box.external_id) then
    return nil, errors.new("invalid", ("%q is no container"):format(tostring(box.external_id)))
  end
  local image = fork_image(engine, box)
  local ok
  ok, err = container.remove(engine, box.external_id)
  if not ok then
    return nil, err
  end
  if image then
    engine:request("DELETE", "/images/" .. image) -- others may have begun with it, too
  end
  return true
end

-- ---- stopping and pausing ----

local function directly(_, _, fn)
  return fn()
end

local function act(action, query, accept, within)
  return function(self, box)
    local engine, err = container.engine(self)
    if not engine then
      return nil, err
    end
    local ok
    ok, err = (within or directly)(engine, box.external_id, function()
      return engine:request("POST", "/containers/" .. box.external_id .. "/" .. action .. (query and query(box) or ""),
        { safe = true, timeout = ACT_TIMEOUT })
    end)
    if ok or accept and err.message:find(accept, 1, true) then
      return true
    end
    return nil, err.status == 404 and container.gone(engine, box.external_id) or err
  end
end

local post_stop = act("stop", function(box)
  return ("?t=%d"):format(math.ceil(box.data and box.data.stop_timeout or 10))
end)
local post_start = act("start")
M.pause = act("pause", nil, "is already paused", gate.freeze)
M.resume = act("unpause", nil, "is not paused")

--- The name tells other processes that it was stopped, and has not ended.
local function rename(self, box, behind)
  local engine, facts, err = container.look(self, box)
  if not facts then
    return nil, err
  end
  local name = facts.Name:gsub("^/", "")
  local wanted = name:gsub("%-stopped$", "") .. behind
  if name == wanted then
    return true
  end
  return engine:request("POST", "/containers/" .. box.external_id .. "/rename?name=" .. wanted, { safe = true })
end

---@async
---@return boolean? ok
---@return luarium.Error? err
function M.stop(self, box)
  local ok, err = rename(self, box, container.STOPPED)
  if not ok then
    return nil, err
  end
  return post_stop(self, box)
end

---@async
---@return boolean? ok
---@return luarium.Error? err
function M.start(self, box)
  local ok, err = post_start(self, box)
  if not ok then
    return nil, err
  end
  return rename(self, box, "")
end

--- Its end is kept with the record: labels of a container cannot be changed.
function M.extend(_, box, seconds)
  local expires_at = native.loop.realtime() + seconds
  box.data = box.data or {}
  box.data.expires_at = expires_at
  return { expires_at = expires_at }
end

-- ---- ports ----

local function reachable(address)
  return (address == "" or address == "0.0.0.0" or address == "::") and "127.0.0.1" or address
end

local function url_of(engine, address, port)
  if engine.tunnel and reachable(address):find("^127%.") then
    return engine.tunnel:url(tonumber(port))
  end
  return { url = ("http://%s:%s"):format(engine.is_local and reachable(address) or engine.host or address, port) }
end

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param port integer
---@return {url: string}? result
---@return luarium.Error? err
function M.url(self, box, port)
  local engine, facts, err = container.look(self, box)
  if not facts then
    return nil, err
  end
  local network = facts.NetworkSettings or {}
  local published = (network.Ports or {})[("%d/tcp"):format(port)]
  if type(published) == "table" and published[1] then
    return url_of(engine, published[1].HostIp or "", published[1].HostPort)
  elseif (facts.HostConfig or {}).NetworkMode == "host" then
    return url_of(engine, "", ("%d"):format(port))
  end
  local address = network.IPAddress
  for _, entry in pairs(network.Networks or {}) do
    address = address and address ~= "" and address or entry.IPAddress
  end
  if engine.is_local and address and address ~= "" then
    return { url = ("http://%s:%d"):format(address, port) }
  end
  return nil, errors.new("conflict", ("url: port %d is not published: create{ ports = { %d } }, or "
    .. "`luarium create --port %d`"):format(port, port, port), { name = "NOT_PUBLISHED" })
end

return M
