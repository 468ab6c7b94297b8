#!/usr/bin/env bash
# Fuzzes each parser with libFuzzer under the sanitizers: fuzz.sh BUILD_DIR SECONDS_EACH. New inputs go to BUILD_DIR/found, crashes stop the run.
set -euo pipefail
build=${1:?usage: fuzz.sh BUILD_DIR SECONDS_EACH}
seconds=${2:-60}
cd "$(dirname "$0")/.."
cmake -G Ninja -S . -B "$build" -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_BUILD_TYPE=RelWithDebInfo -DINTAGLIO_BUILD_FUZZ=ON \
  -DINTAGLIO_BUILD_TESTS=OFF -DINTAGLIO_USE_OPENMP=OFF -DINTAGLIO_SANITIZE=fuzzer-no-link,address,undefined
cmake --build "$build" -j "$(nproc)"
for source in tests/fuzz/fuzz_*.cpp; do
  target=$(basename "$source" .cpp)
  [ -x "$build/bin/$target" ] || { echo "fuzz: $target is left out: this build has no server"; continue; }
  mkdir -p "$build/found/$target"
  dictionary=()
  case "$target" in *json* | *masks*) dictionary=(-dict=tests/fuzz/json.dict) ;; esac
  echo "fuzz: $target, $seconds s"
  "$build/bin/$target" -max_total_time="$seconds" -print_final_stats=1 "${dictionary[@]}" "$build/found/$target" "tests/fuzz/corpus/${target#fuzz_}" 2>&1 | tail -12
done
