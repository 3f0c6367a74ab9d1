--- Terminals of `luarium shell --keep`: jobs that have one, named shell-1, shell-2 ...
local cli = require "luarium.cli"
local errors = require "luarium.error"
local exit_code = require "luarium.cli.exit_code"
local jobs = require "luarium.cli.jobs"
local terminal = require "luarium.cli.terminal"

local M = {}

local MOST = 1000 -- terminals that are kept in a sandbox

local function called(box)
  return box.name or box.id
end

local function is_ours(status)
  return status.terminal and status.key:find("^shell%-%d+$") ~= nil
end

--- Starts the command under the first name that is free. What has ended under ours is forgotten on the way.
local function start(box, command, given)
  local used = {}
  for _, status in ipairs(box:jobs({ user = given.user })) do
    used[status.key] = true
    if is_ours(status) and status.state ~= "running" then
      local _, err = require("luarium").try(function()
        box:attach(status.key, { user = given.user }):remove()
      end)
      used[status.key] = err and err.kind ~= "not_found"
    end
  end
  for number = 1, MOST do
    given.key = "shell-" .. number
    if not used[given.key] then
      local ok, job = pcall(box.job, box, command, given)
      if ok and job.started then
        return job
      elseif not ok and not errors.is(job, "conflict") then
        error(job, 0)
      end -- else somebody was quicker
    end
  end
  errors.raise("quota", ("%d terminals are kept in %s: end some"):format(MOST, called(box)),
    { data = { hint = "luarium jobs " .. called(box) } })
end

--- The terminal that a word names; without one, the only one there is. One that has ended is taken when none runs.
local function find(box, name, user)
  if name then
    return box:attach(jobs.find(box, name, user), { user = user })
  end
  local running, last = {}, nil
  for _, status in ipairs(box:jobs({ user = user })) do
    if status.terminal and status.state == "running" then
      running[#running + 1] = status.key
    elseif status.terminal then
      last = status.key
    end
  end
  if #running > 1 then
    errors.raise("invalid", ("%d terminals are kept in %s: %s"):format(#running, called(box),
      table.concat(running, ", ")),
      { data = { hint = ("luarium shell %s --attach=%s"):format(called(box), running[#running]) } })
  elseif not running[1] and not last then
    errors.raise("not_found", ("no terminal is kept in %s"):format(called(box)),
      { data = { hint = "luarium shell --keep " .. called(box) } })
  end
  return box:attach(running[1] or last, { user = user })
end

local function way_back(box, key, user)
  return ("luarium shell %s --attach=%s%s"):format(called(box), key, user and " --user " .. user or "")
end

local function converse(context, box, job, args, again)
  local ok, result, was_over = pcall(terminal.attach, context, job, args.detach_key, again)
  local back = way_back(box, job.key, args.user)
  if not ok then
    if errors.is(result) and result.retryable or errors.is(result, "unavailable") then
      context:note("luarium: cut off; `%s` comes back", back)
    end
    error(result, 0)
  elseif not result then
    context:note("luarium: detached; `%s` comes back", back)
    return 0
  elseif result.lost then
    context:note("luarium: nobody knows how %s ended: %s", job.key, result.reason)
    return cli.codes.luarium
  elseif was_over then
    context:note("luarium: %s has ended", job.key)
  end
  return exit_code(result)
end

--- Opens a terminal that outlives us. Returns nil, having said so, where the sandbox has nobody to hold one.
---@async
---@param context luarium.cli.Context
---@param box luarium.Sandbox
---@param command string|string[]
---@param args table
---@return integer? code
function M.open(context, box, command, args)
  if not box:can("spawn") then
    return nil -- the plain shell says what is missing
  end
  local given = terminal.describe({ cwd = args.cwd, user = args.user, wait = 0 })
  local ok, job = pcall(start, box, command, given)
  if ok then
    return converse(context, box, job, args, false)
  end
  local tool = errors.is(job, "unsupported") and type(job.data) == "table" and job.data.tool
  if not tool then
    error(job, 0)
  end
  context:note("luarium: %s has no `%s` for --keep: the detach key ends what runs here", called(box), tool)
end

--- Comes back to one.
---@async
---@param context luarium.cli.Context
---@param box luarium.Sandbox
---@param args table
---@return integer code
function M.attach(context, box, args)
  local job = find(box, args.attach ~= true and args.attach or nil, args.user)
  if not job:status().terminal then
    errors.raise("conflict", job.key .. " is a job without a terminal",
      { data = { hint = ("luarium attach %s %s"):format(called(box), job.key) } })
  end
  return converse(context, box, job, args, true)
end

return M
