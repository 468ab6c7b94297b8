#!/usr/bin/env bash
# `intaglio map`, `--precision auto` and models of random weights, without a GPU; and the deployment map of docs/ against its results.
#   map_test.sh INTAGLIO_BINARY SOURCE_FOLDER
set -u
intaglio=$(realpath "$1")
source=$(realpath "$2")
work=$(mktemp -d)
. "$(dirname "$(realpath "$0")")/answers.sh"
trap 'rm -rf "$work" "$answers"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME=$work/cache
failures=0
checks=0

check() {  # status, what
  checks=$((checks + 1))
  [ "$1" -eq 0 ] && return
  failures=$((failures + 1))
  echo "FAIL: $2"
  head -5 out.txt err.txt
}
expect() {  # exit code, arguments...
  local code=$1
  shift
  "$intaglio" "$@" >out.txt 2>err.txt </dev/null
  local status=$?
  answered out.txt "$@"
  [ $status -eq "$code" ]
  check $? "$*: exit code $status, expected $code"
}
has() { grep -qF -- "$2" "$1"; check $? "$1 has \"$2\""; }

mkdir docs none
expect 0 map --docs docs --results "$source/bench/results"
for file in deployment-map.md deployment-map.svg cost-tokens.svg cost-steps.svg; do
  cmp docs/$file "$source/docs/$file" >out.txt 2>err.txt
  check $? "docs/$file is what the results say; run: intaglio map --docs docs"
done
expect 1 map --docs docs --results none
has err.txt "no map_*.json"
echo '{"card": "x"}' >none/map_x.json
expect 1 map --docs docs --results none
has err.txt "map_x.json"

expect 0 map --device cpu --layers 1 --size 64x64 --text-tokens 8 --precision int8,fp8 --rounds 1 --json map.json
has out.txt "fp8           left out"
has out.txt "64x64: fastest int8"
has map.json '"precision": "int8"'
expect 2 map --device cpu --size 100x64
has err.txt "multiples of 16"
expect 2 map --precision int3
has err.txt 'int3'

expect 0 generate --device cpu --model synthetic:mini --prompt "a red circle" --size 64x64 --steps 2 --seed 1 --precision auto --output one.png --json
has err.txt "precision int8: the fastest that fits"
has out.txt '"name": "synthetic:mini"'
has out.txt '"precision": "int8"'
expect 0 generate --device cpu --model synthetic:mini --prompt "a red circle" --size 64x64 --steps 2 --seed 1 --output two.png
cmp one.png two.png
check $? "auto makes the picture of the precision that it chose"
expect 1 generate --device cpu --model synthetic:mini --prompt x --precision auto --memory-limit 5M --output no.png
has err.txt "is available"
expect 1 generate --model synthetic:huge --prompt x --output no.png
has err.txt "known are ideogram4, ideogram4-instant, mini"
[ ! -e no.png ]
check $? "nothing is written for what is refused"

expect 0 bench image --device cpu --model synthetic:mini --size 64x64,96x64 --text-tokens 5,20 --steps 1 --count 1 --json image.json
[ "$(grep -c '"planned_bytes"' image.json)" -eq 4 ]
check $? "a result for each size and length"

check_answers || failures=$((failures + 1))
echo "$checks checks, $failures failed"
[ $failures -eq 0 ]
