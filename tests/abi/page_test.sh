#!/usr/bin/env bash
# The program on the page about embedding is one: page_test.sh CC LIBRARY SOURCE_DIR
set -euo pipefail
compiler=${1:?usage: page_test.sh CC LIBRARY SOURCE_DIR}
library=$(realpath "${2:?}")
source=$(cd "${3:?}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
sed -n '/^```c$/,/^```$/p' "$source/docs/embedding.md" | grep -v '^```' >page.c
[ "$(grep -c 'int main' page.c)" = 1 ] || { echo "docs/embedding.md holds no program, or several"; exit 1; }
"$compiler" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$source/include" page.c "$library" -Wl,-rpath,"$(dirname "$library")" -o page
./page "$source/models/mini" >out
grep -q "^denoise" out
[ "$(head -c 4 circle.png | tail -c 3)" = PNG ]
status=0
./page nowhere 2>errors || status=$?
[ "$status" = 1 ] && grep -q "options.model nowhere: no such folder" errors
echo "the page's program draws"
