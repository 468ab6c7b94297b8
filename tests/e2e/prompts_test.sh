#!/usr/bin/env bash
# Prompts from arguments, files, pipes and lists, and seeds.
#   prompts_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

ask=(generate "${small[@]}" --seed 9)
expect 0 "an argument" "${ask[@]}" --prompt cat --output cat.png

# From files and pipes.
printf 'cat\r\n' >prompt.txt
printf '\357\273\277cat\n' >marked.txt
for file in prompt.txt marked.txt; do
  expect 0 "a file" "${ask[@]}" --prompt @$file --output x.png; same x.png cat.png
done
for source in - @- @/dev/stdin @/dev/fd/0; do
  echo cat | "$intaglio" "${ask[@]}" --prompt $source --output x.png >out.txt 2>err.txt
  pass_or_fail $? "--prompt $source"; same x.png cat.png
  "$intaglio" "${ask[@]}" --prompt $source --output x.png >out.txt 2>err.txt <prompt.txt
  pass_or_fail $? "--prompt $source of a file"; same x.png cat.png
done
"$intaglio" "${ask[@]}" --prompt @<(echo cat) --output x.png >out.txt 2>err.txt; pass_or_fail $? "a process"; same x.png cat.png
mkfifo pipe; (sleep 1; echo cat) >pipe &
expect 0 "a pipe" "${ask[@]}" --prompt @pipe --output x.png; same x.png cat.png
wait
expect 0 "a leading @" generate "${small[@]}" --seed 9 --prompt @@cat --output at.png --json; stdout_has '"prompt": "@cat"'
printf 'bad \377 bytes' >bad.txt
expect_refused 2 "not UTF-8" "${ask[@]}" --prompt @bad.txt --output refused/x.png
expect_refused 2 "expected a file's name" "${ask[@]}" --prompt @ --output refused/x.png
expect_refused 2 "--prompt: expected" "${ask[@]}" --prompt "" --output refused/x.png
expect_refused 2 "the prompt is empty" "${ask[@]}" --prompt "  " --output refused/x.png
expect_refused 2 "standard input: the prompt is empty" "${ask[@]}" --prompt - --output refused/x.png
expect_refused 1 "nowhere.txt: cannot read: No such file" "${ask[@]}" --prompt @nowhere.txt --output refused/x.png
expect_refused 1 "is a folder" "${ask[@]}" --prompt @. --output refused/x.png
expect_refused 1 "more than 1048576 bytes" "${ask[@]}" --prompt @/dev/zero --output refused/x.png
"$intaglio" "${ask[@]}" --prompt - --output refused/x.png >out.txt 2>err.txt <&-
[ $? -eq 1 ]; pass_or_fail $? "a closed stdin"; stderr_has "standard input: cannot read"
expect_refused 2 "2048" "${ask[@]}" --prompt "$(yes '? ! ' | head -3000)" --output refused/x.png
expect_refused 2 "--prompt: missing" "${ask[@]}" --output refused/x.png
expect_refused 2 "together" "${ask[@]}" --prompt cat --prompts prompt.txt --output refused/x.png
expect_refused 2 "tiny takes none" "${ask[@]}" --prompt cat --negative-prompt dog --output refused/x.png
expect_refused 2 "--negative-prompt: expected" "${ask[@]}" --prompt cat --negative-prompt "" --output refused/x.png

# A picture says of a negative prompt what its steps have read.
guided=(generate --model "$data/../z_image/tiny" --precision fp32 --prompt cat --negative-prompt dog --size 64x64 --steps 2 --json --output guided.png)
expect 0 "a negative prompt" "${guided[@]}" --guidance 3; stdout_has '"negative_prompt": "dog"'
grep -aq 'Negative prompt: dog' guided.png; pass_or_fail $? "a picture says what it is steered away from"
expect 0 "a negative prompt without guidance" "${guided[@]}" --guidance 0; stderr_has "warning: negative prompt: not read"
grep -q '"negative_prompt"' out.txt; [ $? -ne 0 ]; pass_or_fail $? "the JSON has what ran"
grep -aqi 'negative.prompt' guided.png; [ $? -ne 0 ]; pass_or_fail $? "a picture does not say what nothing has read"

# Many.
printf 'cat\n\n   \ndog\r\ncat\n' >many.txt
expect 0 "a list" "${ask[@]}" --prompts many.txt --output list/ --json
valid_json out.txt
[ "$(ls list)" = "$(printf 'intaglio-%04d-9.png\n' 1 2 3)" ]; pass_or_fail $? "a name for each prompt: $(ls list)"
same list/intaglio-0001-9.png cat.png
same list/intaglio-0003-9.png cat.png
cmp -s list/intaglio-0002-9.png cat.png; [ $? -ne 0 ]; pass_or_fail $? "another prompt is another picture"
printf 'cat\ndog\n' | "$intaglio" "${ask[@]}" --prompts - --count 2 --output counted.png --latents-out l --features-out f >out.txt 2>err.txt
pass_or_fail $? "a list from stdin"
for i in 1 2 3 4; do present counted_000$i.png; present l_000$i; done
present f_0001; present f_0002; absent f_0003
same counted_0001.png cat.png
cat >lines.jsonl <<'LINES'
{"prompt": "cat"}
{"prompt": "cat", "seed": 10, "output": "own.png"}

