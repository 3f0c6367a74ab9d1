--- The conformance suite: one description of how a sandbox behaves, run unchanged over any provider.
---
--- A check whose operation the provider does not have becomes a check that calling it fails helpfully. Checks of a
--- topic share a sandbox, so that the suite is quick on slow vendors too; after a failed check they get another one.
local check = require "luarium.check"
local config = require "luarium.config"
local context = require "luarium.conformance.context"
local errors = require "luarium.error"
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local sandbox = require "luarium.sandbox"
local task = require "luarium.task"
local unsupported = require "luarium.conformance.unsupported"

local monotonic = native.loop.monotonic

local M = {}

--- The topics, each a module below luarium.conformance.
M.topics = {
  "exec", "environment", "folder", "stdin", "output", "time", "process", "terminal", "files", "folders", "links",
  "transfer", "life", "reconnect", "jobs", "cancel", "load", "secrets", "usage",
}

---@class luarium.ConformanceResult
---@field name string
---@field topic string
---@field status "passed"|"failed"|"skipped"
---@field reason string? why it failed or was skipped
---@field duration number seconds
---@field heavy boolean

--- Every check there is, in order.
---@return luarium.ConformanceCheck[]
function M.checks()
  local list = {}
  for _, name in ipairs(M.topics) do
    for _, item in ipairs(require("luarium.conformance." .. name).checks) do
      list[#list + 1] = item
    end
  end
  return list
end

-- ---- a session: one provider, its shared sandboxes, and what is known about it ----

---@class luarium.ConformanceSession
local Session = {}
Session.__index = Session

local configured = 0

local function provider_name(given)
  if type(given) ~= "table" then
    return config.provider_name(given)
  end
  configured = configured + 1
  local name = "conformance-" .. configured
  config.configure({ providers = { [name] = given } }, "conformance")
  return name
end

--- Gets ready to run checks one at a time. Close it afterwards.
---@async
---@param options {provider?: string|table, require?: string[], create?: table}? create: further options of every
---  sandbox
---@return luarium.ConformanceSession
function M.open(options)
  options = check.options(options, { provider = "text|table", require = "strings", create = "table" },
    "conformance.open")
  local name = provider_name(options.provider)
  local self = setmetatable({
    provider = name, config = options.provider, instance = config.provider(name), boxes = {},
    require = options.require or {}, create = options.create or {}, latency = 0,
  }, Session)
  local ok, err = pcall(self.measure, self)
  if not ok then
    self:close()
    error(err, 0)
  end
  return self
end

--- How long the shortest command takes, and whether this machine sees the sandbox's processes.
function Session:measure()
  local box = self:shared(M.topics[1])
  box:exec("true")
  local began = monotonic()
  box:exec("true")
  self.latency = monotonic() - began
  self.host_visible = context.probe_visibility(box)
end

--- The options of a new sandbox.
---@param more table?
---@return table
function Session:options(more)
  local options = { provider = self.provider }
  for _, source in ipairs({ self.create, more or {} }) do
    for key, value in pairs(source) do
      options[key] = value
    end
  end
  return options
end

--- The sandbox of a topic, made when it is first asked for.
---@async
---@param topic string
---@return luarium.Sandbox
function Session:shared(topic)
  if not self.boxes[topic] then
    self.boxes[topic] = sandbox.create(self:options({ labels = { conformance = topic } }))
  end
  return self.boxes[topic]
end

local function drop(self, topic)
  local box = self.boxes[topic]
  self.boxes[topic] = nil
  if box then
    box:destroy()
  end
end
Session.drop = drop

--- Destroys the shared sandboxes.
---@async
function Session:close()
  local failure
  for _, topic in ipairs(check.keys(self.boxes)) do
    local ok, err = pcall(drop, self, topic)
    failure = failure or not ok and err
  end
  if failure then
    error(failure, 0)
  end
end

local function missing_operation(self, item)
  for _, operation in ipairs(item.needs) do
    if self.instance:can(operation) == "unsupported" then
      return operation
    end
  end
end

local function perform(self, item)
  task.scope(function(scope)
    local missing = missing_operation(self, item)
    local box = (item.shared or missing) and self:shared(item.topic) or nil
    local c = context.new(self, scope, box)
    if missing then
      unsupported.verify(c, missing)
    else
      item.fn(c)
    end
  end, item.name)
end

local function explain(err)
  if errors.is(err) and err.kind ~= "internal" then
    return ("an unexpected error of kind %s: %s"):format(err.kind, err:trace())
  end
  return errors.is(err) and err.message or tostring(err)
end

--- Runs one check.
---@async
---@param item luarium.ConformanceCheck
---@return luarium.ConformanceResult
function Session:run(item)
  local began = monotonic()
  local ok, err = pcall(task.timeout, item.limit or item.heavy and 300 or 60, perform, self, item)
  if not ok and task.cancel_reason() then
    error(task.cancel_reason(), 0)
  end
  local skipped = not ok and context.skip_reason(err)
  local result = {
    name = item.name, topic = item.topic, heavy = item.heavy, duration = monotonic() - began,
    status = ok and "passed" or skipped and "skipped" or "failed", reason = skipped or not ok and explain(err) or nil,
  }
  if result.status == "failed" then
    pcall(drop, self, item.topic)
  end
  return result
end

-- ---- the whole suite ----

--- Whether a title has the pattern. Raises `invalid` when that is none.
local function has_pattern(title, pattern)
  local ok, found = pcall(string.find, title, pattern)
  if not ok then
    errors.raise("invalid", ("the filter '%s' is no Lua pattern: %s; a special character is meant as it is with a %% "
      .. "before it"):format(pattern, found))
  end
  return found
end

local function selected(options)
  local chosen, left_out = {}, {}
  for _, item in ipairs(M.checks()) do
    local title = item.topic .. ": " .. item.name
    if not options.filter or has_pattern(title, options.filter) then
      if item.heavy and options.heavy == false then
        left_out[#left_out + 1] = item
      else
        chosen[#chosen + 1] = item
      end
    end
  end
  return chosen, left_out
end

--- Checks by topic, the heavy ones apart: these run alone, so that they do not disturb the times of others.
local function plan(chosen)
  local topics, by_topic, heavy = {}, {}, {}
  for _, item in ipairs(chosen) do
    if item.heavy then
      heavy[#heavy + 1] = item
    else
      if not by_topic[item.topic] then
        by_topic[item.topic] = { name = item.topic }
        topics[#topics + 1] = by_topic[item.topic]
      end
      table.insert(by_topic[item.topic], item)
    end
  end
  return topics, heavy
end

local run_options = {
  provider = "text|table", filter = "text", on_result = "function", jobs = { type = "integer", min = 1 },
  heavy = "boolean", require = "strings", create = "table",
}

--- Runs the suite over one provider.
---@async
---@param options {provider?: string|table, filter?: string, on_result?: fun(result: luarium.ConformanceResult),
---  jobs?: integer, heavy?: boolean, require?: string[], create?: table}? filter: a pattern found in "topic: name";
---  jobs: topics at a time (default 1); heavy = false leaves the heavy checks out; create: further options of every
---  sandbox; require: modules that another process must load to know the provider
---@return {passed: integer, failed: integer, skipped: integer, results: luarium.ConformanceResult[]}
function M.run(options)
  options = check.options(options, run_options, "conformance.run")
  local report = { passed = 0, failed = 0, skipped = 0, results = {} }
  local function tell(result)
    report[result.status] = report[result.status] + 1
    table.insert(report.results, result)
    if options.on_result then
      options.on_result(result)
    end
  end
  local chosen, left_out = selected(options)
  local topics, heavy = plan(chosen)
  task.scope(function(scope)
    local session = M.open({ provider = options.provider, require = options.require, create = options.create })
    scope:defer(session.close, session)
    task.map(topics, function(items)
      for _, item in ipairs(items) do
        tell(session:run(item))
      end
      session:drop(items.name)
    end, { concurrency = options.jobs or 1 })
    for _, item in ipairs(heavy) do
      tell(session:run(item))
    end
  end, "conformance")
  for _, item in ipairs(left_out) do
    tell({ name = item.name, topic = item.topic, heavy = true, duration = 0, status = "skipped",
      reason = "heavy checks were left out" })
  end
  return report
end

M.expect = expect

return M
