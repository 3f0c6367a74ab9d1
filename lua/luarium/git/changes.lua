--- All that differs from a base in one round trip: the patch with untracked files, what changed, the commits. The
--- repository stays as it is: the work is done on a copy of its index, and objects made on the way are thrown away.
local command = require "luarium.git.command"
local errors = require "luarium.error"
local native = require "luarium.native"
local run = require "luarium.git.run"
local status = require "luarium.git.status"
local task = require "luarium.task"

local M = {}

--- Bytes of a patch that are accepted.
M.max_bytes = 67108864

--- Commits that are listed.
M.max_commits = 1000

local CLEANUP_TIMEOUT = 30
local LISTING_LIMIT = 33554432

-- $1 repository, $2 our name for the temporary folder, $3 base or "", $4 limit of the patch, $5 limit of a listing,
-- $6 commits, the rest: paths. It prints lines "name size", an empty line, and then the bytes of each part in that
-- order. A part that is over its limit has only its size.
local SCRIPT = [[
umask 077
cd -- "$1" || exit 66
t=${TMPDIR:-/tmp}/$2; want=$3; limit=$4; listing=$5; commits=$6; shift 6
g rev-parse --git-dir >/dev/null || exit
head=$(g rev-parse --verify --quiet 'HEAD^{commit}')
branch=$(g symbolic-ref --quiet --short HEAD)
if [ -n "$want" ]; then
  base=$(g rev-parse --verify --quiet "$want^{commit}") || {
    printf "fatal: bad revision '%s'\n" "$want" >&2; exit 128; }
elif [ -n "$head" ]; then
  base=$(g merge-base HEAD refs/remotes/origin/HEAD 2>/dev/null) || base=$head
else
  base=
fi
from=${base:-$(g hash-object -t tree /dev/null)}
index=$(g rev-parse --git-path index)
objects=$(g rev-parse --git-path objects)
objects=$(cd -- "$objects" && pwd) || exit
top=$(g rev-parse --show-toplevel) || exit
mkdir -- "$t" "$t/objects" || exit
trap 'rm -rf -- "$t"' EXIT
if [ -f "$index" ]; then cp -- "$index" "$t/index" || exit; fi
GIT_INDEX_FILE=$t/index; export GIT_INDEX_FILE
case $objects in
  *:*|*\"*) ;;
  *) GIT_OBJECT_DIRECTORY=$t/objects; GIT_ALTERNATE_OBJECT_DIRECTORIES=$objects
     export GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES ;;
esac
g -C "$top" -c core.safecrlf=false -c advice.addEmbeddedRepo=false add --all --ignore-errors . >/dev/null 2>"$t/add"
d() { g diff-index --cached --find-renames "$@"; }
d --raw -z "$from" -- "$@" >"$t/raw" || exit
d --numstat -z "$from" -- "$@" >"$t/numstat" || exit
d --stat=100 "$from" -- "$@" >"$t/stat" || exit
d --patch --binary --full-index --no-ext-diff --no-textconv --no-color --submodule=short -U3 \
  --src-prefix=a/ --dst-prefix=b/ "$from" -- "$@" >"$t/patch" || exit
: >"$t/log"
if [ -n "$head" ]; then
  g log -z --no-show-signature --no-color --encoding=UTF-8 --max-count="$commits" LOG_FORMAT \
    ${base:+"$base.."}"$head" -- >"$t/log" || exit
fi
printf 'base %s\nhead %s\nbranch %s\n' "$base" "$head" "$branch" >"$t/meta"
size() { wc -c <"$t/$1" | tr -d ' '; }
parts=
for part in meta add raw numstat stat log patch; do
  n=$(size $part); max=$listing; [ $part = patch ] && max=$limit
  printf '%s %s\n' $part "$n"
  [ "$n" -le "$max" ] && parts="$parts $part"
done
echo
for part in $parts; do cat -- "$t/$part"; done
]]

