--- What a check is given: a sandbox, places to work in that are cleaned up after it, and ways to see what still runs.
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local sandbox = require "luarium.sandbox"
local task = require "luarium.task"

local await = task.await
local fs, loop = native.fs, native.loop

local M = {}

--- The value that ends a check as skipped.
local skip_mt = { __name = "luarium.ConformanceSkip" }

---@class luarium.ConformanceContext
---@field box luarium.Sandbox the sandbox that the checks of a topic share
---@field provider string the provider's configured name
---@field instance luarium.ProviderInstance
---@field session table
---@field scope luarium.Scope
local Context = {}
Context.__index = Context

---@param value any an error value
---@return string? reason
function M.skip_reason(value)
  return getmetatable(value) == skip_mt and value.reason or nil
end

function M.new(session, scope, box)
  return setmetatable({
    session = session, scope = scope, box = box, provider = session.provider, instance = session.instance,
  }, Context)
end

--- Ends the check: it does not apply here.
---@param reason string
function Context:skip(reason)
  error(setmetatable({ reason = reason }, skip_mt), 0)
end

--- Runs fn(...) when the check ends.
function Context:defer(fn, ...)
  self.scope:defer(fn, ...)
end

local counter = 0
local prefix = native.crypto.hex_encode(native.crypto.random(5))

--- A word that occurs nowhere else.
---@return string
function Context:unique() -- luacheck: ignore self
  counter = counter + 1
  return ("lum%s%d"):format(prefix, counter)
end

--- What a sandbox of this session is created with, and more.
---@param more table?
---@return table options
function Context:options(more)
  return self.session:options(more)
end

--- A sandbox of the check's own, destroyed when it ends.
---@param more table? further options
---@return luarium.Sandbox
function Context:create(more)
  local box = sandbox.create(self:options(more))
  self:defer(box.destroy, box)
  return box
end

--- An empty folder in the sandbox, removed when the check ends.
---@param box luarium.Sandbox?
---@return string path absolute
function Context:dir(box)
  local where = box or self.box
  local path = where.cwd .. "/" .. self:unique()
  where:mkdir(path)
  if where == self.box then
    self:defer(function()
      if where.status == "running" then
        where:exec({ "rm", "-rf", path }, { check = true })
      end
    end)
  end
  return path
end

