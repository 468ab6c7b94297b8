#!/usr/bin/env bash
# `intaglio quantize`: what it refuses, what it writes, and that a run that was ended is gone on with.
#   quantize_test.sh INTAGLIO_BINARY SOURCE_FOLDER
. "$(dirname "$0")/common.sh"
source=$data
mini=$source/models/mini
formats=$source/tests/formats
file=$formats/base/reference/model.safetensors

expect 0 "help" quantize --help
for text in source target "runs on the CPU" --scheme --group-size --format --parts --protect --keep --lora --max-shard-size --budget --calibration --calibration-steps --calibration-size --calibration-model --overwrite Examples; do stdout_has "$text"; done

expect_refused 2 "SRC" quantize
expect_refused 1 "nowhere: no such file or folder" quantize nowhere refused/x.safetensors
expect_refused 2 "--scheme" quantize "$file" refused/x.safetensors --scheme smoothest
expect_refused 2 "--group-size" quantize "$file" refused/x.safetensors --group-size 128
expect_refused 2 "--parts" quantize "$mini" refused/x.safetensors --parts vae
expect_refused 2 "one part" quantize "$mini" refused/x.safetensors --parts transformer,text_encoder
expect_refused 2 "is one part itself" quantize "$file" refused/x.safetensors --parts transformer
expect_refused 2 "matches none" quantize "$file" refused/x.safetensors --keep 'layers.*.w9'
expect_refused 2 "--calibration-model names one" quantize "$file" refused/x.safetensors --scheme smooth
expect_refused 2 "--budget: only --protect auto" quantize "$file" refused/x.safetensors --budget 6G
expect_refused 2 "--budget: expected a size such as 6G" quantize "$mini" refused/x --protect auto --budget much
expect_refused 2 "--calibration: nothing is calibrated" quantize "$file" refused/x.safetensors --calibration -
echo '{"prompt": "an owl", "steps": 4}' >steps.jsonl
expect_refused 2 'steps.jsonl:1: only "prompt" is of a line here, found "steps"' quantize "$mini" refused/x --scheme smooth --calibration steps.jsonl
expect_refused 2 "--calibration-steps: nothing is calibrated" quantize "$file" refused/x.safetensors --calibration-steps 4
expect_refused 2 "--calibration-size: nothing is calibrated" quantize "$file" refused/x.safetensors --calibration-size 64x64
expect_refused 2 '--calibration-size: expected WIDTHxHEIGHT in pixels, e.g. 1024x768, found "64"' quantize "$mini" refused/x --scheme smooth --calibration-size 64
expect_refused 2 "63x64" quantize "$mini" refused/x --scheme smooth --calibration-size 63x64
expect_refused 2 "--group-size: --scheme row turns nothing" quantize "$file" refused/x.safetensors --scheme row --group-size 256
expect_refused 1 "no-prompts" quantize "$mini" refused/x --scheme smooth --calibration no-prompts
expect_refused 2 "--max-shard-size" quantize "$file" refused/x.safetensors --max-shard-size many
expect_refused 2 "--lora: expected FILE" quantize "$file" refused/x.safetensors --lora "$formats/lora/diff.safetensors:much"
expect_refused 2 "--lora: cannot be given together with --scheme smooth" quantize "$mini" refused/x --scheme smooth --lora "$formats/lora/diff.safetensors"
expect_refused 2 "--lora: cannot be given together with --protect auto" quantize "$mini" refused/x --protect auto --lora "$formats/lora/diff.safetensors"
expect_refused 2 "--parts names none" quantize "$mini" refused/x.safetensors --parts text_encoder --lora "$formats/lora/diff.safetensors"
expect_refused 1 "no config.json" quantize "$file" refused/folder
expect_refused 1 "neither a transformer nor a text encoder" quantize "$formats/base/wide.safetensors" refused/x.safetensors
expect_refused 1 "refused/no" quantize "$file" refused/no/x.safetensors
expect_refused 1 "convrot_groupsize" quantize "$(ls "$formats"/bad/*group*.safetensors | head -1)" refused/x.safetensors

