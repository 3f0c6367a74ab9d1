--- What is known of the sandboxes that are shown: what each does, how far it is, what it said last.
local describe = require "luarium.cli.display.describe"

local M = {}

local SEARCHED = 2000 -- bytes at the end of the output in which its last line is looked for

local Boxes = {}
Boxes.__index = Boxes

---@class luarium.cli.ShownBox
---@field name string
---@field state string what it does, or "idle", "failed"
---@field verb string?
---@field span integer? the operation it is at
---@field since number when that began
---@field changed number when something last happened
---@field amount luarium.cli.Amount? how far the operation is
---@field last string its last line of output
---@field failed boolean

---@param now fun(): number seconds
function M.new(now)
  return setmetatable({ now = now, by_id = {}, list = {}, count = 0 }, Boxes)
end

local function forget(self, id)
  for i, box in ipairs(self.list) do
    if box == self.by_id[id] then
      table.remove(self.list, i)
      break
    end
  end
  self.by_id[id], self.chosen = nil, nil
end

local function is_over(record)
  return record.event == "sandbox.destroy" and record.phase == "stop"
    or record.event == "sandbox.create" and record.phase == "error"
    or record.event == "sandbox.expired" or record.event == "sandbox.gone"
end

--- An operation of a sandbox began or ended.
---@param record luarium.EventRecord
---@param inner boolean it is part of another that is shown
function Boxes:on_operation(record, inner)
  local id = record.sandbox
  if not id then
    return
  elseif is_over(record) then
    return forget(self, id)
  end
  local box = self.by_id[id]
  if not box then
    self.count = self.count + 1
    box = { order = self.count, name = describe.short(record), last = "", failed = false, since = self.now() }
    self.by_id[id] = box
    self.list[#self.list + 1] = box
  end
  box.changed = self.now()
  if record.phase == "start" then
    if not inner then
      box.verb = describe.verb(record)
      local detail = describe.detail(record)
      box.state = detail == "" and box.verb or box.verb .. " " .. detail
      box.span, box.since, box.amount = record.span, self.now(), nil
    end
  elseif box.span == record.span then
    box.failed = describe.outcome(record) == "failed"
    box.state, box.since, box.span, box.amount = box.failed and "failed" or "idle", self.now(), nil, nil
  end
end

---@param record luarium.EventRecord
function Boxes:on_output(record)
  local box = self.by_id[record.sandbox]
  if box then
    local tail = (box.tail and (box.tail .. record.text) or record.text):sub(-SEARCHED)
    local last
    for line in tail:gmatch("[^\r\n]+") do
      last = line:find("%S") and line or last
    end
    box.last, box.changed = last or box.last, self.now()
    box.tail = not tail:find("[\r\n]$") and last or nil -- an unfinished line goes on with the next chunk
  end
end

---@param record luarium.ProgressRecord
function Boxes:on_progress(record)
  local box = self.by_id[record.sandbox]
  if box and box.span then
    local amount = box.amount
    if not amount or amount.what ~= record.what or record.done < amount.done then
      amount = { what = record.what, unit = record.unit, first = record.done, since = self.now() }
      box.amount = amount
    end
    amount.done, amount.total, box.changed = record.done, record.total, self.now()
  end
end

---@return integer
function Boxes:busy()
  local busy = 0
  for _, box in ipairs(self.list) do
    busy = busy + (box.span and 1 or 0)
  end
  return busy
end

local function by_order(a, b)
  return a.order < b.order
end

--- Those at work or whose last operation failed before the others, and of each the ones that something happened to
--- last.
local function by_activity(a, b)
  local first, second = a.span ~= nil or a.failed, b.span ~= nil or b.failed
  if first ~= second then
    return first
  elseif a.changed ~= b.changed then
    return a.changed > b.changed
  end
  return a.order < b.order
end

--- The boxes that fit, in the order in which they were made. They are chosen anew once a second: lines that jump about
--- cannot be read, and sorting hundreds at each drawing costs.
---@param most integer
---@return luarium.cli.ShownBox[]
function Boxes:visible(most)
  local list = self.list
  if #list <= most then
    return list
  end
  local now = self.now()
  if not self.chosen or #self.chosen ~= most or now - self.chosen_at >= 1 then
    local sorted, chosen = {}, {}
    for i, box in ipairs(list) do
      sorted[i] = box
    end
    table.sort(sorted, by_activity)
    for i = 1, most do
      chosen[i] = sorted[i]
    end
    table.sort(chosen, by_order)
    self.chosen, self.chosen_at = chosen, now
  end
  return self.chosen
end

return M
