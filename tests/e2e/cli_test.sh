#!/usr/bin/env bash
# The command line end to end on a tiny random model: good input, bad input, models, inspect, verify, benchmarks.
#   cli_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

# Help, version, usage.
expect 0 "help" --help;                       stdout_has "Exit codes"
for command in generate verify inspect bench; do expect 0 "$command help" $command --help; stdout_has "xample"; done
expect 0 "bench linear help" bench linear --help
expect 0 "bench block help" bench block --help
expect 0 "version" --version;                 stdout_has "intaglio "
expect 2 "no command";                        stderr_has "error: "
expect 2 "unknown command" paint
expect 2 "unknown flag" generate --prompt x --colour
stderr_has "--colour"

# A picture, its text, its repeatability.
expect 0 "generate" generate "${small[@]}" --prompt 'a "cat", café' --seed 5 --output a.png
stdout_has "a.png"
present a.png
grep -q "2/2" err.txt; pass_or_fail $? "progress in plain lines"
grep -q $'\x1b' err.txt; [ $? -ne 0 ]; pass_or_fail $? "no terminal codes in a file"
expect 0 "again" generate "${small[@]}" --prompt 'a "cat", café' --seed 5 --output b.png
same a.png b.png
expect 0 "one thread" generate "${small[@]}" --prompt 'a "cat", café' --seed 5 --output c.png --threads 1
same a.png c.png
expect 0 "other seed" generate "${small[@]}" --prompt 'a "cat", café' --seed 6 --output d.png
cmp -s a.png d.png; [ $? -eq 1 ]; pass_or_fail $? "another seed gives another picture"
expect 0 "inspect picture" inspect a.png --json
valid_json out.txt
stdout_has '"width": 64'
stdout_has '"seed": "5"'
stdout_has '"steps": "2"'
stdout_has '"Description": "a \"cat\", café"'
grep -q '"prompt"' out.txt; [ $? -ne 0 ]; pass_or_fail $? "no chunk that other tools parse as a graph"
stdout_has "Steps: 2, Sampler: Euler, CFG scale: 3, Seed: 5, Size: 64x64, Model hash: "
stdout_has '"Software": "Intaglio '

# First steps at half size.
half=(generate "${small[@]}" --prompt 'a "cat", café' --seed 5)
expect 0 "steps at half size" "${half[@]}" --progressive 0.5 --output half.png --json
valid_json out.txt
stdout_has '"half_steps": 1'
stderr_has "progressive: the first 1 of 2 steps at 32x32"
stdout_has '"width": 32'
cmp -s a.png half.png; [ $? -eq 1 ]; pass_or_fail $? "steps at half size give another picture"
expect 0 "inspect its picture" inspect half.png
stdout_has ", Progressive: 1"
expect 0 "none at half size" "${half[@]}" --progressive off --output off.png
same a.png off.png
expect_refused 2 "--progressive: 2 steps at half size of a picture of 2" "${half[@]}" --progressive 2 --output refused/x.png
expect_refused 2 "--progressive: expected off, a number of first steps or a share" "${half[@]}" --progressive most --output refused/x.png
expect_refused 2 "--progressive: half of 80x64 pixels is not a whole number of tokens" generate "${tiny[@]}" --size 80x64 --steps 2 --prompt cat --progressive 1 --output refused/x.png
stderr_has "such as 96x64"

# Products of attention: a picture says what was asked for.
expect 0 "attention that was asked for" "${half[@]}" --attention float --output float.png --json
valid_json out.txt
stdout_has '"attention": "float"'
expect 0 "inspect its picture" inspect float.png
stdout_has ", Attention: float"

