#!/usr/bin/env bash
# `intaglio tune` without a GPU: files in, files out, and clear words where there is nothing to tune.
#   tune_test.sh INTAGLIO_BINARY SOURCE_FOLDER
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
expect() {  # exit code, text in stdout or stderr, arguments...
  local code=$1 text=$2
  shift 2
  "$intaglio" tune "$@" >out.txt 2>err.txt </dev/null
  local status=$?
  answered out.txt tune "$@"
  [ "$status" -eq "$code" ]
  check $? "tune $*: exit code $status, expected $code"
  grep -qF -- "$text" out.txt err.txt
  check $? "tune $* says \"$text\""
}

table() {  # card, config of its only entry
  printf '{"format": "intaglio-s8-gemm-tuning", "version": 1, "card": "%s", "compute_capability": 86, "driver_version": 12040, ' "$1"
  printf '"kernel_version": 1, "entries": [{"m": 4608, "n": 64, "k": 64, "fusion": "none", "out": "bf16", "family": "sm80_s8_gemm", '
  printf '"config": "%s", "band": 6, "split_k": 1, "median_ms": 0.5}]}' "$2"
}

# No such GPU, whether or not this build has CUDA.
for model in ideogram4 flux2 z-image flux2-klein-4b flux2-klein-9b krea2-raw qwen-image "$source/models/mini"; do
  expect 1 "cuda:99" --model "$model" --device cuda:99
done
for shapes in ideogram4 flux2 z-image flux2-klein-4b flux2-klein-9b krea2-raw qwen-image; do
  expect 1 "cuda:99" --shapes "$source/bench/shapes/$shapes.txt" --device cuda:99
done
expect 1 '"code"' --model flux2 --device cuda:99 --json

# Wrong usage is found before any device is asked.
expect 2 "nothing to do"
expect 2 "--device" --model flux2 --device gpu
expect 2 "--text-tokens" --model flux2 --text-tokens 20-10
expect 2 "--size" --model flux2 --size 100x100
expect 1 "no such folder" --model nowhere
echo "a 1 2" >bad.txt
expect 2 "bad.txt:1" --shapes bad.txt
echo "1024 100 64 swiglu" >bad.txt
expect 2 "multiple of 32" --shapes bad.txt
echo "1024 64 64 swiglu f16 # fine" >good.txt
expect 1 "cuda:99" --shapes good.txt --device cuda:99

# Tables.
far=(--device cuda:99)
expect 0 "no tuning results" --list "${far[@]}"
expect 1 "no tuning results" --export out.json "${far[@]}"
table "Card A" sm80_64x64x128_4 >a.json
table "Card B" sm80_64x128x64_4 >b.json
expect 0 "imported 1 results of Card A" --import a.json "${far[@]}"
expect 0 "exported 1 results" --export a2.json "${far[@]}"
expect 0 '"results": 1' --import b.json --json "${far[@]}"
expect 2 "choose with --card" --export both.json "${far[@]}"
expect 0 "Card B" --export b2.json --card B "${far[@]}"
expect 0 "sm80_64x128x64_4" --list --card "Card B" "${far[@]}"
expect 0 '"tables"' --list --json "${far[@]}"
grep -q sm80_64x64x128_4 a2.json && grep -q sm80_64x128x64_4 b2.json
check $? "exports hold what was imported"
table "Card A" "" >bad.json
expect 1 "config" --import bad.json "${far[@]}"
sed 's/"kernel_version": 1/"kernel_version": 999/' a.json >future.json
expect 1 "kernel_version" --import future.json "${far[@]}"
expect 1 "cannot read" --import missing.json "${far[@]}"
echo "junk" >"$(ls "$XDG_CACHE_HOME"/intaglio/tuning/card_a*.json)"
expect 0 "warning: ignored" --list "${far[@]}"
expect 0 "moved to" --import a.json "${far[@]}"

# Step masks: found, kept, drawn with.
tiny=$source/tests/reference/data/tiny
masks=(--model "$tiny" --steps 6 --size 32x32 --precision fp32 --device cpu --pictures 1 --evaluations 8)
expect 2 "expected shares of the passes between 0 and 1" "${masks[@]}" --steps-budget 1.5
expect 2 "expected at least 4 of them" "${masks[@]}" --steps-budget 0.1 --out m.json
expect 2 "has no folder, expected --out" --model synthetic:ideogram4 --steps-budget 0.5
expect 0 "share-0.5: 50 % of the passes" "${masks[@]}" --steps-budget 0.5 --out m.json
expect 0 '"spread_error"' "${masks[@]}" --steps-budget 0.5,0.4 --out m.json --json
[ "$(grep -c '"name": "share-' m.json)" -eq 2 ]
check $? "masks of the same name take the place of those before"
draw=("$intaglio" generate --model "$tiny" --prompt cat --size 32x32 --steps 6 --seed 1 --precision fp32)
"${draw[@]}" --cache m.json:share-0.5 --output a.png --json >out.txt 2>err.txt && grep -q '"mask": "share-0.5"' out.txt && grep -aq 'Cache: "share-0.5"' a.png
check $? "a picture by a mask of a file says so"
"${draw[@]}" --cache m.json:none --output b.png >out.txt 2>err.txt
[ $? -eq 2 ] && grep -q "m.json has no mask none for 6 steps" err.txt && [ ! -e b.png ]
check $? "a mask that is not there is refused before work"

check_answers || failures=$((failures + 1))
echo "$checks checks, $failures failures"
[ "$failures" -eq 0 ]
