--- One container as the other parts need it: what the engine says of it, what to say when nothing runs in it, its end.
local engines = require "luarium.docker.engine"
local errors = require "luarium.error"
local log = require "luarium.log"
local options_of = require "luarium.docker.options"
local task = require "luarium.task"
local trim_end = require("luarium.text").trim_end

local M = {}

local REMOVE_TIMEOUT = 120 -- seconds
local ENDED = 256 -- containers whose end is remembered
local COMES_BACK = 5 -- seconds that an engine gets to start a container again after its own restart

--- Behind the name of a container that was stopped on purpose.
M.STOPPED = "-stopped"

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

--- A container that is no longer there: with the words for its end, when that was seen.
---@param engine luarium.docker.Engine
---@param id string
---@return luarium.Error
function M.gone(engine, id)
  return engine.ended[id]
    or errors.new("sandbox_gone", ("the container %s no longer exists"):format(tostring(id):sub(1, 12)))
end

--- Whether a text may be a container's id.
function M.check_id(id)
  return type(id) == "string" and id:find("^%w[%w_.%-]*$") ~= nil
end

--- What the engine says of a container; one that is not there is gone.
---@async
---@return table? facts
---@return luarium.Error? err
function M.inspect(engine, id)
  if not M.check_id(id) then
    return nil, errors.new("invalid", ("%q is no container"):format(tostring(id)))
  end
  local facts, err = engine:request("GET", "/containers/" .. id .. "/json", { shape = "made" })
  if not facts then
    return nil, err.status == 404 and M.gone(engine, id) or err
  end
  for _, key in ipairs({ "State", "Config", "HostConfig", "NetworkSettings" }) do
    facts[key] = type(facts[key]) == "table" and facts[key] or {}
  end
  if type(facts.State.Status) ~= "string" then
    return nil, errors.new("protocol", "docker: the engine does not say what state the container is in")
  end
  facts.Config.Labels = type(facts.Config.Labels) == "table" and facts.Config.Labels or {}
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

--- Removes a container with all that runs in it, and its anonymous volumes.
---@async
---@param engine luarium.docker.Engine
---@param id string
---@return boolean? ok
---@return luarium.Error? err
function M.remove(engine, id)
  local ok, err
  for attempt = 1, 3 do
    ok, err = engine:request("DELETE", "/containers/" .. id .. "?force=1&v=1", { timeout = REMOVE_TIMEOUT })
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

--- Whether a container is one that was stopped on purpose.
---@param facts table of the engine
---@return boolean
function M.was_stopped(facts)
  return tostring(facts.Name):sub(-#M.STOPPED) == M.STOPPED
end

--- Whether it runs nothing but the shell that keeps it alive.
local function keeps(facts)
  local command = (facts.Config or {}).Cmd or {}
  return command[#command] == options_of.KEEP[#options_of.KEEP]
end

--- Whether it was told to stop, by hand or by an engine that ends: the command that keeps it alive ends well only then.
local function was_told(facts)
  return facts.State.ExitCode == 0 and keeps(facts)
end

--- An engine that is restarted starts its containers again, a little later.
local function comes_back(engine, id)
  return engines.poll({ what = "the container", timeout = COMES_BACK, every = 0.1, at_most = 0.5 }, function()
    local facts = M.inspect(engine, id)
    return facts and facts.State.Running
  end)
end

local function read_log(engine, id)
  local text = engine:request("GET", "/containers/" .. id .. "/logs?stdout=1&stderr=1&tail=20", { raw = true })
  if type(text) ~= "string" then
    return ""
  end
  return trim_end(log.neutral((text:gsub("[%z\1\2]%z%z%z....", "")))):sub(-300)
end

--- The last words of a container. The engine may write them down a little later than its end.
local function last_words(engine, facts)
  local words = ""
  for attempt = 1, keeps(facts) and 1 or 4 do
    task.sleep(attempt == 1 and 0 or 0.1 * attempt)
    words = read_log(engine, facts.Id)
    if words ~= "" then
      break
    end
  end
  return words
end

--- How a container has ended: exit code and last words.
---@async
---@param engine luarium.docker.Engine
---@param facts table of the engine
---@return string
function M.ending(engine, facts)
  local state = facts.State
  local words = last_words(engine, facts)
  return ("(exit code %s%s%s)%s"):format(tostring(state.ExitCode), state.OOMKilled and ", out of memory" or "",
    type(state.Error) == "string" and state.Error ~= "" and ": " .. state.Error or "",
    words ~= "" and ": " .. words or "")
end

--- Keeps what there is to say of a container that is taken away: several may ask.
local function remember(engine, id, err)
  if #engine.ended >= ENDED then
    engine.ended[table.remove(engine.ended, 1)] = nil
  end
  table.insert(engine.ended, id)
  engine.ended[id] = err
end

--- Takes away a container that has ended; once, although several may ask at the same time.
local function bury(self, engine, facts)
  local id = facts.Id
  if engine.burying[id] then
    engine.burying[id]:wait()
    return M.gone(engine, id)
  end
  engine.burying[id] = task.event("the end of a container")
  local ok, gone = pcall(function()
    local words = M.ending(engine, facts)
    local removed, fault = M.remove(engine, id)
    if not removed then
      return fault
    end
    return errors.new("sandbox_gone", ("the container %s has ended %s"):format(id:sub(1, 12), words),
      { provider = self.name })
  end)
  if ok and gone.kind == "sandbox_gone" then
    remember(engine, id, gone)
  end
  engine.burying[id]:set()
  engine.burying[id] = nil
  if not ok then
    error(gone, 0)
  end
  return gone
end

--- What to say of a container in which nothing can run. One that has ended by itself is taken away: it is over.
---@async
---@param self luarium.ProviderInstance
---@param engine luarium.docker.Engine
---@param id string
---@return luarium.Error? err nil when it runs
function M.explain(self, engine, id)
  local facts, err = M.inspect(engine, id)
  if not facts and engine.burying[id] then -- somebody is about to know more than that it is gone
    engine.burying[id]:wait()
    return M.gone(engine, id)
  elseif not facts then
    return err
  end
  local status = facts.State.Status
  if facts.State.Paused then
    return errors.new("conflict", "the sandbox is paused: resume() it first, or `luarium resume`", { name = "PAUSED" })
  elseif M.was_stopped(facts) then
    return errors.new("conflict", "the sandbox is stopped: start() it first, or `luarium start`", { name = "STOPPED" })
  elseif facts.State.Running or status == "restarting" or status == "created" then
    return nil
  elseif was_told(facts) then
    return not comes_back(engine, id) and errors.new("conflict",
      "the sandbox was stopped, but not from here: start() it first, or `luarium start`", { name = "STOPPED" }) or nil
  end
  return bury(self, engine, facts)
end

return M
