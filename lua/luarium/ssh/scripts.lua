--- What is run on the host beside the commands of users: POSIX sh and the tools that every system has.
local M = {}

-- Everything that has $1 in its environment or is about to, and what descends from it, is killed until a look that
-- began after the call finds nothing more. Where there is no /proc, the group of the command is all that can be found.
local SWEEP = [[
found() {
  # What has looked for the folder and has not begun yet holds its state open: looked for first, since it may begin.
  [ -z "$2" ] || ls -l /proc/[0-9]*/fd/9 2>/dev/null | while read -r line; do
    case $line in *" -> $2/state.json") line=${line% -> *}; echo "${line##* }" ;; esac
  done
  if command -v grep >/dev/null 2>&1; then
    grep -lF -e "$1" /proc/[0-9]*/environ 2>/dev/null
    return
  fi
  for file in /proc/[0-9]*/environ; do
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in *"$1"*) echo "$file"; break ;; esac
    done <"$file"
  done 2>/dev/null
}
end_with_children() {
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
    end_with_children "$child"
  done
  kill -KILL "$1" 2>/dev/null
}
sweep() {
  [ -r /proc/self/environ ] || return 0
  round=0
  while list=$(found "$1" "$2"); [ -n "$list" ]; do
    for file in $list; do
      pid=${file#/proc/}
      end_with_children "${pid%%/*}"
    done
    round=$((round + 1))
    if [ "$round" -gt 20 ]; then
      sleep 0.05 2>/dev/null || sleep 1
    fi
    if [ "$round" -gt 200 ]; then
      echo "some processes cannot be killed: $list" >&2
      return 1
    fi
  done
  return 0
}
]]

--- cookie, process id or "": kills a command with all it has started.
M.kill = SWEEP .. [[
[ -z "$2" ] || kill -KILL "-$2" 2>/dev/null
sweep "$1"
]]

--- signal, process id: the group gets it, or the process where a wrapper has put it into another group.
M.signal = [[
kill -s "$1" "-$2" 2>/dev/null || kill -s "$1" "$2"
]]

--- path, root of the sandbox: keeps stdin in a private file.
M.put = [[
[ -e "$2/state.json" ] || exit 3
umask 077
cat >"$1"
]]

-- Where the sandboxes are: as configured, ~ being the user's own folder.
local BASE = [[
base=$1
case $base in
  "") base=$HOME/.luarium/sandboxes ;;
  "~/"*) base=$HOME/${base#??} ;;
esac
]]

--- base, id, working directory or "", state: makes a sandbox and prints where it is.
M.create = BASE .. [[
umask 077
root=$base/$2
mkdir -p "$base" && mkdir "$root" && mkdir "$root/home" "$root/tmp" || exit 1
work=${3:-$root/work}
mkdir -p "$work" || exit 1
root=$(cd -P "$root" && pwd) || exit 1
printf '%s\n' "$4" >"$root/state.new" && mv "$root/state.new" "$root/state.json" || exit 1
printf '%s\n%s\n' "$root" "${3:-$root/work}"
]]

--- base, id: prints the state.
M.get = BASE .. [[
[ -e "$base/$2/state.json" ] || exit 3
cat "$base/$2/state.json"
]]

--- base, id: prints where it is.
M.locate = BASE .. [[
[ -e "$base/$2/state.json" ] || exit 3
cd -P "$base/$2" && pwd
]]

--- base, id, state: replaces it.
M.update = BASE .. [[
[ -e "$base/$2/state.json" ] || exit 3
umask 077
printf '%s\n' "$3" >"$base/$2/state.new" && mv "$base/$2/state.new" "$base/$2/state.json"
]]

--- base: a line for each sandbox: its id and its state.
M.list = BASE .. [[
for root in "$base"/sbx_*; do
  [ -d "$root" ] || continue
  printf '%s ' "${root##*/}"
  cat "$root/state.json" 2>/dev/null || echo
done
]]

--- base, id: moves the folder away, so that nothing more can be started in it; kills what runs; removes it.
M.destroy = SWEEP .. BASE .. [[
root=$base/$2
if [ -e "$root" ]; then
  [ ! -e "$root.gone" ] || rm -rf "$root.gone"
  root=$(cd -P "$root" && pwd) || exit 1
  mv "$root" "$root.gone" || [ ! -e "$root" ] || exit 1
fi
sweep "LUARIUM_SANDBOX=$2" "$root.gone" || exit 1
[ -e "$root.gone" ] || exit 0
rm -rf "$root.gone" 2>/dev/null && exit 0
chmod -R u+rwx "$root.gone" 2>/dev/null
rm -rf "$root.gone" || [ ! -e "$root.gone" ]
]]

--- path: becomes a connection to a unix socket, by whatever there is for that.
M.dial = [[
case $1 in
  *docker.sock) ! command -v docker >/dev/null 2>&1 || exec docker -H "unix://$1" system dial-stdio ;;
esac
! command -v socat >/dev/null 2>&1 || exec socat -t 31536000 - "UNIX-CONNECT:$1"
! nc -h 2>&1 | grep -q -e "-[0-9A-Za-z]*N[A-Za-z]*U" || exec nc -N -U "$1"
! command -v python3 >/dev/null 2>&1 || exec python3 -c '
import os, socket, sys, threading
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
def up():
    while True:
        b = os.read(0, 65536)
        if not b:
            break
        s.sendall(b)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while True:
    b = s.recv(65536)
    if not b:
        break
    while b:
        b = b[os.write(1, b):]
' "$1"
echo "nothing here can connect to a unix socket: install socat, nc with -N and -U, or python3" >&2
exit 1
]]

return M
