--- A topic of the conformance suite: its checks in order.
local M = {}

---@class luarium.ConformanceCheck
---@field name string
---@field topic string
---@field fn fun(c: luarium.ConformanceContext)
---@field heavy boolean? takes long or moves much; runs alone, after the others
---@field needs string[]? operations; on a provider without one the check is that calling it fails helpfully
---@field shared boolean whether it uses the topic's shared sandbox
---@field limit number? seconds

---@class luarium.ConformanceTopic
---@field name string
---@field checks luarium.ConformanceCheck[]

--- Makes a topic; `check(name, [options], fn)` adds to it. Options: heavy, needs, limit, and own = true for a check
--- that makes its own sandboxes.
---@param name string
---@return luarium.ConformanceTopic topic
---@return function check
function M.new(name)
  local topic = { name = name, checks = {} }
  local function check(title, options, fn)
    if not fn then
      options, fn = {}, options
    end
    topic.checks[#topic.checks + 1] = {
      name = title, topic = name, fn = fn, heavy = options.heavy or false, needs = options.needs or {},
      shared = not options.own, limit = options.limit,
    }
  end
  return topic, check
end

return M
