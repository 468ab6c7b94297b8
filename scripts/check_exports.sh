#!/usr/bin/env bash
# libintaglio.so shows exactly the functions that the public header declares, under its soname.
set -euo pipefail
library=${1:?usage: check_exports.sh LIBRARY HEADER}
header=${2:?usage: check_exports.sh LIBRARY HEADER}
declared=$(grep -oE '\bintaglio_[a-z0-9_]+\(' "$header" | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort -u)
if ! diff <(echo "$declared") <(echo "$exported"); then
  echo "exports: the header (<) and $library (>) differ"
  exit 1
fi
readelf -d "$library" | grep -q 'SONAME.*libintaglio\.so\.[0-9]*\]' || { echo "exports: no soname"; exit 1; }
echo "exports: $(echo "$exported" | wc -l) functions, as declared"
