--- Files in a sandbox, over exec alone. Results and errors are those of the contract.
local crypto = require("luarium.native").crypto
local errors = require "luarium.error"
local shell = require "luarium.provider.emulate.shell"

local M = {}

local READ_MAX = 67108864 -- what read_file returns at most when nobody says otherwise
local LS_OUTPUT = 134217728 -- bytes of listing: about a million entries

-- ---- facts ----

local types = {
  [1] = "fifo", [2] = "char", [4] = "dir", [6] = "block", [8] = "file", [10] = "link", [12] = "socket",
}

--- Type and permission bits of a raw mode in hexadecimal.
---@param hex string
---@return string type
---@return integer mode
function M.mode(hex)
  local raw = tonumber(hex, 16)
  return types[math.floor(raw / 4096)] or "file", raw % 4096
end

--- Seconds, with the fraction that the readable form of the time carries.
local function mtime(seconds, readable)
  local fraction = readable:match(":%d%d(%.%d+)")
  return tonumber(seconds) + (tonumber(fraction and "0" .. fraction) or 0)
end

local function bad_answer(what)
  return nil, errors.new("protocol", what .. ": the sandbox gave an answer that makes no sense")
end

local STAT = [[
need stat readlink
if [ "$2" = 1 ]; then
  exec stat -L -c '%f %s %u %g %d %i %Y %y' "$1"
fi
stat -c '%f %s %u %g %d %i %Y %y' "$1" || exit 1
if [ -L "$1" ]; then
  readlink -n "$1"
fi
]]

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param path string absolute
---@param options {follow: boolean?}? follow links; default true
---@return {type: string, size: integer, mode: integer, mtime: number, uid: integer, gid: integer, dev: integer,
---  ino: integer, target: string?}? stat
---@return luarium.Error? err
function M.stat(self, box, path, options)
  local clean, err = shell.path(path)
  if not clean then
    return nil, err
  end
  local what = "stat " .. shell.show(path)
  local follow = not options or options.follow ~= false
  local result
  result, err = shell.run(self, box, what, STAT, { clean, follow and "1" or "0" })
  if not result then
    return nil, err
  end
  local hex, size, uid, gid, dev, ino, seconds, readable, target =
    result.stdout:match("^(%x+) (%d+) (%d+) (%d+) (%d+) (%d+) (%-?%d+) ([^\n]*)\n(.*)$")
  if not hex then
    return bad_answer(what)
  end
  local stat = {
    size = tonumber(size), uid = tonumber(uid), gid = tonumber(gid), dev = tonumber(dev), ino = tonumber(ino),
    mtime = mtime(seconds, readable),
  }
  stat.type, stat.mode = M.mode(hex)
  stat.target = stat.type == "link" and target or nil
  return stat
end

