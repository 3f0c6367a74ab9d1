--- The engine's events: one stream of them while there are sandboxes of ours, which tells of those that have ended by
--- themselves. A stream that was cut is opened again, and what happened meanwhile is looked up.
local container = require "luarium.docker.container"
local errors = require "luarium.error"
local http = require "luarium.http"
local json = require "luarium.json"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

local LINE = 1048576 -- bytes that one event may have
local SILENCE = 300 -- seconds without an event, after which the connection may be a dead one
local FIRST, LONGEST = 0.5, 15 -- seconds until the stream is opened again
local KEPT = 256 -- ids of containers that ended before anybody watched them

-- Podman says that a container "died" and takes both words.
local ENDS = { die = true, died = true, destroy = true, remove = true }

---@class luarium.docker.Events
---@field watched table<string, fun(err: luarium.Error)> by the container's id
---@field recent string[] containers that ended lately
local Events = {}
Events.__index = Events

--- Asks what became of a container, and tells who watches it.
local function look(self, id)
  task.spawn_background("the end of a container", function()
    local err = container.explain(self.instance, self.engine, id)
    local on_end = self.watched[id]
    if on_end and errors.is(err, "sandbox_gone") then
      self.watched[id] = nil
      on_end(err)
      self:rest()
    end
  end)
end

local function on_event(self, line)
  if not line:find("die", 1, true) and not line:find("destroy", 1, true) and not line:find("remove", 1, true) then
    return -- events of commands carry all of their text
  end
  local value = json.decode_plain(line)
  local id = type(value) == "table" and type(value.Actor) == "table" and value.Actor.ID
  if type(id) ~= "string" or not ENDS[value.Action] then
    return
  end
  if self.watched[id] then
    look(self, id)
  else
    table.insert(self.recent, id)
    if #self.recent > KEPT then
      table.remove(self.recent, 1)
    end
  end
end

local function read_lines(self, stream)
  local held = ""
  while true do
    local bytes = stream:read()
    if not bytes then
      return
    end
    local searched, from = #held + 1, 1
    held = held .. bytes
    local stop = held:find("\n", searched, true)
    while stop do
      on_event(self, held:sub(from, stop - 1))
      from = stop + 1
      stop = held:find("\n", from, true)
    end
    held = held:sub(from)
    if #held > LINE then
      return
    end
  end
end

--- Looks after everybody whose container does not run, when the stream has just begun.
local function catch_up(self)
  local running = self.engine:request("GET", "/containers/json?" .. http.encode_query({
    filters = json.encode({ label = { "luarium.id" } }) }), { shape = "list" })
  if not running then
    return
  end
  local seen = {}
  for _, facts in ipairs(running) do
    seen[facts.Id or ""] = true
  end
  for id in pairs(self.watched) do
    if not seen[id] then
      look(self, id)
    end
  end
end

local function follow_once(self)
  local filters = { type = { "container" }, event = { "die", "destroy" }, label = { "luarium.id" } }
  if self.engine.podman then
    filters = { type = { "container" } } -- it has other names for them, and takes no label without a value
  end
  local stream = self.engine:open("GET", "/events?" .. http.encode_query({ filters = json.encode(filters) }),
    { background = true, idle_timeout = SILENCE })
  if not stream then
    return false
  end
  local ok, err = pcall(function()
    catch_up(self)
    read_lines(self, stream)
  end)
  stream:close()
  if not ok then
    error(err, 0)
  end
  return true
end

local function follow(self)
  local delay = FIRST
  while true do
    local ok, worked = pcall(follow_once, self)
    if task.cancel_reason() then
      return
    end
    delay = ok and worked and FIRST or math.min(delay * 2, LONGEST)
    task.await(native.loop.sleep(delay, true))
  end
end

--- Ends the stream when nobody watches any more.
function Events:rest()
  if self.follower and next(self.watched) == nil then
    task.cancel(self.follower, "nobody watches the engine's events any more")
    self.follower = nil
  end
end

--- Ends all watches.
function Events:close()
  self.watched = {}
  self:rest()
end

--- Calls on_end when the container has ended by itself.
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param on_end fun(err: luarium.Error)
---@return fun() stop
function M.watch(self, box, on_end)
  local engine, id = container.engine(self), box.external_id
  if not engine then
    return function() end
  end
  engine.events = engine.events or setmetatable({ instance = self, engine = engine, watched = {}, recent = {} }, Events)
  local events = engine.events
  events.watched[id] = on_end
  for _, other in ipairs(events.recent) do
    if other == id then
      look(events, id)
      break
    end
  end
  events.follower = events.follower or task.spawn_background("events of " .. engine.name, follow, events)
  return function()
    if events.watched[id] == on_end then
      events.watched[id] = nil
      events:rest()
    end
  end
end

return M
