#!/usr/bin/env bash
# An example of the C interface draws, byte for byte, the file that the program writes, and stops on a signal.
# example_test.sh EXAMPLE INTAGLIO SOURCE_DIR
set -euo pipefail
example=$(realpath "${1:?usage: example_test.sh EXAMPLE INTAGLIO SOURCE_DIR}")
intaglio=$(realpath "$2")
source=$(cd "$3" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "failed: $1"
  cat errors 2>/dev/null || true
  exit 1
}

"$example" "$source/models/mini" "a red circle on white" example.png 96 64 2 3 2>errors || fail "the example draws"
"$intaglio" generate --model "$source/models/mini" --prompt "a red circle on white" --size 96x64 --steps 2 --seed 3 \
  --output program.png --quiet >/dev/null
cmp example.png program.png || fail "the example's file is the program's"
grep -q "denoise 2/2" errors || fail "progress is told"
grep -q "seed 3" errors || fail "the seed is told"

"$example" "$source/models/mini" "a red circle on white" random.png 2>errors || fail "the model's defaults"
seed=$(sed -n 's/.*seed \([0-9]*\),.*/\1/p' errors)
"$intaglio" generate --model "$source/models/mini" --prompt "a red circle on white" --seed "$seed" --output again.png --quiet >/dev/null
cmp random.png again.png || fail "the random seed and the model's defaults are the program's"

status=0
"$example" "$source/models/nowhere" cat x.png 2>errors || status=$?
[ "$status" = 1 ] && grep -q "not_found: options.model .*/models/nowhere: no such folder" errors || fail "a missing model is named"
status=0
"$example" "$source/models/mini" cat no/such/folder/x.png 64 64 1 1 2>errors || status=$?
[ "$status" = 1 ] && grep -q "io_error: no/such/folder" errors || fail "a file that cannot be written is named"

# Steps enough to be at work when the signal comes.
"$example" "$source/models/mini" cat stopped.png 128 128 1000 1 2>errors &
pid=$!
for _ in $(seq 600); do
  grep -q "denoise 2/1000" errors && break
  sleep 0.1
done
kill -INT "$pid"
status=0
wait "$pid" || status=$?
[ "$status" = 1 ] && grep -q "^cancelled: " errors || fail "a signal stops it (status $status)"
[ ! -e stopped.png ] || fail "no file of a picture that was stopped"
! grep -q "denoise 1000/1000" errors || fail "it was stopped before its end"
echo "the example draws what the program draws"
