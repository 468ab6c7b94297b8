#!/usr/bin/env bash
# What the command line says of words that are wrong, and its help.
#   arguments_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

wrong() {  # MESSAGE ARGUMENTS...: exit code 2, said in our words
  local message=$1
  shift
  expect 2 "refuses $*" "$@"
  stderr_has "error: $message"
  stderr_has "--help\` lists what is possible."
  grep -qE 'CLI|std::|exception|json\.|not in range|Could not|required but|ExistingDirectory|INT|UINT' err.txt
  [ $? -ne 0 ]; pass_or_fail $? "no text of a library: $*"
  [ ! -s out.txt ]; pass_or_fail $? "nothing on stdout: $*"
}
commands="generate, verify, inspect, bench, tune, map, quantize, eval, cache"
serve=
if "$intaglio" serve --help >out.txt 2>err.txt; then  # a build without the server has none
  serve="serve worker"
  commands+=", serve, worker"
fi
commands+=", completion, manual"
wrong "no command, expected one of $commands"
wrong "unknown command \"paint\", expected one of $commands" paint
wrong "unknown command \"generat\", expected one of $commands, nearest: generate" generat --prompt x
wrong "no command, expected one of linear, block, step, image, load, link, schemes" bench
wrong 'unknown command "lienar", expected one of linear, block, step, image, load, link, schemes, nearest: linear' bench lienar
wrong "unknown option --promt, nearest: --prompt" generate --promt cat
[ "$(grep -c '^error: ' err.txt)" -eq 1 ]; pass_or_fail $? "one problem is told once"
wrong "unknown option --colour" generate --prompt x --colour
wrong "unknown option --sede, nearest: --seed" generate --prompt x --sede=3
wrong "unknown option -p" generate -p cat
wrong "unknown option --modle, nearest: --model" generate --prompt cat --modle mini --size 63x64
wrong 'unexpected "cat": this command takes options only' generate cat
wrong 'unexpected "b": this command takes no more words' inspect a b
wrong "path: missing, expected FILE|DIR|NAME" inspect
wrong "--diff: expected REFERENCE, found the end of the line" inspect a --diff
wrong "path: missing, expected FILE|DIR|NAME" inspect --diff a
wrong "folder: missing, expected DIR" verify
wrong "--prompt: expected TEXT|@FILE|-, found the end of the line" generate --prompt
wrong "--prompt: expected TEXT|@FILE|-, found --seed; a value that begins with -- is written --prompt=VALUE" generate --prompt --seed 3
wrong "--seed: given 2 times, expected once" generate --prompt cat --seed 1 --seed 2
wrong '--json: takes no value, found "yes"' generate --prompt cat --json=yes
wrong "--m: cannot be given together with --shapes" bench linear --shapes x --m 3
for flag in --model --size --steps --guidance --cache --progressive --seed --count --output --noise --latents-out --features-out --memory-limit --vram-budget --packed-cache --precision --keep-bf16 --attention --device --devices --parallel --threads; do
  wrong "$flag: expected " generate --prompt cat $flag ''
  stderr_has "found an empty value"
  wrong "$flag: expected " generate --prompt cat $flag=
  wrong "$flag: expected " generate --prompt cat $flag
