--- What runs inside the sandbox: one POSIX sh text with the modes start, supervise, read, list, kill and remove. It
--- needs the tools that GNU and busybox share, and Linux's /proc.
---
--- A job is a folder that only its user can enter, and a link to it, named by its key. The supervisor makes the folder
--- ready, then the link: that is what one of several succeeds in, and only then anything runs.
---   spec    fingerprint of the command, when it was started, what it is called
---   owner   the supervisor: pid and its birth, boot id, pid namespace, lock, start, deadline, cookie
---   leader  the command: pid and its birth
---   out err what it wrote, only ever appended to; out.from err.from: bytes before this offset were given up
---   exit    how it ended; late, full, over: why; note: what the shell said about a signal
---   kill    a signal that was asked for from another pid namespace; beat: the watcher's pulse; probe: room on the disk
---
--- Records are made with their final size before anything runs and overwritten in place: a full disk cannot keep the
--- end of a job from being recorded. Times are hundredths of a second since the machine started.
local M = {}

--- Exit codes of the script beside those of luarium.provider.emulate.shell.
M.codes = { missing = 60, other = 61, busy = 62, short = 63, nowhere = 64, gone = 65 }

-- ---- finding things out ----

local FACTS = [==[
put() { printf '%-127s\n' "$2" 1<>"$1"; }

# A value that may change while it is read, byte by byte, is there twice.
set_value() { put "$1" "$2 $2 ."; }

# The value, as value; empty while there is none.
get_value() {
  for try in 1 2 3 4 5 6 7 8; do
    value='' again='' fin=
    [ -f "$1" ] || return
    { read -r value again fin; } 2>/dev/null <"$1"
    [ "$fin$value" != ".$again" ] || return 0
    [ -n "$fin" ] || break
  done
  value=
}

need() {
  for tool do
    command -v "$tool" >/dev/null 2>&1 || { echo "$tool: not found" >&2; exit 127; }
  done
}

nap() { sleep "$1" 2>/dev/null || sleep 1; }

# The time, as h.
clock() {
  { read -r h rest; } </proc/uptime
  h=${h%%.*}${h#*.}
  while :; do
    case $h in 0?*) h=${h#0} ;; *) break ;; esac
  done
}

# When a process began, as born; fails when it does not run.
born() {
  { read -r line; } 2>/dev/null <"/proc/$1/stat" || return 1
  set -- ${line##*) }
  case $1 in Z|X) return 1 ;; esac
  born=${20}
}

# Where the folders of jobs are: below HOME, which outlives a reboot, or else where temporary files are.
home_jobs=${HOME:-/}/.luarium/jobs
while read -r name u rest; do
  [ "$name" != Uid: ] || break
done </proc/self/status
temporary_jobs=${TMPDIR:-/tmp}/.luarium-jobs-$u

usable() {
  case $1 in /*) [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] ;; *) return 1 ;; esac
}

# The folder of the job $1, as d.
place() {
  for b in "$home_jobs" "$temporary_jobs"; do
    d=$b/$1
    usable "$b" && [ -L "$d" ] && return 0
  done
  return 1
}

make_base() {
  for b in "$home_jobs" "$temporary_jobs"; do
    [ -d "$b" ] || { mkdir -p "${b%/*}" && mkdir -m 700 "$b"; } 2>/dev/null
    usable "$b" && [ -w "$b" ] && return 0
  done
  echo "neither HOME nor TMPDIR can hold a folder for jobs: permission denied" >&2
  exit 47
}

# Goes into the folder d. What is no plain file there was put there by the command, and could hold a reader for ever.
enter() {
  [ -d "$d" ] || exit 65
  cd "$d" 2>/dev/null && [ -r . ] || exit 47
  for f in *; do
    [ -f "$f" ] || [ ! -e "$f" ] || exit 49
  done
}

exited() {
  mark='' fin=
  [ -f exit ] || return
  { read -r mark code sig late full over until fin; } 2>/dev/null <exit
  [ "$mark$fin" = =. ] || return 1
  state=finished
}

# Whether a supervisor that is not seen here lives in another pid namespace.
elsewhere() {
  if [ "$o_lock" = flock ] && command -v flock >/dev/null 2>&1; then
    flock -n 9 9<lock 2>/dev/null
    case $? in 0) return 1 ;; 1) return 0 ;; esac
  fi
  [ "$(readlink /proc/self/ns/pid 2>/dev/null)" != "$o_ns" ] || return 1
  get_value beat
  clock
  [ $((h - ${value:-0})) -lt 3000 ]
}

# The state of the job whose folder this is: running, finished or lost. What was read is ours alone to write,
# but a command may have written it all the same: numbers are checked before they are counted with.
look() {
  state=running why=- fin=
  [ ! -f owner ] || { read -r o_pid o_born o_boot o_ns o_lock o_start o_end o_cookie fin; } 2>/dev/null <owner
  case $fin$o_pid$o_start$o_end in
    .*[!0-9]*) fin= o_pid=0 o_start=0 o_end=0 ;;
  esac
  owned=$fin
  exited && return
  boot=-
  { read -r boot; } 2>/dev/null </proc/sys/kernel/random/boot_id
  if [ "$owned" != . ]; then
    why=damaged
  elif [ "$boot" != "$o_boot" ]; then
    why=reboot
  elif born "$o_pid" && [ "$born" = "$o_born" ]; then
    return
  elif elsewhere; then
    return
  else
    why=supervisor
  fi
  exited || state=lost
}
]==]

-- ---- ending things ----

--- A process belongs to the job when it carries the cookie in its environment, is in the session that the command
--- leads, or descends from one that does. One that left all three is not found.
local SIGNALS = [==[
members() {
  tree=' ' mark='' led=
  for f in $(grep -lszxF -e "LUARIUM_JOB=$o_cookie" /proc/[0-9]*/environ 2>/dev/null); do
    f=${f#/proc/}
    tree="$tree${f%/environ} "
  done
  { read -r mark l_pid l_born fin; } 2>/dev/null <leader
  if [ "$mark$fin" = =. ] && born "$l_pid" && [ "$born" = "$l_born" ]; then
    case $tree in *" $l_pid "*) ;; *) tree="$tree$l_pid " ;; esac
    set -- ${line##*) }
    [ "$4" = "$l_pid" ] && led=$l_pid
  fi
  [ "$tree" = ' ' ] && return
  more=1
  while [ -n "$more" ]; do
    more=
    for f in /proc/[0-9]*; do
      case $tree in *" ${f#/proc/} "*) continue ;; esac
      { read -r line; } 2>/dev/null <"$f/stat" || continue
      set -- ${line##*) }
      [ "$1" = Z ] && continue
      case $tree in
        *" $2 "*) ;;
        *) [ -n "$led" ] && [ "$4" = "$led" ] || continue ;;
      esac
      tree="$tree${f#/proc/} " more=1
    done
  done
}

