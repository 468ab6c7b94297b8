#!/bin/sh
# Copies a benchmark, the libraries it needs except the C library's own, and the script that runs them into a folder that can be moved to another machine.
# Libraries are stripped and compressed; run.sh (run_amx.sh here) unpacks them.
#   bench/cpu/bundle.sh build/bin/bench_s8_gemm bundle
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
cp "$1" "$2/"
strip "$2/$(basename "$1")"
cp "$here/run_amx.sh" "$2/run.sh"
ldd "$1" | awk '$3 ~ /^\// { print $3 }' | grep -Ev '/(libc|libm|libdl|libpthread|librt)\.so' | while read -r library; do
  target=$2/$(basename "$library")
  cp -L "$library" "$target"
  chmod u+w "$target"
  strip --strip-unneeded "$target"
  gzip -9 -f "$target"
done
ls -l "$2"
