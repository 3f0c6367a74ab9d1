--- A repository in a sandbox. Every method raises error objects.
local changes = require "luarium.git.changes"
local check = require "luarium.check"
local command = require "luarium.git.command"
local errors = require "luarium.error"
local event = require "luarium.event"
local mirror = require "luarium.git.mirror"
local native = require "luarium.native"
local run = require "luarium.git.run"
local status = require "luarium.git.status"
local task = require "luarium.task"
local url = require "luarium.git.url"

local M = {}

---@class luarium.GitRepo
---@field box luarium.Sandbox
---@field path string absolute in the sandbox
---@field url string? where it was cloned from, without credentials; the only server that is given a token
---@field base string? the commit that was checked out by the clone
local Repo = {}
local mt = { __index = Repo, __name = "luarium.GitRepo" }
M.methods = Repo

---@param box luarium.Sandbox
---@param path string
---@param facts {url?: string, base?: string}?
---@return luarium.GitRepo
function M.new(box, path, facts)
  facts = facts or {}
  return setmetatable({ box = box, path = box:path(path), url = facts.url, base = facts.base }, mt)
end

function M.is(value)
  return getmetatable(value) == mt
end

local function text_of(result)
  return (result.stdout:gsub("\n$", ""))
end

--- Differences are told as they are, whatever the repository's configuration prefers.
local PLAIN_DIFF = { "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/",
  "--submodule=short", "--find-renames", "-U3" }

