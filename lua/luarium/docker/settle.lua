--- Creates that were cut off. The engine finishes what a client that was killed had asked for, perhaps after somebody
--- has looked for it; but it gives a name away at the beginning. So the name is taken, and what has it is waited for.
local container = require "luarium.docker.container"
local engines = require "luarium.docker.engine"
local http = require "luarium.http"
local json = require "luarium.json"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

local YOUNG = 300 -- seconds after which nothing of a create is under way any more
local WAIT = 60 -- seconds for a create that is
local HOLD = 0.5 -- seconds that the name is held, for a request that the engine has not read yet

--- Images that a fork of this sandbox began with.
local function remove_images(engine, id)
  local found, err = engine:request("GET", "/images/json?" .. http.encode_query({
    filters = json.encode({ label = { "luarium.of=" .. id } }) }), { shape = "list" })
  for _, facts in ipairs(found or {}) do
    if type(facts.Id) == "string" then
      engine:request("DELETE", "/images/" .. facts.Id) -- one that is in use goes with its container
    end
  end
  return found and true, err
end

--- Any image: without one nothing can have been made.
local function any_image(engine)
  local found, err = engine:request("GET", "/images/json", { shape = "list" })
  return found and (found[1] or {}).Id, err
end

--- Takes the name, or finds who has it.
local function hold_name(engine, id, image)
  local function try()
    local facts, fault = container.inspect(engine, id)
    if facts or fault.kind ~= "sandbox_gone" then
      return facts, fault
    end
    local made, err = engine:request("POST", "/containers/create?" .. http.encode_query({ name = id }),
      { json = { Image = image, Cmd = { "true" }, Labels = { ["luarium.id"] = id } }, timeout = WAIT, shape = "made" })
    if made then
      task.sleep(HOLD)
      return container.remove(engine, made.Id)
    end
    return nil, err.status ~= 409 and err or nil -- under way: it is looked at again
  end
  return engines.poll({ what = "the end of a create that was cut off", timeout = WAIT, every = 0.1, at_most = 1 }, try)
end

---@async
---@param self luarium.ProviderInstance
---@param record luarium.SandboxRecord
---@return boolean? ok
---@return luarium.Error? err
function M.settle(self, record)
  local engine, err = container.engine(self)
  if not engine then
    return nil, err
  elseif native.loop.realtime() - (record.created_at or 0) < YOUNG then
    local image, ok
    image, err = any_image(engine)
    if image then
      ok, err = hold_name(engine, record.id, image)
    end
    if err and not ok then
      return nil, err
    end
  end
  return remove_images(engine, record.id)
end

return M
