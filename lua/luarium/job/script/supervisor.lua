--- What stays beside a job while it runs. The supervisor makes the folder ready, then the link: that is what one of
--- several succeeds in, and only then anything runs. It is the command's parent, and records how it ended. The watcher
--- holds the time limit, serves kills that others ask for, bounds the output, and ends what a killed supervisor leaves:
--- it keeps the lock until it has.
---
--- The command writes to pipes, of which a cat each appends to a file: whoever opens /dev/stderr to write would empty a
--- file that stood there. Descriptors: 3 and 4 read the pipes, 5 and 6 write; 7 is what the start waits for, 8 the
--- command's input, 9 the lock.
local TAPS = [==[
pipes() {
  tapped=1
  exec 3<<END_OF_OUT 4<<END_OF_ERR
.
END_OF_OUT
.
END_OF_ERR
  if [ -p /proc/self/fd/3 ] && [ -p /proc/self/fd/4 ] && { :; } 2>/dev/null 5>/proc/self/fd/3 6>/proc/self/fd/4; then
    read -r rest <&3
    read -r rest <&4
    exec 5>/proc/self/fd/3 6>/proc/self/fd/4
  elif mkfifo -m 600 .out .err 2>/dev/null; then
    exec 5<>.out 6<>.err 3<.out 4<.err
  else
    tapped='' # a file then
    exec 5>>out 6>>err
  fi
}

# Begins to append a stream to its file.
tap() {
  case $1 in
    out) cat <&3 3<&- 4<&- 5>&- 6>&- 7>&- 8<&- 9>&- 2>/dev/null >>out & ;;
    err) cat <&4 3<&- 4<&- 5>&- 6>&- 7>&- 8<&- 9>&- 2>/dev/null >>err & ;;
  esac
  tap=$! born=-
  born "$tap"
  tap_born=$born
}

# The same, again and again after one has broken, on a full disk for example: what that had in its hands is lost. Where
# there is no file any more, the job is still not to stand still.
keep_tap() {
  exec 7>&- 9>&-
  flag full
  while [ -f $1 ] && { :; } >>$1; do
    tap $1
    set_value $1.tap "$tap:$tap_born"
    if wait "$tap"; then
      set_value $1.tap -
      exit
    fi
    flag full
    nap 0.02
  done
  set_value $1.tap -
  case $1 in
    out) exec cat <&3 3<&- 4<&- >/dev/null ;;
    err) exec cat <&4 3<&- 4<&- >/dev/null ;;
  esac
}

open_taps() {
  [ -n "$tapped" ] || return
  tap out
  out_tap=$tap out_born=$tap_born
  tap err
  err_tap=$tap err_born=$tap_born
}

flows() { born "$1" && [ "$born" = "$2" ]; }

mend_taps() {
  [ -n "$tapped" ] || return
  for name in out err; do
    eval "tap=\$${name}_tap tap_born=\$${name}_born"
    [ -n "$tap" ] && ! flows "$tap" "$tap_born" || continue
    flags
    case $flags in *closing*) return ;; esac
    eval "${name}_tap="
    claim $name watcher && keep_tap $name &
  done
}

# Of two who read one pipe, one could still hold a part of it when the other is through: who says so first takes the
# place of a cat that broke, for good.
claim() {
  flag "$1:$2"
  flags
  flags=" $flags"
  flags=${flags#*" $1:"}
  [ "${flags%% *}" = "$2" ]
}

# Waits until a cat has ended, or sleeps: then nothing is left in its pipe, which somebody else holds open.
drain() {
  calm=0 rounds=0
  while flows "$1" "$2" && [ $calm -lt 2 ] && [ $rounds -lt 500 ]; do
    [ "$alive" = S ] && calm=$((calm + 1)) || calm=0
    rounds=$((rounds + 1))
    [ $rounds -lt 50 ] || nap 0.02
  done
}

close_taps() {
  flag closing
  exec 5>&- 6>&-
  [ -n "$tapped" ] || return
  for name in out err; do
    eval "tap=\$${name}_tap tap_born=\$${name}_born"
    drain "$tap" "$tap_born"
    flows "$tap" "$tap_born" && continue
    wait "$tap" && continue
    flag full
    if claim $name closer; then
      tap $name
      drain "$tap" "$tap_born"
    else
      drain_kept $name
    fi
  done 2>/dev/null
}

# The same with the cats that the watcher sees to, one after another.
drain_kept() {
  turns=0
  while [ $turns -lt 250 ]; do
    get_value $1.tap
    case $value in
      -) return ;;
      ?*)
        drain "${value%:*}" "${value#*:}"
        flows "${value%:*}" "${value#*:}" && return
        ;;
    esac
    turns=$((turns + 1))
    nap 0.02
  done
}
]==]

