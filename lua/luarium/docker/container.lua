--- The life of a container: made, found, stopped, ended.
local errors = require "luarium.error"
local engines = require "luarium.docker.engine"
local http = require "luarium.http"
local images = require "luarium.docker.image"
local json = require "luarium.json"
local log = require "luarium.log"
local native = require "luarium.native"
local options_of = require "luarium.docker.options"
local run = require "luarium.docker.run"
local task = require "luarium.task"

local M = {}

local CREATE_TIMEOUT = 120
local ABANDONED = 60 -- seconds that a create which was cancelled waits for the engine
local READY = 60 -- seconds until a container must be healthy when nobody says otherwise
local COMES_BACK = 5 -- seconds that an engine gets to start a container again after its own restart
local STOPPED = "-stopped" -- behind the name of a container that was stopped on purpose

--- The engine of a provider's instance.
---@param self luarium.ProviderInstance
---@return luarium.docker.Engine? engine
---@return luarium.Error? err
function M.engine(self)
  if not self.state.engine then
    local engine, err = engines.open(self.config)
    if not engine then
      return nil, err
    end
    self.state.engine = engine
  end
  return self.state.engine
end

---@param id string
---@return luarium.Error
function M.gone(id)
  return errors.new("sandbox_gone", ("the container %s no longer exists"):format(tostring(id):sub(1, 12)))
end

local function check_id(id)
  return type(id) == "string" and id:find("^%w[%w_.%-]*$") ~= nil
end

--- What the engine says of a container; one that is not there is gone.
---@async
---@return table? facts
---@return luarium.Error? err
function M.inspect(engine, id)
  if not check_id(id) then
    return nil, errors.new("invalid", ("%q is no container"):format(tostring(id)))
  end
  local facts, err = engine:request("GET", "/containers/" .. id .. "/json")
  if not facts then
    return nil, err.status == 404 and M.gone(id) or err
  end
  return facts
end

--- The engine of a sandbox and what it says of the container; neither or both.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@return table? engine
---@return table? facts
---@return luarium.Error? err
function M.look(self, box)
  local engine, err = M.engine(self)
  if not engine then
    return nil, nil, err
  end
  local facts, fault = M.inspect(engine, box.external_id)
  return facts and engine, facts, fault
end

-- ---- making ----

--- The container of this sandbox that an earlier request has made, or is still making.
local function adopt(engine, spec, refusal)
  local facts, err = engines.poll({ what = "create: the container of another request", timeout = 20, every = 0.1 },
    function()
      local facts, err = M.inspect(engine, spec.id)
      return facts, err and err.kind ~= "sandbox_gone" and err or nil
    end)
  if facts and ((facts.Config or {}).Labels or {})["luarium.id"] == spec.id then
    return facts.Id
  end
  return nil, err or refusal
end

--- Makes it, once: when an answer is lost, the name tells what became of the first request.
local function make_once(engine, spec, body, query)
  local made, err = engine:request("POST", "/containers/create?" .. http.encode_query(query), {
    json = body, safe = true, timeout = CREATE_TIMEOUT,
  })
  if made then
    return made.Id
  elseif err.status == 409 and err.message:find("in use", 1, true) then
    return adopt(engine, spec, err)
  end
  return nil, err
end

--- The engine finishes a create whose client went away. So a request is seen through to its end, and what it made is
--- taken away when nobody wants it any more.
---@async
---@param engine luarium.docker.Engine
---@param spec {id: string}
---@param body table
---@param query table
---@return string? id
---@return luarium.Error? err
function M.make(engine, spec, body, query)
  local state = { done = task.event("a container") }
  task.spawn_detached("create " .. spec.id, function()
    local ok, id, err = pcall(make_once, engine, spec, body, query)
    state.id, state.error = ok and id, not ok and errors.from(id) or err
    if state.id and state.left then
      pcall(M.remove, engine, state.id)
    end
    state.done:set()
  end)
  local ok, why = pcall(state.done.wait, state.done)
  if ok then
    return state.id or nil, state.error
  end
  local ended = pcall(task.shield, ABANDONED, function()
    state.done:wait()
    if state.id then
      M.remove(engine, state.id)
    end
  end)
  state.left = not ended
  error(why, 0)
