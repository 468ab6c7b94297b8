# What the tests of the command line share: sourced with the program and the reference data as $1 and $2. Works in a folder of its own.
set -u
intaglio=$(realpath "$1")
data=$(realpath "$2")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
. "$here/answers.sh"
. "$here/pixels.sh"
trap 'chmod -R u+w "$work"; rm -rf "$work" "$answers"' EXIT
cd "$work" || exit 1
unset INTAGLIO_MODELS INTAGLIO_CPU_ISA
failures=0
checks=0

pass_or_fail() {  # condition's status, what
  checks=$((checks + 1))
  if [ "$1" -ne 0 ]; then
    failures=$((failures + 1))
    echo "FAIL: $2"
    sed 's/^/    stdout: /' out.txt | head -5
    sed 's/^/    stderr: /' err.txt | head -10
  fi
}
run() { "$intaglio" "$@" >out.txt 2>err.txt </dev/null; status=$?; answered out.txt "$@"; }
expect() {  # exit code, what, arguments...
  local code=$1 what=$2
  shift 2
  run "$@"
  [ "$status" -eq "$code" ]
  pass_or_fail $? "$what: exit code $status, expected $code"
}
stderr_has() { grep -qF -- "$1" err.txt; pass_or_fail $? "stderr has \"$1\""; }
stdout_has() { grep -qF -- "$1" out.txt; pass_or_fail $? "stdout has \"$1\""; }
valid_json() {
  if command -v python3 >/dev/null; then
    python3 -m json.tool "$1" >/dev/null 2>&1
    pass_or_fail $? "$1 is one JSON value"
  fi
}
same() { cmp -s "$1" "$2"; pass_or_fail $? "$1 equals $2"; }
absent() { [ ! -e "$1" ]; pass_or_fail $? "$1 is absent"; }
present() { [ -s "$1" ]; pass_or_fail $? "$1 is there"; }
empty_folder() { [ -z "$(ls -A "$1")" ]; pass_or_fail $? "$1 is empty: $(ls -A "$1" | head -3 | tr '\n' ' ')"; }

# expect_refused CODE MESSAGE ARGUMENTS...: refused before work, with nothing written into refused/
mkdir refused
expect_refused() {
  local code=$1 message=$2
  shift 2
  expect "$code" "refuses $*" "$@"
  stderr_has "$message"
  grep -q '^error: ' err.txt; pass_or_fail $? "errors start with error: ($*)"
  empty_folder refused
  rm -rf refused/*
}

tiny=(--model "$data/tiny")
small=("${tiny[@]}" --size 64x64 --steps 2)

finish() {
  check_answers || failures=$((failures + 1))
  echo "$checks checks, $failures failed"
  [ "$failures" -eq 0 ]
}