# From a picture: a.png is 64x64.
from=(generate "${tiny[@]}" --steps 4 --prompt cat --seed 5 --init-image a.png)
expect 0 "from a picture" "${from[@]}" --output from.png --json
valid_json out.txt
stdout_has '"run_steps": 3'
stdout_has '"width": 64'
stderr_has "init image: the last 3 of 4 steps run"
expect 0 "inspect its picture" inspect from.png
stdout_has "Denoising strength: 0.6, Init image hash: "
expect 0 "the same again, two of them" "${from[@]}" --count 2 --output again.png
same from.png again_0001.png
expect 0 "another size" "${from[@]}" --size 96x64 --output wide.png
expect 0 "a mask" "${from[@]}" --mask a.png --strength 1 --output masked.png --json
valid_json out.txt
stdout_has '"mask_hash": '
stdout_has '"run_steps": 4'
expect_refused 2 "--mask: needs --init-image" generate "${small[@]}" --prompt cat --mask a.png --output refused/x.png
expect_refused 2 "--strength: needs --init-image" generate "${small[@]}" --prompt cat --strength 0.5 --output refused/x.png
for strength in 0 -0.5 1.5 nan abc 0,5; do
  expect_refused 2 "--strength: expected a number above 0 to 1, found \"$strength\"" "${from[@]}" "--strength=$strength" --output refused/x.png
done
expect_refused 2 "expected the size of --init-image, 64x64" "${from[@]}" --mask wide.png --output refused/x.png
expect_refused 2 "--progressive: a picture that begins from another" "${from[@]}" --progressive 1 --output refused/x.png
expect_refused 1 "--init-image" generate "${small[@]}" --prompt cat --init-image nowhere.png --output refused/x.png
printf 'no picture' > no.png
expect_refused 1 "--init-image no.png" generate "${small[@]}" --prompt cat --init-image no.png --output refused/x.png
expect_refused 2 "--init-image" "${from[@]}" --output a.png

# JSON on stdout, everything else on stderr.
expect 0 "json" generate "${small[@]}" --prompt cat --seed 1 --output j.png --json --guidance 7,3
valid_json out.txt
for key in status phase_ms denoise step_ms peak_memory_bytes hash guidance; do stdout_has "\"$key\""; done
expect 2 "json of an error" generate "${small[@]}" --prompt cat --size 64x63 --output refused/x.png --json
expect 2 "json of an error" generate "${tiny[@]}" --prompt cat --size 64x63 --output refused/x.png --json
valid_json out.txt
stdout_has '"code": "invalid_argument"'

# On a terminal the progress redraws itself, in colour unless NO_COLOR is set.
if command -v script >/dev/null; then
  export TERM=xterm
  draw=("$intaglio" generate "${small[@]}" --prompt cat --seed 1 --output tty.png)
  script -qec "$(printf '%q ' "${draw[@]}")" /dev/null >out.txt 2>err.txt </dev/null
  pass_or_fail $? "generate on a terminal"
  stdout_has $'\r\x1b[K'
  stdout_has $'\x1b[36m'
  NO_COLOR=1 script -qec "$(printf '%q ' "${draw[@]}")" /dev/null >out.txt 2>err.txt </dev/null
  stdout_has $'\r\x1b[K'
  grep -qF $'\x1b[36m' out.txt; [ $? -ne 0 ]; pass_or_fail $? "NO_COLOR gives no colour"
fi

# Names of files.
mkdir many
expect 0 "count" generate "${small[@]}" --prompt cat --seed 8 --count 2 --output many/p.png
present many/p_0001.png; present many/p_0002.png; absent many/p.png
expect 0 "same as the second" generate "${small[@]}" --prompt cat --seed 9 --output second.png
same many/p_0002.png second.png
mkdir folder
expect 0 "folder" generate "${small[@]}" --prompt cat --seed 3 --count 2 --output folder
present folder/intaglio-3.png; present folder/intaglio-4.png
mkdir here && cd here
"$intaglio" generate "${small[@]}" --prompt cat --seed 3 >../out.txt 2>../err.txt
cd ..
present here/intaglio-3.png
[ "$(ls -A here | wc -l)" -eq 1 ]; pass_or_fail $? "one file and nothing else"

# Values that cannot be.
for size in 63x64 64x63 64 x64 64x 0x0 -64x64 64x64x64 1e3x64 99999999999999999999x64 32784x64; do
  expect_refused 2 "--size" generate "${tiny[@]}" --prompt cat "--size=$size" --steps 2 --output refused/x.png