end

local function lacks_image(err)
  return err.status == 404 and not err.message:find("network", 1, true) and not err.message:find("volume", 1, true)
    and not err.message:find("plugin", 1, true)
end

local function snapshots()
  return require "luarium.docker.snapshot" -- which needs this module
end

--- The image to start from, built or pulled first where that is asked for.
local function prepare_image(self, engine, spec, options)
  local more = { platform = options.platform, on_progress = spec.on_progress }
  if options.build then
    return images.build(self, engine, options.build, more)
  end
  if options.snapshot then
    return snapshots().image_of(options.snapshot)
  end
  local image = spec.image or self.config.image
  if image == "" or image:find("[%s%c]") then
    return nil, errors.new("invalid", ("create: %q is no image: expected a name such as debian:12"):format(image))
  end
  if options.pull == "always" then
    local ok, err = images.pull(self, engine, image, more)
    if not ok then
      return nil, err
    end
  end
  return image
end

local function make_with_image(self, engine, spec, options, body)
  local query = { name = spec.id, platform = engine:speaks(1, 41) and options.platform or nil }
  local id, err = M.make(engine, spec, body, query)
  if id or not lacks_image(err) then
    return id, err
  elseif options.snapshot then
    return nil, errors.new("not_found", ("create: there is no snapshot named '%s'"):format(options.snapshot))
  elseif options.pull == "never" or options.build then
    return nil, errors.new("not_found", ("create: the engine has no image %s, and pull = \"never\""):format(body.Image),
      { cause = err })
  end
  local ok
  ok, err = images.pull(self, engine, body.Image, { platform = options.platform, on_progress = spec.on_progress })
  if not ok then
    return nil, err
  end
  return M.make(engine, spec, body, query)
end

--- The last words of a container that ended too early.
local function last_words(engine, id)
  local text = engine:request("GET", "/containers/" .. id .. "/logs?stdout=1&stderr=1&tail=20", { raw = true })
  if type(text) ~= "string" then
    return ""
  end
  text = text:gsub("[%z\1\2]%z%z%z....", "")
  return log.neutral(text):gsub("%s+$", ""):sub(-300)
end

local function ended_early(engine, facts)
  local state = facts.State or {}
  local words = last_words(engine, facts.Id)
  return errors.new("invalid", ("create: the container's command has ended (exit code %s%s%s)%s"):format(
    tostring(state.ExitCode), state.OOMKilled and ", out of memory" or "",
    state.Error and state.Error ~= "" and ": " .. state.Error or "", words ~= "" and ": " .. words or ""))
end

