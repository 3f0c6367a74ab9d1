--- Making a container: its image, the request, the wait until it can be used.
local container = require "luarium.docker.container"
local engines = require "luarium.docker.engine"
local errors = require "luarium.error"
local http = require "luarium.http"
local images = require "luarium.docker.image"
local log = require "luarium.log"
local native = require "luarium.native"
local options_of = require "luarium.docker.options"
local run = require "luarium.docker.run"
local secret = require "luarium.secret"
local task = require "luarium.task"

local M = {}

local CREATE_TIMEOUT = 120
local ABANDONED = 60 -- seconds that a create which was cancelled waits for the engine
local SETTLE = 0.4 -- seconds that a command of the script's own must last
local READY = 60 -- seconds until a container must be healthy when nobody says otherwise

--- The container of this sandbox that an earlier request has made, or is still making.
local function adopt(engine, spec, refusal)
  local facts, err = engines.poll({ what = "create: the container of another request", timeout = 20, every = 0.1 },
    function()
      local facts, err = container.inspect(engine, spec.id)
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
    json = body, safe = true, timeout = CREATE_TIMEOUT, shape = "made",
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
  spec.nothing_made = nil
  local state = { done = task.event("a container") }
  task.spawn_detached("create " .. spec.id, function()
    local ok, id, err = pcall(make_once, engine, spec, body, query)
    state.id, state.error = ok and id, not ok and errors.from(id) or err
    if state.id and state.left then
      pcall(container.remove, engine, state.id)
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
      container.remove(engine, state.id)
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

local function ended_early(engine, facts)
  return errors.new("invalid", "create: the container's command has ended " .. container.ending(engine, facts))
end

--- Waits until it is healthy, where there is a health check, and sees whether a command of the script's own ends at
--- once; gives the engine's facts.
local function ready(engine, id, options, own_command)
  local waits = options.health ~= nil or options.ready_timeout ~= nil
  local settled = native.loop.monotonic() + (own_command and SETTLE or 0)
  local function look()
    local facts, err = container.inspect(engine, id)
    if not facts then
      return nil, err
    elseif not facts.State.Running or facts.State.Restarting then
      return nil, ended_early(engine, facts)
    end
    local health = waits and facts.State.Health
    if not health or health.Status == "healthy" or health.Status == "none" then
      return native.loop.monotonic() >= settled and facts
    elseif health.Status == "unhealthy" then
      local last = health.Log and health.Log[#health.Log]
      return nil, errors.new("unavailable", ("create: the container is not healthy: its check says %s%s"):format(
        last and last.ExitCode and "exit code " .. tostring(last.ExitCode) or "nothing",
        last and last.Output ~= "" and ": " .. log.neutral(secret.excerpt(tostring(last.Output), 300)) or ""))
    end
  end
  local timeout = (options.ready_timeout or READY) + (own_command and SETTLE or 0)
  return engines.poll({ what = "create: a healthy container", timeout = timeout, every = 0.1, at_most = 1 }, look)
end

--- Starts it and makes its working directory usable.
local function start(engine, id, options, own_command)
  local ok, err = engine:request("POST", "/containers/" .. id .. "/start", { safe = true, timeout = CREATE_TIMEOUT })
  if ok then
    return ready(engine, id, options, own_command)
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
      .. log.neutral(secret.excerpt(output, 200)))
  end
  return true
end

local function bring_up(engine, id, options, own_command, cwd)
  local facts, err = start(engine, id, options, own_command)
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
  pcall(task.shield, 30, container.remove, engine, id)
end

---@async
---@param self luarium.ProviderInstance
---@param spec table
---@return table? made
---@return luarium.Error? err
function M.create(self, spec)
  spec.nothing_made = true -- until a container is asked for
  local engine, err = container.engine(self)
  if not engine then
    return nil, err
  end
  local ok
  ok, err = engine:negotiate()
  if not ok then
    return nil, err
  end
  options_of.check_spec(spec)
  local options = options_of.check(spec.options)
  local given_cwd = spec.cwd or self.config.cwd
  local cwd = given_cwd or "/work"
  spec.expires_at = spec.timeout and native.loop.realtime() + spec.timeout or nil
  local image
  image, err = prepare_image(self, engine, spec, options)
  if not image then
    return nil, err
  end
  local near = engine.is_local or engine.tunnel ~= nil
  local body = options_of.body(spec, options, image, cwd, near and "127.0.0.1" or "0.0.0.0")
  local id
  id, err = make_with_image(self, engine, spec, options, body)
  if not id then
    return nil, err
  end
  local facts
  ok, facts, err = pcall(bring_up, engine, id, options, spec.command or options.entrypoint, not given_cwd and cwd)
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
return M
