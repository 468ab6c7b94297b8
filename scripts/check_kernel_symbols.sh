#!/usr/bin/env bash
# Kernel objects are built with instruction-set flags. A shared inline function (weak symbol) emitted there could be the copy the linker keeps, and would
# crash processors without those instructions. So kernel objects must define no weak symbol.
set -euo pipefail
build=${1:?usage: check_kernel_symbols.sh BUILD_DIR}
bad=0
count=0
while IFS= read -r object; do
  count=$((count + 1))
  weak=$(nm -C "$object" | grep -E ' [WVu] ' || true)
  if [ -n "$weak" ]; then
    echo "$object defines weak symbols:"
    echo "$weak"
    bad=1
  fi
done < <(find "$build" -path '*/ops/cpu/*/*.o' \( -path '*/avx2/*' -o -path '*/avx512vnni/*' -o -path '*/avx512bf16/*' -o -path '*/amx/*' \))
[ "$count" -gt 0 ] || { echo "no kernel object found under $build"; exit 1; }
[ "$bad" -eq 0 ] && echo "kernel objects: $count checked, no weak symbol"
exit "$bad"