# Sends a signal to all of them; hits: how many there were.
sweep() {
  hits=0
  members
  [ "$1" = KILL ] && [ -n "$led" ] && kill -s KILL -- "-$led" 2>/dev/null
  for p in $tree; do
    kill -s "$1" "$p" 2>/dev/null && hits=$((hits + 1))
  done
}

# Kills until two looks find nothing any more: a process that is just becoming another program shows no environment.
slay() {
  round=0 slain=0 empty=0
  while [ $round -lt 100 ] && [ $empty -lt 2 ]; do
    [ $round = 0 ] || nap 0.02
    sweep KILL
    slain=$((slain + hits)) empty=$((empty + 1)) round=$((round + 1))
    [ $hits = 0 ] || empty=0
  done
}

hit() {
  if [ "$1" = KILL ]; then
    slay
    hits=$slain
  else
    sweep "$1"
  fi
}
]==]

-- ---- the supervisor and its watcher ----

local SUPERVISE = [==[
# Gives up the oldest output of a stream that is too long; a job whose output cannot be shortened is ended.
trim() {
  size=$(wc -c <"$1")
  get_value "$1.from"
  from=${value:-0}
  [ $((size - from)) -gt "$max" ] || return 0
  to=$(((size - max / 2) / 4096 * 4096))
  set_value "$1.from" $to
  fallocate -p -o "$from" -l $((to - from)) "$1" 2>/dev/null && return
  set_value "$1.from" "$from"
  put over 1
  slay
}

room() { printf '%4095s\n' '' 2>/dev/null >probe || put full 1; }

watch() {
  stop='' z=''
  trap 'stop=1; [ -z "$z" ] || kill $z 2>/dev/null' TERM
  step=10
  while [ -z "$stop" ]; do
    clock
    set_value beat "$h"
    n=$step
    if [ "$o_end" -gt 0 ]; then
      if [ "$h" -ge "$o_end" ]; then
        put late 1
        slay
        o_end=0
      elif [ $((o_end - h)) -lt $n ]; then
        n=$((o_end - h))
      fi
    fi
    c=0$((n % 100))
    sleep $((n / 100)).${c#"${c%??}"} & z=$!
    [ -z "$stop" ] || kill $z 2>/dev/null
    wait $z || [ -n "$stop" ] || sleep 1
    [ -z "$stop" ] || wait $z
    z=''
    get_value kill
    if [ -n "$value" ]; then
      asked=$value
      hit "$asked"
      get_value kill
      [ "$value" != "$asked" ] || put kill ''
    fi
    if [ $step -ge 50 ]; then
      room
      [ "$max" = 0 ] || { trim out; trim err; }
    fi
    [ $step -lt 200 ] && step=$((step + step / 4 + 5))
    if ! { born "$o_pid" && [ "$born" = "$o_born" ]; }; then
      slay # nobody would learn how it ends, and it must not go on beside one that takes its place
      exit
    fi
  done
}

# Ends the watcher, but not in the middle of a kill.
dismiss() {
  [ -n "$w" ] || return
  kill $w 2>/dev/null
  wait $w
  w=''
}

supervise() {
  setsid=$1 link=$2 cookie=$3 limit=$4 print=$5 label=$6 now=$7 max=$8 input=$9
  shift 9
  cwd=$1 timer=$2 parent=$3
  shift 3
  d=${link%/*}/.job.$cookie
  mkdir -m 700 "$d" && cd "$d" || undo
  # Bash tells of signals only when it is not posix.
  [ -z "${BASH_VERSION-}" ] || set +o posix
  {
    for f in exit note late full over kill beat leader out.from err.from; do
      put $f '' || break
    done &&
    printf '' >out && printf '' >err && printf '' >lock &&
    printf '%s\n%s\n%s\n' "$print" "$now" "$label" >spec
  } 2>/dev/null || undo
  exec 9>>lock
  lock=- ns=-
  if command -v flock >/dev/null 2>&1 && flock -n 9 2>/dev/null; then
    lock=flock
  else
    ns=$(readlink /proc/self/ns/pid 2>/dev/null) || ns=-
  fi
  boot=-
  { read -r boot; } 2>/dev/null </proc/sys/kernel/random/boot_id
  { read -r o_pid rest; } </proc/self/stat
  born "$o_pid"
  clock
  o_born=$born o_cookie=$cookie o_start=$h o_end=0
  [ "$limit" = 0 ] || o_end=$((h + limit))
  if [ -n "$input" ]; then
    exec 8<"$input"
    rm -f "$input"
  else
    exec 8</dev/null
  fi
  set_value beat "$h"
  put owner "$o_pid $o_born $boot $ns $lock $h $o_end $cookie ." 2>/dev/null || undo
  ln -s -n ".job.$cookie" "$link" 2>/dev/null
  [ "$link/." -ef "$d/." ] || undo
  exec 2<>note
  watch 8<&- 9>&- 2>/dev/null & w=$!
  (
    exec 9>&-
    cd "$cwd" 2>>err || exit 127
    { read -r p rest; } </proc/self/stat
    born "$p"
    put "$d/leader" "= $p $born ."
    for n in PATH HOME TMPDIR; do
      eval "v=\${LUARIUM_JOB_$n+x}"
      [ -z "$v" ] || eval "$n=\$LUARIUM_JOB_$n; export $n; unset LUARIUM_JOB_$n"
    done
    LUARIUM_JOB=$cookie
    export LUARIUM_JOB
    case $1 in -*) set -- env -- "$@" ;; esac
    [ -z "$setsid" ] || set -- "$setsid" "$@"
    exec "$@" <&8 8<&- >>"$d/out" 2>>"$d/err"
  )
  code=$?
  exec 8<&-
  # Shells say nothing about SIGINT and SIGPIPE, and bash nothing about SIGTERM.
  note='' sig=0
  { read -r note rest; } <note
  case "$code $note" in
    130*|141*) sig=1 ;;
    143*) [ -z "$note${BASH_VERSION-}" ] || sig=1 ;;
    *' ') ;;
    *) sig=1 ;;
  esac
  room
  { read -r late; } <late
  { read -r full; } <full
  { read -r over; } <over
  get_value kill
  clock
  [ -z "$late$over$value" ] || dismiss
  put exit "= $code $sig ${late:-0} ${full:-0} ${over:-0} $h ."
  if [ -n "$timer" ] && { read -r line; } 2>/dev/null <"/proc/$timer/stat"; then
    set -- ${line##*) }
    [ "$2" != "$parent" ] || kill "$timer" 2>/dev/null
  fi
  dismiss
}

# Nothing has run yet: the folder goes. Unless somebody else was quicker, a complaint tells why.
undo() {
  if [ ! -L "$link" ]; then
    ln -s -n ".job.$cookie" "$link.$cookie" && rm "$link.$cookie"
    [ ! -d "$d" ] || dd if=/dev/zero of=probe bs=65536 count=1 2>&1 >/dev/null | grep -v records >&2
  fi
  cd /
  rm -rf "$d" ${input:+"$input"}
  exit 1
}
]==]

-- ---- answers ----

local ANSWERS = [==[
# Nothing is opened: what was a file a moment ago may be a pipe now.
sizes() {
  list=$(LC_ALL=C ls -lnL err out 2>/dev/null)
  set -- ${list%%"$newline"*}
  err_size=$5
  set -- ${list#*"$newline"}
  out_size=$5
  case $err_size$out_size in *[!0-9]*|'') err_size=0 out_size=0 ;; esac
}

froms() {
  get_value out.from
  out_from=${value:-0}
  get_value err.from
  err_from=${value:-0}
}

# Waits so many hundredths for the end, or for output after these offsets.
linger() {
  clock
  begun=$h pause=3
  while :; do
    look
    [ $state = running ] || return
    if [ -n "$2" ]; then
      sizes
      if [ "$out_size" -gt "$2" ] || [ "$err_size" -gt "$3" ]; then
        nap 0.02
        look
        return
      fi
    fi
    clock
    if [ "$o_end" -gt 0 ] 2>/dev/null && [ "$h" -gt $((o_end + 500)) ]; then
      put late 1
      slay
    fi
    left=$(($1 - (h - begun)))
    [ $left -gt 0 ] || return
    [ $left -gt $pause ] || pause=$left
    c=0$pause
    nap 0.${c#"${c%??}"}
    [ $pause -ge 25 ] || pause=$((pause + pause / 2))
  done
}

# n bytes of a file from an offset.
slice() {
  [ "$3" -gt 0 ] || return
  if [ "$2" = 0 ]; then
    head -c "$3" "$1"
  elif [ $(($2 % 65536)) = 0 ]; then
    dd if="$1" bs=65536 skip=$(($2 / 65536)) count=$(($3 / 65536 + 1)) 2>/dev/null | head -c "$3"
  else
    dd if="$1" bs=65536 skip=$(($2 / 65536)) count=$(($3 / 65536 + 2)) 2>/dev/null |
      tail -c "+$(($2 % 65536 + 1))" | head -c "$3"
  fi
}

# The line that begins an answer.
tell() {
  clock
  sizes
  froms
  idle=-
  if [ -n "$1" ] && [ $state = running ]; then
    set -- $(date +%s; date -r out +%s 2>/dev/null; date -r err +%s 2>/dev/null)
    if [ $# = 3 ]; then
      [ "$3" -lt "$2" ] || set -- "$1" "$3"
      idle=$(($1 - $2 - 1)) # by clocks of whole seconds at least so much
      [ $idle -ge 0 ] || idle=0
    fi
  fi
  print='' now='' label=''
  { read -r print; read -r now; read -r label; } 2>/dev/null <spec
  printf 'luarium-job key=%s state=%s why=%s' "${PWD##*/}" $state "$why"
  [ $state != finished ] ||
    printf ' code=%s sig=%s late=%s full=%s over=%s until=%s' "$code" "$sig" "$late" "$full" "$over" "$until"
  [ -z "$o_start" ] || printf ' start=%s' "$o_start"
  printf ' now=%s at=%s idle=%s ours=%s out=%s err=%s out_from=%s err_from=%s label=%s\n' "$h" "$now" "$idle" \
    "${ours:-0}" "$out_size" "$err_size" "$out_from" "$err_from" "$label"
}

# The state, and at most so many bytes of each stream after the offsets.
report() {
  tell
  out_at=$1 err_at=$2
  [ "$out_at" -ge "$out_from" ] || out_at=$out_from
  [ "$err_at" -ge "$err_from" ] || err_at=$err_from
  out_n=$((out_size - out_at)) err_n=$((err_size - err_at))
  [ $out_n -ge 0 ] || out_n=0
  [ $err_n -ge 0 ] || err_n=0
  [ $out_n -le "$3" ] || out_n=$3
  [ $err_n -le "$4" ] || err_n=$4
  printf 'luarium-data %s %s %s %s\n' "$out_at" $out_n "$err_at" $err_n
  slice out "$out_at" $out_n
  slice err "$err_at" $err_n
  froms
  printf '\nluarium-end %s %s\n' "$out_from" "$err_from"
}
]==]

-- ---- the modes ----

local MODES = [==[
seek() {
  place "$1" || exit 60
  enter
}

# Asks the watcher to send a signal to processes that are not seen from here, and waits until it has.
request() {
  set_value kill "$1"
  tries=0
  while [ $state = running ] && [ $tries -lt 200 ]; do
    nap 0.02
    get_value kill
    [ -n "$value" ] || return
    tries=$((tries + 1))
    look
  done
}

launch() {
  set -- "$all" supervise "$setsid" "$d" "$cookie" "$limit" "$print" "$label" "$now" "$max" "$input" "$cwd" \
    "$timer" $$ "$@"
  if [ -n "$setsid" ]; then
    # The first makes a leader of itself, so that the second has to fork. An & would leave SIGINT ignored for ever.
    "$setsid" "$setsid" sh -c 'eval "$1"' luarium "$@" </dev/null
  else
    (trap '' HUP; exec sh -c 'eval "$1"' luarium "$@") </dev/null &
  fi
}

begin() {
  key=$1 cookie=$2 limit=$3 print=$4 label=$5 now=$6 max=$7 wait=$8 size=$9
  shift 9
  cwd=$1 most=$2
  shift 2
  said='' timer='' input=''
  unset LUARIUM_EXEC
  if ! place "$key"; then
    make_base
    d=$b/$key
    cd "$cwd" 2>/dev/null || exit 64
    setsid=$(command -v setsid)
    if [ -n "$size" ]; then
      input=$b/.in.$cookie
      (umask 077 && cat >"$input") || { rm -f "$input"; exit 1; }
      [ $(($(wc -c <"$input"))) = "$size" ] || { rm -f "$input"; exit 63; }
    fi
    if [ "$wait" != 0 ]; then
      c=0$((wait % 100))
      sleep $((wait / 100)).${c#"${c%??}"} </dev/null >/dev/null 2>&1 & timer=$!
    fi
    said=$(launch "$@" 2>&1 >/dev/null)
  fi
  if [ ! -L "$d" ]; then
    [ -z "$timer" ] || kill "$timer" 2>/dev/null
    printf '%s\n' "${said:-the job could not be started}" >&2
    exit 1
  fi
  enter
  look
  was=
  { read -r was; } 2>/dev/null <spec
  if [ -n "$was" ] && [ "$was" != "$print" ]; then
    [ -z "$timer" ] || kill "$timer" 2>/dev/null
    exit 61
  elif [ "$o_cookie" = "$cookie" ]; then
    ours=1
    [ -z "$timer" ] || wait $timer
    look
  else
    [ -z "$timer" ] || kill "$timer" 2>/dev/null
    linger "$wait"
  fi
  report 0 0 "$most" "$most"
}

case $mode in
  supervise) supervise "$@" ;;
  start)
    need mkdir rm ln ls cat wc head tail dd grep sleep
    begin "$@"
    ;;
  read) # key wait out_offset err_offset out_most err_most
    seek "$1"
    linger "$2" "$3" "$4"
    report "${3:-0}" "${4:-0}" "$5" "$6"
    ;;
  status)
    seek "$1"
    look
    tell idle
    ;;
  list)
    for b in "$home_jobs" "$temporary_jobs"; do
      usable "$b" || continue
      for d in "$b"/*; do
        [ ! -L "$d" ] || (enter; look; tell idle)
      done
    done
    exit 0
    ;;
  kill) # key signal
    seek "$1"
    look
    attempt=0
    while [ $attempt -lt 20 ]; do
      hit "$2"
      look
      [ $state = running ] || break
      if [ $hits = 0 ]; then
        request "$2"
      elif [ "$2" = KILL ]; then
        nap 0.02
      fi
      [ "$2" = KILL ] || break
      attempt=$((attempt + 1))
    done
    look
    tell
    ;;
  remove) # key
    place "$1" || exit 60
    if [ -d "$d" ]; then
      enter
      look
      [ $state != running ] || exit 62
      [ $state = finished ] || slay
    fi
    cd "$b" || exit 47
    folder=$(readlink "$d")
    mv "$d" ".gone.$$" || exit 1
    now=$(readlink ".gone.$$")
    rm ".gone.$$"
    if [ "$now" = "$folder" ]; then
      rm -rf "./$folder"
    else
      ln -s -n "$now" "$d" # somebody else removed it and began another one
    fi
    ;;
esac
]==]

--- Without comments and indentation: it travels with every call.
local function compact(text)
  text = ("\n" .. text):gsub("\n[ ]*#[^\n]*", ""):gsub("\n[ ]+", "\n")
  return (text:gsub("^\n", ""))
end

local HEAD = "all=$1 mode=$2 newline='\n'\nshift 2\nunset CDPATH\n"

--- The script itself.
M.text = compact(HEAD .. FACTS .. SIGNALS .. SUPERVISE .. ANSWERS .. MODES)

--- The command line of a mode.
---@param mode "start"|"read"|"status"|"list"|"kill"|"remove"
---@param ... string
---@return string[] argv
function M.argv(mode, ...)
  return { "sh", "-c", 'eval "$1"', "luarium", M.text, mode, ... }
end

return M