# A file, twice the same; not replaced unasked; not over its source.
expect 0 "a file" quantize "$file" a.safetensors
stdout_has "6 linears int8 (6 turned)"
expect 0 "a file again" quantize "$file" b.safetensors --json
valid_json out.txt
same a.safetensors b.safetensors
expect 2 "a file that is there" quantize "$file" a.safetensors --scheme row
stderr_has "a.safetensors"
same a.safetensors b.safetensors
expect 0 "with --overwrite" quantize "$file" b.safetensors --scheme row --overwrite
! cmp -s a.safetensors b.safetensors; pass_or_fail $? "row and convrot differ"
cp "$file" own.safetensors
expect 2 "over its source" quantize own.safetensors own.safetensors --overwrite
same own.safetensors "$file"
expect 0 "inspect" inspect a.safetensors --all
for text in "format: comfy" "quantized_by: intaglio" "int8 rows turned by 64" "layers.0.feed_forward.w2"; do stdout_has "$text"; done
expect 0 "inspect as JSON" inspect a.safetensors --json
valid_json out.txt
stdout_has '"stored_as": "int8 rows turned by 16"'

# How far the copy is from its source: fused names against fused ones, a model against its copy.
expect 0 "a file against itself" inspect --diff "$file" "$file"
stdout_has "relative error 0;"
expect 0 "a copy" inspect --diff "$file" a.safetensors --all
stdout_has "comfy against float (the reference)"
stdout_has "layers.0.attention.to_q.weight"
expect 0 "a copy as JSON" inspect --diff "$file" a.safetensors --json
valid_json out.txt
python3 - <<'PY'
import json
part = json.load(open("out.txt"))["parts"][0]
errors = [t["relative_error"] for t in part["tensors"]]
assert errors == sorted(errors, reverse=True)
assert 0.004 < part["linears"]["relative_error"] < 0.01, part["linears"]
assert part["other_tensors"]["relative_error"] == 0
assert part["only_reference"] == part["only_other"] == part["not_compared"] == []
PY
pass_or_fail $? "errors of a copy"
expect_refused 1 "nowhere: no such file or folder" inspect --diff "$file" nowhere
expect_refused 1 "no tensor of one name in both" inspect --diff "$file" "$formats/base/wide.safetensors"
expect_refused 2 "--diff: compares what lies at two places" inspect --diff mini mini --vae "$mini/vae"

# The bundled model by each scheme, in both layouts and with its text encoder, loads and draws.
draw() { expect 0 "draws: $*" generate "$@" --prompt 'an owl' --seed 1 --steps 2 --size 64x64 --output picture.png; present picture.png; }
for scheme in row convrot; do
  expect 0 "a model, $scheme" quantize "$mini" "model-$scheme" --scheme "$scheme"
  expect 0 "inspect" inspect "model-$scheme"
  stdout_has "quantized_by: intaglio"
  expect 0 "its error" inspect --diff "$mini" "model-$scheme"
  for part in transformer unconditional_transformer; do stdout_has "$part: sdnq against float (the reference)"; done
  python3 -c "import json; assert json.load(open('model-$scheme/transformer/config.json'))['quantization_config']['quant_method'] == 'sdnq'"
  pass_or_fail $? "diffusers is told of the rows"
  stdout_has "vae: float against float (the reference)"
  draw --model "model-$scheme"
  expect 0 "its transformer as a file, $scheme" quantize "$mini/transformer" "t-$scheme.safetensors" --scheme "$scheme"
  draw --model "$mini" --transformer "t-$scheme.safetensors"
done
expect 0 "a text encoder" quantize "$mini" model-text --parts transformer,unconditional,text_encoder
draw --model model-text
expect 0 "a text encoder as a file" quantize "$mini" te.safetensors --parts text_encoder
draw --model "$mini" --text-encoder te.safetensors
expect 2 "a folder that is there" quantize "$mini" model-row
stderr_has "is there already"
[ -z "$(ls -d ./*.part 2>/dev/null)" ]; pass_or_fail $? "nothing is left beside what was written"

