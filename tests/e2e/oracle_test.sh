#!/usr/bin/env bash
# The engine against its own float32 oracle on models of other shapes (scripts/make_oracle_cases.py), at every precision of a CPU: oracle_test.sh INTAGLIO SOURCE_DIR [DEVICE PRECISION...]
set -euo pipefail
intaglio=$(realpath "${1:?usage: oracle_test.sh INTAGLIO SOURCE_DIR [DEVICE PRECISION...]}")
source=$(cd "$2" && pwd)
device=${3:-cpu}
shift $(($# < 3 ? $# : 3))
[ $# -gt 0 ] || set -- fp32 bf16 int8 int8-dequant
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$source/scripts/make_oracle_cases.py" "$work/models"
models=$(ls "$work/models")
[ -n "$models" ]
failed=0
for precision in "$@"; do
  for model in $models; do
    if "$intaglio" verify "$work/models/$model" --device "$device" --precision "$precision" >"$work/out.txt" 2>&1; then
      echo "ok      $precision $model: $(tail -n 1 "$work/out.txt")"
    else
      echo "FAILED  $precision $model"
      grep -v '^pass' "$work/out.txt" || true
      failed=$((failed + 1))
    fi
  done
done
# What it says depends on the weights: a model whose weights are another's does not pass.
cp -r "$work/models/deeper_conditional" "$work/mixed"
cp "$work/models/shifted_and_sharded/text_encoder/model.safetensors" "$work/mixed/text_encoder/"
if "$intaglio" verify "$work/mixed" --device "$device" --precision fp32 >"$work/out.txt" 2>&1; then
  echo "FAILED  another model's text encoder passed"
  failed=$((failed + 1))
fi
echo "$failed failed"
[ "$failed" -eq 0 ]
