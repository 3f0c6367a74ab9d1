#!/bin/sh
# The main job on a sample repository: three sandboxes, a clone each, an agent, the tests, the results. Needs no key:
# the "agent" is a line of shell. Arguments go to `luarium run`, for instance --provider bubblewrap.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
demo=$root/build/demo
rm -rf "$demo"
mkdir -p "$demo"
export LUARIUM_STATE_DIR="$demo/state" LUARIUM_CACHE_DIR="$demo/cache"
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@localhost \
  GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@localhost

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$*"; }

sample() {
  git init -q -b main "$demo/sample"
  cd "$demo/sample"
  printf '#!/bin/sh\n# Adds two numbers.\necho $(($1 - $2))\n' >add.sh
  printf '#!/bin/sh\n[ "$(sh add.sh 2 3)" = 5 ] || { echo "add.sh 2 3 is not 5" >&2; exit 1; }\necho "all good"\n' >tests.sh
  printf '# Sample\n\nTeh smallest calculator.\n' >README.md
  git add .
  git commit -qm "A calculator with a mistake"
  cd "$root"
}

say "A sample repository with a mistake: build/demo/sample"
sample
git -C "$demo/sample" log --oneline

say "Three sandboxes, one agent each"
agent='read -r prompt
echo "thinking about: $prompt"; sleep 1
sed -i "s/\$1 - \$2/\$1 + \$2/" add.sh
echo "add.sh mended"; sleep 1
case $prompt in
  *spelling*) sed -i s/Teh/The/ README.md; echo "README.md mended" ;;
  *licence*) echo "Public domain." >LICENCE; echo "LICENCE written" ;;
esac'
"$root/build/luarium" run "$@" "$root/scripts/fan_out.lua" repo="file://$demo/sample" agent="$agent" tests='sh tests.sh' \
  prompt='make the sum right' prompt='make the sum right and mend the spelling' prompt='add a licence' \
  concurrency=3 --out "$demo/results"

say "What the second agent changed: build/demo/results"
cat "$demo"/results/02-*/diff.patch

say "What is left behind"
"$root/build/luarium" ls