done
# Whole numbers, everywhere.
number() {  # EXPECTED ARGUMENTS... FLAG: the flag's value is refused where it is none
  local range=$1
  shift
  for value in -3 0 0x10 1e3 three 99999999999999999999 ' 4' 4.0 +4; do
    wrong "${*: -1}: expected a whole number from $range, found \"$value\"" "$@" "$value"
  done
}
number "1 to 1024" generate --prompt cat --threads
number "1 to 1024" verify "$data" --threads
number "1 to 1024" inspect a --threads
number "1 to 1024" map --threads
number "1 to 1024" bench linear --threads
number "1 to 1024" bench block --threads
number "1 to 1024" bench step --threads
number "1 to 1024" bench image --threads
number "1 to 9999" generate --prompt cat --count
number "1 to 1000" bench image --steps
number "1 to 1000" bench load --rounds
number "1 to 1024" bench load --threads
number "1 to 1000" bench link --devices cpu --rounds
wrong '--devices: missing, expected N,N' bench link
number "1 to 200" map --layers
number "1 to 1000" quantize a b --calibration-steps
number "1 to 1000" bench schemes --calibration-steps
wrong '--scheme: expected one of row, convrot, smooth, convrot+smooth' quantize a b --scheme smooht
number "1 to 1048576" bench linear --m
number "1 to 1000" tune --list --rounds
if [ "$serve" ]; then
  for flag in --host --port --allowed-host --token-file --tls-cert --tls-key --log-format --model --precision --device --devices --parallel --threads --memory-limit --vram-budget --data-dir --lora-dir --max-queue \
    --max-queue-of-client --retention-days --retention-size --stop-seconds --config --queue --results --lease-seconds; do
    wrong "$flag: expected " serve $flag ''
    wrong "$flag: expected " serve $flag
  done
  for flag in --queue --results --lease-seconds --model --precision --device --devices --parallel --threads --memory-limit --vram-budget --lora-dir --stop-seconds --log-format --config; do
    wrong "$flag: expected " worker $flag ''
    wrong "$flag: expected " worker $flag
  done
  number "1 to 3600" worker --lease-seconds
  number "1 to 1000000" serve --max-queue
  number "1 to 1000000" serve --max-queue-of-client
  number "1 to 1024" serve --threads
  wrong '--port: expected a whole number from 0 to 65535, found "65536"' serve --port 65536
  wrong '--log-format: expected one of text, json, found "jsno", nearest: json' serve --log-format jsno
  wrong 'unexpected "mini": this command takes options only' serve mini
  export XDG_CONFIG_HOME=$work
  expect 2 "others may not reach it without a token" serve --host 0.0.0.0 --data-dir data
  stderr_has "error: --host: others than this machine reach 0.0.0.0, so a token is needed: give --token-file or set INTAGLIO_TOKEN"
  INTAGLIO_TOKEN=short expect 2 "a token that is guessed" serve --host 0.0.0.0 --data-dir data
  stderr_has "error: INTAGLIO_TOKEN: expected a token of 16 to 4096 printable ASCII characters, found 5"
  expect 2 "a certificate alone" serve --tls-cert x --data-dir data; stderr_has "error: --tls-cert, --tls-key: expected both or neither"
  expect 2 "no such address" serve --host no.such.host.invalid --data-dir data
  expect 2 "no size" serve --retention-size lots --data-dir data; stderr_has "--retention-size: expected a size such as 8G or 512M"
  expect 2 "a server with nothing to share" serve --model mini --data-dir data --parallel ulysses; stderr_has 'error: --parallel ulysses: expected two GPUs or more of --devices, such as 0,1'
  expect 2 "a server that chooses" serve --model mini --data-dir data --devices 0,1 --parallel auto; stderr_has 'error: --parallel'
  expect 2 "a worker without a queue" worker; stderr_has "error: --queue: missing, expected redis://HOST as \`intaglio serve\` has it"
  for command in "serve --data-dir data" worker; do
    # shellcheck disable=SC2086
    expect 2 "no address of a Redis: $command" $command --queue http://localhost
    stderr_has "error: --queue: it does not begin with redis://; expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]"
    # shellcheck disable=SC2086
    expect 1 "TLS: $command" $command --queue rediss://localhost; stderr_has "this build's Redis library (hiredis) speaks no TLS"
  done
  expect 2 "results of no queue" serve --results x --data-dir data; stderr_has "error: --results: expected together with --queue"
  [ ! -e data ]; pass_or_fail $? "nothing was begun"
fi
expect 2 "steps" generate "${tiny[@]}" --prompt cat --steps 1e3; stderr_has '--steps: expected a whole number from 1 to 1000, found "1e3"'
expect 2 "too many steps" generate --prompt x --steps 1001; stderr_has '--steps: expected a whole number from 1 to 1000, found "1001"'
# With a size that is wrong, too: without the limit nothing is drawn.
wrong '--count: expected a whole number from 1 to 9999, found "10000"' generate --prompt x --size 63x64 --count 10000
wrong '--threads: expected a whole number from 1 to 1024, found "1025"' generate --prompt x --size 63x64 --threads 1025
expect 0 "010 tokens are ten" bench block --heads 1 --head-dim 16 --ffn 16 --tokens 010 --rounds 1 --precision fp32 --json -
stdout_has '"tokens": 10,'
expect 2 "one GPU twice" generate "${tiny[@]}" --prompt cat --devices 0,0; stderr_has 'error: --devices: expected two GPUs, found cuda:0 twice'
expect 2 "three GPUs" generate "${tiny[@]}" --prompt cat --devices 0,1,2; stderr_has 'error: --devices: 3 GPUs, at most 2: '
expect 2 "one device to share passes" generate "${tiny[@]}" --prompt cat --parallel ulysses; stderr_has 'error: --parallel ulysses: expected two GPUs or more of --devices, such as 0,1'
expect 2 "one device for halves" generate "${tiny[@]}" --prompt cat --parallel cfg+ulysses; stderr_has 'error: --parallel cfg+ulysses: expected 4, 6 or 8 GPUs of --devices, such as 0,1,2,3'
expect 2 "nothing to choose among" generate "${tiny[@]}" --prompt cat --parallel auto; stderr_has 'error: --parallel auto: expected two GPUs or more of --devices, such as 0,1'
expect 2 "one GPU to share passes" bench image --model synthetic:mini --devices 1 --parallel ulysses; stderr_has 'error: --devices: expected two GPUs or more, such as 0,1, which share each pass'
expect 2 "three GPUs for two passes" generate "${tiny[@]}" --prompt cat --devices 0,1,2 --parallel cfg+ulysses; stderr_has 'error: --devices: expected 4, 6 or 8 GPUs, such as 0,1,2,3, half of which share each of two passes'
expect 2 "one GPU twice to share passes" generate "${tiny[@]}" --prompt cat --devices 0,1,0 --parallel ulysses; stderr_has 'error: --devices: expected different GPUs, found cuda:0 twice'
expect 2 "the CPU beside a GPU" bench image --model synthetic:mini --devices cpu,1; stderr_has 'error: --devices: expected GPUs alone, such as 0,1, found "cpu"'
expect 2 "--device and --devices" bench image --model synthetic:mini --device cpu --devices 0,1; stderr_has 'error: --devices: cannot be given together with --device cpu'
for setting in INTAGLIO_TRACE=all INTAGLIO_GPU_ISA=sm1 INTAGLIO_GPU_LINK=card INTAGLIO_CPU_ISA=sse INTAGLIO_PACKED_CACHE=much; do
  env "$setting" "$intaglio" generate "${tiny[@]}" --prompt cat --output refused/x.png >out.txt 2>err.txt </dev/null
  [ $? -eq 2 ]; pass_or_fail $? "$setting is refused"
  stderr_has "${setting%=*}"