# Calibrated: smoothed, which adapters do not fit, and protected within a budget.
printf 'a red apple\na blue car\n' >two.txt
quick=(--calibration two.txt --calibration-steps 2 --calibration-size 64x64)
expect 0 "smooth" quantize "$mini" model-smooth --scheme smooth "${quick[@]}"
stdout_has "linears int8 ("
stdout_has "smoothed)"
stdout_has "error of an int8 linear: mean"
draw --model model-smooth
grep -q intaglio_smoothed model-smooth/transformer/*.safetensors; pass_or_fail $? "a smoothed file says so"
expect 1 "an adapter on it" generate --model model-smooth --lora "$formats/lora/ai_toolkit.safetensors" --prompt 'an owl' --output refused/x.png
stderr_has "its linears were smoothed"
expect 0 "rounded by what linears read" quantize "$mini" model-gptq --scheme convrot --rounding gptq "${quick[@]}"
stdout_has "rounded by gptq)"
draw --model model-gptq
expect 2 "another rounding" quantize "$mini" refused/x --rounding down
expect 0 "a lone transformer" quantize "$mini/transformer" both.safetensors --scheme convrot+smooth --calibration-model "$mini" "${quick[@]}"
expect 0 "the same again" quantize "$mini/transformer" again.safetensors --scheme convrot+smooth --calibration-model "$mini" "${quick[@]}" --json --threads 1
same both.safetensors again.safetensors
valid_json out.txt
for text in '"alpha": 0.' '"unsmoothed_error": ' '"gain": ' '"velocity_error": '; do stdout_has "$text"; done
draw --model "$mini" --transformer both.safetensors
expect 1 "an adapter baked into it" quantize both.safetensors refused/x.safetensors --lora "$formats/lora/ai_toolkit.safetensors"
stderr_has "its linears were smoothed"
expect 0 "what is smoothed stays marked" quantize both.safetensors marked.safetensors --scheme row
grep -q intaglio_smoothed marked.safetensors; pass_or_fail $? "a copy of a smoothed file says so too"
size=$(stat -c %s t-row.safetensors)
budget=$((size + 400000))
expect 0 "protected within bytes" quantize "$mini/transformer" some.safetensors --scheme row --protect auto --budget $budget --calibration-model "$mini" "${quick[@]}"
stdout_has "stays float: layers."
now=$(stat -c %s some.safetensors)
[ "$now" -gt "$size" ] && [ "$now" -le $budget ]; pass_or_fail $? "$now bytes, expected more than $size and at most $budget"
draw --model "$mini" --transformer some.safetensors
expect_refused 2 "is less than" quantize "$mini/transformer" refused/x.safetensors --scheme row --protect auto --budget 1M --calibration-model "$mini" "${quick[@]}"
expect 0 "all above an error" quantize "$mini/transformer" none.safetensors --scheme row --protect auto --budget 0.0001 --calibration-model "$mini" "${quick[@]}"
stdout_has ": 0 linears int8"
# Adapters, merged in; those of no module are listed, and one of which nothing fits is refused.
expect 0 "adapters" quantize "$file" baked.safetensors --lora "$formats/lora/lokr.safetensors:0.5" --lora "$formats/lora/diff.safetensors"
stdout_has "6 linears int8 (6 turned)"
! cmp -s a.safetensors baked.safetensors; pass_or_fail $? "adapters change the file"
expect 0 "inspect" inspect baked.safetensors --all
stdout_has "intaglio_lora: lokr:0.5, diff:1"
write_lora() {
  python3 - "$@" <<'END'
import json, struct, sys
header, data = {}, b""
for name, rows, columns in zip(sys.argv[2::3], map(int, sys.argv[3::3]), map(int, sys.argv[4::3])):
    values = [((i * 7919 % 13) - 6) / 6 for i in range(rows * columns)]
    header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [len(data), len(data) + 4 * len(values)]}
    data += struct.pack("<%df" % len(values), *values)
text = json.dumps(header).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + data)
END
}
q=diffusion_model.layers.0.attention.qkv
write_lora part.safetensors $q.lora_A.weight 4 64 $q.lora_B.weight 192 4 lora_te_0.lora_up.weight 4 4
expect 0 "a tensor of no module" quantize "$file" baked.safetensors --overwrite --lora part.safetensors
stderr_has "part.safetensors: 1 of its 3 tensors"
stderr_has "lora_te_0.lora_up.weight"
write_lora none.safetensors lora_te_0.lora_up.weight 4 4
run quantize "$file" refused/x.safetensors --lora none.safetensors
[ "$status" -ne 0 ]; pass_or_fail $? "an adapter of which nothing fits is refused"
stderr_has "none of its 1 tensors"

# Shards of a model's folder and of a lone file, which is refused where one is there.
expect 0 "a model in shards" quantize "$mini" model-cut --max-shard-size 2M
present model-cut/transformer/diffusion_pytorch_model.safetensors.index.json
absent model-cut/transformer/diffusion_pytorch_model.safetensors
draw --model model-cut
expect 0 "a file in shards" quantize "$mini/transformer" cut.safetensors --max-shard-size 2M
stdout_has " shards"
draw --model "$mini" --transformer cut.safetensors.index.json
expect 2 "shards that are there" quantize "$mini/transformer" cut.safetensors --max-shard-size 2M
stderr_has "cut-00001-of-"
absent cut.safetensors

# A text encoder in llama.cpp's names.
expect 0 "GGUF" quantize "$formats/gguf_text_encoder/model.gguf" gguf-te.safetensors
expect 0 "inspect" inspect gguf-te.safetensors --all
stdout_has "model.language_model.layers.0.self_attn.q_proj"

# Ended by a full disk, as it were.
(ulimit -f 4000; "$intaglio" quantize "$mini/transformer" ended.safetensors >out.txt 2>err.txt </dev/null; echo $? >code.txt)
[ "$(cat code.txt)" -eq 1 ]; pass_or_fail $? "ulimit -f: exit code $(cat code.txt), expected 1"
stderr_has "File too large"
absent ended.safetensors
expect 0 "goes on" quantize "$mini/transformer" ended.safetensors
stdout_has "gone on with"
same ended.safetensors t-convrot.safetensors

# Killed, and stopped by Ctrl-C: a transformer of a large matrix of zeros, sparse.
python3 - "$file" big.safetensors <<'END'
import json, struct, sys
with open(sys.argv[1], "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
header.pop("__metadata__", None)
at = 0
for name, tensor in header.items():
    if name.endswith("feed_forward.w2.weight"): tensor["shape"] = [65536, 8192]
    size = 2
    for n in tensor["shape"]: size *= n
    tensor["data_offsets"] = [at, at + size]
    at += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[2], "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    f.truncate(8 + len(text) + at)
END
# As in signals_test.sh: a background job ignores SIGINT.
foreground() { exec python3 -c 'import os,signal,sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$@"; }
expect 0 "undisturbed" quantize big.safetensors undisturbed.safetensors
for signal in KILL:137 INT:130; do
  foreground "$intaglio" quantize big.safetensors disturbed.safetensors >out.txt 2>err.txt </dev/null &
  pid=$!
  for _ in $(seq 3000); do [ -n "$(find . -maxdepth 1 -name 'disturbed.*.part' -size +20k)" ] && break; sleep 0.01; done
  kill -"${signal%:*}" "$pid"
  wait "$pid" 2>/dev/null
  code=$?
  [ "$code" -eq "${signal#*:}" ]; pass_or_fail $? "SIG${signal%:*}: exit code $code"
  absent disturbed.safetensors
  [ "${signal%:*}" = KILL ] || stderr_has "the same command goes on from there"
  expect 0 "goes on after SIG${signal%:*}" quantize big.safetensors disturbed.safetensors
  stdout_has "gone on with"
  cmp -s undisturbed.safetensors disturbed.safetensors; pass_or_fail $? "the same bytes after SIG${signal%:*}"
  rm -f disturbed.safetensors
done
finish
