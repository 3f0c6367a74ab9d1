--- The small shell around every command in a container. The interface of the engine tells neither when a command of a
--- stream that somebody else holds has ended, nor whether a stream was cut, nor who was killed for want of memory, and
--- it lets nobody stop a command that is about to start. The shell
---
--- * says hello with its process id, or that the working directory is not there,
--- * waits for an empty line, so that a command whose caller went away is never begun,
--- * runs the command and ends each stream with a mark: exit code, and whether memory ran out,
--- * stays while a process that was left behind holds the streams: Docker lets every other command in the container
---   wait for seconds when an exec ends with open streams.
---
--- The mark is a random word. A command that finds it out can pretend to have ended, which any command may do anyway.
local errors = require "luarium.error"
local native = require "luarium.native"
local utf8 = require "luarium.utf8"

local M = {}

local MAX_STRING = 131071 -- what Linux takes as one argument or variable

--- Bytes of a mark's tail: three digits of the exit code, one that is 1 when memory ran out, one that is 1 when
--- somebody else holds the streams, and 2 when that is not known.
M.TAIL = 5

--- The exit code of the shell when its caller went away before the command began. No mark goes with it.
M.UNBEGUN = 121

local SCRIPT = [[
lum_mark=$1 lum_dir=$2 lum_merge=$3 lum_coded=$4; shift 4
trap : HUP INT QUIT TERM USR1 USR2 ALRM
lum_oom() {
  lum_kills=0
  for lum_file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    while read -r lum_key lum_value; do
      [ "$lum_key" != oom_kill ] || lum_kills=$lum_value
    done <"$lum_file"
  done
} 2>/dev/null
lum_decode() { lum_text=$(printf '%b.' "$1"); lum_text=${lum_text%.}; }
if [ "$lum_coded" ]; then
  lum_decode "$lum_dir"; lum_dir=$lum_text
  lum_left=$#
  while [ "$lum_left" -gt 0 ]; do
    lum_decode "$1"; shift; set -- "$@" "$lum_text"
    lum_left=$((lum_left - 1))
  done
  lum_left=${lum_coded#e}
  while [ "$lum_left" -gt 0 ]; do
    eval "lum_text=\$LUARIUM_CODED_$lum_left; unset LUARIUM_CODED_$lum_left"
    lum_key=${lum_text%%=*}
    lum_decode "${lum_text#*=}"
    export "$lum_key=$lum_text"
    lum_left=$((lum_left - 1))
  done
fi
lum_orphans() {
  read -r lum_list </proc/1/task/1/children
} 2>/dev/null
lum_oom; lum_before=$lum_kills
lum_orphans; lum_old=" $lum_list "
if ! cd "$lum_dir" 2>/dev/null; then
  [ -d "$lum_dir" ] && lum_text=closed || { [ -e "$lum_dir" ] && lum_text=file || lum_text=missing; }
  printf '%s-%s\n' "$lum_mark" "$lum_text" >&2
  exit 1
fi
printf '%s+%s\n' "$lum_mark" "$$" >&2
read -r lum_text || exit 121
exec 3>&2 2>/dev/null
if [ "$lum_merge" ]; then
  (exec "$@" 2>&1 3>&-)
else
  (exec "$@" 2>&3 3>&-)
fi
lum_code=$? lum_text=0
if [ "$lum_code" = 137 ]; then
  lum_oom
  [ "$lum_kills" = "$lum_before" ] || lum_text=1
fi
lum_held=0 lum_holders=
lum_holds() {
  lum_fd=/proc/$1/fd
  [ "$lum_fd/1" -ef /proc/$$/fd/1 ] || [ "$lum_fd/2" -ef /proc/$$/fd/3 ] || [ "$lum_fd/2" -ef /proc/$$/fd/1 ]
}
if [ -t 1 ] || ! [ -r /proc/1/task/1/children ]; then
  lum_held=2
else
  lum_orphans
  for lum_pid in $lum_list; do
    case $lum_old in *" $lum_pid "*) continue ;; esac
    lum_holds "$lum_pid" && lum_held=1 lum_holders="$lum_holders $lum_pid"
  done
fi
printf '%s%03d%d%d' "$lum_mark" "$lum_code" "$lum_text" "$lum_held"
printf '%s%03d%d%d' "$lum_mark" "$lum_code" "$lum_text" "$lum_held" >&3
for lum_pid in $lum_holders; do
  while lum_holds "$lum_pid"; do
    sleep 1 3>&- >&- || break
  done
done
exit "$lum_code"
]]

