--- What was typed into `luarium repl`, kept in STATE/repl_history: a statement a line, with its line ends escaped.
--- Several sessions append to the file; when it has grown large it becomes repl_history.1, in place of the one before.
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local await = task.await
local fs = native.fs

local M = {}

M.MAX_ENTRIES = 1000   -- given to a session
M.MAX_BYTES = 262144   -- of one file; two are kept
local MAX_STATEMENT = 16384 -- bytes; longer ones are not kept

local PRIVATE_FILE, PRIVATE_FOLDER = 384, 448 -- 0600, 0700

---@class luarium.cli.History
---@field folder string
local History = {}
History.__index = History

---@param folder string that of the state
---@return luarium.cli.History
function M.new(folder)
  return setmetatable({ folder = folder }, History)
end

function History:path()
  return self.folder .. "/repl_history"
end

local function escape(text)
  return (text:gsub("\\", "\\\\"):gsub("\n", "\\n"))
end

--- Control characters have no business in a statement: somebody else put them there.
local function unescape(line)
  local text = line:gsub("\\(.)", function(char)
    return char == "n" and "\n" or char
  end)
  return (text:gsub("[%z\1-\8\11-\31\127]", ""))
end

local function read_into(entries, path)
  local text = await(fs.read_file(path, { max = 2 * M.MAX_BYTES })) or ""
  for line in text:gmatch("[^\n]+") do
    entries[#entries + 1] = unescape(line)
  end
end

--- What is kept, the oldest first.
---@async
---@return string[]
function History:load()
  local all, entries = {}, {}
  read_into(all, self:path() .. ".1")
  read_into(all, self:path())
  for i = math.max(1, #all - M.MAX_ENTRIES + 1), #all do
    entries[#entries + 1] = all[i]
  end
  return entries
end

local private_names = { "secret", "token", "passw", "api_?key" }

local function sounds_private(name)
  for _, pattern in ipairs(private_names) do
    if name:lower():find(pattern) then
      return true
    end
  end
end

--- Also texts that are given to a name that sounds like a secret: they are known to be one only when they are used.
local function redact(text)
  text = secret.redact(text)
  local masked = text:gsub("\\.", "__") -- an escaped quote ends no text
  local parts, at = {}, 1
  for name, quote, from in masked:gmatch("%f[%w_]([%a_][%w_]*)[\"'%]]*%s*=%s*([\"'])()") do
    local stop = from >= at and sounds_private(name) and masked:find(quote, from, true)
    if stop then
      parts[#parts + 1] = text:sub(at, from - 1) .. "[redacted]"
      at = stop
    end
  end
  return table.concat(parts) .. text:sub(at)
end

--- Another session may have done it in between, so it is looked at again under the lock.
local function rotate(path)
  local function is_large()
    local entry = await(fs.stat(path))
    return entry and entry.size > M.MAX_BYTES
  end
  local lock = is_large() and fs.trylock(path)
  if lock then
    if is_large() then
      await(fs.move(path, path .. ".1"))
    end
    lock:unlock()
  end
end

--- Keeps a statement. One that begins with a blank is not kept, nor is one that cannot be: typing goes on all the same.
---@async
---@param text string
function History:append(text)
  if text:find("^%s") or #text > MAX_STATEMENT then
    return
  end
  await(fs.mkdir(self.folder, { parents = true, mode = PRIVATE_FOLDER }))
  if await(fs.write_file(self:path(), escape(redact(text)) .. "\n", { append = true, mode = PRIVATE_FILE })) then
    rotate(self:path())
  end
end

return M
