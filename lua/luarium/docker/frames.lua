--- The engine's stream of a command: frames of an eight byte head (which stream, three zeros, length) and bytes; with a
--- terminal just bytes. Payload goes on as it comes, so that a frame of any length needs no memory.
local errors = require "luarium.error"
local wrap = require "luarium.docker.wrap"

local M = {}

local NAMES = { [0] = "stdout", [1] = "stdout", [2] = "stderr", [3] = "systemerr" }

---@class luarium.docker.Frames
---@field held string bytes of a head that is not complete
---@field left integer bytes of the current frame that are still to come
local Frames = {}
Frames.__index = Frames

---@param raw boolean bytes without frames: a terminal
---@return luarium.docker.Frames
function M.new(raw)
  return setmetatable({ raw = raw, held = "", left = 0, stream = "stdout" }, Frames)
end

--- Whether the stream may end here without a byte being lost.
---@return boolean
function Frames:is_whole()
  return self.left == 0 and self.held == ""
end

local function head(bytes, at)
  local stream, a, b, c, n1, n2, n3, n4 = bytes:byte(at, at + 7)
  local name = NAMES[stream]
  if not name or a ~= 0 or b ~= 0 or c ~= 0 then
    return nil
  end
  return name, ((n1 * 256 + n2) * 256 + n3) * 256 + n4
end

--- Calls on_bytes(stream, bytes) for what is in the bytes; neighbours of one stream come joined.
---@param bytes string
---@param on_bytes fun(stream: string, bytes: string)
---@return boolean? ok
---@return luarium.Error? err `protocol`
function Frames:add(bytes, on_bytes)
  if self.raw then
    on_bytes("stdout", bytes)
    return true
  end
  if self.held ~= "" then
    bytes = self.held .. bytes
    self.held = ""
  end
  local at, size = 1, #bytes
  local parts, current = {}, self.stream
  local function flush()
    if #parts > 0 then
      on_bytes(current, #parts == 1 and parts[1] or table.concat(parts))
      parts = {}
    end
  end
  while at <= size do
    if self.left == 0 then
      if size - at < 7 then
        self.held = bytes:sub(at)
        break
      end
      local name, length = head(bytes, at)
      if not name then
        flush()
        return nil, errors.new("protocol", "exec: the engine sent a frame that makes no sense")
      end
      at = at + 8
      self.stream, self.left = name, length
    end
    local n = math.min(self.left, size - at + 1)
    if n > 0 then
      if self.stream ~= current then
        flush()
        current = self.stream
      end
      parts[#parts + 1] = bytes:sub(at, at + n - 1)
      at, self.left = at + n, self.left - n
    end
  end
  flush()
  return true
end

-- ---- marks ----

---@class luarium.docker.Marked
---@field ended boolean the mark has come
---@field exit_code integer?
---@field oom boolean?
---@field is_held boolean? somebody else has the stream, too; nil when that is not known
local Marked = {}
Marked.__index = Marked

--- Looks for the mark at which a stream ends.
---@param mark string
---@return luarium.docker.Marked
function M.marked(mark)
  return setmetatable({ mark = mark, held = "", ended = false }, Marked)
end

--- From where on the end of a text may be the beginning of the mark and its digits.
local function beginning(text, mark)
  local from = math.max(1, #text - #mark - wrap.TAIL + 1)
  while true do
    local at = text:find(mark:sub(1, 1), from, true)
    if not at then
      return nil
    end
    local rest = text:sub(at)
    if mark:sub(1, #rest) == rest or rest:sub(1, #mark) == mark then
      return at
    end
    from = at + 1
  end
end

--- Gives the bytes that are surely output. After the mark nothing more is.
---@param bytes string
---@return string
function Marked:add(bytes)
  if self.ended then
    return ""
  end
  if self.held ~= "" then
    bytes = self.held .. bytes
    self.held = ""
  end
  local mark = self.mark
  local at = bytes:find(mark, 1, true)
  while at do
    local tail = bytes:sub(at + #mark, at + #mark + wrap.TAIL - 1)
    local exit_code, oom, held = wrap.ending(tail)
    if exit_code then
      self.ended, self.exit_code, self.oom, self.is_held = true, exit_code, oom, held
      return bytes:sub(1, at - 1)
    elseif #tail < wrap.TAIL then
      self.held = bytes:sub(at)
      return bytes:sub(1, at - 1)
    end
    at = bytes:find(mark, at + 1, true) -- somebody else wrote it
  end
  local from = beginning(bytes, mark)
  if from then
    self.held = bytes:sub(from)
    return bytes:sub(1, from - 1)
  end
  return bytes
end

--- What was held back, when the stream has ended without a mark.
---@return string
function Marked:rest()
  local held = self.held
  self.held = ""
  return held
end

return M
