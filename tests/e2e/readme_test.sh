#!/usr/bin/env bash
# Pastes every command of README's first ten minutes, in order, into a fresh folder, with the built program in place of build/release.
#   readme_test.sh INTAGLIO_BINARY SOURCE_FOLDER
set -u
intaglio=$(realpath "$1")
source=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset INTAGLIO_MODELS INTAGLIO_CPU_ISA INTAGLIO_TRACE
# What a clone has besides the build.
for name in models tests bench; do ln -s "$source/$name" "$name"; done
mkdir -p build/release/bin && ln -s "$intaglio" build/release/bin/intaglio

awk '/^## The first ten minutes/ {wanted = 1} /^## / && !/first ten minutes/ {wanted = 0} wanted && /^```/ {inside = !inside; next} wanted && inside' \
  "$source/README.md" >commands
[ "$(wc -l <commands)" -ge 6 ] || { echo "FAIL: README's first ten minutes has $(wc -l <commands) commands; expected 6 or more"; exit 1; }

failures=0
while IFS= read -r command <&3; do
  bash -c "$command" >out.txt 2>err.txt </dev/null
  status=$?
  if [ "$status" -ne 0 ]; then
    failures=$((failures + 1))
    echo "FAIL: exit code $status: $command"
    tail -5 err.txt | sed 's/^/    /'
  fi
done 3<commands

# Every file that a command names as its output is there, and every folder holds pictures.
outputs=$(grep -oE -- '--output [^ ]+' commands | cut -d' ' -f2)
[ -n "$outputs" ] || { echo "FAIL: no command of README draws a picture"; failures=$((failures + 1)); }
for output in $outputs; do
  [ -s "$output" ] && { [ ! -d "$output" ] || ls "$output"/*.png >/dev/null 2>&1; } && continue
  failures=$((failures + 1))
  echo "FAIL: $output was not written"
done
echo "README: $(wc -l <commands) commands, $failures failures"
[ "$failures" -eq 0 ]
