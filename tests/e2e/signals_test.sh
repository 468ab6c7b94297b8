#!/usr/bin/env bash
# Signals: exit codes, nothing left, and which ones stay ignored.
#   signals_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

draw=("$intaglio" generate "${tiny[@]}" --prompt cat --size 512x512 --steps 1000 --output cancelled/x.png)
ulimit -c 0
export ASAN_OPTIONS=handle_segv=0  # a build with sanitizers is to end by the signal too
mkdir cancelled
start() {  # arguments: a command; its pid goes to $pid once it samples
  : >err.txt
  "$@" >out.txt 2>err.txt </dev/null &
  pid=$!
  for _ in $(seq 1200); do grep -q "sampling " err.txt && break; sleep 0.1; done
}
ends_with() {  # exit code, what
  wait "$pid"
  local code=$?
  [ "$code" -eq "$1" ]; pass_or_fail $? "$2: exit code $code, expected $1"
  empty_folder cancelled
}

# A background job of a shell without job control ignores SIGINT: python3 takes that away, as a terminal does.
foreground() { exec python3 -c 'import os,signal,sys
for s in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP): signal.signal(s, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$@"; }
for signal in INT:130 TERM:143 HUP:129; do
  start foreground "${draw[@]}" --json
  kill -"${signal%:*}" "$pid"
  ends_with "${signal#*:}" "SIG${signal%:*}"
  stdout_has '"status": "cancelled"'
  stderr_has "cancelled"
  answered out.txt "${draw[@]:1}" --json
done

# The second ends it at once; signals that no one handles leave nothing either.
start foreground "${draw[@]}"
kill -INT "$pid"; kill -TERM "$pid"
wait "$pid"; code=$?
[ $code -eq 130 ] || [ $code -eq 143 ]; pass_or_fail $? "two signals: exit code $code"
empty_folder cancelled
for signal in QUIT:131 USR1:138 ALRM:142 SEGV:139; do
  start foreground "${draw[@]}"
  kill -"${signal%:*}" "$pid" 2>/dev/null
  ends_with "${signal#*:}" "SIG${signal%:*}" 2>/dev/null
done

# What is ignored stays ignored: nohup, and background jobs of a shell.
ignored=("$intaglio" generate "${tiny[@]}" --prompt cat --size 128x128 --steps 60 --seed 1 --output ignored.png)
start nohup "${ignored[@]}"
kill -HUP "$pid"; kill -INT "$pid"
wait "$pid"; pass_or_fail $? "an ignored SIGHUP and SIGINT stay ignored"
present ignored.png

# Verification stops too, and so does the wait for a pipe that nobody empties.
foreground "$intaglio" verify "$data" >out.txt 2>err.txt </dev/null &
pid=$!
for _ in $(seq 600); do [ -s out.txt ] && break; sleep 0.05; done
kill -TERM "$pid"
ends_with 143 "verify"
mkfifo full.safetensors
exec 8<>full.safetensors
start foreground "$intaglio" generate "${tiny[@]}" --prompt cat --size 512x512 --steps 1 --seed 1 --output stalled.png --latents-out full.safetensors
python3 - <<'CHECK'
import fcntl, struct, sys, termios, time
for _ in range(600):
    if struct.unpack("i", fcntl.ioctl(8, termios.FIONREAD, bytes(4)))[0] > 32768: sys.exit(0)  # of 65536 that a pipe holds
    time.sleep(0.1)
sys.exit(1)
CHECK
pass_or_fail $? "the pipe fills"
kill -TERM "$pid"
ends_with 143 "a pipe that nobody empties"
exec 8>&-

# A file beyond the limit of the shell is an error, not a signal.
(ulimit -f 1; "$intaglio" generate "${small[@]}" --prompt cat --seed 1 --output cancelled/x.png --latents-out cancelled/l.safetensors >out.txt 2>err.txt </dev/null; echo $? >code.txt)
[ "$(cat code.txt)" -eq 1 ]; pass_or_fail $? "ulimit -f: exit code $(cat code.txt), expected 1"
stderr_has "File too large"
empty_folder cancelled

# Ctrl-C while a prompt is waited for.
mkfifo pipe
: >err.txt
foreground "$intaglio" generate "${small[@]}" --prompt @pipe --output cancelled/x.png >out.txt 2>err.txt &
pid=$!
handles_sigint() { [ "$(cat /proc/$pid/comm)" != python3 ] && grep -q '^SigCgt:.*[2367abef]$' /proc/$pid/status; }
for _ in $(seq 600); do handles_sigint && break; sleep 0.1; done
sleep 0.5
kill -INT $pid
ends_with 130 "SIGINT while a pipe has no writer"

# What was finished is told.
: >err.txt
foreground "$intaglio" generate "${tiny[@]}" --prompt cat --size 128x128 --steps 20 --seed 5 --count 500 --output done/ --json >out.txt 2>err.txt </dev/null &
pid=$!
for _ in $(seq 600); do grep -q "wrote" err.txt && break; sleep 0.1; done
kill -INT $pid
wait $pid; [ $? -eq 130 ]; pass_or_fail $? "a cancelled --count"
stdout_has '"status": "cancelled"'
stdout_has '"asked_pictures": 500'
answered out.txt generate --count 500 --json
python3 - <<'CHECK'
import json, os
run = json.load(open("out.txt"))
files = [p["file"] for p in run["pictures"]]
assert files and sorted(files) == sorted("done/" + f for f in os.listdir("done")), (files, os.listdir("done"))
assert [p["seed"] for p in run["pictures"]] == [5 + i for i in range(len(files))]
CHECK
pass_or_fail $? "pictures of the JSON are the files there"

finish