--- A text as printf's %b reads it.
local function code(text)
  return (text:gsub("[\\\128-\255]", function(c)
    return ("\\0%03o"):format(c:byte())
  end))
end

local function too_long(what, size)
  return errors.new("invalid", ("exec: %s has %d bytes, and Linux takes %d at most: hand it over by stdin or a file")
    :format(what, size, MAX_STRING), { name = "E2BIG" })
end

local function sizes_fit(argv, env)
  for i, argument in ipairs(argv) do
    if #argument > MAX_STRING then
      return nil, too_long("argument " .. i, #argument)
    end
  end
  for name, value in pairs(env) do
    if #name + #value + 1 > MAX_STRING then
      return nil, too_long("the variable " .. name, #name + #value + 1)
    end
  end
  return true
end

--- Environment as a list. Values that JSON cannot carry go coded, under other names.
local function environment(env)
  local list, coded = {}, 0
  for name, value in pairs(env) do
    if utf8.is_valid(name) and utf8.is_valid(value) then
      list[#list + 1] = name .. "=" .. value
    elseif not name:find("^[%a_][%w_]*$") then
      return nil, errors.new("invalid", ("exec: the variable %q has a value that is no text and a name that no shell "
        .. "takes"):format(name))
    else
      coded = coded + 1
      list[#list + 1] = ("LUARIUM_CODED_%d=%s=%s"):format(coded, name, code(value))
    end
  end
  return list, coded
end

--- A word that occurs nowhere else. Its first byte is one that programs hardly ever write, so that looking for it in
--- output is quick.
---@return string
function M.mark()
  return "\30" .. native.crypto.ulid():lower()
end

---@class luarium.docker.Wrapped
---@field argv string[]
---@field env string[]
---@field mark string

--- What the engine is asked to run for a command.
---@param argv string[]
---@param cwd string absolute
---@param env table<string, string>
---@param merge boolean? stderr goes into stdout
---@return luarium.docker.Wrapped? wrapped
---@return luarium.Error? err
function M.wrap(argv, cwd, env, merge)
  local ok, err = sizes_fit(argv, env)
  if not ok then
    return nil, err
  end
  local list, coded = environment(env)
  if not list then
    return nil, coded
  end
  local plain = coded == 0 and utf8.is_valid(cwd)
  for _, argument in ipairs(argv) do
    plain = plain and utf8.is_valid(argument)
  end
  local mark = M.mark()
  local result = { "/bin/sh", "-c", SCRIPT, "sh", mark, plain and cwd or code(cwd), merge and "1" or "",
    plain and "" or "e" .. coded }
  for _, argument in ipairs(plain and argv or {}) do
    result[#result + 1] = argument
  end
  for _, argument in ipairs(plain and {} or argv) do
    result[#result + 1] = code(argument)
  end
  return { argv = result, env = list, mark = mark }
end

-- ---- what it says ----

--- Reads the hello out of the first bytes of its stream.
---@param text string
---@param mark string
---@return "running"|"closed"|"file"|"missing"|nil state nil: more must come
---@return string? pid in the container, when running
---@return integer? after the position behind the hello
function M.hello(text, mark)
  local from = text:find(mark, 1, true)
  local sign, word, after = text:match("^([+-])(%w+)\r?\n()", from and from + #mark or #text + 1)
  if sign == "+" then
    return "running", word, after
  end
  return word, nil, after
end

--- What the digits behind a mark say.
---@param tail string
---@return integer? exit_code
---@return boolean? oom memory ran out
---@return boolean? held by somebody else; nil when that is not known
function M.ending(tail)
  local number, oom, held = tail:match("^(%d%d%d)([01])([012])$")
  if not number then
    return nil
  elseif held == "2" then
    return tonumber(number), oom == "1"
  end
  return tonumber(number), oom == "1", held == "1"
end

return M
