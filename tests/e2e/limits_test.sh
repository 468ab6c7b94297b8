#!/usr/bin/env bash
# The program within limits: address space, files, descriptors, threads, control groups, and model files that change while they are read.
# Whatever the limit, a run ends with a whole picture or with exit code 1 and a message; never by a signal, never in a hang, and it leaves nothing half.
#   limits_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
set -u
intaglio=$(realpath "$1")
data=$(realpath "$2")
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 1
unset INTAGLIO_MODELS INTAGLIO_CPU_ISA
ulimit -c 0
failures=0
checks=0

fail() {
  failures=$((failures + 1))
  echo "FAIL: $1"
  sed 's/^/    stderr: /' err.txt | tail -5
}
check() {  # what, command...
  local what=$1
  shift
  checks=$((checks + 1))
  "$@" || fail "$what"
}
stderr_has() { check "stderr has \"$1\"" grep -qE -- "$1" err.txt; }

picture=(generate --model "$data/tiny" --prompt 'a red circle' --size 16x16 --steps 1 --seed 1)
mkdir out
run() { timeout 120 "$intaglio" "$@" >out.txt 2>err.txt </dev/null; status=$?; }
# The run before ended well, or with a message and an empty folder.
ended_properly() {  # what
  checks=$((checks + 1))
  case $status in
    0) cmp -s out/a.png reference.png || fail "$1: exit 0 without the picture" ;;
    # libgomp starts before the program and says itself what it lacks.
    1) grep -qE '^error: |^libgomp: Out of memory' err.txt || fail "$1: exit 1 without a message"
       [ -z "$(ls -A out)" ] || fail "$1: exit 1, but there is $(ls -A out | head -3 | tr '\n' ' ')" ;;
    127) grep -q 'error while loading shared libraries' err.txt || fail "$1: exit 127" ;;  # the loader's own message
    *) fail "$1: exit $status" ;;
  esac
  rm -rf out && mkdir out
}
within() {  # ulimit's flags, what, arguments...
  local limit=$1 what=$2
  shift 2
  # shellcheck disable=SC2086
  (ulimit $limit && exec timeout 120 "$intaglio" "$@") >out.txt 2>err.txt </dev/null  # the shell's own files are open by then
  status=$?
  ended_properly "$what"
}

run "${picture[@]}" --output reference.png
check "a picture without limits" test -s reference.png

# Address space, from what the loader needs to plenty. The kernel itself kills a program whose own segments do not fit, before its first instruction.
image=$(($(size "$intaglio" | awk 'NR == 2 { print $4 }') / 1024 + 2000))
for kilobytes in $image 40000 50000 60000 65000 70000 75000 80000 82500 85000 87500 90000 92500 95000 100000 110000 120000 150000 200000 300000 500000 1000000; do
  within "-v $kilobytes" "ulimit -v $kilobytes" "${picture[@]}" --threads 2 --output out/a.png
done
for kilobytes in 70000 90000 110000 150000 250000; do
  within "-v $kilobytes" "ulimit -v $kilobytes, 16 threads" "${picture[@]}" --threads 16 --output out/a.png
done
for precision in bf16 fp32; do
  run "${picture[@]}" --precision $precision --output reference.png
  for kilobytes in 60000 75000 80000 85000 90000 95000 100000 125000 200000; do
    within "-v $kilobytes" "ulimit -v $kilobytes, $precision" "${picture[@]}" --precision $precision --threads 2 --output out/a.png
  done
done
run "${picture[@]}" --output reference.png
# The most that is too little, wherever that lies for this build, is said in words.
for kilobytes in $(seq 120000 -1000 $image); do
  within "-v $kilobytes" "ulimit -v $kilobytes, going down" "${picture[@]}" --threads 1 --output out/a.png
  [ "$status" -eq 0 ] || break
done
stderr_has 'of memory|address space|loading shared libraries'

# Benchmarks and maps that do not fit are refused with both numbers.
for bench in "bench step --device cpu" "bench block --layers 64" "bench linear --device cpu --m 100000 --n 20000 --k 20000" "map --device cpu --precision bf16"; do
  # shellcheck disable=SC2086
  (ulimit -v 4000000 && exec timeout 120 "$intaglio" $bench) >out.txt 2>err.txt </dev/null
  status=$?
  check "$bench in 4 GB: exit code $status, expected 1" test $status -eq 1
  check "$bench tells both numbers" grep -qE 'needs [0-9.]+ GiB of memory \([0-9]+ bytes\), [0-9.]+ GiB \([0-9]+ bytes\) is available' out.txt err.txt
done

