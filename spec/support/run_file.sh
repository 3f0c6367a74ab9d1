#!/bin/sh
# Runs one spec file in a process of its own, for `./dev test`: prints what it says whole when it ends, and leaves its
# counts in FOLDER. $1 FOLDER, $2 interpreter and its arguments, $3 the spec file.
folder=$1 interpreter=$2 file=$3
limit=1800 # seconds; far more than any file takes: one that hangs must not hang the others
result=$folder/$(printf %s "$file" | tr / .)

LUARIUM_TEST_COUNT=$result.count timeout --foreground -k 10 $limit \
  $interpreter /usr/bin/busted -o spec/support/report.lua "$file" >"$result.log" 2>&1
status=$?
if ! [ -s "$result.count" ]; then
  why="status $status"
  [ $status != 124 ] || why="still running after $limit s"
  printf '%-46s BROKE OFF (%s)\n' "$file" "$why" >>"$result.log"
  echo "0 1 0" >"$result.count"
fi
exec flock "$folder" cat "$result.log"