done
expect_refused 2 "--steps" generate "${tiny[@]}" --prompt cat --steps 0 --output refused/x.png
expect_refused 2 "--steps" generate "${tiny[@]}" --prompt cat --steps two --output refused/x.png
expect_refused 2 "3 values for 2 steps" generate "${small[@]}" --prompt cat --guidance 7,7,3 --output refused/x.png
for guidance in "7,x" "," "" "nan" "inf" "7,"; do
  expect_refused 2 "--guidance" generate "${small[@]}" --prompt cat --guidance "$guidance" --output refused/x.png
done
expect_refused 2 "--seed" generate "${small[@]}" --prompt cat --seed=-2 --output refused/x.png
expect_refused 2 "--seed" generate "${small[@]}" --prompt cat --seed 18446744073709551616 --output refused/x.png
expect_refused 2 "--seed" generate "${small[@]}" --prompt cat --seed 18446744073709551615 --count 2 --output refused/x.png
expect 0 "largest seed" generate "${small[@]}" --prompt cat --seed 18446744073709551615 --output f.png
expect_refused 2 "--count" generate "${small[@]}" --prompt cat --count 0 --output refused/x.png
expect_refused 2 "--precision" generate "${small[@]}" --prompt cat --precision int4 --output refused/x.png
expect_refused 1 "fp8 needs a GPU of compute capability 8.9 or newer; the device is the CPU" generate "${small[@]}" --device cpu --prompt cat --precision fp8 --output refused/x.png
expect_refused 1 "attention with int8 values needs a GPU of compute capability 8.0 or newer; the device is the CPU" generate "${small[@]}" --device cpu --prompt cat --attention int8-values --output refused/x.png
expect_refused 1 "attention with int8 scores needs a GPU" generate "${small[@]}" --device cpu --prompt cat --attention int8 --output refused/x.png
expect_refused 2 '--attention: expected auto, float, int8 or int8-values, found "half"' generate "${small[@]}" --device cpu --prompt cat --attention half --output refused/x.png
expect_refused 1 "nf4 needs a GPU; the device is the CPU" generate "${small[@]}" --device cpu --prompt cat --precision nf4 --output refused/x.png
expect_refused 2 "layers.*.w9" generate "${small[@]}" --prompt cat --keep-bf16 'layers.*.w9' --output refused/x.png
expect 0 "layers kept in bf16" generate "${small[@]}" --prompt cat --keep-bf16 'layers.*.feed_forward.w2,llm_cond_proj' --output f.png
expect_refused 2 "--threads" generate "${small[@]}" --prompt cat --threads 0 --output refused/x.png
expect_refused 2 "--memory-limit" generate "${small[@]}" --prompt cat --memory-limit 8Q --output refused/x.png
expect_refused 1 "of memory" generate "${small[@]}" --prompt cat --memory-limit 1K --output refused/x.png
for budget in 8Q 0 -1G lots; do
  expect_refused 2 "--vram-budget" generate "${small[@]}" --prompt cat "--vram-budget=$budget" --output refused/x.png
done
expect 2 "a budget of a benchmark" bench step --device cpu --layers 1 --vram-budget 8Q
grep -q -- "--vram-budget: expected a size" err.txt; pass_or_fail $? "a bad budget is named"
expect 0 "the CPU has no other memory to stream from" generate "${small[@]}" --prompt cat --device cpu --vram-budget 1M --output f.png
expect_refused 2 "--prompt" generate "${small[@]}" --output refused/x.png

# Several problems are told at once.
expect 2 "several problems" generate "${tiny[@]}" --prompt " " --size 63x64 --guidance 7,x --output refused/x.jpg
[ "$(grep -c '^error: ' err.txt)" -ge 3 ]; pass_or_fail $? "one line a problem"

# Where nothing can be written.
expect_refused 1 "there is no folder" generate "${small[@]}" --prompt cat --output nowhere/x.png
expect_refused 1 "there is no folder" generate "${small[@]}" --prompt cat --output refused/x.png --latents-out nowhere/l.safetensors
expect_refused 2 ".png" generate "${small[@]}" --prompt cat --output refused/x.jpg
if [ "$(id -u)" -ne 0 ]; then  # root may write everywhere
  mkdir locked && chmod a-w locked
  expect_refused 1 "not writable" generate "${small[@]}" --prompt cat --output locked/x.png
