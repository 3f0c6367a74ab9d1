--- Starting a job, or finding the one that there is.
return [==[
need() {
  for tool do
    command -v "$tool" >/dev/null 2>&1 || { echo "$tool: not found" >&2; exit 127; }
  done
}

make_base() {
  for b in "$home_jobs" "$temporary_jobs"; do
    [ -d "$b" ] || { mkdir -p "${b%/*}" && mkdir -m 700 "$b"; } 2>/dev/null
    usable "$b" && [ -w "$b" ] && return 0
  done
  echo "neither HOME nor TMPDIR can hold a folder for jobs: permission denied" >&2
  exit 47
}

# The program's path, as the command may have another PATH.
find_setsid() {
  setsid=
  command -v setsid >/dev/null 2>&1 || return
  setsid=setsid
  set -f
  IFS=:
  for p in $PATH; do
    case $p in /*) [ ! -x "$p/setsid" ] || { setsid=$p/setsid; break; } ;; esac
  done
  unset IFS
  set +f
}

# Comes back when the job has ended, or the time is over; what it said is why there is none.
launch() {
  set -- "$supervisor" "$setsid" "$d" "$cookie" "$limit" "$print" "$label" "$now" "$max" "$input" "$cwd" "$wait" "$@"
  if [ -z "$setsid" ]; then
    said=$( (trap '' HUP; exec sh -c 'eval "$1"' luarium "$@") </dev/null 2>&1 >/dev/null &)
    return
  fi
  # Where setsid has no -f, the first of two makes a leader of itself, so that the second has to fork. An & would leave
  # SIGINT ignored for ever.
  said=''
  [ ! "$setsid" -ef /bin/busybox ] && said=$("$setsid" -f sh -c 'eval "$1"' luarium "$@" </dev/null 2>&1 >/dev/null) ||
    said=$("$setsid" "$setsid" sh -c 'eval "$1"' luarium "$@" </dev/null 2>&1 >/dev/null)
}

begin() {
  supervisor=$1 key=$2 cookie=$3 limit=$4 print=$5 label=$6 now=$7 max=$8 wait=$9
  shift 9
  size=$1 cwd=$2 most=$3
  shift 3
  said='' input=''
  unset LUARIUM_EXEC
  clock
  from=$h
  if ! place "$key"; then
    make_base
    d=$b/$key
    cd "$cwd" 2>/dev/null || exit 64
    find_setsid
    if [ -n "$size" ]; then
      input=$b/.in.$cookie
      (umask 077 && cat >"$input") || { rm -f "$input"; exit 1; }
      [ $(($(wc -c <"$input"))) = "$size" ] || { rm -f "$input"; exit 63; }
      clock
      from=$h
    fi
    launch "$@"
  fi
  if [ ! -L "$d" ]; then
    printf '%s\n' "${said:-the job could not be started}" >&2
    exit 1
  fi
  enter
  look
  was=
  [ ! -f spec ] || { read -r was; } 2>/dev/null <spec
  [ -z "$was" ] || [ "$was" = "$print" ] || exit 61
  [ "$o_cookie" != "$cookie" ] || ours=1
  clock
  linger $((wait - (h - from)))
  report 0 0 "$most" "$most"
}

need mkdir rm ln ls cat wc head tail dd grep sleep ${LUARIUM_JOB_TERMINAL:+script stty tty mkfifo}
begin "$@"
]==]