local WATCHER = [==[
# Gives up the oldest output of a stream that is too long; a job whose output cannot be shortened is ended.
trim() {
  [ -f "$1" ] || return 0
  size=$(wc -c <"$1")
  eval "from=\$$1_from"
  [ $((size - from)) -gt "$max" ] || return 0
  to=$(((size - max / 2) / 4096 * 4096))
  eval "$1_from=\$to"
  set_value from "$out_from:$err_from"
  fallocate -p -o "$from" -l $((to - from)) "$1" 2>/dev/null && return
  eval "$1_from=\$from"
  set_value from "$out_from:$err_from"
  flag over
  slay
}

room() {
  [ -f probe ] || [ ! -e probe ] || return
  printf '%4095s\n' '' 2>/dev/null >probe || flag full
  : >probe
}

watch() {
  stop='' z='' out_from=0 err_from=0
  trap 'stop=1; exec 7>&-; [ -z "$z" ] || kill $z 2>/dev/null' TERM
  if command -v flock >/dev/null 2>&1 && flock -n 9 2>/dev/null; then
    lock=flock
  else
    lock=$(readlink /proc/self/ns/pid 2>/dev/null) || lock=-
  fi
  step=10
  while [ -z "$stop" ]; do
    clock
    set_value beat "$h:$lock"
    n=$step
    if [ "$o_end" -gt 0 ]; then
      if [ "$h" -ge "$o_end" ]; then
        flag late
        slay
        o_end=0
      elif [ $((o_end - h)) -lt $n ]; then
        n=$((o_end - h))
      fi
    fi
    if [ "$wait_end" -le "$h" ]; then
      exec 7>&-
    elif [ $((wait_end - h)) -lt $n ]; then
      n=$((wait_end - h))
    fi
    c=0$((n % 100))
    sleep $((n / 100)).${c#"${c%??}"} 3<&- 4<&- 7>&- 9>&- & z=$!
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
    mend_taps
    if [ $step -ge 50 ]; then
      room
      [ "$max" = 0 ] || { trim out; trim err; }
    fi
    [ $step -lt 200 ] && step=$((step + step / 4 + 5))
    if ! flows "$o_pid" "$o_born"; then
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
]==]

local SUPERVISOR = [==[
# Which process this is, and when it began.
itself() {
  { read -r own_pid line; } </proc/self/stat
  set -- ${line##*) }
  born=${20}
}

supervise() {
  setsid=$1 link=$2 cookie=$3 limit=$4 print=$5 label=$6 now=$7 max=$8 input=$9
  shift 9
  cwd=$1 wait=$2
  shift 2
  d=${link%/*}/.job.$cookie
  mkdir -m 700 "$d" && cd "$d" || undo
  # Bash tells of signals only when it is not posix.
  [ -z "${BASH_VERSION-}" ] || set +o posix
  {
    for f in exit note kill beat leader from; do
      put $f '' || break
    done &&
    printf '' >out && printf '' >err && printf ' ' >flags &&
    printf '%s\n%s\n%s\n' "$print" "$now" "$label" >spec
  } 2>/dev/null || undo
  exec 9>>spec # which the watcher locks for both
  boot=-
  { read -r boot; } 2>/dev/null </proc/sys/kernel/random/boot_id
  itself
  clock
  o_pid=$own_pid o_born=$born o_cookie=$cookie o_start=$h o_end=0 wait_end=$((h + wait))
  [ "$limit" = 0 ] || o_end=$((h + limit))
  if [ -n "${LUARIUM_JOB_TERMINAL-}" ]; then
    mkfifo -m 600 .in .size || undo
    exec 8<>.in
  elif [ -n "$input" ]; then
    exec 8<"$input"
    rm -f "$input"
  else
    exec 8</dev/null
  fi
  set_value beat "$h:-"
  put owner "$o_pid $o_born $boot $h $o_end $cookie ." 2>/dev/null || undo
  ln -s -n ".job.$cookie" "$link" 2>/dev/null
  [ "$link/." -ef "$d/." ] || undo
  pipes
  exec 7>&2 2<>note
  [ "$wait" != 0 ] || exec 7>&-
  open_taps
  (exec 5>&- 6>&- 8<&-; watch) 2>/dev/null & w=$!
  exec 7>&-
  (
    exec 3<&- 4<&- 9>&-
    cd "$cwd" 2>&6 || exit 127
    itself
    put "$d/leader" "= $own_pid $born ."
    for n in PATH HOME TMPDIR; do
      eval "v=\${LUARIUM_JOB_$n+x}"
      [ -z "$v" ] || eval "$n=\$LUARIUM_JOB_$n; export $n; unset LUARIUM_JOB_$n"
    done
    LUARIUM_JOB=$cookie
    export LUARIUM_JOB
    [ -z "${LUARIUM_JOB_TERMINAL-}" ] || { LUARIUM_JOB_FOLDER=$d; export LUARIUM_JOB_FOLDER; }
    case $1 in -*) set -- env -- "$@" ;; esac
    [ -z "$setsid" ] || set -- "$setsid" "$@"
    exec "$@" <&8 8<&- >&5 2>&6 5>&- 6>&-
  )
  code=$?
  exec 8<&-
  # Shells say nothing about SIGINT and SIGPIPE, and bash nothing about SIGTERM.
  note='' sig=0
  [ ! -f note ] || { read -r note rest; } <note
  case "${LUARIUM_JOB_TERMINAL:+terminal }$code $note" in
    terminal*' ') ;; # the code is what a shell told of the command
    130*|141*) sig=1 ;;
    143*) [ -z "$note${BASH_VERSION-}" ] || sig=1 ;;
    *' ') ;;
    *) sig=1 ;;
  esac
  close_taps
  room
  get_value kill
  flags
  clock
  case " $flags $value" in
    *' late '*|*' over '*|*[A-Z]*) dismiss ;;
  esac
  [ "$max" = 0 ] || dismiss # or it would give up output of which the end was told already
  put exit "= $code $sig $h ."
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

supervise "$@"
]==]

return TAPS .. WATCHER .. SUPERVISOR