-- A name has no slash and no NUL, so that two slashes end one record and NUL bytes the targets.
local LS = [[
need stat readlink xargs
if [ ! -d "$1" ]; then
  stat -L -c %f "$1" >/dev/null || exit 1
  exit 45
fi
[ -r "$1" ] && cd -P "$1" || exit 47
set -- ./*
exists "$1" || shift
set -- ./.[!.]* "$@"
exists "$1" || shift
set -- ./..?* "$@"
exists "$1" || shift
[ $# -gt 0 ] || exit 0
printf '%s\0' "$@" | xargs -0 stat -c '%f %s %Y %y/%n//'
status=$?
printf '\0'
for name do
  if [ -L "$name" ]; then
    printf '%s\0' "$name"
    readlink -n "$name"
    printf '\0'
  fi
done
exit $status
]]

local function parse_entries(text)
  local list, by_name, at = {}, {}, 1
  while at <= #text do
    local slash = text:find("/", at, true)
    local stop = slash and text:find("//\n", slash + 3, true)
    local hex, size, seconds, readable = text:sub(at, slash or at):match("^(%x+) (%d+) (%-?%d+) (.-)/$")
    if not stop or not hex then
      return nil
    end
    local entry = { name = text:sub(slash + 3, stop - 1), size = tonumber(size), mtime = mtime(seconds, readable) }
    entry.type, entry.mode = M.mode(hex)
    list[#list + 1] = entry
    by_name[entry.name] = entry
    at = stop + 3
  end
  return list, by_name
end

local function add_targets(text, by_name)
  for name, target in text:gmatch("%./([^%z]*)%z([^%z]*)%z") do
    local entry = by_name[name]
    if entry and entry.type == "link" then
      entry.target = target
    end
  end
end

--- The entries of a folder, sorted by the bytes of their names.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param path string absolute
---@return {name: string, type: string, size: integer, mode: integer, mtime: number, target: string?}[]? entries
---@return luarium.Error? err
function M.ls(self, box, path)
  local clean, err = shell.path(path)
  if not clean then
    return nil, err
  end
  local what = "ls " .. shell.show(path)
  local result
  result, err = shell.exec(self, box, LS, { clean }, { max_output = LS_OUTPUT })
  if not result then
    return nil, err
  elseif result.truncated then
    return nil, errors.new("quota", what .. ": the listing is longer than 128 MiB")
  end
  -- What vanishes between the listing and the look at it is no failure.
  local vanished = result.exit_code == 123 and shell.only(result.stderr, { ENOENT = true })
  err = not vanished and shell.failure(what, result)
  if err then
    return nil, err
  end
  local nul = result.stdout:find("\0", 1, true)
  if not nul and result.stdout ~= "" then
    return bad_answer(what)
  end
  local list, by_name = parse_entries(result.stdout:sub(1, (nul or 1) - 1))
  if not list then
    return bad_answer(what)
  end
  add_targets(result.stdout:sub((nul or 0) + 1), by_name)
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
  return list
end

-- ---- bytes ----

local READ = [[
need stat head tail
[ ! -d "$1" ] || exit 42
size=$(stat -L -c %s "$1") || exit 1
want=$((size - $2))
[ "$want" -ge 0 ] || want=0
limit=$(($4 + 1))
if [ -n "$3" ]; then
  [ "$want" -le "$3" ] || want=$3
  [ "$limit" -le "$3" ] || limit=$3
fi
if [ "$want" -gt "$4" ]; then
  echo "$size" >&2
  exit 46
fi
if [ "$limit" -eq 0 ]; then
  : <"$1"
elif [ "$2" -eq 0 ]; then
  head -c "$limit" <"$1"
else
  { tail -c "+$(($2 + 1))" | head -c "$limit"; } <"$1"
fi
]]

local function check_range(what, options)
  for _, key in ipairs({ "offset", "length", "max" }) do
    local value = options[key]
    if value ~= nil and (type(value) ~= "number" or value < 0 or value ~= math.floor(value) or value > 2 ^ 53) then
      return nil, errors.new("invalid", ("%s: option '%s': expected a whole number of at least 0, got %s"):format(
        what, key, tostring(value)))
    end
  end
  return true
end

local function too_big(what, size, max)
  return nil, errors.new("quota", ("%s: the file is %s bytes, the limit is %s"):format(what, size, shell.number(max)),
    { name = "EFBIG" })
end

--- The bytes of a file. One that is over `max` is an error before any of it is sent.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param path string absolute
---@param options {offset: integer?, length: integer?, max: integer?}? bytes; max defaults to 64 MiB
---@return string? bytes
---@return luarium.Error? err
function M.read_file(self, box, path, options)
  options = options or {}
  local clean, err = shell.path(path)
  if not clean then
    return nil, err
  end
  local what = "read " .. shell.show(path)
  local ok
  ok, err = check_range(what, options)
  if not ok then
    return nil, err
  end
  local max, length = options.max or READ_MAX, options.length
  local result
  result, err = shell.exec(self, box, READ, {
    clean, shell.number(options.offset or 0), length and shell.number(length) or "", shell.number(max),
  }, { max_output = max + 1 })
  if not result then
    return nil, err
  elseif result.exit_code == 46 then
    return too_big(what, result.stderr:match("%d+") or "too many", max)
  end
  err = shell.failure(what, result)
  if err then
    return nil, err
  elseif #result.stdout > max then
    return too_big(what, "at least " .. #result.stdout, max)
  elseif result.truncated then
    return nil, errors.new("quota", ("%s: the provider cut the output of the command to %d bytes"):format(
      what, #result.stdout))
  end
  return result.stdout
end

-- path: what a write to "$1" reaches; folder: where that is. (readlink -f of busybox looks for the target of a
-- dangling link in the working directory.)
M.RESOLVE = [[
resolve() {
  path=$1
  hops=0
  while [ -L "$path" ]; do
    target=$(readlink -n "$path" && printf x) || return
    case $target in
      /*) path=${target%x} ;;
      *) path=${path%/*}/${target%x} ;;
    esac
    hops=$((hops + 1))
    [ "$hops" -le 40 ] || { echo "$1: Too many levels of symbolic links" >&2; return 1; }
  done
  folder=${path%/*}
  folder=${folder:-/}
}
]]

-- Writes stdin beside the target and moves it into place. Through a link its target is written. A file that cannot
-- be replaced, such as one that is mounted, is written in place.
local WRITE = M.RESOLVE .. [[
need cat chmod mkdir mv readlink rm stat
[ ! -d "$1" ] || exit 42
resolve "$1" || exit 1
[ -d "$folder" ] || mkdir -p "$folder" || exit 1
exists "$path" && [ ! -f "$path" ] && exit 49
if [ "$3" = 1 ]; then
  exists "$path" && set -- "$1" "$2" "$3" ""
  cat >>"$path" || exit 1
  [ -z "$4" ] || chmod "$4" "$path"
  exit
fi
temp=$folder/.luarium-$2
trap 'rm -f "$temp"' EXIT
trap 'exit 1' HUP INT TERM
if ! (umask 077; : >"$temp") 2>/dev/null; then
  if [ -f "$path" ] && [ -w "$path" ]; then
    cat >"$path" || exit 1
    [ -z "$4" ] || chmod "$4" "$path"
    exit
  fi
  : >"$temp"
  exit 1
fi
cat >"$temp" || exit 1
[ -z "$5" ] || [ "$(stat -c %s "$temp")" = "$5" ] || exit 48
mode=${4:-=rw}
if [ -f "$path" ]; then
  facts=$(stat -c '%a %u:%g' "$path") || exit 1
  chown "${facts#* }" "$temp" 2>/dev/null
  mode=${4:-${facts% *}}
fi
chmod "$mode" "$temp" || exit 1
if ! mv -f "$temp" "$path"; then
  [ -f "$path" ] && cat "$temp" >"$path" || exit 1
  rm -f "$temp"
fi
trap - EXIT
]]

local DROP = M.RESOLVE .. [[
resolve "$1" && rm -rf "$folder/.luarium-$2" "$path/.luarium-$2"
]]

--- Runs a script that works beside a path; what it left there when it was killed is removed.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param what string for messages
---@param path string
---@param token string part of the temporary name
---@param run fun(): table?, luarium.Error? a shell.exec
---@return boolean? ok
---@return luarium.Error? err
function M.beside(self, box, what, path, token, run)
  local ended = false
  return shell.guarded(function()
    local result, err = run()
    if not result then
      return nil, err
    end
    ended = result.exit_code ~= nil
    err = shell.failure(what, result)
    if err then
      return nil, err
    end
    return true
  end, function()
    if not ended then
      shell.exec(self, box, DROP, { path, token })
    end
  end)
end

---@class luarium.StoreOptions
---@field mode integer? permission bits
---@field append boolean?
---@field size integer? what stdin must come to

--- Stores what stdin brings in a file; the target is never seen half written.
---@async
---@param what string for messages
---@param path string clean
---@param stdin string|function
---@param options luarium.StoreOptions
---@return boolean? ok
---@return luarium.Error? err
function M.store(self, box, what, path, stdin, options)
  local token = crypto.ulid()
  local args = {
    path, token, options.append and "1" or "0", options.mode and ("%o"):format(options.mode) or "",
    options.size and not options.append and shell.number(options.size) or "",
  }
  return M.beside(self, box, what, path, token, function()
    return shell.exec(self, box, WRITE, args, { stdin = stdin })
  end)
end

--- Writes a file; missing parents are made. An existing file keeps its mode unless one is given.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param path string absolute
---@param bytes string
---@param options {mode: integer?, append: boolean?}?
---@return boolean? ok
---@return luarium.Error? err
function M.write_file(self, box, path, bytes, options)
  options = options or {}
  local clean, err = shell.path(path)
  if not clean then
    return nil, err
  elseif type(bytes) ~= "string" then
    return nil, errors.new("invalid", "write_file: expected the bytes as a string, got " .. type(bytes))
  end
  return M.store(self, box, "write " .. shell.show(path), clean, bytes, {
    mode = options.mode, append = options.append, size = #bytes,
  })
end

-- ---- names ----

local function simple(self, box, what, script, args)
  local result, err = shell.run(self, box, what, script, args)
  if not result then
    return nil, err
  end
  return true
end

local MKDIR = [[
exec mkdir $2 ${3:+-m "$3"} "$1"
]]

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param path string absolute
---@param options {parents: boolean?, mode: integer?}? with parents an existing folder is fine
---@return boolean? ok
---@return luarium.Error? err
function M.mkdir(self, box, path, options)
  local clean, err = shell.path(path)
  if not clean then
    return nil, err
  end
  options = options or {}
  return simple(self, box, "mkdir " .. shell.show(path), MKDIR, {
    clean, options.parents and "-p" or "", options.mode and ("%o"):format(options.mode) or "",
  })
end

local MOVE = [[
need stat mv
stat -c %f "$1" >/dev/null || exit 1
[ "$1" != "$2" ] || exit 0
if exists "$2"; then
  [ -d "$1" ] && [ ! -L "$1" ] && exit 43
  if [ -d "$2" ]; then
    [ -L "$2" ] || exit 43
    rm -f "$2" || exit 1
  fi
fi
exec mv -f "$1" "$2"
]]

--- Renames to exactly `to`: an existing file there is replaced, a folder there is a conflict.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param from string absolute
---@param to string absolute
---@return boolean? ok
---@return luarium.Error? err
function M.move(self, box, from, to)
  local source, err = shell.path(from)
  if not source then
    return nil, err
  end
  local target
  target, err = shell.path(to)
  if not target then
    return nil, err
  end
  return simple(self, box, ("move %s to %s"):format(shell.show(from), shell.show(to)), MOVE, { source, target })
end

-- Folders that their owner may not enter are opened up, where a plain rm would give up. (rm of busybox says nothing
-- about those that belong to somebody else.)
local REMOVE = [[
need stat rm rmdir
if [ -d "$1" ] && [ ! -L "$1" ]; then
  [ "$2" = 1 ] || exec rmdir "$1"
  rm -rf "$1" 2>/dev/null && exit 0
  chmod -R u+rwx "$1" 2>/dev/null
  said=$(rm -rf "$1" 2>&1) && exit 0
  echo "${said:-$1: Permission denied}" >&2
  exit 1
fi
stat -c %f "$1" >/dev/null || exit 1
exec rm -f "$1"
]]

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param path string absolute
---@param options {recursive: boolean?}?
---@return boolean? ok
---@return luarium.Error? err
function M.remove(self, box, path, options)
  local clean, err = shell.path(path)
  if not clean then
    return nil, err
  end
  local last = clean:match("([^/]*)$")
  if last == "" or last == "." or last == ".." then
    return nil, errors.new("invalid", "remove: will not remove " .. shell.show(path))
  end
  return simple(self, box, "remove " .. shell.show(path), REMOVE,
    { clean, options and options.recursive and "1" or "0" })
end

return M