# Stacks, descriptors, size of files.
for kilobytes in 128 256 1024; do within "-s $kilobytes" "ulimit -s $kilobytes" "${picture[@]}" --output out/a.png; done
for descriptors in 4 5 6 8 12; do within "-n $descriptors" "ulimit -n $descriptors" "${picture[@]}" --output out/a.png; done
# The limit is the shell's, too: its own files are written outside of it.
exec 4> >(cat >err.txt)
(ulimit -f 0; "$intaglio" "${picture[@]}" --output out/a.png >/dev/null 2>&4)
status=$?
exec 4>&-
wait
ended_properly "ulimit -f 0"
stderr_has 'File too large'

# More threads than processors are noted, once, and only then.
run "${picture[@]}" --threads 1000 --output out/a.png
ended_properly "1000 threads"
check "one note on 1000 threads" test "$(grep -c '1000 threads asked for' err.txt)" = 1
run "${picture[@]}" --threads 1 --output out/a.png
check "no note on one thread" test "$(grep -c 'threads asked for' err.txt)" = 0
rm -f out/*

# Where nothing can be written.
run "${picture[@]}" --output /proc/a.png
check "a folder that takes no files: exit $status" test $status = 1
# A node of our own: a program that replaces it must not take the machine's.
if mknod -m 666 full c 1 7 2>/dev/null; then full=full; else full=/dev/full; fi
run "${picture[@]}" --output out/a.png --latents-out $full
check "a full device: exit $status" test $status = 1
stderr_has 'No space left'
check "a device stays a device" test -c $full
rm -f out/*
if [ "$(id -u)" != 0 ]; then
  chmod a-w out
  run "${picture[@]}" --output out/a.png
  chmod u+w out
  ended_properly "a read-only folder"
fi

# Processes of a user who is not root.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && setpriv --reuid=65534 --clear-groups test -r "$data/tiny/model_index.json" -a -x "$intaglio"; then
  chmod 777 "$work" out
  (ulimit -u 1; setpriv --reuid=65534 --clear-groups "$intaglio" "${picture[@]}" --threads 2 --output out/a.png >out.txt 2>err.txt)
  status=$?
  ended_properly "one process"
  if [ "$(nproc)" -gt 1 ]; then stderr_has 'thread 2 of 2 cannot start: .*ulimit -u'; fi
fi

# A control group of our own, where the machine lets us make one: half a processor is one thread.
group=$(awk -F: '$2 == "cpu" || $2 ~ /(^|,)cpu(,|$)/ { print $3 }' /proc/self/cgroup | head -1)
made=/sys/fs/cgroup/cpu$group/intaglio-test-$$
if [ -n "$group" ] && [ -w "/sys/fs/cgroup/cpu$group" ] && mkdir "$made" 2>/dev/null; then
  if echo 50000 >"$made/cpu.cfs_quota_us" 2>/dev/null && (echo $BASHPID >"$made/tasks" && exec "$intaglio" "${picture[@]}" --output out/a.png --json >out.txt 2>err.txt); then
    check "half a processor is one thread" grep -q '"threads": 1,' out.txt
  fi
  sleep 0.1
  rmdir "$made"
  rm -f out/*
fi

# A model that changes while it is read: an error that names a file, or a picture; never a signal.
cp -r "$data/tiny" model
weights=$(find model -name '*.safetensors' | sort)
changing=("${picture[@]/$data\/tiny/model}")
for how in shrink rewrite; do
  (while [ ! -e stop ]; do
     for file in $weights; do
       original=$data/tiny/${file#model/}
       if [ $how = shrink ]; then truncate -s 5000 "$file"; else cp "$original" "$file"; fi
       cp "$original" "$file"
     done
   done) &
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    run "${changing[@]}" --output out/a.png
    checks=$((checks + 1))
    case $status in
      0) ;;
      1) grep -q '^error: .*model/' err.txt || fail "$how: no file is named" ;;
      *) fail "$how: exit $status" ;;
    esac
    rm -f out/*
  done
  touch stop
  wait
  rm stop
done

# What is no model file.
file=model/vae/diffusion_pytorch_model.safetensors
for kind in empty folder pipe device proc sparse; do
  rm -rf $file
  case $kind in
    empty) : >$file ;;
    folder) mkdir $file ;;
    pipe) mkfifo $file ;;
    device) ln -s /dev/zero $file ;;
    proc) ln -s /proc/self/status $file ;;
    sparse) truncate -s 5G $file ;;
  esac
  run "${changing[@]}" --output out/a.png
  ended_properly "model file: $kind"
  check "model file: $kind: exit $status" test $status = 1
  stderr_has "$file"
done

echo "limits_test: $checks checks, $failures failures"
[ "$failures" -eq 0 ]
