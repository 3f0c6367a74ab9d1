--- Jobs that have a terminal. `script`, which util-linux and busybox have, holds it: what it reads are the keys, what
--- it writes is the output. In the folder of such a job are also
---   .in     a FIFO, the keys: standard input of the job, which the supervisor holds open so that it never ends
---   .size   a FIFO, of lines that tell a size; "redraw" behind one asks for a change although it may be that already
---   .tty    the terminal's name; .code: how the command ended
local M = {}

--- The job's command: a text for the shell comes as its argument, and runs on the terminal.
M.holder = [==[
folder=$LUARIUM_JOB_FOLDER
LUARIUM_JOB_RUN=$1
export LUARIUM_JOB_RUN
nap() { sleep "$1" 2>/dev/null || sleep 1; }

# Sets the sizes that come. Only here the name of the terminal is sure to mean that one.
keep_size() {
  while read -r cols rows redraw; do
    case $cols$rows in *[!0-9]*|'') continue ;; esac
    { read -r tty; } 2>/dev/null <"$folder/.tty" || continue
    if [ -n "$redraw" ] && [ "$rows" -gt 1 ] && [ "$(stty size <"$tty")" = "$rows $cols" ]; then
      stty cols "$cols" rows $((rows - 1)) <"$tty"
      nap 0.05
    fi
    stty cols "$cols" rows "$rows" <"$tty"
  done
}

(unset LUARIUM_JOB_RUN; keep_size) <>"$folder/.size" >/dev/null 2>&1 &
keeper=$!
case $newline$(env) in # bash has a SHELL of its own in any case
  *"${newline}SHELL="*)
    LUARIUM_JOB_SHELL=$SHELL
    export LUARIUM_JOB_SHELL
    ;;
esac
SHELL=/bin/sh script -q -f -c 'eval "$LUARIUM_JOB_RUN"' /dev/null
kill $keeper
code=
{ read -r code; } 2>/dev/null <"$folder/.code"
exit ${code:-129}
]==]

--- What goes before the command on the terminal, and after it. The shell that waits for it outlives Ctrl-C.
M.before = [==[
trap : INT QUIT
set -- "$LUARIUM_JOB_FOLDER" $LUARIUM_JOB_TERMINAL
stty sane iutf8 cols "$2" rows "$3" 2>/dev/null || stty sane cols "$2" rows "$3"
tty >"$1/.tty"
unset LUARIUM_JOB_RUN LUARIUM_JOB_FOLDER LUARIUM_JOB_TERMINAL
if [ -n "${LUARIUM_JOB_SHELL+x}" ]; then
  SHELL=$LUARIUM_JOB_SHELL
  export SHELL
  unset LUARIUM_JOB_SHELL
else
  unset SHELL
fi
]==]

M.after = '\necho $? >"$1/.code"\n'

local SEEK = [==[
seek() {
  place "$1" || exit 60
  enter
  [ -p .in ] && [ -p .size ] || exit 66
}
]==]

--- Opening a FIFO waits for nobody, and writing to it fails when nobody reads.
local OPEN = [==[
open_keys() {
  exec 4<>.in 3>.in 4<&-
}
]==]

--- Passes on what is written until this is ended, and keys until there are no more.
M.connect = SEEK .. OPEN .. [==[
follow() {
  case $(tail --version 2>/dev/null) in *GNU*) exec tail -c "+$(($1 + 1))" -s 0.1 -f out 2>/dev/null ;; esac
  exec 5<out
  [ "$1" = 0 ] || dd bs=1 skip="$1" count=0 <&5 >/dev/null 2>&1
  at=$1 pause=2
  while cat <&5; do
    was=$at
    { read -r name at; } </proc/self/fdinfo/5
    [ "$at" = "$was" ] || pause=1
    [ $pause -ge 10 ] || pause=$((pause + 1))
    c=0$pause
    nap 0.${c#"${c%??}"}
  done
}

# key offset
seek "$1"
open_keys
(exec 3>&-; follow "$2") &
follower=$!
cat >&3 2>/dev/null || cat >/dev/null # when the job has ended, what it said last may still be on the way
kill $follower 2>/dev/null
]==]

M.write = SEEK .. OPEN .. [==[
# key
seek "$1"
look
[ $state = running ] || exit 67
open_keys
trap '' PIPE
cat >&3 2>/dev/null || exit 67
]==]

M.resize = SEEK .. [==[
# key cols rows redraw
seek "$1"
look
tries=0
while [ $state = running ] && [ ! -s .tty ] && [ $tries -lt 250 ]; do
  tries=$((tries + 1))
  nap 0.02
  look
done
[ $state != running ] || echo "$2 $3 $4" 1<>.size
tell
]==]

return M
