#!/bin/bash
# In a bundle (bundle.sh): compares blockings of the AMX int8 kernel with one another and with oneDNN on the given cores.
#   ./run.sh OUTDIR CORES [SECONDS]     e.g. ./run.sh results 30,31      at most 98 seconds, or as many as given
# Results are compared with the reference before anything is timed; a mismatch ends a part with a message and a status other than 0.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: run.sh OUTDIR CORES [SECONDS]}
cores=${2:?usage: run.sh OUTDIR CORES [SECONDS]}
budget=${3:-98}
started=$SECONDS
mkdir -p "$out"
threads=$(taskset -c "$cores" nproc)
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
cp "$here/bench_s8_gemm" "$run/"
for library in "$here"/*.gz; do gzip -dc "$library" >"$run/$(basename "$library" .gz)"; done
export LD_LIBRARY_PATH=$run
# libgomp's workers spin for 15 ms by default, on the cores that the other side is timed on.
export GOMP_SPINCOUNT=3000 OMP_NUM_THREADS=$threads
{
  date -u
  uptime
  lscpu
  for cpu in ${cores//,/ }; do
    echo "cpu$cpu siblings: $(cat "/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list" 2>&1)"
  done
  cat /sys/kernel/mm/transparent_hugepage/enabled
  ps -eo pcpu,comm,psr --sort=-pcpu | head -12
} >"$out/machine.txt" 2>&1

failed=0
# part NAME SECONDS ARGUMENTS: one run, at most SECONDS and what is left of the budget.
part() {
  local name=$1 left=$((budget - 1 - (SECONDS - started))) status
  local seconds=$(($2 < left ? $2 : left))
  shift 2
  timeout "$((seconds > 0 ? seconds : 1))" taskset -c "$cores" "$run/bench_s8_gemm" --threads "$threads" \
    --out "$out/$name.json" "$@" >"$out/$name.txt" 2>&1
  status=$?
  # 124: out of time; the shapes that were finished are in the result.
  [ "$status" -eq 0 ] || [ "$status" -eq 124 ] || failed=1
  echo "$name: status $status, $((SECONDS - started)) s so far"
}
large=1024x4608x4608,1024x12288x4608,1024x4608x12288
part main $((budget / 2)) --amx --rounds 15 --max-seconds 8 --shapes $large,1x4608x4608,4x4608x4608,16x4608x4608,64x4608x4608
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 part hugepages 10 --amx --rounds 7 --max-seconds 3 --shapes 1024x4608x4608
part search "$budget" --search-amx --rounds 5 --max-seconds $((budget / 7)) --shapes $large
cat "$out/main.txt"
echo "--- huge pages"
cat "$out/hugepages.txt"
echo "--- search: the ten fastest of each shape"
grep -E ' x |ms .*groups' "$out/search.txt"
exit "$failed"