done
expect 0 "010 is ten" generate "${tiny[@]}" --size 64x64 --prompt cat --seed 1 --steps 010 --count 01 --output ten.png --json
stdout_has '"steps": 10'
# One of several.
wrong '--precision: expected one of fp32, bf16, int8, ' generate --prompt cat --precision int4
wrong '--precision: expected one of ' generate --prompt cat --precision bf61; stderr_has 'found "bf61", nearest: bf16'
for rank in 0 1025 x 4:; do expect 2 "random:$rank" bench step --model mini --rounds 1 --lora "random:$rank"; stderr_has "--lora: "; done
expect 2 "precisions of a benchmark" bench step --precision int8,bf61; stderr_has '--precision'
# The cache of prepared weights.
wrong 'no command, expected one of list, clear' cache
wrong 'unknown command "lst", expected one of list, clear, nearest: list' cache lst
expect 2 "a size that is none" generate "${tiny[@]}" --prompt cat --packed-cache 0
stderr_has '--packed-cache: expected off or a size such as 40G, found "0"'
expect 2 "an age that is none" cache clear --older-than 3; stderr_has '--older-than: expected a time such as 90m, 12h, 30d or 2w, found "3"'
expect 2 "no size" bench link --devices cpu --most much; stderr_has '--most: expected a size such as 8G'
expect 2 "a small size" bench link --devices cpu --most 1K; stderr_has '--most: 1024, expected at least 4096 bytes'
expect 2 "one GPU" bench link --devices 0; stderr_has '--devices: expected two GPUs or more'
expect 2 "random weights without a file" bench load --device cpu; stderr_has '--file: random weights need a file'
# A broken file is a failure, not a wrong argument.
cp -r "$data/tiny" broken && chmod -R u+w broken && echo '{"a": }' >broken/transformer/config.json
expect 1 "a broken model" generate --model broken --prompt cat --output x.png
stderr_has "broken/transformer/config.json: not valid JSON at line 1, column 7"
expect 1 "map that measures nothing" map --device cpu --layers 1 --size 32x32 --rounds 1 --precision nf4
stderr_has "nothing was measured"

# Help in 80 columns, of every command, with what the environment changes.
for command in "" generate verify inspect bench "bench linear" "bench block" "bench step" "bench image" "bench load" "bench link" "bench schemes" tune map cache "cache list" "cache clear" $serve; do
  # shellcheck disable=SC2086
  expect 0 "help of $command" $command --help
  long=$(python3 -c 'import sys; print([l for l in open("out.txt", encoding="utf-8").read().split("\n") if len(l) > 80])')
  [ "$long" = "[]" ]; pass_or_fail $? "help of \"$command\" fits 80 columns: $long"
  stdout_has "xample"
  [ ! -s err.txt ]; pass_or_fail $? "help says nothing on stderr"
done
expect 0 "help" --help
for name in $(cd "$here/../.." && grep -rhoE --exclude-dir=routes '(getenv|variable|environment|add)\("[A-Z_]+"' src apps | grep -oE '[A-Z_]{3,}' | sort -u); do stdout_has "$name"; done
expect 0 "version" --version; grep -qE '^intaglio [0-9.]+$' out.txt; pass_or_fail $? "one line of a version"

finish
