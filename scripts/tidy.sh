#!/usr/bin/env bash
# clang-tidy of the sources that read untrusted bytes or hold them all together; fails on any finding. CHECKS as clang-tidy takes them, behind those of .clang-tidy.
set -euo pipefail
build=${1:?usage: tidy.sh BUILD_DIR CHECKS}
checks=${2:?usage: tidy.sh BUILD_DIR CHECKS}
cd "$(dirname "$0")/.."
git ls-files 'src/core/*.cpp' ':!src/core/cuda' 'src/io/*.cpp' 'src/text/*.cpp' 'src/models/*.cpp' 'src/pipeline/*.cpp' 'src/advice/*.cpp' 'src/verify/*.cpp' |
  xargs -P "$(nproc)" -n 4 clang-tidy-14 -p "$build" --checks="$checks" --quiet --warnings-as-errors='*' 2>&1 |
  { grep -v -E '^[0-9]+ warnings? generated|^Suppressed|^Use -' || true; } | tee "$build/tidy.log"
! grep -q -E 'error:|warning:' "$build/tidy.log"
