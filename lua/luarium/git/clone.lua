--- Clones: from the server inside the sandbox, or from a mirror on this machine. A clone appears at its path when it
--- is complete; one that fails or is stopped leaves nothing there.
local check = require "luarium.check"
local command = require "luarium.git.command"
local errors = require "luarium.error"
local event = require "luarium.event"
local log = require "luarium.log"
local mirror = require "luarium.git.mirror"
local native = require "luarium.native"
local progress = require "luarium.progress"
local repo = require "luarium.git.repo"
local run = require "luarium.git.run"
local sandbox = require "luarium.sandbox"
local secret = require "luarium.secret"
local task = require "luarium.task"
local url = require "luarium.git.url"

local M = {}

local CLEANUP_TIMEOUT = 60
local EXISTS, FROM_MIRROR = 73, 74

-- $1 path, $2 name of the temporary folder, $3 source, $4 the address to keep as origin when the source is a mirror,
-- $5 its default branch, $6 "yes" with submodules, $7 depth of the submodules, the rest: options of clone.
local SCRIPT = [[
p=$1 name=$2 source=$3 origin=$4 default=$5 submodules=$6 depth=$7; shift 7
inside=
if [ -d "$p" ] && [ -z "$(ls -A -- "$p")" ]; then
  inside=yes; t=$p/$name
elif [ -e "$p" ] || [ -h "$p" ]; then
  exit 73
else
  t=$p.$name; mkdir -p -- "${p%/*}/" || exit
fi
give_up() { rm -rf -- "$t"; exit "$1"; }
if [ -z "$origin" ]; then
  g clone --quiet "$@" -- "$source" "$t" || give_up $?
else
  g clone --quiet --no-checkout "$@" -- "$source" "$t" || give_up 74
  g -C "$t" remote set-url origin "$origin" || give_up $?
  g -C "$t" symbolic-ref refs/remotes/origin/HEAD "refs/remotes/origin/$default" || give_up $?
  g -C "$t" checkout --quiet --force || give_up 74
  if [ "$submodules" = yes ]; then
    g -C "$t" submodule --quiet update --init --recursive ${depth:+--depth "$depth"} || give_up $?
  fi
fi
head=$(g -C "$t" rev-parse --verify --quiet HEAD)
if [ -n "$inside" ]; then
  for f in "$t"/* "$t"/.[!.]* "$t"/..?*; do
    if [ -e "$f" ] || [ -h "$f" ]; then mv -- "$f" "$p/" || exit; fi
  done
  rmdir -- "$t"
else
  if [ -e "$p" ] || [ -h "$p" ]; then give_up 73; fi
  mv -- "$t" "$p" || give_up $?
fi
printf '%s\n' "$head"
]]

local template = {
  path = "text", branch = "text", depth = { type = "integer", min = 1 }, token = "secret", username = "text",
  submodules = "boolean", mirror = "boolean", timeout = "seconds", env = "map", allow_http = "boolean",
  hooks = "boolean",
}

local function arguments_of(job)
  local options, list = job.options, {}
  if job.on_progress then
    list[#list + 1] = "--no-quiet" -- quiet, git asks the server for no progress
    list[#list + 1] = "--progress"
  end
  if options.branch then
    list[#list + 1] = "--branch"
    list[#list + 1] = options.branch
  end
  if job.mirror then
    list[#list + 1] = "--no-hardlinks" -- the sandbox must not be able to write into the mirror
    return list
  end
  if options.depth then
    list[#list + 1] = ("--depth=%d"):format(options.depth)
  elseif job.address.scheme == "path" then
    list[#list + 1] = "--no-hardlinks"
  end
  if options.submodules then
    list[#list + 1] = "--recurse-submodules"
    if options.depth then
      list[#list + 1] = "--shallow-submodules"
    end
  end
  return list
end

local function source_of(job)
  local address = job.address
  if address.scheme ~= "path" then
    return address.url
  end
  local path = job.box:path(address.path)
  return job.options.depth and "file://" .. path:gsub("[%%%s]", function(c)
    return ("%%%02X"):format(c:byte())
  end) or path
end

local function remaining(job)
  return math.max(0.001, job.deadline - native.loop.monotonic())
end

local function clean_up(job, name)
  pcall(task.shield, CLEANUP_TIMEOUT, job.box.exec, job.box, { "/bin/sh", "-c",
    "rm -rf -- \"$1.$2\" \"$1/$2\"", "luarium", job.path, name }, { timeout = CLEANUP_TIMEOUT })
end

--- One attempt from one source. Raises; an error's field `from_mirror` says that the mirror is to blame.
local function attempt(job, source)
  local name = "luarium-" .. native.crypto.ulid():lower()
  local from = job.mirror
  local arguments = { job.path, name, source, from and job.address.url or "", from and from.head or "",
    job.options.submodules and "yes" or "", "" }
  for _, item in ipairs(arguments_of(job)) do
    arguments[#arguments + 1] = item
  end
  local needs_token = not from or job.options.submodules
  local ok, result = pcall(run.script, job.box, "git.clone", SCRIPT, arguments, {
    credentials = needs_token and job.credentials or nil, hooks = job.options.hooks, env = job.options.env,
    timeout = remaining(job), hint = job.hint, on_progress = job.on_progress,
    shown = "git clone " .. (job.address.url or source),
  })
  if ok then
    return result.stdout:sub(-100):match("(%x+)%s*$")
  elseif errors.is(result, "timeout") or errors.is(result, "cancelled") then
    clean_up(job, name)
  end
  local code = errors.is(result) and type(result.data) == "table" and result.data.exit_code
  if code == EXISTS then
    errors.raise("conflict", ("%s exists and is not an empty folder: choose another path or remove it first")
      :format(job.path), { op = "git.clone" })
  elseif code == FROM_MIRROR and result.kind ~= "conflict" and result.name ~= "ENOSPC"
    and not result.message:find("emote branch", 1, true) then
    result.from_mirror = true
  end
  error(result, 0)
end

local function attempt_bundle(job)
  local remote = ("%s.luarium-%s.bundle"):format(job.path, native.crypto.ulid():lower())
  local made, err = mirror.with_bundle(job.mirror, function(path)
    local ok, head = pcall(function()
      task.timeout(remaining(job), job.box.upload, job.box, path, remote)
      if not job.options.branch then
        job.options.branch = job.mirror.head -- a bundle does not say which branch is the default one
      end
      return { head = attempt(job, remote) }
    end)
    pcall(task.shield, CLEANUP_TIMEOUT, job.box.remove, job.box, remote)
    if not ok then
      error(head, 0)
    end
    return head
  end)
  if not made then
    error(err, 0)
  end
  return made.head
end

local function shares_files(box)
  local instance = sandbox.instance_of(box)
  return instance and instance.definition.host_path ~= nil
end

--- What to try when git's complaint itself suggests nothing.
local function hint_of(box, address, options, credentials)
  if not credentials and address.username then
    return "pass the token that goes with the name as token"
  elseif address.scheme == "path" and not shares_files(box) then
    return "the sandbox looks for it among its own files; file://" .. address.path
      .. " with mirror = true brings it from this machine"
  elseif address.scheme == "file" and not options.mirror and not shares_files(box) then
    return "the sandbox looks for it among its own files; mirror = true brings it from this machine"
  end
end

--- Whether a mirror may be used: "disk" when the sandbox sees this machine's files, "bundle", or nil.
local function way_of(job)
  local options, scheme = job.options, job.address.scheme
  if options.mirror == false or scheme == "path" or scheme == "git" then
    if options.mirror and scheme == "path" then
      errors.raise("invalid", ("git.clone: a mirror is of an address: write the path as file://%s"):format(
        job.address.path))
    elseif options.mirror then
      errors.raise("invalid", "git.clone: there are mirrors of https, http, ssh and file addresses only: leave out "
        .. "mirror = true")
    end
    return nil
  elseif options.depth then
    if options.mirror then
      errors.raise("invalid", "git.clone: a mirror has the whole history: leave out depth, or mirror = true")
    end
    return nil
  elseif options.env and options.mirror == nil then
    return nil -- made for git in the sandbox, such as a proxy: a mirror would not see it
  end
  return shares_files(job.box) and "disk" or options.mirror and "bundle" or nil
end

--- Kinds of errors that a clone without the mirror would meet as well.
local final = { auth = true, not_found = true, unavailable = true, timeout = true, cancelled = true,
  rate_limited = true }

local function via_mirror(job, way)
  local ok, found, err = pcall(mirror.ensure, job.address, job.credentials,
    { timeout = remaining(job), on_progress = job.on_progress })
  if not ok then
    error(found == task.cancel_reason() and found or errors.from(found):wrap("git.clone"), 0)
  elseif not found then
    if final[err.kind] or job.options.mirror and err.name ~= "NO_MIRROR" then
      error(err:wrap("git.clone"), 0)
    end
    return false, err
  end
  job.mirror = found
  local branch = job.options.branch
  local head
  if way == "disk" then
    ok, head = pcall(attempt, job, found.path)
    if not ok and head.from_mirror and job.options.mirror then
      ok, head = pcall(attempt_bundle, job)
    end
  else
    ok, head = pcall(attempt_bundle, job)
  end
  if ok then
    return true, head
  end
  job.mirror, job.options.branch = nil, branch
  if not (errors.is(head) and head.from_mirror) then
    error(head, 0)
  end
  mirror.discard(found)
  return false, head
end

local function clone(job)
  job.on_progress = progress.reporter({ sandbox = job.box.id, name = job.box.name, what = "clone", unit = "objects" })
  local way = way_of(job)
  if way then
    local done, head = via_mirror(job, way)
    if done then
      return head
    elseif head.name ~= "NO_MIRROR" then
      log.warn("git.clone: the mirror could not be used, so the server is asked directly: "
        .. secret.redact(head.message))
    end
  end
  return attempt(job, source_of(job))
end

---@class luarium.CloneOptions
---@field path string? where; default the repository's name in the working directory. It must not exist or be empty
---@field branch string? branch or tag; default the remote's own
---@field depth integer? only so many commits
---@field token luarium.Secret|string|nil for https; reaches this one command through a credential helper
---@field username string? that goes with the token; default "x-access-token"
---@field submodules boolean? with submodules
---@field mirror boolean? nil: a mirror on this machine serves sandboxes that share its files; true: always, uploaded
---  as a bundle where needed; false: never
---@field timeout number? seconds for everything; default 1800
---@field env table<string, string>? for git in the sandbox
---@field allow_http boolean? send the token over plain http to another machine
---@field hooks boolean? run hooks of the sandbox's own configuration although a token is there

--- Clones a repository into a sandbox. Raises `auth`, `not_found`, `unavailable`, `conflict` (the path is taken),
--- `timeout`, `unsupported` (no git in the sandbox), `invalid`.
---@async
---@param box luarium.Sandbox
---@param text string the repository's address: https, http, ssh, git, file, user@host:path, or a path in the sandbox
---@param options luarium.CloneOptions?
---@return luarium.GitRepo
function M.clone(box, text, options)
  check.argument(text, "text", "git.clone", "the repository's address")
  options = check.options(options, template, "git.clone")
  local address, err = url.parse(text)
  if not address then
    error(err:wrap("git.clone"), 0)
  end
  local own = {}
  for key, value in pairs(options) do
    own[key] = value
  end
  if own.branch then
    command.ref(own.branch, "git.clone", "branch")
  end
  local credentials = command.credentials(address, own, "git.clone")
  local path = box:path(own.path or address.name):gsub("/%./", "/"):gsub("/%.$", ""):gsub("(.)/+$", "%1")
  local job = {
    box = box, address = address, options = own, credentials = credentials, path = path,
    deadline = native.loop.monotonic() + (own.timeout or run.network_timeout),
    hint = hint_of(box, address, own, credentials),
  }
  local fields = { sandbox = box.id, name = box.name, provider = box.provider, url = address.url, path = path }
  local head = event.span("sandbox.clone", fields, clone, job)
  return repo.new(box, path, { url = address.scheme ~= "path" and address.url or nil, base = head })
end

return M
