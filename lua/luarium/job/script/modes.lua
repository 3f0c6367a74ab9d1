--- What else is asked of a job: each text goes behind the functions that it uses.
local M = {}

local SEEK = [==[
seek() {
  place "$1" || exit 60
  enter
}
]==]

M.read = SEEK .. [==[
# key wait out_offset err_offset out_most err_most
seek "$1"
linger "$2" "$3" "$4"
report "${3:-0}" "${4:-0}" "$5" "$6"
]==]

M.status = SEEK .. [==[
seek "$1"
look
tell idle
]==]

M.list = [==[
for b in "$home_jobs" "$temporary_jobs"; do
  usable "$b" || continue
  for d in "$b"/*; do
    [ ! -L "$d" ] || (enter; look; tell idle)
  done
done
exit 0
]==]

M.kill = SEEK .. [==[
# Asks the watcher to send a signal to processes that are not seen from here, and waits until it has.
request() {
  set_value kill "$1"
  while [ $state = running ] && [ "$h" -lt "$deadline" ]; do
    nap 0.02
    get_value kill
    [ -n "$value" ] || return
    clock
    look
  done
}

# key signal
seek "$1"
look
clock
deadline=$((h + 3000))
while [ "$h" -lt "$deadline" ]; do
  hit "$2"
  look
  [ $state = running ] || break
  if [ $hits = 0 ]; then
    request "$2"
  elif [ "$2" = KILL ]; then
    nap 0.02
  fi
  [ "$2" = KILL ] || break
  kill -s CONT -- "-$o_pid" "$o_pid" 2>/dev/null # a job may have stopped those that look after it
  clock
done
look
tell
]==]

M.remove = [==[
# key
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
]==]

return M
