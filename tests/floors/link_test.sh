#!/usr/bin/env bash
# A call to a floor above does not link, and the message names the function: link_test.sh OBJECT CORE QUANT LINK...
# OBJECT calls quant; LINK: the compiler with its flags and the libraries that core needs.
set -euo pipefail
usage="usage: link_test.sh OBJECT CORE QUANT LINK..."
object=${1:?$usage} core=${2:?$usage} quant=${3:?$usage}
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if "$1" -o "$work/program" "$object" -Wl,--whole-archive "$core" -Wl,--no-whole-archive "${@:2}" 2>"$work/log"; then
  echo "a call from core to quant was linked"
  exit 1
fi
grep -q 'undefined.*intaglio::rotate_row' "$work/log" || { cat "$work/log"; exit 1; }

# With the floor that it calls the same object links and runs: what failed before was the call.
"$1" -o "$work/program" "$object" "$quant" "$core" "${@:2}"
"$work/program"