{"prompt": "dog", "size": "64x128", "steps": 3, "guidance": [7, 7, 3], "seed": "11"}
{"prompt": {"scene": "a structured prompt"}, "guidance": 2.5, "seed": -1}
LINES
expect 0 "lines of JSON" "${ask[@]}" --prompts lines.jsonl --output lines/ --json
python3 - <<'CHECK'
import json
pictures = json.load(open("out.txt"))["pictures"]
assert [p["prompt"] for p in pictures] == ["cat", "cat", "dog", '{"scene":"a structured prompt"}']
assert [p["file"] for p in pictures][:3] == ["lines/intaglio-0001-9.png", "lines/own.png", "lines/intaglio-0003-11.png"]
assert (pictures[2]["width"], pictures[2]["height"], pictures[2]["steps"], pictures[2]["guidance"]) == (64, 128, 3, [7, 7, 3])
assert pictures[3]["guidance"] == [2.5, 2.5] and pictures[3]["seed"] not in (9, 10, 11)
CHECK
pass_or_fail $? "settings of each line"
same lines/intaglio-0001-9.png cat.png
line_refused() {  # MESSAGE LINE
  printf '{"prompt": "cat"}\n%s\n' "$2" >wrong.jsonl
  expect_refused 2 "wrong.jsonl:2: $1" "${ask[@]}" --prompts wrong.jsonl --output refused/x.png
}
line_refused 'not valid JSON at column' '{"prompt": cat}'
line_refused 'unknown key "promt", expected prompt, ' '{"prompt": "cat", "promt": "dog"}'
line_refused 'no "prompt"' '{"seed": 3}'
line_refused 'expected a JSON object, found a list' '["cat"]'
line_refused '"prompt": expected a text, found a number' '{"prompt": 3}'
line_refused '"seed": expected what --seed takes, found true or false' '{"prompt": "cat", "seed": true}'
line_refused '--seed: expected a whole number' '{"prompt": "cat", "seed": 1.5}'
line_refused '--steps: expected a whole number' '{"prompt": "cat", "steps": 0}'
line_refused '--size: sides must be multiples' '{"prompt": "cat", "size": "63x64"}'
line_refused '--guidance' '{"prompt": "cat", "guidance": [1, 2, 3]}'
line_refused 'the prompt is empty' '{"prompt": " "}'
line_refused '--output own.jpg: expected' '{"prompt": "cat", "output": "own.jpg"}'
line_refused '--negative-prompt' '{"prompt": "cat", "negative_prompt": "dog"}'
line_refused '"output" holds a zero byte' '{"prompt": "cat", "output": "keep.txt\u0000.png"}'
line_refused '"prompt" is there twice' '{"prompt": "cat", "prompt": "dog"}'
line_refused '"seed" is there twice' '{"prompt": "cat", "seed": 1, "seed": 2}'
printf '{"prompt": "cat", "output": "nowhere/x.png"}\n' >wrong.jsonl
expect_refused 1 "wrong.jsonl:1: output: cannot write nowhere/x.png: there is no folder nowhere" "${ask[@]}" --prompts wrong.jsonl --output refused/x.png
for first in '{ }' '{}'; do
  printf '%s\n{"prompt": "cat"}\n' "$first" >wrong.jsonl
  expect_refused 2 'wrong.jsonl:1: no "prompt"' "${ask[@]}" --prompts wrong.jsonl --output refused/
done
printf '[{"prompt": "cat"},\n {"prompt": "dog"}]\n' >wrong.jsonl
expect_refused 2 "a JSON list; expected a JSON object a line" "${ask[@]}" --prompts wrong.jsonl --output refused/
printf 'cat\n{"prompt": "dog"}\n' >wrong.jsonl
expect_refused 2 "wrong.jsonl:2: a JSON object below a line of text" "${ask[@]}" --prompts wrong.jsonl --output refused/
printf '[cat] on {mat}\n' >text.txt
expect 0 "brackets are text" "${ask[@]}" --prompts text.txt --output x.png
printf '{"prompt": "cat", "output": "a.png"}\n{"prompt": "dog", "output": "./a.png"}\n' >wrong.jsonl
expect_refused 2 "is the same file as" "${ask[@]}" --prompts wrong.jsonl --output refused/
expect_refused 2 "no prompts in it" "${ask[@]}" --prompts /dev/null --output refused/x.png
yes '{"seed": 1}' | head -100 | sed '1s/.*/{"prompt": "cat"}/' >wrong.jsonl
expect_refused 2 "89 more lines are wrong" "${ask[@]}" --prompts wrong.jsonl --output refused/x.png

# Seeds.
expect 0 "a random seed" generate "${small[@]}" --prompt cat --seed -1 --output random/ --count 2
expect 0 "another one" generate "${small[@]}" --prompt cat --seed=-1 --output random/
[ "$(ls random | wc -l)" -eq 3 ]; pass_or_fail $? "three names: $(ls random | tr '\n' ' ')"
absent random/intaglio--1.png
expect_refused 2 "-1 for a random one" generate "${small[@]}" --prompt cat --seed -2 --output refused/x.png

finish
