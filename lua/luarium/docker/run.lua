--- Commands of our own in a container: run as its super-user, bare, for what must be done inside. Among them the one
--- that ends everything that a command has started.
local engines = require "luarium.docker.engine"
local errors = require "luarium.error"
local frames = require "luarium.docker.frames"
local gate = require "luarium.docker.gate"
local task = require "luarium.task"

local M = {}

local OUTPUT_LIMIT = 65536

--- Makes an exec. A container that is not there, or not running, is told apart.
---@async
---@param engine luarium.docker.Engine
---@param container string
---@param value table for the engine
---@return string? exec its id
---@return luarium.Error? err
function M.create(engine, container, value)
  local made, err = engine:request("POST", "/containers/" .. container .. "/exec", { json = value, safe = true,
    shape = "made" })
  return made and made.Id, err
end

--- What the engine knows of an exec, and whether it has ended.
---@async
---@param engine luarium.docker.Engine
---@param exec string its id
---@return table? facts
---@return boolean ended
---@return luarium.Error? err
function M.inspect(engine, exec)
  local facts, err = engine:request("GET", "/exec/" .. exec .. "/json", { timeout = 10, shape = "table" })
  return facts, facts ~= nil and not facts.Running and facts.ExitCode ~= nil, err
end

local function collect(connection)
  local parser, parts, size = frames.new(false), {}, 0
  while true do
    local bytes, err = connection:read()
    if not bytes then
      if err or not parser:is_whole() then
        return nil, err or errors.new("unavailable", "docker: the engine's answer was cut", { retryable = true })
      end
      return table.concat(parts)
    end
    local ok, fault = parser:add(bytes, function(_, payload)
      size = size + #payload
      parts[#parts + 1] = payload
    end)
    if not ok then
      return nil, fault
    elseif size > OUTPUT_LIMIT then
      return nil, errors.new("protocol", "docker: a command of ours in the container says too much")
    end
  end
end

---@async
---@param engine luarium.docker.Engine
---@param container string
---@param argv string[]
---@param options {privileged: boolean?, user: string?, timeout: number?}? seconds in all, default 20
---@return string? output of both streams
---@return luarium.Error? err
function M.run(engine, container, argv, options)
  options = options or {}
  local function run()
    local id, err = M.create(engine, container, {
      AttachStdout = true, AttachStderr = true, Cmd = argv, User = options.user or "0",
      Privileged = options.privileged or false, WorkingDir = "/",
    })
    if not id then
      return nil, err
    end
    return gate.start(engine, container, function()
      local connection, fault = engine:hijack("/exec/" .. id .. "/start", { Detach = false, Tty = false }, 15)
      if not connection then
        return nil, fault
      end
      local ok, output
      ok, output, fault = pcall(collect, connection)
      connection:close()
      if not ok then
        error(output, 0)
      end
      return output, fault
    end)
  end
  local ok, output, err = pcall(task.timeout, options.timeout or 20, run)
  if ok then
    return output, err
  end
  local reason = task.cancel_reason()
  if reason or not errors.is(output) then
    error(reason or output, 0)
  end
  return nil, output
end

-- ---- ending what a command has started ----

-- $1: NAME=value in the environment of what is to end, $2: its first process; all that descends from these or shares
-- their session ends too. Finding is done by grep where it knows -z, else byte by byte in the shell. Ends with "gone",
-- or with what is left.
local SWEEP = [[
want=$1 first=$2 self=$$ fast=
printf 'a\0b\0' | grep -qzxF b 2>/dev/null && fast=1
carriers() {
  if [ "$fast" ]; then
    for file in $(grep -lzxF -- "$want" /proc/[0-9]*/environ 2>/dev/null); do
      pid=${file#/proc/}; found="$found${pid%/environ} "
    done
    return
  fi
  for folder in /proc/[0-9]*; do
    while IFS= read -r line || [ "$line" ]; do
      case $line in *"$want"*) found="$found${folder#/proc/} "; break ;; esac
    done 2>/dev/null <"$folder/environ"
  done 2>/dev/null
}
relatives() {
  grown=1
  while [ "$grown" ]; do
    grown=
    for folder in /proc/[0-9]*; do
      pid=${folder#/proc/}
      case $found in *" $pid "*) continue ;; esac
      [ "$pid" != 1 ] && [ "$pid" != "$self" ] || continue
      read -r stat 2>/dev/null <"$folder/stat" || continue
      set -- ${stat##*) }
      [ "$1" != Z ] || continue
      case $found in *" $2 "* | *" $4 "*) found="$found$pid "; grown=1 ;; esac
    done 2>/dev/null
  done
}
round=0
while [ "$round" -lt 100 ]; do
  found=" "
  if [ "$first" ] && [ -d "/proc/$first" ]; then
    read -r stat <"/proc/$first/stat"
    case ${stat##*) } in Z*) ;; *) found=" $first " ;; esac
  fi 2>/dev/null
  carriers
  [ "$found" != " " ] || { echo gone; exit 0; }
  relatives
  kill -KILL $found 2>/dev/null
  round=$((round + 1))
done
echo "left:$found"
]]

local ROOM = 64 -- processes more than its limit that a container may have while it is swept

--- Lets a container that is full of processes have ours too, while fn runs.
local function with_room(engine, container, limit, fn)
  local path = "/containers/" .. container .. "/update"
  local ok, err = engine:request("POST", path, { json = { PidsLimit = limit + ROOM } })
  if not ok then
    return nil, err
  end
  local output, fault = fn()
  engine:request("POST", path, { json = { PidsLimit = limit } })
  return output, fault
end

local function looks_full(output, err)
  local text = output or err and err.message or ""
  return text:find("esource temporarily unavailable", 1, true) or text:find("annot fork", 1, true)
    or text:find("an't fork", 1, true)
end

--- Whether nothing can run in the container any more.
---@param err luarium.Error
---@return boolean
function M.is_over(err)
  return err.status == 404 or err.status == 409 and err.message:find("is not running", 1, true) ~= nil
    or err.status == 409 and err.message:find("can only create exec sessions on running containers", 1, true) ~= nil
    or err.status == 500 and err.message:find("container state improper", 1, true) ~= nil
end

---@class luarium.docker.Prey
---@field container string
---@field cookie string NAME=value
---@field pid integer? of the process that began it, in the container
---@field user string? that runs it, when it is not the container's
---@field pids_limit integer? the container's

local function attempt(engine, prey, how)
  return M.run(engine, prey.container, { "/bin/sh", "-c", SWEEP, "sh", prey.cookie,
    prey.pid and ("%d"):format(prey.pid) or "" }, how)
end

local function with_limit(engine, prey, how)
  local output, err = attempt(engine, prey, how)
  if prey.pids_limit and looks_full(output, err) then
    output, err = with_room(engine, prey.container, prey.pids_limit, function()
      return attempt(engine, prey, how)
    end)
  end
  return output, err
end

--- One sweep, as whoever can see the most. The environment of other users' processes is for those with privileges
--- only, which not every engine may give; so the command's own user looks too.
local function sweep_once(engine, prey)
  local output, err
  if not engine.unprivileged then
    output, err = with_limit(engine, prey, { privileged = true })
    if err or output:find("^gone") or output:find("^left:") then
      return output, err
    end
    engine.unprivileged = not looks_full(output)
  end
  if prey.user then
    with_limit(engine, prey, { user = prey.user })
  end
  return with_limit(engine, prey)
end

-- ---- containers that are paused ----

--- Whether a container is paused: nothing runs in it, and nothing that is in it can be ended.
local function is_paused(engine, container)
  local facts = engine:request("GET", "/containers/" .. container .. "/json", { shape = "made" })
  return facts and type(facts.State) == "table" and facts.State.Paused == true
end

local function turn(engine, container, action)
  return engine:request("POST", ("/containers/%s/%s"):format(container, action), { safe = true })
end

--- Lets a paused container run while fn does. Several may do so at a time; the last one pauses it again.
local function while_thawed(engine, container, fn)
  local thawed = engine.thawed
  thawed[container] = (thawed[container] or 0) + 1
  turn(engine, container, "unpause") -- should that fail, fn meets the same again
  local ok, output, err = pcall(fn)
  thawed[container] = thawed[container] - 1
  if thawed[container] == 0 then
    thawed[container] = nil
    pcall(task.shield, 20, turn, engine, container, "pause")
  end
  if not ok then
    error(output, 0)
  end
  return output, err
end

--- One sweep; of a container that is paused as well, or what was to end would go on as soon as it runs again.
local function sweep_anyway(engine, prey)
  local function sweep()
    return sweep_once(engine, prey)
  end
  if engine.thawed[prey.container] then
    return while_thawed(engine, prey.container, sweep)
  end
  local output, err = sweep()
  if err and err.status and err.status ~= 404 and is_paused(engine, prey.container) then
    return while_thawed(engine, prey.container, sweep)
  end
  return output, err
end

--- Kills everything in the container that carries the cookie, with all it has started, wherever that went.
---@async
---@param engine luarium.docker.Engine
---@param prey luarium.docker.Prey
---@return boolean? ok
---@return luarium.Error? err
function M.sweep(engine, prey)
  local output, err
  for _ = 1, 3 do
    output, err = sweep_anyway(engine, prey)
    if output and output:find("^gone") or err and M.is_over(err) then
      return true
    elseif err and not err.retryable then
      break
    end
    task.sleep(0.05)
  end
  return nil, err or errors.new("io", "exec: what the command has started could not be ended: "
    .. (output ~= "" and engines.error("the engine says", output, "io").message or "the container does not answer"))
end

--- Sends a signal to the group of a process in the container.
---@async
---@param engine luarium.docker.Engine
---@param container string
---@param pid string
---@param signal string such as "TERM"
---@return boolean? ok
---@return luarium.Error? err
function M.signal(engine, container, pid, signal)
  local output, err = M.run(engine, container, { "/bin/sh", "-c", [[kill "-$1" "-$2" && echo sent]], "sh", signal,
    pid })
  if not output then
    return nil, err
  elseif output:find("sent\n", 1, true) then
    return true
  end
  return nil, errors.new("not_found", "process.kill: " .. engines.error("kill", output, "not_found").message,
    { name = "ESRCH" })
end

return M
