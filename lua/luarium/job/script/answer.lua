--- What is told of a job: a line about its state, and bytes of its output.
return [==[
# Nothing is opened: what was a file a moment ago may be a pipe now.
sizes() {
  out_size=0 err_size=0
  [ -s out ] || [ -s err ] || return 0
  list=$(LC_ALL=C ls -lndL err out 2>/dev/null)
  set -- ${list%%"$newline"*}
  err_size=$5
  set -- ${list#*"$newline"}
  out_size=$5
  [ -f err ] || err_size=0
  [ -f out ] || out_size=0
  case $err_size$out_size in *[!0-9]*|'') err_size=0 out_size=0 ;; esac
}

froms() {
  get_value from
  [ -n "$value" ] || value=0:0
  out_from=${value%:*} err_from=${value#*:}
  case $out_from$err_from in *[!0-9]*|'') out_from=0 err_from=0 ;; esac
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
      age=$(((h - ${o_start:-0}) / 100)) # a clock that was set makes nobody idle for longer than he has been there
      [ $idle -le $age ] || idle=$age
    fi
  fi
  print='' now='' label=''
  [ ! -f spec ] || { read -r print; read -r now; read -r label; } 2>/dev/null <spec
  printf 'luarium-job key=%s state=%s why=%s' "${PWD##*/}" $state "$why"
  flags
  case " $flags " in *' late '*) printf ' late=1' ;; esac
  case " $flags " in *' full '*) printf ' full=1' ;; esac
  case " $flags " in *' over '*) printf ' over=1' ;; esac
  [ $state != finished ] || printf ' code=%s sig=%s until=%s' "$code" "$sig" "$until"
  [ ! -p .in ] || printf ' tty=1'
  [ -z "$o_start" ] || printf ' start=%s' "$o_start"
  printf ' now=%s at=%s idle=%s ours=%s out=%s err=%s out_from=%s err_from=%s label=%s\n' "$h" "$now" "$idle" \
    "${ours:-0}" "$out_size" "$err_size" "$out_from" "$err_from" "$label"
}
]==]