--- Waits until it is healthy, where there is a health check; gives the engine's facts.
local function ready(engine, id, options)
  local waits = options.health ~= nil or options.ready_timeout ~= nil
  local function look()
    local facts, err = M.inspect(engine, id)
    if not facts then
      return nil, err
    elseif not facts.State.Running then
      return nil, ended_early(engine, facts)
    end
    local health = waits and facts.State.Health
    if not health or health.Status == "healthy" or health.Status == "none" then
      return facts
    elseif health.Status == "unhealthy" then
      local last = health.Log and health.Log[#health.Log]
      return nil, errors.new("unavailable", ("create: the container is not healthy%s"):format(
        last and last.Output ~= "" and ": " .. log.neutral(tostring(last.Output)):sub(1, 300) or ""))
    end
  end
  return engines.poll({ what = "create: a healthy container", timeout = options.ready_timeout or READY, every = 0.1,
    at_most = 1 }, look)
end

--- Starts it and makes its working directory usable.
local function start(engine, id, options)
  local ok, err = engine:request("POST", "/containers/" .. id .. "/start", { safe = true, timeout = CREATE_TIMEOUT })
  if ok then
    return ready(engine, id, options)
  elseif err.message:find('exec: "/bin/sh"', 1, true) then
    err = err:wrap("docker", { kind = "unsupported", message = "create: the image has no /bin/sh, which is needed to "
      .. "run commands in it: choose another image" })
  end
  return nil, err
end

local OWN = [[mkdir -p "$1" && chown "$2" "$1" && echo done]]

--- A folder that the engine made belongs to root; one of the image is as its author wanted it.
local function own_folder(engine, id, facts, cwd)
  local user = facts.Config and facts.Config.User or ""
  if user == "" or user == "0" or user == "root" or user:find("^0:") or user:find("^root:") then
    return true
  end
  local output, err = run.run(engine, id, { "/bin/sh", "-c", OWN, "sh", cwd, user })
  if not output or not output:find("done", 1, true) then
    return nil, err or errors.new("io", "create: the working directory could not be given to the user " .. user .. ": "
      .. log.neutral(output):sub(1, 200))
  end
  return true
end

local function bring_up(engine, id, options, cwd)
  local facts, err = start(engine, id, options)
  if facts and cwd then
    local ok, fault = own_folder(engine, id, facts, cwd)
    return ok and facts or nil, fault
  end
  return facts, err
end

--- Runtimes whose containers keep their files where the engine sees them.
local COMMON_RUNTIMES = {
  [""] = true, runc = true, crun = true, oci = true, nvidia = true, ["io.containerd.runc.v2"] = true,
}

--- Whether archives of the engine show and make files as commands in the container would.
local function shows_files(facts)
  local user = (facts.Config or {}).User or ""
  local root = user == "" or user == "0" or user == "root" or user:find("^0:") ~= nil or user:find("^root:") ~= nil
  return root and COMMON_RUNTIMES[(facts.HostConfig or {}).Runtime or ""] or false
end

--- Folders that are in memory, where archives do not see them.
local function memory_folders(facts)
  local list = {}
  for path in pairs((facts.HostConfig or {}).Tmpfs or {}) do
    list[#list + 1] = path
  end
  for _, mount in ipairs((facts.HostConfig or {}).Mounts or {}) do
    if mount.Type == "tmpfs" then
      list[#list + 1] = mount.Target
    end
  end
  return list
end

--- Removes what a create that failed has made.
local function undo(engine, id)
  pcall(task.shield, 30, M.remove, engine, id)
end

---@async
---@param self luarium.ProviderInstance
---@param spec table
---@return table? made
---@return luarium.Error? err
function M.create(self, spec)
  local engine, err = M.engine(self)
  if not engine then
    return nil, err
  end
  local ok
  ok, err = engine:negotiate()
  if not ok then
    return nil, err
  end
  local options = options_of.check(spec.options)
  local given_cwd = spec.cwd or self.config.cwd
  local cwd = given_cwd or "/work"
  spec.expires_at = spec.timeout and native.loop.realtime() + spec.timeout or nil
  local image
  image, err = prepare_image(self, engine, spec, options)
  if not image then
    return nil, err
  end
  local body = options_of.body(spec, options, image, cwd, engine.is_local and "127.0.0.1" or "0.0.0.0")
  local id
  id, err = make_with_image(self, engine, spec, options, body)
  if not id then
    return nil, err
  end
  local facts
  ok, facts, err = pcall(bring_up, engine, id, options, not given_cwd and cwd)
  if not ok or not facts then
    undo(engine, id)
    if not ok then
      error(facts, 0)
    end
    return nil, err
  end
  return { external_id = facts.Id or id, status = "running", cwd = cwd, expires_at = spec.expires_at,
    data = {
      expires_at = spec.expires_at, pids = options.pids, stop_timeout = options.stop_timeout,
      archives = shows_files(facts), memory = memory_folders(facts),
    } }
end

-- ---- finding ----

local STATUS = { running = "running", paused = "paused", exited = "stopped", created = "stopped", dead = "stopped",
  restarting = "starting", removing = "destroying" }

local function seconds_of(text)
  local year, month, day, hour, minute, second = tostring(text):match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
  if not year then
    return tonumber(text)
  end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  local y = month <= 2 and year - 1 or year -- days since the epoch, counted in years that begin in March
  local era = math.floor(y / 400)
  local day_of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  local year_of_era = y - era * 400
  local days = era * 146097 + year_of_era * 365 + math.floor(year_of_era / 4) - math.floor(year_of_era / 100)
    + day_of_year - 719468
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

local function describe(id, state, labels, created)
  return {
    external_id = id, status = STATUS[tostring(state):lower()] or tostring(state),
    name = labels["luarium.name"] ~= "" and labels["luarium.name"] or nil, labels = options_of.own_labels(labels),
    created_at = seconds_of(created), expires_at = tonumber(labels["luarium.expires"]), cwd = labels["luarium.cwd"],
  }
end

---@async
---@param self luarium.ProviderInstance
---@param external_id string
---@param data table? what create returned
---@return table? facts
---@return luarium.Error? err
function M.get(self, external_id, data)
  local engine, err = M.engine(self)
  if not engine then
    return nil, err
  end
  local facts
  facts, err = M.inspect(engine, external_id)
  if not facts then
    return nil, err
  end
  local found = describe(facts.Id, facts.State.Status, (facts.Config or {}).Labels or {}, facts.Created)
  found.expires_at = data and data.expires_at or found.expires_at
  if found.expires_at and found.expires_at <= native.loop.realtime() then
    local ok, fault = M.remove(engine, external_id)
    if not ok then
      return nil, fault
    end
    return nil, M.gone(external_id)
  end
  return found
end

local function carries(labels, wanted)
  for name, value in pairs(wanted) do
    if labels[name] ~= tostring(value) then
      return false
    end
  end
  return true
end

local function find(self, labels)
  local engine, err = M.engine(self)
  if not engine then
    return nil, err
  end
  local filters = { "luarium.id" }
  for name, value in pairs(labels) do
    filters[#filters + 1] = name .. "=" .. tostring(value)
  end
  local found
  found, err = engine:request("GET", "/containers/json?" .. http.encode_query({ all = 1,
    filters = json.encode({ label = filters }) }))
  if not found then
    return nil, err
  end
  local list = {}
  for _, facts in ipairs(found) do
    local own = facts.Labels or {}
    local entry = own["luarium.id"] ~= "" and describe(facts.Id, facts.State, own, facts.Created)
    if entry and carries(entry.labels, labels) then -- an image may have labels too, which the engine mixes in
      list[#list + 1] = entry
    end
  end
  return list
end

---@async
---@param self luarium.ProviderInstance
---@return table[]? list
---@return luarium.Error? err
function M.list(self)
  return find(self, {})
end

---@async
---@param self luarium.ProviderInstance
---@param labels table<string, string>
---@return table[]? list
---@return luarium.Error? err
function M.find_by_label(self, labels)
  return find(self, labels)
end

-- ---- ending ----

--- Removes a container with all that runs in it, and its anonymous volumes.
---@async
---@param engine luarium.docker.Engine
---@param id string
---@return boolean? ok
---@return luarium.Error? err
function M.remove(engine, id)
  local ok, err
  for attempt = 1, 3 do
    ok, err = engine:request("DELETE", "/containers/" .. id .. "?force=1&v=1", { timeout = CREATE_TIMEOUT })
    if ok or err.status ~= 500 then
      break
    end
    task.sleep(0.2 * attempt) -- a mount may be busy for a moment
  end
  if ok or err.status == 404 then
    return true
  elseif err.status ~= 409 then
    return nil, err
  end
  local options = { what = "destroy: the end of the container", timeout = 60, every = 0.05, at_most = 1 }
  return engines.poll(options, function()
    local facts, fault = engine:request("GET", "/containers/" .. id .. "/json")
    if not facts then
      return fault.status == 404, fault.status ~= 404 and fault or nil
    end
  end)
end

--- The image that a fork began with: it goes with its container.
local function fork_image(engine, box)
  if box.data and next(box.data) then
    return box.data.fork_image
  end
  local facts = M.inspect(engine, box.external_id)
  local image = facts and ((facts.Config or {}).Labels or {})["luarium.fork"]
  return image ~= "" and image or nil
end

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@return boolean? ok
---@return luarium.Error? err
function M.destroy(self, box)
  local engine, err = M.engine(self)
  if not engine then
    return nil, err
  elseif not check_id(box.external_id) then
    return nil, errors.new("invalid", ("%q is no container"):format(tostring(box.external_id)))
  end
  local image = fork_image(engine, box)
  local ok
  ok, err = M.remove(engine, box.external_id)
  if not ok then
    return nil, err
  end
  if image then
    engine:request("DELETE", "/images/" .. image) -- others may have begun with it, too
  end
  return true
end

--- Whether a container is one that was stopped on purpose.
---@param facts table of the engine
---@return boolean
function M.was_stopped(facts)
  return tostring(facts.Name):sub(-#STOPPED) == STOPPED
end

--- Whether it was told to stop, by hand or by an engine that ends: the command that keeps it alive ends well only then.
local function was_told(facts)
  local command = (facts.Config or {}).Cmd or {}
  return facts.State.ExitCode == 0 and command[#command] == options_of.KEEP[#options_of.KEEP]
end

--- An engine that is restarted starts its containers again, a little later.
local function comes_back(engine, id)
  return engines.poll({ what = "the container", timeout = COMES_BACK, every = 0.1, at_most = 0.5 }, function()
    local facts = M.inspect(engine, id)
    return facts and facts.State.Running
  end)
end

--- What to say of a container in which nothing can run. One that has ended by itself is taken away: it is over.
---@async
---@param self luarium.ProviderInstance
---@param engine luarium.docker.Engine
---@param id string
---@return luarium.Error? err nil when it runs
function M.explain(self, engine, id)
  local facts, err = M.inspect(engine, id)
  if not facts then
    return err
  end
  local status = facts.State.Status
  if facts.State.Paused then
    return errors.new("conflict", "the sandbox is paused: resume() it first")
  elseif M.was_stopped(facts) then
    return errors.new("conflict", "the sandbox is stopped: start() it first")
  elseif facts.State.Running or status == "restarting" or status == "created" then
    return nil
  elseif was_told(facts) then
    return not comes_back(engine, id) and errors.new("conflict",
      "the sandbox was stopped, but not from here: start() it first") or nil
  end
  local ok, fault = M.remove(engine, id)
  if not ok then
    return fault
  end
  return errors.new("sandbox_gone", ("the container %s has ended (exit code %d%s)"):format(id:sub(1, 12),
    facts.State.ExitCode or -1, facts.State.OOMKilled and ", out of memory" or ""), { provider = self.name })
end

-- ---- stopping and pausing ----

local function act(action, query, accept)
  return function(self, box)
    local engine, err = M.engine(self)
    if not engine then
      return nil, err
    end
    local ok
    ok, err = engine:request("POST", "/containers/" .. box.external_id .. "/" .. action .. (query and query(box) or ""),
      { safe = true, timeout = CREATE_TIMEOUT })
    if ok or accept and err.message:find(accept, 1, true) then
      return true
    end
    return nil, err.status == 404 and M.gone(box.external_id) or err
  end
end

local post_stop = act("stop", function(box)
  return ("?t=%d"):format(math.ceil(box.data and box.data.stop_timeout or 10))
end)
local post_start = act("start")
M.pause = act("pause", nil, "is already paused")
M.resume = act("unpause", nil, "is not paused")

--- The name tells other processes that it was stopped, and has not ended.
local function rename(self, box, behind)
  local engine, facts, err = M.look(self, box)
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
  local ok, err = rename(self, box, STOPPED)
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

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param port integer
---@return {url: string}? result
---@return luarium.Error? err
function M.url(self, box, port)
  local engine, facts, err = M.look(self, box)
  if not facts then
    return nil, err
  end
  local network = facts.NetworkSettings or {}
  local published = (network.Ports or {})[("%d/tcp"):format(port)]
  if type(published) == "table" and published[1] then
    local host = engine.is_local and reachable(published[1].HostIp or "") or engine.host
    return { url = ("http://%s:%s"):format(host, published[1].HostPort) }
  elseif (facts.HostConfig or {}).NetworkMode == "host" then
    return { url = ("http://%s:%d"):format(engine.host, port) }
  end
  local address = network.IPAddress
  for _, entry in pairs(network.Networks or {}) do
    address = address and address ~= "" and address or entry.IPAddress
  end
  if engine.is_local and address and address ~= "" then
    return { url = ("http://%s:%d"):format(address, port) }
  end
  return nil, errors.new("conflict", ("url: port %d is not published: create{ ports = { %d } }"):format(port, port))
end

return M
