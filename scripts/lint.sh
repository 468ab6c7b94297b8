#!/usr/bin/env bash
# Formatting of every source, clang-tidy of the sources that read untrusted bytes or hold them all together, shell scripts, and the house's own rules.
set -euo pipefail
build=${1:?usage: lint.sh BUILD_DIR}
cd "$(dirname "$0")/.."

echo "lint: formatting"
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format-14 --dry-run -Werror

echo "lint: file length"
long=$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs wc -l | awk '$2 != "total" && $1 > 510 {print $2 " has " $1 " lines; split files before 500"}')
[ -z "$long" ] || { echo "$long"; exit 1; }

# Drawings and tables, told by runs of spaces inside, and texts in quotes may be longer.
echo "lint: comments of at most 100 columns"
wide=$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs awk 'length($0) > 100 && /\/\// && !/[^ ]  +[^ ]/ && !/"/ {print FILENAME ":" FNR ": " $0}')
[ -z "$wide" ] || { echo "$wide"; exit 1; }

# Paths through functions (clang-analyzer) take three times as long as all other checks: `make analyze`.
echo "lint: clang-tidy"
scripts/tidy.py "$build" '-clang-analyzer*'

echo "lint: floors"
scripts/check_floors.py

echo "lint: includes of the benchmarks, which no test builds"
missing=$(git grep -n '^#include "' -- 'bench/*.h' 'bench/*.cpp' 'bench/*.cu' 'bench/*.cuh' | sed -E 's/^([^:]*):([0-9]+):#include "([^"]*)".*/\1 \2 \3/' |
  while read -r file line included; do
    found=
    for folder in "${file%/*}" src include .; do [ ! -e "$folder/$included" ] || found=yes; done
    [ "$found" ] || echo "$file:$line: there is no $included"
  done)
[ -z "$missing" ] || { echo "$missing"; exit 1; }

echo "lint: tables"
scripts/make_tables.py --check

echo "lint: pages"
scripts/check_pages.py

echo "lint: the page was built from its sources"
scripts/check_web_dist.sh

echo "lint: planted faults"
scripts/mutants.py --check

echo "lint: shell scripts parse"
git ls-files '*.sh' .ci/run | xargs -n 1 bash -n
echo "lint: clean"