fi
expect_refused 1 "cannot write" generate "${small[@]}" --prompt cat --output /proc/x.png

# Models that are not there or damaged.
expect_refused 1 "no such folder" generate --model nowhere --prompt cat --output refused/x.png
expect_refused 1 "model_index.json" generate --model refused --prompt cat --output refused/x.png
INTAGLIO_MODELS=$work/models expect 1 "mini is not there" generate --prompt cat --output refused/x.png --model nomini
mkdir models && cp -r "$data/tiny" models/mini
INTAGLIO_MODELS=$work/models expect 0 "mini by environment" generate --model mini --size 64x64 --steps 2 --prompt cat --seed 9 --output mini.png
present mini.png
damage() {  # fresh copy of the model in broken/
  rm -rf broken
  cp -r "$data/tiny" broken
  chmod -R u+w broken
}
weights=transformer/diffusion_pytorch_model.safetensors
broken=(generate --model broken --size 64x64 --steps 2 --prompt cat --output refused/x.png)
damage; truncate -s -100 broken/$weights;                          expect_refused 1 "$weights" "${broken[@]}"
damage; truncate -s 4 broken/$weights;                             expect_refused 1 "too short" "${broken[@]}"
damage; : >broken/$weights;                                        expect_refused 1 "empty file" "${broken[@]}"
damage; printf '\377\377\377\377\377\377\377\377' | dd of=broken/$weights conv=notrunc status=none; expect_refused 1 "$weights" "${broken[@]}"
damage; printf 'xxxx' | dd of=broken/$weights bs=1 seek=12 conv=notrunc status=none; expect_refused 1 "$weights" "${broken[@]}"
damage; rm broken/$weights;                                        expect_refused 1 "diffusion_pytorch_model" "${broken[@]}"
damage; rm -r broken/vae;                                          expect_refused 1 "vae" "${broken[@]}"
damage; echo '{' >broken/transformer/config.json;                  expect_refused 1 "transformer/config.json" "${broken[@]}"
damage; echo '[]' >broken/model_index.json;                        expect_refused 1 "model_index.json" "${broken[@]}"
damage; sed -i 's/"num_layers": 3/"num_layers": 4/' broken/transformer/config.json; expect_refused 1 "layers.3." "${broken[@]}"
damage; sed -i 's/"num_layers": 3/"num_layers": -3/' broken/transformer/config.json; expect_refused 1 "num_layers" "${broken[@]}"
damage; echo '{}' >broken/tokenizer/tokenizer.json;                expect_refused 1 "tokenizer.json" "${broken[@]}"
damage; expect 1 "inspect of a damaged model" inspect broken/nothing
damage; truncate -s -1 broken/$weights; expect 1 "inspect of a damaged model" inspect broken --json
valid_json out.txt
stderr_has "$weights"

# Noise and tensors in and out.
expect 0 "tensors out" generate "${small[@]}" --prompt cat --seed 9 --output t.png --latents-out l.safetensors --features-out f.safetensors
expect 0 "inspect latents" inspect l.safetensors;   stdout_has "[16, 16]"
expect 0 "inspect features" inspect f.safetensors;  stdout_has "features"
case_noise=(generate "${tiny[@]}" --prompt 'A poster' --steps 2 --noise "$data/cases/pipeline_0.safetensors")
expect 0 "noise" "${case_noise[@]}" --size 128x128 --output n1.png
expect 0 "noise again" "${case_noise[@]}" --size 128x128 --output n2.png --seed 77
cmp -s n1.png n2.png; pass_or_fail $? "noise overrides the seed"
expect_refused 2 "expected a float tensor [32, 16]" "${case_noise[@]}" --size 64x128 --output refused/x.png
expect_refused 2 "--count" "${case_noise[@]}" --size 128x128 --count 2 --output refused/x.png
expect_refused 2 "noise" generate "${small[@]}" --prompt cat --noise "$data/tiny/$weights" --output refused/x.png
expect_refused 1 "nowhere" generate "${small[@]}" --prompt cat --noise nowhere --output refused/x.png
expect_refused 1 "prompt.txt" generate "${small[@]}" --prompt cat --noise prompt.txt --output refused/x.png

