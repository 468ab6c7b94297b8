#!/usr/bin/env bash
# Nothing may change by accident: the latents and text features of the bundled model, bit for bit, at each precision and instruction set of this machine, the
# memory it plans, and the dispatch trace of one step. pins_test.sh INTAGLIO SOURCE_DIR [--update]; --update writes what this machine can: say why in the commit.
set -euo pipefail
intaglio=$(realpath "${1:?usage: pins_test.sh INTAGLIO SOURCE_DIR [--update]}")
source=$(cd "$2" && pwd)
update=${3:-}
pins=$source/tests/pins
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset INTAGLIO_CPU_ISA INTAGLIO_TRACE
failed=0

draw() {  # LEVEL PRECISION
  INTAGLIO_CPU_ISA=$1 "$intaglio" generate --model "$source/models/mini" --device cpu --prompt "a red circle on white" --size 96x64 --steps 2 --guidance 4,1 --seed 3 \
    --precision "$2" --latents-out "$work/latents" --features-out "$work/features" --output "$work/picture.png" --quiet >/dev/null
}
# The error of a limit that nothing fits into.
planned() {  # LEVEL PRECISION MODEL SIZE
  INTAGLIO_CPU_ISA=$1 "$intaglio" generate --model "$3" --device cpu --prompt "a red circle on white" --size "$4" --steps 2 --precision "$2" --memory-limit 1M --threads 2 \
    --output "$work/picture.png" --quiet 2>&1 >/dev/null | sed -n 's/.*needs [^(]*(\([0-9]*\) bytes).*/\1/p'
}
# Of the tensor's values; the header holds names and versions.
hash_of() { tail -c +$((9 + $(od -An -tu8 -N8 "$1"))) "$1" | sha256sum | cut -c1-16; }

# The bits of exp and cos are the C library's.
library=$(getconf GNU_LIBC_VERSION || echo unknown)
[ "$update" ] && echo "$library" >"$pins/library.txt"
if [ "$library" != "$(cat "$pins/library.txt")" ]; then
  echo "pinned with $(cat "$pins/library.txt"), here is $library: nothing is compared"
  exit 0
fi
# The vector levels have been seen to give these bits on this processor alone: another is held to the reference level.
processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
[ "$update" ] && echo "$processor" >"$pins/processor.txt"
levels="ref avx2 avx512vnni amx"
if [ "$processor" != "$(cat "$pins/processor.txt")" ]; then
  echo "pinned on $(cat "$pins/processor.txt"), here is $processor: the reference level alone is compared"
  levels=ref
fi
touch "$work/now"
for level in $levels; do
  ran=$(INTAGLIO_CPU_ISA=$level "$intaglio" bench block --heads 1 --head-dim 16 --ffn 16 --tokens 1 --rounds 1 --precision fp32 --json - 2>/dev/null | sed -n 's/.*"isa": "\(.*\)".*/\1/p' || true)
  [ "$ran" = "$level" ] || continue  # this machine has less
  # With AVX-512 but no AVX512-BF16 the products are others.
  if [[ $level =~ avx512|amx ]] && ! grep -qw avx512_bf16 /proc/cpuinfo; then continue; fi
  if [ ! "$update" ] && [ ! -e "$pins/trace_$level.txt" ]; then
    echo "$level: not pinned yet"
    continue
  fi
  for precision in fp32 bf16 int8 int8-dequant; do
    draw "$level" "$precision"
    echo "$level $precision $(hash_of "$work/latents") $(hash_of "$work/features") $(planned "$level" "$precision" "$source/models/mini" 256x256) $(planned "$level" "$precision" synthetic:ideogram4 1024x1536)" >>"$work/now"
  done
  # Files are said by their place in the tree.
  INTAGLIO_TRACE=dispatch draw "$level" int8 2>&1 | sed -n "s|$source/||; /^dispatch /p" >"$work/trace_$level.txt"
  [ "$update" ] && cp "$work/trace_$level.txt" "$pins/"
  if ! diff -u "$pins/trace_$level.txt" "$work/trace_$level.txt"; then failed=$((failed + 1)); fi
done
if [ "$update" ]; then
  { cat "$work/now" "$pins/latents.txt" 2>/dev/null || true; } | sort -s -u -k1,2 >"$work/latents.txt"
  mv "$work/latents.txt" "$pins/latents.txt"
fi
while read -r line; do
  if ! grep -qxF -- "$line" "$pins/latents.txt"; then
    echo "found    $line"
    echo "expected $(grep -- "^${line% * * * *} " "$pins/latents.txt" || echo nothing)"
    failed=$((failed + 1))
  fi
done <"$work/now"
echo "$(wc -l <"$work/now") pictures, $failed differ"
[ -s "$work/now" ] && [ "$failed" -eq 0 ]
