--- Waiting for output or the end of a job, and reading its output.
return [==[
# Waits so many hundredths for the end, or for output after these offsets; what comes in small pieces is gathered.
linger() {
  clock
  begun=$h pause=3
  while :; do
    look
    [ $state = running ] || return
    if [ -n "$2" ]; then
      sizes
      if [ "$out_size" -gt "$2" ] || [ "$err_size" -gt "$3" ]; then
        [ $((out_size - $2)) -ge 65536 ] || [ $((err_size - $3)) -ge 65536 ] || { nap 0.02; look; }
        return
      fi
    fi
    clock
    if [ "$o_end" -gt 0 ] 2>/dev/null && [ "$h" -gt $((o_end + 500)) ]; then
      flag late
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
  elif [ $(($2 % 65536)) != 0 ]; then
    dd if="$1" bs=65536 skip=$(($2 / 65536)) count=$(($3 / 65536 + 2)) 2>/dev/null |
      tail -c "+$(($2 % 65536 + 1))" | head -c "$3"
  elif [ $(($3 % 65536)) != 0 ]; then
    dd if="$1" bs=65536 skip=$(($2 / 65536)) count=$(($3 / 65536 + 1)) 2>/dev/null | head -c "$3"
  else
    dd if="$1" bs=65536 skip=$(($2 / 65536)) count=$(($3 / 65536)) 2>/dev/null
  fi
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
