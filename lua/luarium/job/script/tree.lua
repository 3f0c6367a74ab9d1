--- Signals for all that a job started. A process belongs to the job when it carries the cookie in its environment, is
--- in the session that the command leads, or descends from one that does. One that left all three is not found.
return [==[
# Some builds of busybox's grep do not know -z; those take the end of a string for the end of a line.
carriers() {
  found=''
  [ -n "$o_cookie" ] || return # it would be found in every job of the machine
  found=$(grep -lszxF -e "LUARIUM_JOB=$o_cookie" /proc/[0-9]*/environ 2>/dev/null)
  [ -n "$found" ] || found=$(grep -lsF -e "LUARIUM_JOB=$o_cookie" /proc/[0-9]*/environ 2>/dev/null)
}

members() {
  tree=' ' mark='' led=
  carriers
  for f in $found; do
    f=${f#/proc/}
    tree="$tree${f%/environ} "
  done
  [ ! -f leader ] || { read -r mark l_pid l_born fin; } 2>/dev/null <leader
  if [ "$mark$fin" = =. ] && born "$l_pid" && [ "$born" = "$l_born" ]; then
    case $tree in *" $l_pid "*) ;; *) tree="$tree$l_pid " ;; esac
    set -- $line
    [ "$4" = "$l_pid" ] && led=$l_pid
  fi
  [ "$tree" = ' ' ] && return
  more=1
  while [ -n "$more" ]; do
    more=
    for f in /proc/[0-9]*; do
      case $tree in *" ${f#/proc/} "*) continue ;; esac
      stat "${f#/proc/}" || continue
      set -- $line
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
