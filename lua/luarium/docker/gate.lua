--- Keeps the starts of commands and the freezing of their container apart. runc waits for ever for a command that was
--- frozen while it began, the engine then holds the container's lock for ever, and nothing of it can be asked, thawed
--- or removed any more (seen with dockerd 20.10, runc 1.1 on cgroup v1). Of other processes nothing is known here.
local task = require "luarium.task"

local M = {}

---@class luarium.docker.Gate
---@field starting integer commands that have been asked for and have not begun
---@field freezing boolean? somebody freezes the container, or waits until he can
---@field changed table event

local gates = setmetatable({}, { __mode = "k" }) -- by engine, then by container

local function gate_of(engine, container)
  local of_engine = gates[engine] or {}
  gates[engine] = of_engine
  local gate = of_engine[container] or { starting = 0, changed = task.event("the start of a command in a container") }
  of_engine[container] = gate
  return gate
end

--- The container's gate, when nobody freezes it any more.
local function open_gate(engine, container)
  local gate = gate_of(engine, container)
  while gate.freezing do
    gate.changed:wait()
    gate = gate_of(engine, container)
  end
  return gate
end

local function notify(engine, container, gate)
  if gate.starting == 0 and not gate.freezing then
    gates[engine][container] = nil
  end
  local changed = gate.changed
  gate.changed = task.event("the start of a command in a container")
  changed:set()
end

--- Runs fn, in which a command begins, when nobody freezes the container.
---@async
---@param engine luarium.docker.Engine
---@param container string
---@param fn fun(): any, any
---@return any, any what it returned; its error is raised
function M.start(engine, container, fn)
  local gate = open_gate(engine, container)
  gate.starting = gate.starting + 1
  local ok, value, err = pcall(fn)
  gate.starting = gate.starting - 1
  notify(engine, container, gate)
  if not ok then
    error(value, 0)
  end
  return value, err
end

--- Runs fn, which freezes the container, when no command is beginning in it; those that come wait.
---@async
---@param engine luarium.docker.Engine
---@param container string
---@param fn fun(): any, any
---@return any, any what it returned; its error is raised
function M.freeze(engine, container, fn)
  local gate = open_gate(engine, container)
  gate.freezing = true
  local ok, value, err = pcall(function()
    while gate.starting > 0 do
      gate.changed:wait()
    end
    return fn()
  end)
  gate.freezing = nil
  notify(engine, container, gate)
  if not ok then
    error(value, 0)
  end
  return value, err
end

return M