--- An empty folder on this machine, removed when the check ends.
---@return string path
function Context:host_dir()
  local path, err = await(fs.mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/luarium-conformance-"))
  if not path then
    error(err, 0)
  end
  self:defer(function()
    await(fs.remove(path, { recursive = true }))
  end)
  return path
end

--- A native file operation on this machine that must go well.
---@return any value
function Context:host(op, err) -- luacheck: ignore self
  local value, fault = await(op, err)
  if value == nil then
    error(fault, 0)
  end
  return value
end

--- Calls an operation of the provider, below the sandbox object; it must go well.
---@param operation string
---@return any value
function Context:ask(operation, ...)
  local value, err = self.instance:call(operation, ...)
  if value == nil then
    error(err, 0)
  end
  return value
end

--- Runs a script with arguments that must succeed, for what a check needs done; returns its output.
---@param script string
---@return string stdout
function Context:sh(script, ...)
  local result = self.box:exec({ "/bin/sh", "-c", script, "sh", ... }, { timeout = 60 })
  if result.exit_code ~= 0 then
    expect.fail(("a preparation failed (exit code %s): %s"):format(tostring(result.exit_code),
      expect.show(result.stderr)), 2)
  end
  return result.stdout
end

--- The upper bound for something that takes so many seconds by itself, given how far away the sandbox is.
---@param seconds number
---@return number
function Context:bound(seconds)
  return seconds + 1 + 8 * self.session.latency
end

--- Whether commands run as the super-user, for whom permissions do not count.
---@return boolean
function Context:is_root()
  if self.session.root == nil then
    self.session.root = self.box:exec("id -u", { check = true }).stdout == "0\n"
  end
  return self.session.root
end

local NUMBERS = { HUP = 1, KILL = 9, USR1 = 10, TERM = 15 }

--- That a signal ended the command, however this provider is able to tell.
---@param result luarium.ExecResult
---@param name string such as "KILL"
---@param what string
function Context:expect_signal(result, name, what)
  local folds = self.instance.definition.folds_signals
  expect.equal(result.exit_code, folds and 128 + NUMBERS[name] or nil, what .. ": exit code")
  expect.equal(result.signal, not folds and "SIG" .. name or nil, what .. ": signal")
end

--- Looks again and again until fn() is true; fails after so many seconds.
---@param what string
---@param seconds number
---@param fn fun(): boolean
function Context:poll(what, seconds, fn) -- luacheck: ignore self
  local finish = loop.monotonic() + seconds
  while not fn() do
    if loop.monotonic() > finish then
      expect.fail(("%s: not within %g s"):format(what, seconds), 2)
    end
    task.sleep(0.02)
  end
end

-- ---- what still runs ----

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return ""
  end
  local text = file:read("*a") or ""
  file:close()
  return text
end

--- How many processes of this machine have the word among their arguments.
---@param word string
---@return integer
function M.host_processes(word)
  local entries = await(fs.ls("/proc"))
  local count = 0
  for _, entry in ipairs(entries or {}) do
    if entry.name:match("^%d+$") and read_file("/proc/" .. entry.name .. "/cmdline"):find(word, 1, true) then
      count = count + 1
    end
  end
  return count
end

---@class luarium.ConformanceBeat
---@field word string an argument of its process
---@field file string grows while it runs
---@field code string shell text that runs it
local Beat = {}
Beat.__index = Beat

local BEAT = "sh -c 'trap \"\" HUP INT TERM; i=0; while [ $i -lt 600 ] && [ ! -e \"$1.stop\" ]; do "
  .. "i=$((i + 1)); echo x >>\"$1\" || %s; sleep 0.05; done' %s '%s'"

--- A process that can be watched: it writes to a file again and again until it is killed, or for half a minute.
--- `code` is shell text without & at its end. quiet: without the streams that it was given; detached: in a session of
--- its own; stubborn: it stays when its folder goes.
---@param options {quiet?: boolean, detached?: boolean, stubborn?: boolean, box?: luarium.Sandbox, dir?: string}?
---@return luarium.ConformanceBeat
function Context:beat(options)
  options = options or {}
  local box = options.box or self.box
  local word = self:unique()
  local file = (options.dir or self:dir(box)) .. "/beat"
  local code = BEAT:format(options.stubborn and "true" or "break", word, file)
  if options.detached then
    code = "$(command -v setsid) " .. code
  end
  if options.quiet then
    code = code .. " </dev/null >/dev/null 2>&1"
  end
  return setmetatable({ word = word, file = file, code = code, box = box, context = self }, Beat)
end

function Beat:size()
  local ok, facts = pcall(self.box.stat, self.box, self.file)
  return ok and facts.size or 0
end

--- Waits until it has begun.
function Beat:await_start()
  self.context:poll("the background process starts", 10 + 10 * self.context.session.latency, function()
    return self:size() > 0
  end)
end

--- That it has run, and is dead now.
---@param what string
function Beat:expect_dead(what)
  expect.yes(self:size() > 0, what .. ": it never ran, so its end proves nothing")
  self:expect_gone(what)
end

--- That no process of it is left; also when the sandbox is gone, where this machine can see its processes.
function Beat:expect_gone(what)
  if self.context.session.host_visible then
    local finish = loop.monotonic() + 2
    local count
    repeat
      count = M.host_processes(self.word)
    until count == 0 or loop.monotonic() > finish
    expect.equal(count, 0, what .. ": processes that still run")
  elseif self.box.status == "running" then
    local finish = loop.monotonic() + 3
    local before
    local now = self:size()
    while now ~= before and loop.monotonic() < finish do
      task.sleep(0.3)
      before, now = now, self:size()
    end
    expect.equal(now, before, what .. ": it still writes; size of its file")
  end
end

function Beat:expect_alive(what)
  local before = self:size()
  self.context:poll(what .. ": it still runs", 5 + 10 * self.context.session.latency, function()
    return self:size() > before
  end)
end

--- Ends it in a friendly way, where it was meant to live.
function Beat:stop()
  self.box:exec({ "touch", self.file .. ".stop" }, { check = true })
  self:expect_gone("the background process that was told to stop")
end

-- ---- facts about the sandbox, found once ----

--- Whether this machine sees the sandbox's processes, tried with one that ends by itself.
function M.probe_visibility(box)
  local word = Context.unique()
  local found = false
  task.race({
    function()
      box:exec({ "/bin/sh", "-c", "sleep 1", word })
    end,
    function()
      while not found do
        found = M.host_processes(word) > 0
        task.sleep(0.02)
      end
    end,
  })
  return found
end

return M
