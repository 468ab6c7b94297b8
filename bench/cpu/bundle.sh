#!/bin/sh
# Copies a benchmark and the libraries it needs, except the C library's own and libstdc++, into a folder that can be moved to another machine.
#   bench/cpu/bundle.sh build/bin/bench_s8_gemm bundle
set -eu
mkdir -p "$2"
cp "$1" "$2/"
ldd "$1" | awk '$3 ~ /^\// { print $3 }' | grep -Ev '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so' | while read -r library; do
  cp -L "$library" "$2/"
done
ls -l "$2"