SCRIPT = SCRIPT:gsub("LOG_FORMAT", function()
  return command.quote(status.log_format)
end)

local function limit_of(part, max_bytes)
  return part == "patch" and max_bytes or LISTING_LIMIT
end

--- name -> bytes, and name -> size for those that were left out.
local function take_apart(output, max_bytes)
  local parts, sizes, order = {}, {}, {}
  local position = 1
  while true do
    local stop = output:find("\n", position, true)
    local name, size = (stop and output:sub(position, stop - 1) or ""):match("^(%a+) (%d+)$")
    position = (stop or #output) + 1
    if not name then
      break
    end
    sizes[name] = tonumber(size)
    order[#order + 1] = name
  end
  for _, name in ipairs(order) do
    if sizes[name] <= limit_of(name, max_bytes) then
      parts[name] = output:sub(position, position + sizes[name] - 1)
      position = position + sizes[name]
    end
  end
  return parts, sizes
end

local function warnings_of(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    local what = line:match("^error: (.*)$") or line:match("^fatal: (.*)$") or line:match("^warning: (.*)$")
    local known = what and what:find("^adding embedded git repository") -- its entry in the listing tells the same
    if what and not known and #list < 20 then
      list[#list + 1] = what
    end
  end
  return list
end

---@class luarium.GitChanges
---@field base string? the commit compared with; nil when there is none: everything is new
---@field head string?
---@field branch string?
---@field files luarium.GitChange[]
---@field commits luarium.GitCommit[] those after the base, newest first
---@field patch string? nil when it is over max_bytes
---@field patch_bytes integer
---@field stat string for reading
---@field warnings string[] what git could not read

--- What differs between a base and the working tree, untracked files included and ignored ones not. Without a base:
--- where HEAD left the remote's default branch, else HEAD.
---@async
---@param box luarium.Sandbox
---@param path string
---@param op string
---@param options {base?: string, max_bytes?: integer, paths?: string[], timeout?: number}
---@return luarium.GitChanges
function M.read(box, path, op, options)
  local max_bytes = options.max_bytes or M.max_bytes
  local id = "luarium-" .. native.crypto.ulid():lower()
  local arguments = { box:path(path), id, options.base or "", ("%d"):format(max_bytes),
    ("%d"):format(LISTING_LIMIT), ("%d"):format(M.max_commits) }
  for _, item in ipairs(options.paths or {}) do
    arguments[#arguments + 1] = item
  end
  local ok, result = pcall(run.script, box, op, SCRIPT, arguments, {
    timeout = options.timeout, max_output = max_bytes + 6 * LISTING_LIMIT,
    env = { GIT_OPTIONAL_LOCKS = "0" },
  })
  if not ok then
    if errors.is(result, "timeout") or errors.is(result, "cancelled") then -- killed before it could clean up
      pcall(task.shield, CLEANUP_TIMEOUT, box.exec, box, { "/bin/sh", "-c",
        "rm -rf -- \"${TMPDIR:-/tmp}/$1\"", "luarium", id }, { timeout = CLEANUP_TIMEOUT })
    end
    error(result, 0)
  end
  local parts, sizes = take_apart(result.stdout, max_bytes)
  local meta = {}
  for key, value in (parts.meta or ""):gmatch("(%a+) ([^\n]*)") do
    meta[key] = value ~= "" and value or nil
  end
  local warnings = warnings_of(parts.add or "")
  for _, name in ipairs({ "raw", "numstat", "stat", "log" }) do
    if not parts[name] then
      warnings[#warnings + 1] = ("the listing '%s' has %d bytes and was left out"):format(name, sizes[name] or 0)
    end
  end
  return {
    base = meta.base, head = meta.head, branch = meta.branch, patch = parts.patch, patch_bytes = sizes.patch or 0,
    files = status.changes(parts.raw or "", parts.numstat or ""), stat = parts.stat or "",
    commits = status.log(parts.log or ""), warnings = warnings,
  }
end

return M