# Inspect.
expect 0 "inspect model" inspect "$data/tiny"
stdout_has "unconditional_transformer"
stdout_has "visual.patch_embed.proj.weight"
stdout_has "not used by the engine"
# Of a transformer every tensor is used; of the unconditional one all but the text's, of the others what does not make pictures.
[ "$(grep -c "not used by the engine" out.txt)" -eq 3 ]; pass_or_fail $? "three parts have tensors the engine does not use"
stdout_has "not used by the engine (3 of 61 tensors)"
# Memory at every precision, of a model and of its transformer.
for precision in fp32 bf16 int8 int8-dequant fp8 nf4; do stdout_has "memory.$precision: weights "; done
stdout_has "memory.picture: 1024x1024, 512 text tokens, activations on cpu"
expect 0 "inspect a transformer" inspect "$data/tiny/transformer"
stdout_has "memory.int8: weights "
stdout_has "presets.TURBO_12: "
expect 0 "inspect a text encoder" inspect "$data/tiny/text_encoder"
grep -q "memory" out.txt; [ $? -ne 0 ]; pass_or_fail $? "no memory of a text encoder alone"
expect 0 "inspect json" inspect "$data/tiny" --json
stdout_has '"memory_bytes"'
valid_json out.txt
stdout_has '"unused_tensors"'
expect 0 "inspect part" inspect "$data/tiny/transformer/" --all;  stdout_has "layers.2.attention.to_q.weight"
expect 0 "inspect tokenizer" inspect "$data/tiny/tokenizer/tokenizer.json";  stdout_has "1202 entries"
expect 0 "inspect cases" inspect "$data/cases";  stdout_has "pipeline_0.safetensors"
expect 1 "inspect nothing" inspect nowhere
expect 1 "inspect text" inspect prompt.txt

# Verify.
expect 0 "verify" verify "$data";                    stdout_has "pass"
expect 0 "verify json" verify "$data" --json;        valid_json out.txt
expect 1 "verify fp8 on a CPU" verify "$data" --device cpu --precision fp8;  stderr_has "fp8 needs a GPU"
expect 2 "verify nothing" verify nowhere
expect 1 "verify an empty folder" verify refused
cp -r "$data" wrong && chmod -R u+w wrong
printf '\101' | dd of=wrong/tiny/$weights bs=1 seek=$(($(stat -c %s wrong/tiny/$weights) - 1)) conv=notrunc status=none
expect 1 "verify finds one changed byte" verify wrong
stdout_has "fail"

# Benchmarks, small.
expect 0 "bench linear" bench linear --device cpu --m 33 --n 64 --k 96 --rounds 1 --threads 1 --json bench.json --precision fp32,bf16,int8,int8-dequant
valid_json bench.json
printf '# shapes\nfirst 8 16 32\n4 32 32\n' >shapes.txt
expect 0 "bench shapes" bench linear --device cpu --shapes shapes.txt --rounds 1 --threads 1 --json -
valid_json out.txt
printf 'first 8 16\n' >shapes.txt
expect 2 "bad shapes" bench linear --shapes shapes.txt;  stderr_has "shapes.txt:1"
expect 2 "bad m" bench linear --m 0
expect 2 "bad precision" bench linear --precision int3
expect 1 "bench linear without such a GPU" bench linear --device cuda:99;  stderr_has "cuda:99"
expect 2 "bench linear on something else" bench linear --device gpu;       stderr_has "--device"
expect 2 "bench linear on a GPU that has no number" bench linear --device cuda:x; stderr_has "--device"
expect 2 "bench linear with a precision of the CPU" bench linear --device cuda:99 --precision fp32; stderr_has "--precision"
expect 2 "bad shapes for a GPU" bench linear --device cuda:99 --shapes shapes.txt; stderr_has "shapes.txt:1"
expect 0 "bench block" bench block --heads 2 --head-dim 32 --ffn 64 --tokens 16 --rounds 1 --threads 1 --json -
valid_json out.txt

finish
