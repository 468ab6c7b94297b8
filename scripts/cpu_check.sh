#!/usr/bin/env bash
# Checks and times everything that runs on this machine's processor, at every instruction-set level that it has: cpu_check.sh [BUILD_DIR] [OPTION...]
#   cpu_check.sh                          builds into build/cpu_check first
#   cpu_check.sh build/release --threads 2 --json bench/results/cpu_check_NAME.json
#   cpu_check.sh --pack BUILD_DIR FILE.tar.xz   what another machine needs, which may be bare: unpack it there, then ./scripts/cpu_check.sh . [OPTION...]
# The checks themselves: scripts/cpu_check.py --help. Needs python3, and for the pictures nothing else. The exit code is not 0 if a check failed.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
if [ "${1:-}" = --pack ]; then
  usage="usage: cpu_check.sh --pack BUILD_DIR FILE.tar.xz"
  build=$(cd "${2:?$usage}" && pwd)
  file=${3:?$usage}
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkdir -p "$folder/bin" "$folder/lib" "$folder/models" "$folder/scripts" "$folder/tests/reference"
  for program in intaglio intaglio_tests; do
    cp "$build/bin/$program" "$folder/bin/"
    strip "$folder/bin/$program"
    # Every library but the C library's own, which must fit the system's loader.
    ldd "$build/bin/$program" | awk '$3 ~ /^\// { print $3 }' | { grep -Ev '/(libc|libm|libdl|libpthread|librt)\.so' || true; } | xargs -r -I{} cp -L {} "$folder/lib/"
  done
  chmod u+w "$folder"/lib/*
  strip --strip-unneeded "$folder"/lib/*
  cp -r "$here/models/mini" "$folder/models/"
  cp -r "$here/tests/reference/data" "$folder/tests/reference/"
  mkdir -p "$folder/bench"
  cp -r "$here/bench/results" "$here/bench/shapes" "$folder/bench/"
  cp -r "$here/src" "$here/docs" "$folder/"  # some tests read them
  cp "$here/scripts/cpu_check.sh" "$here/scripts/cpu_check.py" "$here/scripts/check_pictures.py" "$folder/scripts/"
  git -C "$here" rev-parse --short HEAD >"$folder/commit" 2>/dev/null || true
  tar -C "$folder" -cf - . | xz -T0 -2 >"$file"
  ls -l "$file"
  exit 0
fi
case ${1:-} in
  "" | -*)
    build=$here/build/cpu_check
    cmake -S "$here" -B "$build" -DCMAKE_BUILD_TYPE=Release -DINTAGLIO_BUILD_TESTS=ON -DINTAGLIO_CUDA=OFF
    cmake --build "$build" -j "$(nproc)" --target intaglio intaglio_tests
    ;;
  *)
    build=$(cd "$1" && pwd)
    shift
    ;;
esac
if [ -d "$build/lib" ]; then export LD_LIBRARY_PATH=$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; fi
exec python3 "$here/scripts/cpu_check.py" "$build" "$@"
