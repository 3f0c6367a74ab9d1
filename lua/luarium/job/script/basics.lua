--- Records, the clock, processes: what the supervisor of a job and those who ask about it share.
---
--- Records are lines with room behind them, made with their final size before anything runs and overwritten in
--- place: a full disk cannot keep the end of a job from being recorded. Shells read them with a system call for each
--- byte. Times are hundredths of a second since the machine started.
return [==[
put() { printf '%-128s' "$2$newline" 1<>"$1"; }

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

# Words that are only added, each once: there is room for them in the block that the first byte takes.
flags() {
  flags=
  [ ! -f flags ] || { read -r flags; } 2>/dev/null <flags
}

flag() {
  flags
  case " $flags " in *" $1 "*) ;; *) [ ! -f flags ] || printf '%s ' "$1" >>flags ;; esac
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

# What /proc says about a process after its name, as line. A name may hold anything, also the end of a line.
stat() {
  line=
  { while read -r rest; do line="$line $rest"; done; } 2>/dev/null <"/proc/$1/stat"
  line=${line##*) }
  [ -n "$line" ]
}

# When a process began, as born, and its state, as alive; fails when it does not run.
born() {
  alive=
  stat "$1" || return 1
  set -- $line
  alive=$1 born=${20}
  case $1 in Z|X) return 1 ;; esac
}
]==]
