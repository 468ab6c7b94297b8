# Answers of --json that a test of the command line got, against their schemas: sourced; `answered` after each command, `check_answers` at the end.
answers_py=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/answers.py
answers=$(mktemp -d)
# answered FILE ARGUMENTS...: FILE has the standard output, $status the exit code. Benchmarks are given a file, or - for it; one that fails leaves such a file as it was.
answered() {
  local out=$1 name
  shift
  case " $* " in *" --json "*) ;; *) return 0 ;; esac
  if [ "$1" = bench ] || [ "$1" = map ]; then
    out=$(printf '%s\n' "$@" | sed -n '/^--json$/{n;p}')
    [ "$out" = - ] || [ "$status" -eq 0 ] || return 0
    [ "$out" != - ] || out=out.txt
  fi
  [ -s "$out" ] || return 0  # it failed before it had an answer
  name=$answers/$(find "$answers" -name '*.json' | wc -l)
  cp "$out" "$name.json"
  printf '%s\n' "${@//$'\n'/ }" >"$name.arguments"
}
# 1 where one is not as its schema has it.
check_answers() {
  local code=0
  [ -n "$(ls -A "$answers")" ] && { python3 "$answers_py" "$answers" || code=1; }
  rm -rf "$answers"
  return $code
}
