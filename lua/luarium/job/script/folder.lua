--- Finding the folder of a job, and what its records say about its state.
return [==[
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

# Goes into the folder d. A record that is no plain file was put there by the command, and could hold a reader for ever:
# each is looked at before it is opened.
enter() {
  [ -d "$d" ] || exit 65
  cd "$d" 2>/dev/null && [ -r . ] || exit 47
}

exited() {
  mark='' fin=
  [ -f exit ] || return
  { read -r mark code sig until fin; } 2>/dev/null <exit
  [ "$mark$fin" = =. ] || return 1
  state=finished
}

# Whether somebody who is not seen here looks after the job: a supervisor in another pid namespace, or the watcher of
# one that was killed, which ends what that left.
elsewhere() {
  get_value beat
  most=3000
  case $value in
    *:flock)
      if command -v flock >/dev/null 2>&1; then
        [ -f spec ] && flock -n 9 9<spec 2>/dev/null
        case $? in 0) return 1 ;; 1) return 0 ;; esac
      fi
      ;;
    *:-) most=500 ;; # it had only begun
    *) [ "$(readlink /proc/self/ns/pid 2>/dev/null)" != "${value#*:}" ] || return 1 ;;
  esac
  clock
  value=${value%%:*}
  case $value in *[!0-9]*|'') return 1 ;; esac
  [ $((h - value)) -lt $most ]
}

# The state of the job whose folder this is: running, finished or lost. What was read is ours alone to write,
# but a command may have written it all the same: numbers are checked before they are counted with.
look() {
  state=running why=- fin=
  [ ! -f owner ] || { read -r o_pid o_born o_boot o_start o_end o_cookie fin; } 2>/dev/null <owner
  case $fin$o_pid$o_start$o_end in
    .*[!0-9]*) fin= o_pid=0 o_start=0 o_end=0 ;;
  esac
  owned=$fin
  if [ "$owned" != . ]; then
    # A part of the cookie would be that of others, too; all of it is in the name of the folder.
    o_cookie=$(readlink "$d" 2>/dev/null) o_start=''
    o_cookie=${o_cookie##*.job.}
    case ${#o_cookie}$o_cookie in 32*[!0-9a-f]*) o_cookie='' ;; 32*) ;; *) o_cookie='' ;; esac
    state=lost why=damaged
    return
  fi
  exited && return
  boot=-
  { read -r boot; } 2>/dev/null </proc/sys/kernel/random/boot_id
  if [ "$boot" != "$o_boot" ]; then
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