local function extend(list, more)
  for _, item in ipairs(more or {}) do
    list[#list + 1] = item
  end
  return list
end

--- Any git command: `repo:run({ "stash", "list" })`. Its failure is a result, unless check = true.
---@async
---@param arguments string[]
---@param options {check?: boolean, stdin?: string, env?: table, timeout?: number, max_output?: integer}?
---@return luarium.ExecResult
function Repo:run(arguments, options)
  check.argument(arguments, "strings", "git.run", "the arguments")
  options = check.options(options, { check = "boolean", stdin = "string|table|function", env = "map",
    timeout = "seconds", max_output = "size" }, "git.run")
  return run.git(self.box, self.path, "git." .. (arguments[1] or "run"), arguments, {
    stdin = options.stdin, env = options.env, timeout = options.timeout, max_output = options.max_output,
    shown = "git " .. table.concat(arguments, " "),
    fine = function()
      return not options.check
    end,
  })
end

-- ---- looking ----

--- The commit that is checked out, or nil before the first one.
---@async
---@return string?
function Repo:head()
  local result = run.git(self.box, self.path, "git.head", { "rev-parse", "--verify", "--quiet", "HEAD^{commit}" },
    { fine = function(r)
      return r.exit_code == 1
    end })
  return result.exit_code == 0 and text_of(result) or nil
end

--- The branch that is checked out, or nil when HEAD is detached.
---@async
---@return string?
function Repo:current_branch()
  local result = run.git(self.box, self.path, "git.current_branch", { "symbolic-ref", "--quiet", "--short", "HEAD" },
    { fine = function(r)
      return r.exit_code == 1
    end })
  return result.exit_code == 0 and text_of(result) or nil
end

--- What differs from the last commit.
---@async
---@param options {ignored?: boolean, timeout?: number}? ignored: list ignored files too
---@return luarium.GitStatus
function Repo:status(options)
  options = check.options(options, { ignored = "boolean", timeout = "seconds" }, "git.status")
  local arguments = { "--no-optional-locks", "status", "--porcelain=v2", "-z", "--branch", "--untracked-files=all" }
  if options.ignored then
    arguments[#arguments + 1] = "--ignored=matching"
  end
  return status.parse(run.git(self.box, self.path, "git.status", arguments, { timeout = options.timeout }).stdout)
end

--- A patch as bytes: of the working tree against the index, against `base`, or with staged = true of the index against
--- HEAD or `base`. With untracked = true also files that git does not know yet.
---@async
---@param options {base?: string, staged?: boolean, stat?: boolean, binary?: boolean, untracked?: boolean,
---  paths?: string[], max_bytes?: integer, timeout?: number}? stat: a summary to read instead; binary = false: name
---  binary files only; paths: pathspecs; max_bytes: more is an error of kind quota (default 64 MiB)
---@return string
function Repo:diff(options)
  options = check.options(options, { base = "text", staged = "boolean", stat = "boolean", binary = "boolean",
    untracked = "boolean", paths = "strings", max_bytes = "size", timeout = "seconds" }, "git.diff")
  if options.base then
    command.ref(options.base, "git.diff", "base")
  end
  if options.untracked then
    return self:diff_with_untracked(options)
  end
  local arguments = extend({ "--no-optional-locks", "diff" }, PLAIN_DIFF)
  if options.stat then
    extend(arguments, { "--stat=100" })
  elseif options.binary ~= false then
    extend(arguments, { "--binary", "--full-index" })
  end
  if options.staged then
    arguments[#arguments + 1] = "--cached"
  end
  arguments[#arguments + 1] = options.base
  arguments[#arguments + 1] = "--"
  return run.git(self.box, self.path, "git.diff", extend(arguments, options.paths),
    { timeout = options.timeout, max_output = options.max_bytes }).stdout
end

---@private
function Repo:diff_with_untracked(options)
  if options.staged or options.binary == false then
    errors.raise("invalid", "git.diff: option 'untracked' cannot be combined with staged or binary = false")
  end
  local found = changes.read(self.box, self.path, "git.diff", {
    base = options.base or self:head(), max_bytes = options.max_bytes, paths = options.paths, timeout = options.timeout,
  })
  if options.stat then
    return found.stat
  elseif not found.patch then
    errors.raise("quota", ("the patch has %d bytes, the limit is %d: raise max_bytes"):format(found.patch_bytes,
      options.max_bytes or changes.max_bytes), { op = "git.diff" })
  end
  return found.patch
end

--- Patch, changed files and commits since a base, untracked files included, in one round trip.
---@async
---@param options {base?: string, max_bytes?: integer, paths?: string[], timeout?: number}? base: default the commit
---  that the clone checked out, else where HEAD left the remote's default branch, else HEAD
---@return luarium.GitChanges
function Repo:changes(options)
  options = check.options(options, { base = "text", max_bytes = "size", paths = "strings", timeout = "seconds" },
    "git.changes")
  if options.base then
    command.ref(options.base, "git.changes", "base")
  end
  return changes.read(self.box, self.path, "git.changes", {
    base = options.base or self.base, max_bytes = options.max_bytes, paths = options.paths, timeout = options.timeout,
  })
end

--- Commits, newest first.
---@async
---@param options {max?: integer, ref?: string, paths?: string[], timeout?: number}? max: default 50
---@return luarium.GitCommit[]
function Repo:log(options)
  options = check.options(options, { max = { type = "integer", min = 1 }, ref = "text", paths = "strings",
    timeout = "seconds" }, "git.log")
  local arguments = { "log", "-z", "--no-show-signature", "--no-color", "--encoding=UTF-8", status.log_format,
    ("--max-count=%d"):format(options.max or 50) }
  arguments[#arguments + 1] = options.ref and command.ref(options.ref, "git.log", "ref") or nil
  arguments[#arguments + 1] = "--"
  local result = run.git(self.box, self.path, "git.log", extend(arguments, options.paths), {
    timeout = options.timeout,
    fine = function(r)
      return (r.stderr or ""):find("does not have any commits yet", 1, true) ~= nil
    end,
  })
  return status.log(result.stdout)
end

-- ---- changing ----

--- Makes a branch and, unless checkout = false, checks it out.
---@async
---@param name string
---@param options {from?: string, checkout?: boolean}? from: a branch, tag or commit; default HEAD
---@return luarium.GitRepo self
function Repo:branch(name, options)
  command.ref(name, "git.branch", "the name")
  options = check.options(options, { from = "text", checkout = "boolean" }, "git.branch")
  local arguments = options.checkout == false and { "branch", "--no-track", name }
    or { "checkout", "--quiet", "--no-track", "-b", name }
  if options.from then
    arguments[#arguments + 1] = command.ref(options.from, "git.branch", "from")
  end
  if options.checkout ~= false then
    arguments[#arguments + 1] = "--"
  end
  run.git(self.box, self.path, "git.branch", arguments)
  return self
end

--- Checks out a branch, tag or commit. A branch that only the remote has is made and tracks it.
---@async
---@param ref string
---@return luarium.GitRepo self
function Repo:checkout(ref)
  command.ref(ref, "git.checkout", "the name")
  run.git(self.box, self.path, "git.checkout", { "checkout", "--quiet", ref, "--" },
    { hint = "after a clone with depth only one branch is there: fetch the other one first" })
  return self
end

-- An author is needed even where nobody has configured one.
local COMMIT = [[
cd -- "$1" || exit 66
if [ "$2" = all ]; then g add --all -- :/ || exit; fi
if [ -n "$3" ]; then
  GIT_AUTHOR_NAME=$3 GIT_AUTHOR_EMAIL=$4; export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL
fi
if ! g config user.email >/dev/null && [ -z "${GIT_COMMITTER_EMAIL:-}${EMAIL:-}" ]; then
  : "${GIT_AUTHOR_NAME:=Luarium}" "${GIT_AUTHOR_EMAIL:=luarium@localhost}"
  GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
  export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
fi
if [ -z "$5" ] && g diff --cached --quiet && ! g rev-parse --quiet --verify MERGE_HEAD >/dev/null; then
  exit 65
fi
empty=$5; shift 5
g commit --quiet --file=- ${empty:+--allow-empty} || exit
g rev-parse HEAD
]]

--- Commits; by default everything that differs, untracked files included.
---@async
---@param message string
---@param options {all?: boolean, author?: string, allow_empty?: boolean, timeout?: number}? all = false: only what is
---  staged; author: "Name <mail>"
---@return string sha
function Repo:commit(message, options)
  check.argument(message, "text", "git.commit", "the message")
  options = check.options(options, { all = "boolean", author = "text", allow_empty = "boolean", timeout = "seconds" },
    "git.commit")
  if not message:find("%S") then
    errors.raise("invalid", "git.commit: the message is empty")
  end
  local name, email = "", ""
  if options.author then
    name, email = options.author:match("^%s*([^<>\n]-)%s*<([^<>\n]*)>%s*$")
    if not name or name == "" then
      errors.raise("invalid", "git.commit: option 'author': expected \"Name <mail>\"")
    end
  end
  local ok, result = pcall(run.script, self.box, "git.commit", COMMIT, { self.path,
    options.all ~= false and "all" or "", name, email, options.allow_empty and "yes" or "" },
    { stdin = message, timeout = options.timeout })
  if not ok then
    if errors.is(result, "io") and result.data.exit_code == 65 then
      errors.raise("conflict", "nothing to commit: no file differs (allow_empty = true commits all the same)",
        { op = "git.commit", name = "NOTHING_TO_COMMIT" })
    end
    error(result, 0)
  end
  return (result.stdout:sub(-100):match("(%x+)%s*$"))
end

--- Applies a patch to the working tree; nothing is changed when any part of it does not fit.
---@async
---@param patch string bytes, such as from diff
---@param options {index?: boolean, three_way?: boolean, reverse?: boolean, timeout?: number}? index: stage it too
function Repo:apply(patch, options)
  check.argument(patch, "string", "git.apply", "the patch")
  options = check.options(options, { index = "boolean", three_way = "boolean", reverse = "boolean",
    timeout = "seconds" }, "git.apply")
  if patch == "" then
    return
  end
  local arguments = { "apply", "--whitespace=nowarn" }
  for key, flag in pairs({ index = "--index", three_way = "--3way", reverse = "--reverse" }) do
    arguments[#arguments + 1] = options[key] and flag or nil
  end
  arguments[#arguments + 1] = "-"
  run.git(self.box, self.path, "git.apply", arguments, { stdin = patch, timeout = options.timeout })
end

-- ---- talking to a server ----

local network_options = { remote = "text", token = "secret", username = "text", url = "text", allow_http = "boolean",
  hooks = "boolean", timeout = "seconds" }

local function network_template(more)
  for key, value in pairs(network_options) do
    more[key] = value
  end
  return more
end

--- Where the token may go is never read from the repository: whoever works in the sandbox can change it there.
local function credentials_for(self, options, op)
  local target = options.url or options.remote and options.remote:find("[:/]") and options.remote or self.url
  if not options.token then
    return nil, target
  elseif not target then
    errors.raise("invalid", op .. ": a token needs to know its server: pass url = \"https://...\", or use the object "
      .. "that box:clone returned")
  end
  local address, err = url.parse(target)
  if not address then
    error(err:wrap(op), 0)
  end
  return command.credentials(address, options, op), target
end

local function remote_of(options, op)
  local remote = options.remote or "origin"
  if remote:find("[:/]") then
    local address, err = url.parse(remote)
    if not address then
      error(err:wrap(op), 0)
    elseif address.password then
      errors.raise("invalid", op .. ": the address contains a password: pass it as token")
    end
    return address.url
  end
  return command.ref(remote, op, "remote")
end

local function network(self, op, arguments, options, credentials, remote, ref)
  local fields = { sandbox = self.box.id, name = self.box.name, path = self.path, remote = remote, ref = ref }
  return event.span("sandbox." .. op, fields, run.git, self.box, self.path, op, arguments, {
    credentials = credentials, hooks = options.hooks, timeout = options.timeout or run.network_timeout,
    shown = ("%s %s%s"):format((op:gsub("%.", " ")), remote, ref and " " .. ref or ""),
  })
end

--- Sends a branch. With a token the repository's hooks do not run, because they could read it; hooks = true runs them.
---@async
---@param options {remote?: string, branch?: string, token?: luarium.Secret|string, username?: string,
---  force?: boolean|"lease", set_upstream?: boolean, url?: string, allow_http?: boolean, hooks?: boolean,
---  timeout?: number}? branch: default the current one; url: whose server gets the token, default where it was cloned
function Repo:push(options)
  options = check.options(options, network_template({ branch = "text", force = "boolean|string",
    set_upstream = "boolean" }), "git.push")
  local credentials, target = credentials_for(self, options, "git.push")
  local remote = remote_of(options, "git.push")
  local branch = options.branch and command.ref(options.branch, "git.push", "branch") or self:current_branch()
  if not branch then
    errors.raise("invalid", "git.push: no branch is checked out: pass branch, or make one with repo:branch(name)")
  elseif type(options.force) == "string" and options.force ~= "lease" then
    errors.raise("invalid", "git.push: option 'force': expected true, false or \"lease\"")
  end
  local arguments = { "push", "--quiet" }
  if options.force then
    arguments[#arguments + 1] = options.force == "lease" and "--force-with-lease" or "--force"
  end
  if options.set_upstream ~= false and not remote:find("[:/]") then
    arguments[#arguments + 1] = "--set-upstream"
  end
  extend(arguments, { remote, ("refs/heads/%s:refs/heads/%s"):format(branch, branch) })
  network(self, "git.push", arguments, options, credentials, remote, branch)
  if target then
    mirror.outdated(target)
  end
end

--- Fetches from a remote.
---@async
---@param options {remote?: string, ref?: string, depth?: integer, unshallow?: boolean, prune?: boolean, tags?: boolean,
---  token?: luarium.Secret|string, username?: string, url?: string, allow_http?: boolean, hooks?: boolean,
---  timeout?: number}? ref: one branch or commit; a branch also becomes <remote>/<branch>
function Repo:fetch(options)
  options = check.options(options, network_template({ ref = "text", depth = { type = "integer", min = 1 },
    unshallow = "boolean", prune = "boolean", tags = "boolean" }), "git.fetch")
  local credentials = credentials_for(self, options, "git.fetch")
  local remote = remote_of(options, "git.fetch")
  local arguments = { "fetch", "--quiet" }
  if options.depth then
    arguments[#arguments + 1] = ("--depth=%d"):format(options.depth)
  end
  for key, flag in pairs({ unshallow = "--unshallow", prune = "--prune", tags = "--tags" }) do
    arguments[#arguments + 1] = options[key] and flag or nil
  end
  arguments[#arguments + 1] = remote
  if options.ref then
    local ref = command.ref(options.ref, "git.fetch", "ref")
    local plain = not remote:find("[:/]") and not ref:find("[:^~+*?%[]") and not ref:match("^refs/")
      and not ref:match("^%x+$")
    arguments[#arguments + 1] = plain and ("+refs/heads/%s:refs/remotes/%s/%s"):format(ref, remote, ref) or ref
  end
  network(self, "git.fetch", arguments, options, credentials, remote, options.ref)
end

---@private
function Repo:git_dir()
  return text_of(run.git(self.box, self.path, "git.bundle", { "rev-parse", "--absolute-git-dir" }))
end

--- Writes a bundle: history in one file, which any git can clone or fetch from.
---@async
---@param options {path?: string, local_path?: string, refs?: string[], timeout?: number} path: in the sandbox;
---  local_path: also, or only, on this machine; refs: default all
---@return {path: string?, local_path: string?, bytes: integer}
function Repo:bundle(options)
  options = check.options(options, { path = "text", local_path = "text", refs = "strings", timeout = "seconds" },
    "git.bundle")
  if not options.path and not options.local_path then
    errors.raise("invalid", "git.bundle: expected path (in the sandbox), local_path (on this machine) or both")
  end
  local arguments = {}
  for _, ref in ipairs(options.refs or {}) do
    arguments[#arguments + 1] = command.ref(ref, "git.bundle", "refs")
  end
  if #arguments == 0 then
    arguments[1] = "--all"
  end
  local box = self.box
  local path = options.path and box:path(options.path)
    or ("%s/luarium-%s.bundle"):format(self:git_dir(), native.crypto.ulid():lower())
  local function remove()
    if not options.path then
      pcall(task.shield, 30, box.remove, box, path)
    end
  end
  local ok, result = pcall(function()
    run.git(box, self.path, "git.bundle", extend({ "bundle", "create", path }, arguments),
      { timeout = options.timeout })
    if options.local_path then
      box:download(path, options.local_path)
    end
    return { path = options.path and path, local_path = options.local_path, bytes = box:stat(path).size }
  end)
  remove()
  if not ok then
    error(result, 0)
  end
  return result
end

function mt.__tostring(self)
  return "repository " .. self.path .. " in " .. tostring(self.box)
end

return M
