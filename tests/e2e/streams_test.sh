#!/usr/bin/env bash
# Standard streams that are full, closed or read by nobody: stderr is optional, stdout is not.
#   streams_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

draw=("$intaglio" generate "${small[@]}" --prompt cat --seed 1)

# What stderr does not take is dropped.
: >err.txt
"${draw[@]}" --output full.png >out.txt 2>/dev/full </dev/null;    pass_or_fail $? "stderr full"; present full.png
"${draw[@]}" --output closed.png >out.txt 2>&- </dev/null;         pass_or_fail $? "stderr closed"; present closed.png
"${draw[@]}" --output none.png >out.txt 2>&- <&-;                  pass_or_fail $? "stdin and stderr closed"
same full.png closed.png
same full.png none.png  # no file of the run took the place of a stream
stdout_has "none.png"
"${draw[@]}" --output piped.png 2>&1 >out.txt </dev/null | head -1 >/dev/null
[ "${PIPESTATUS[0]}" -eq 0 ]; pass_or_fail $? "stderr read by nobody: exit code ${PIPESTATUS[0]}"
same full.png piped.png
"$intaglio" generate --colour 2>/dev/full >out.txt; [ $? -eq 2 ]; pass_or_fail $? "errors on a full stderr keep their exit code"

# What stdout does not take is a failure of every command.
printf 'first 8 16 32\n' >shapes.txt
export XDG_CACHE_HOME=$work/cache
linear=(bench linear --device cpu --m 4 --n 32 --k 32 --rounds 1 --threads 1)
block=(bench block --heads 2 --head-dim 32 --ffn 64 --tokens 16 --rounds 1 --threads 1)
step=(bench step --device cpu --layers 1 --size 32x32 --text-tokens 4 --rounds 1 --precision int8)
image=(bench image --device cpu --model synthetic:mini --size 64x64 --steps 1 --text-tokens 4 --count 1)
map=(map --device cpu --layers 1 --size 32x32 --text-tokens 4 --rounds 1 --precision int8)
takes_nothing() {
  "$intaglio" "$@" >/dev/full 2>err.txt </dev/null
  [ $? -eq 1 ]; pass_or_fail $? "$* >/dev/full fails"
  stderr_has "error: cannot write standard output: No space left on device"
  "$intaglio" "$@" >&- 2>err.txt </dev/null
  [ $? -eq 1 ]; pass_or_fail $? "$* >&- fails"
  stderr_has "error: cannot write standard output: it is closed"
}
takes_nothing --help
takes_nothing --version
takes_nothing generate --help
takes_nothing bench step --help
takes_nothing generate "${small[@]}" --prompt cat --output x.png
takes_nothing generate "${small[@]}" --prompt cat --output x.png --json
takes_nothing generate "${small[@]}" --prompt cat --output -
takes_nothing inspect "$data/tiny"
takes_nothing inspect "$data/tiny" --json
takes_nothing verify "$data"
takes_nothing verify "$data" --json
takes_nothing tune --list
takes_nothing tune --list --json
takes_nothing "${linear[@]}"
takes_nothing "${linear[@]}" --json -
takes_nothing "${block[@]}"
takes_nothing "${step[@]}" --json -
takes_nothing "${image[@]}"
takes_nothing "${map[@]}"

# A reader that goes away ends the program quietly.
"$intaglio" inspect "$data/tiny" --all 2>err.txt | head -1 >out.txt
code=${PIPESTATUS[0]}
[ "$code" -eq 1 ]; pass_or_fail $? "inspect | head -1: exit code $code, expected 1"
[ ! -s err.txt ]; pass_or_fail $? "nothing is told of a reader that went away"
mkdir stopped
("${draw[@]}" --count 50 --output stopped 2>err.txt </dev/null; echo $? >code.txt) | head -1 >out.txt
[ "$(cat code.txt)" -eq 1 ]; pass_or_fail $? "pictures stop when nobody takes their names"
[ "$(ls stopped | wc -l)" -lt 50 ]; pass_or_fail $? "they do not all come"

# Nothing of a file or an argument reaches a terminal raw.
bad=$'x\e]0;title\a\nerror: forged\n  error: forged \u202e\u0085\u009b31m\xff'
mkdir "$bad"
cp -r "$data/tiny/." "$bad"
shown() {  # no byte that a terminal obeys, no line of its own making
  LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xff' "$1"
  [ $? -ne 0 ]; pass_or_fail $? "$1 holds no control bytes"
  grep -q '^ *error: forged' "$1"; [ $? -ne 0 ]; pass_or_fail $? "$1 holds no forged line"
}
shown_all() { run "$@"; shown out.txt; shown err.txt; }
shown_all inspect "$bad"
shown_all inspect "$bad" --json
valid_json out.txt
shown_all inspect "$bad/nothing"
shown_all generate --model "$bad" --size 64x64 --steps 2 --prompt cat --seed 1 --output "$bad/$bad.png"
[ "$status" -eq 0 ]; pass_or_fail $? "such names work"
shown_all generate --model "$bad" --size 64x64 --steps 2 --prompt "$bad" --output "$bad"
shown_all generate --model "$bad$bad" --prompt cat
shown_all generate --model "$bad" --prompt cat --output "$bad.jpg"
shown_all generate --model "$bad" --prompt "@$bad" --output "$bad/none/x.png" --device "$bad" --size "$bad" --seed "$bad"
shown_all generate "--$bad" "$bad"
shown_all "$bad"
shown_all generate --precision "$bad" --prompt x
shown_all verify "$bad"
shown_all bench linear --shapes "$bad/none"
printf '%s\n' "$bad" >"$bad/shapes"
shown_all bench linear --shapes "$bad/shapes"
shown_all bench linear --precision "$bad"
shown_all tune --model "$bad" --text-tokens "$bad"
shown_all map --precision "$bad"
: >"$bad/transformer/diffusion_pytorch_model.safetensors"
shown_all inspect "$bad"
shown_all generate --model "$bad" --prompt cat --output refused/x.png
rm "$bad/transformer/diffusion_pytorch_model.safetensors"
printf '{"weight_map": {"a\\u001b]0;t\\u0007\\nerror: forged": "s\\u001b\\nerror: forged \\u009b\\u202e.safetensors"}}' >"$bad/transformer/diffusion_pytorch_model.safetensors.index.json"
shown_all inspect "$bad"
shown_all generate --model "$bad" --prompt cat --output refused/x.png

# JSON keeps such text, as escapes.
prompt=$'mark \u202e and \u009b31m and \u2028 and café'
expect 0 "marks in a prompt" generate "${small[@]}" --prompt "$prompt" --seed 1 --output marks.png --json
shown out.txt
stdout_has 'mark \u202e and \u009b31m and \u2028 and café'
python3 -c 'import json,sys; assert json.load(open("out.txt"))["prompt"] == sys.argv[1]' "$prompt"; pass_or_fail $? "the prompt is whole"
expect 0 "marks in a picture" inspect marks.png
shown out.txt

finish
