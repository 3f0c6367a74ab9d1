--- Drives the real program: build/luarium, or the one that LUARIUM_PROGRAM names, in a folder and a state of its own.
local async = require "spec.support.async"
local native = require "luarium.native"
local task = require "luarium.task"

local await = task.await
local M = {}

M.path = os.getenv("LUARIUM_PROGRAM") or "build/luarium"

local function absolute(path)
  return path:sub(1, 1) == "/" and path or assert(await(native.fs.realpath(path)))
end

---@class spec.Place
---@field dir string where it runs
---@field env table<string, string> added to a small environment
local Place = {}
Place.__index = Place

local function environment(self)
  local all = {
    PATH = os.getenv("PATH"), HOME = self.dir, LANG = "C.UTF-8", TERM = "xterm",
    LUARIUM_STATE_DIR = self.dir .. "/.state", LUARIUM_CACHE_DIR = self.dir .. "/.cache",
  }
  for key, value in pairs(self.env) do
    all[key] = value
  end
  local list = {}
  for key, value in pairs(all) do
    list[#list + 1] = key .. "=" .. value
  end
  return list
end

function Place:options(words, more)
  local argv = { self.program }
  for _, word in ipairs(words) do
    argv[#argv + 1] = word
  end
  local options = { argv = argv, env = environment(self), cwd = self.dir, timeout = 30 }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return options
end

--- Runs it with these words to its end.
---@return luarium.ExecResult
function Place:run(words, more)
  return assert(await(native.process.run(self:options(words, more))))
end

--- Runs it and expects success; returns standard output.
function Place:ok(words, more)
  local result = self:run(words, more)
  if result.exit_code ~= 0 then
    error(("luarium %s: exit code %s, %s\n%s%s"):format(table.concat(words, " "), tostring(result.exit_code),
      tostring(result.signal), result.stdout, result.stderr), 2)
  end
  return result.stdout
end

--- Starts it, for signals and terminals. Close the process.
function Place:spawn(words, more)
  return assert(native.process.spawn(self:options(words, more)))
end

--- Reads from a process until the text so far has the pattern.
---@return string text
function M.read_until(process, pattern)
  local text = ""
  while not text:find(pattern) do
    local chunk = await(process:read())
    if not chunk then
      error("the output ended without " .. pattern .. ":\n" .. text, 2)
    end
    text = text .. chunk
  end
  return text
end

--- All that a process still writes.
---@return string text
function M.read_all(process)
  local parts = {}
  while true do
    local chunk = await(process:read())
    if not chunk then
      return table.concat(parts)
    end
    parts[#parts + 1] = chunk
  end
end

function Place:write(name, text)
  local path = self.dir .. "/" .. name
  assert(await(native.fs.write_file(path, text, { parents = true })))
  return path
end

function Place:read(name)
  return await(native.fs.read_file(self.dir .. "/" .. name))
end

--- The records of sandboxes that are left.
function Place:records()
  local entries = await(native.fs.ls(self.dir .. "/.state/sandboxes")) or {}
  return #entries
end

--- Calls fn(place) with a fresh folder; whatever it leaves is removed.
---@param fn fun(place: spec.Place)
function M.with(fn)
  local dir = assert(await(native.fs.mkdtemp("/tmp/luarium-cli-")))
  local place = setmetatable({ dir = dir, env = {}, program = absolute(M.path) }, Place)
  local ok, err = pcall(fn, place)
  task.shield(60, function()
    if place:records() > 0 then
      place:run({ "destroy", "--all", "--yes" })
    end
    assert(await(native.fs.remove(dir, { recursive = true })))
  end)
  if not ok then
    error(err, 0)
  end
end

--- What makes a test of a function: it runs as a task with a time limit, in a fresh folder.
---
---   local within = program.within(60)
---   it("does this", within(function(place) … end))
---@param seconds number
---@param prepare? fun(place: spec.Place): any comes first; the function gets what it returns as well
---@return fun(fn: fun(place: spec.Place, prepared: any)): function test
function M.within(seconds, prepare)
  return function(fn)
    return async(seconds, function()
      M.with(function(place)
        fn(place, prepare and prepare(place))
      end)
    end)
  end
end

return M
