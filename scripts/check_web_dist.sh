#!/usr/bin/env bash
# Says when web/dist was built from other sources than those that lie beside it; needs no node. --write: notes the present ones, after a build.
set -euo pipefail
cd "$(dirname "$0")/../web"
export LC_ALL=C
note=dist/sources.sha256
now=$(find src public index.html package.json package-lock.json tsconfig.json vite.config.ts -type f | sort | xargs sha256sum | sha256sum | cut -d ' ' -f 1)

if [ "${1:-}" = --write ]; then
  echo "$now" >"$note"
elif [ ! -f "$note" ] || [ "$(cat "$note")" != "$now" ]; then
  echo "web/dist was not built from the sources beside it: run \`make web\` and commit web/dist"
  exit 1
fi
