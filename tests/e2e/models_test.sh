#!/usr/bin/env bash
# Models as people have them: one branch, parts apart, hub names, variants, odd configs, damaged weights, presets.
#   models_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
set -u
intaglio=$(realpath "$1")
data=$(realpath "$2")
. "$(dirname "$(realpath "$0")")/pixels.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset INTAGLIO_MODELS INTAGLIO_CPU_ISA HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_HOME XDG_CACHE_HOME
export HOME=$work/home
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
run() { "$intaglio" "$@" >out.txt 2>err.txt </dev/null; status=$?; }
expect() {  # exit code, what, arguments...
  local code=$1 what=$2
  shift 2
  run "$@"
  [ "$status" -eq "$code" ]
  pass_or_fail $? "$what: exit code $status, expected $code"
}
stderr_has() { grep -qF -- "$1" err.txt; pass_or_fail $? "stderr has \"$1\""; }
stdout_has() { grep -qF -- "$1" out.txt; pass_or_fail $? "stdout has \"$1\""; }
same() { cmp -s "$1" "$2"; pass_or_fail $? "$1 equals $2"; }
differ() { ! cmp -s "$1" "$2"; pass_or_fail $? "$1 differs from $2"; }
json_is() {  # Python expression of the JSON on stdout, expected value
  local found
  found=$(python3 -c "import json,sys; j=json.load(open('out.txt')); print(($1))" 2>&1)
  [ "$found" = "$2" ]
  pass_or_fail $? "$1 is $found, expected $2"
}
# refused CODE MESSAGE ARGUMENTS...: nothing is written
mkdir refused
refused() {
  local code=$1 message=$2
  shift 2
  expect "$code" "refuses $*" "$@" --output refused/x.png
  stderr_has "$message"
  [ -z "$(ls -A refused)" ]; pass_or_fail $? "nothing is written ($*)"
  rm -rf refused/*
}
fresh() {  # a copy of the tiny model in m/
  rm -rf m
  cp -r "$data/tiny" m
  chmod -R u+w m
}
edit() {  # JSON file, Python statement on j
  python3 - "$1" "$2" <<'PY'
import json, sys
j = json.load(open(sys.argv[1]))
exec(sys.argv[2])
json.dump(j, open(sys.argv[1], "w"))
PY
}
# weights FILE STATEMENT: rewrites a safetensors file; t is {name: [dtype, shape, bytes]}.
weights() {
  python3 - "$1" "$2" <<'PY'
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
header = json.loads(raw[8:8 + n])
data = raw[8 + n:]
meta = header.pop("__metadata__", None)
t = {k: [v["dtype"], v["shape"], data[v["data_offsets"][0]:v["data_offsets"][1]]] for k, v in header.items()}
exec(sys.argv[2])
out, body = {}, b""
if meta: out["__metadata__"] = meta
for k, (dtype, shape, b) in t.items():
    out[k] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(b)]}
    body += b
text = json.dumps(out).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + body)
PY
}
poison() {  # file, tensor, bf16 bits
  weights "$1" "e = t['$2']; assert e[0] == 'BF16', e[0]; e[2] = struct.pack('<H', $3) + e[2][2:]"
}
draw=(generate --model m --size 32x32 --steps 2 --prompt cat --seed 5)
conditional=m/transformer/diffusion_pytorch_model.safetensors
unconditional=m/unconditional_transformer/diffusion_pytorch_model.safetensors
text=m/text_encoder/model.safetensors
vae=m/vae/diffusion_pytorch_model.safetensors

fresh
expect 0 "the whole model" "${draw[@]}" --output whole.png
expect 0 "at guidance 1" "${draw[@]}" --guidance 1 --output one.png
differ whole.png one.png

# One branch: no key, null, or [null, null].
for change in "del j['unconditional_transformer']" "j['unconditional_transformer'] = None" "j['unconditional_transformer'] = [None, None]"; do
  fresh
  edit m/model_index.json "$change"
  rm -r m/unconditional_transformer
  expect 0 "one branch ($change)" "${draw[@]}" --output branch.png --json
  json_is "j['schedule']['guidance']" 1x2
  same_pixels branch.png one.png
  refused 2 "no unconditional transformer" "${draw[@]}" --guidance 7
  refused 2 "no unconditional transformer" "${draw[@]}" --guidance 1,2
  refused 2 "no unconditional transformer" generate --model m --prompt cat --preset TURBO_12
  expect 0 "inspect one branch" inspect m
done
expect 0 "default steps of one branch" generate --model m --prompt cat --size 16x16 --output branch.png --json
json_is "j['steps']" 20

# Parts from elsewhere: folders, whole models, files.
fresh
cp -r m base
mkdir parts
for part in transformer unconditional_transformer text_encoder vae tokenizer; do mv m/$part parts/; done
refused 1 "m/transformer" "${draw[@]}"
elsewhere=(--transformer parts/transformer --unconditional parts/unconditional_transformer --text-encoder parts/text_encoder
  --vae parts/vae/diffusion_pytorch_model.safetensors --tokenizer parts/tokenizer/tokenizer.json)
expect 0 "parts from elsewhere" "${draw[@]}" "${elsewhere[@]}" --output parts.png --json
same_pixels parts.png whole.png
json_is "len(j['model']['parts'])" 5
expect 0 "parts of another model" "${draw[@]}" --transformer base --unconditional base --text-encoder base --vae base --tokenizer base --output base.png
same_pixels base.png whole.png
expect 0 "one branch by a flag" "${draw[@]}" "${elsewhere[@]:0:2}" "${elsewhere[@]:4}" --unconditional none --output none.png
same_pixels none.png one.png
expect 0 "inspect with parts" inspect m "${elsewhere[@]}"
refused 1 "--vae nowhere" "${draw[@]}" "${elsewhere[@]:0:6}" "${elsewhere[@]:8}" --vae nowhere
refused 2 "takes no parts" generate --model synthetic:mini --prompt cat --vae parts/vae
fresh
mv $conditional tuned.safetensors
expect 0 "a file with the model's config" "${draw[@]}" --transformer tuned.safetensors --output tuned.png
same_pixels tuned.png whole.png

# No output replaces a part, wherever it lies; what lies beside it is not the model's.
expect 0 "over an older picture" "${draw[@]}" --transformer tuned.safetensors --output tuned.png
cp tuned.safetensors kept.safetensors
expect 2 "latents over a part" "${draw[@]}" --transformer tuned.safetensors --output tuned.png --latents-out tuned.safetensors
same tuned.safetensors kept.safetensors

# A hub name is looked up in the cache of the Hugging Face tools.
fresh
mkdir -p hub/models--own--name/{refs,snapshots}
mv m hub/models--own--name/snapshots/abc123abc123
printf 'abc123abc123' >hub/models--own--name/refs/main
hub=(generate --model own/name --size 32x32 --steps 2 --prompt cat --seed 5)
refused 1 "hf download own/name" "${hub[@]}"
stderr_has "home/.cache/huggingface/hub/models--own--name"
HF_HUB_CACHE=$work/hub expect 0 "HF_HUB_CACHE" "${hub[@]}" --output hub.png
same_pixels hub.png whole.png
HF_HUB_CACHE=$work/hub expect 0 "a revision" generate --model own/name@abc123abc123 --size 32x32 --steps 2 --prompt cat --seed 5 --output hub.png
HF_HUB_CACHE=$work/hub refused 1 "there are main" generate --model own/name@v9 --prompt cat
HF_HUB_CACHE=$work/hub expect 0 "inspect a hub name" inspect own/name
mkdir -p hf && mv hub hf/hub
HF_HOME=$work/hf expect 0 "HF_HOME" "${hub[@]}" --output hub.png
mkdir -p xdg && mv hf xdg/huggingface
XDG_CACHE_HOME=$work/xdg expect 0 "XDG_CACHE_HOME" "${hub[@]}" --output hub.png
mkdir -p home/.cache && mv xdg/huggingface home/.cache/
expect 0 "the home folder" "${hub[@]}" --output hub.png
refused 1 "hf download" generate --model nowhere --prompt cat

# Variants of file names, and what is not used.
fresh
mv $conditional m/transformer/diffusion_pytorch_model.fp16.safetensors
expect 0 "a variant alone" "${draw[@]}" --output variant.png
same_pixels variant.png whole.png
cp m/transformer/diffusion_pytorch_model.fp16.safetensors m/transformer/diffusion_pytorch_model.bf16.safetensors
refused 1 "more than one variant" "${draw[@]}"
stderr_has "diffusion_pytorch_model.bf16.safetensors, diffusion_pytorch_model.fp16.safetensors"
rm m/transformer/*.safetensors
printf x >m/transformer/weights.bin
refused 1 "there is config.json, weights.bin" "${draw[@]}"
fresh
for file in $conditional $unconditional $text $vae; do
  weights $file "t['zz.a'] = ['F4', [4], b'12']; t['zz.b'] = ['F6_E2M3', [4], b'123']; t['zz.c'] = ['F8_E4M3', [2], b'12'];
t['zz.d'] = ['U16', [], b'12']; t['zz.e'] = ['BOOL', [0], b'']; t['zz.f'] = ['NEVER', [7, 7], b'12345']; t['zz.g'] = ['I64', [1,1,1,1,1,1,1], b'12345678']; meta = None"
done
expect 0 "unused tensors of any type" "${draw[@]}" --output unused.png
same_pixels unused.png whole.png
expect 0 "inspect them" inspect m
stdout_has "F6_E2M3"
fresh
weights $conditional "e = t['layers.0.attention.to_q.weight']; t['layers.0.attention.to_q.weight'] = ['U8', e[1], e[2][:len(e[2]) // 2]]"
refused 1 "layers.0.attention.to_q.weight: found U8" "${draw[@]}"

# Configs: what would change the arithmetic is honoured, refused or warned of.
config() {  # file, statement, message
  fresh
  edit "m/$1" "$2"
  refused 1 "$3" "${draw[@]}"
  stderr_has "m/$1"
}
config model_index.json "j['_class_name'] = 'FluxPipeline'" FluxPipeline
config model_index.json "j['vae'] = ['diffusers', 'AutoencoderKL']" "vae: found AutoencoderKL"
config model_index.json "j['scheduler'][1] = 'DDIMScheduler'" DDIMScheduler
config scheduler/scheduler_config.json "j['_class_name'] = 'DDIMScheduler'" DDIMScheduler
config scheduler/scheduler_config.json "j['use_dynamic_shifting'] = True" use_dynamic_shifting
config scheduler/scheduler_config.json "j['use_karras_sigmas'] = True" use_karras_sigmas
config scheduler/scheduler_config.json "j['stochastic_sampling'] = True" stochastic_sampling
config transformer/config.json "j['hidden_act'] = 'gelu'" hidden_act
config transformer/config.json "j['mrope_section'] = [24, 20, 20]" mrope_section
config unconditional_transformer/config.json "j['rope_scaling'] = {'type': 'yarn', 'factor': 2}" rope_scaling
config text_encoder/config.json "j['text_config']['hidden_act'] = 'gelu'" hidden_act
config text_encoder/config.json "j['text_config']['rope_parameters']['rope_type'] = 'yarn'" rope_type
config text_encoder/config.json "j['text_config']['attention_bias'] = True" attention_bias
config text_encoder/config.json "j['quantization_config'] = {'quant_method': 'gptq'}" quantization_config
config text_encoder/config.json "j['architectures'] = ['T5EncoderModel']" T5EncoderModel
config vae/config.json "j['act_fn'] = 'relu'" act_fn
config vae/config.json "j['scaling_factor'] = 0.36" scaling_factor
config vae/config.json "j['up_block_types'][0] = 'AttnUpDecoderBlock2D'" up_block_types
fresh
edit m/transformer/config.json "j['num_layers'] = 2"
refused 1 "$conditional: holds layers.2." "${draw[@]}"
stderr_has "num_layers"
fresh
edit m/transformer/config.json "j['norm_eps'] = 0.01"
expect 0 "another eps is honoured" "${draw[@]}" --output eps.png
differ eps.png whole.png
fresh
edit m/scheduler/scheduler_config.json "j['shift'] = 3.0"
expect 0 "another shift is honoured" "${draw[@]}" --output shift.png
differ shift.png whole.png
fresh
edit m/transformer/config.json "j['attention_softcap'] = 30.0; j['_note'] = 'x'; j['off'] = False"
expect 0 "an unknown key" "${draw[@]}" --output unknown.png --json
same_pixels unknown.png whole.png
[ "$(grep -c '^warning: ' err.txt)" -eq 1 ]; pass_or_fail $? "one line of warning"
stderr_has "attention_softcap"
json_is "len(j['warnings'])" 1
expect 0 "inspect unknown keys" inspect m
stdout_has "attention_softcap"
stdout_has "_note"

# Words that the model says it does not know.
fresh
echo '{"about": "x", "sections": [{"title": "t", "values": ["v"]}], "words": ["cat"]}' >m/vocabulary.json
expect 0 "known words" "${draw[@]}" --output known.png
[ "$(grep -c '^warning: ' err.txt)" -eq 0 ]; pass_or_fail $? "no warning"
printf 'cat\ncat zebu, yak\na zebu cat\n' >words.txt
expect 0 "unknown words" generate --model m --size 32x32 --steps 2 --prompts words.txt --count 2 --seed 9 --output words/ --json
[ "$(grep -c '^warning: ' err.txt)" -eq 1 ]; pass_or_fail $? "one line for all prompts"
stderr_has 'warning: m was never trained on "zebu", "yak"; `intaglio inspect m` lists'
json_is "[w.split(';')[0] for w in j['warnings']]" "['m was never trained on \"zebu\", \"yak\"']"
echo '{"about": "x", "sections": [{"title": "t", "values": ["v"]}], "words": 3}' >m/vocabulary.json
expect 0 "a bad list costs no picture" "${draw[@]}" --output known.png
stderr_has "vocabulary.json: words: expected a list"
# A model that draws capitals alone reads what is quoted as such.
fresh
edit m/model_index.json "j.setdefault('intaglio', {})['quoted_capitals'] = True"
for word in '"CAT"' '"Cat"' '“cat”'; do
  expect 0 "capitals: $word" generate --model m --size 32x32 --steps 2 --prompt "a $word" --seed 9 --output "capitals $word.png"
done
same_pixels 'capitals "CAT".png' 'capitals "Cat".png'
differ_in_pixels 'capitals "CAT".png' 'capitals “cat”.png'
edit m/model_index.json "j['intaglio']['quoted_capitals'] = 1"
refused 1 "quoted_capitals" "${draw[@]}"

# A model that was trained at one size says so of others.
fresh
edit m/model_index.json "j.setdefault('intaglio', {}).update(default_size=[32, 32], only_default_size=True)"
expect 0 "the size it was trained at" "${draw[@]}" --output size.png --json
json_is "j.get('warnings')" None
printf '{"prompt": "cat"}\n{"prompt": "cat", "size": "64x32"}\n{"prompt": "dog"}\n' >sizes.txt
expect 0 "another size" generate --model m --size 48x32 --steps 2 --prompts sizes.txt --seed 9 --output sizes/ --json
json_is "j['warnings']" "['m was trained at 32x32 alone; expect no good picture of 48x32', 'm was trained at 32x32 alone; expect no good picture of 64x32']"
expect 0 "half its size" "${draw[@]}" --output size.png --progressive 1 --json
json_is "j['warnings']" "['m was trained at 32x32 alone; first steps at half of that (--progressive) spoil its pictures']"
edit m/model_index.json "j['intaglio']['only_default_size'] = 1"
refused 1 "only_default_size" "${draw[@]}"

# Problems are found before a weight is hashed or loaded, and name the file.
for file in $conditional $unconditional $text $vae; do
  fresh
  truncate -s -100 $file
  refused 1 "$file" "${draw[@]}"
  ! grep -q "hashing\|loading" err.txt; pass_or_fail $? "no weight was read ($file)"
done
fresh
rm m/tokenizer/tokenizer.json
refused 1 "m/tokenizer: no tokenizer.json in it" "${draw[@]}"
fresh
edit m/vae/config.json "j['latent_channels'] = 8"
refused 1 "the transformer has 16 channels a token, the VAE packs 32" "${draw[@]}"
fresh
edit m/vae/config.json "j['use_post_quant_conv'] = False"
refused 1 "holds post_quant_conv.weight, but use_post_quant_conv is false" "${draw[@]}"

# Numbers that go wrong end in an error that names the part, and in no file.
for bits in 0x7f80 0x7fc0; do  # Inf, NaN
  for precision in int8 bf16 fp32; do
    fresh; poison $text language_model.layers.2.mlp.down_proj.weight $bits
    refused 1 "language_model.layers.2.mlp.down_proj.weight: holds an Inf or a NaN" "${draw[@]}" --precision $precision
    fresh; poison $conditional layers.1.attention.to_k.weight $bits
    refused 1 "m/transformer/diffusion_pytorch_model.safetensors: layers.1.attention.to_k.weight: holds an Inf or a NaN" "${draw[@]}" --precision $precision
    fresh; poison $unconditional layers.1.attention.to_k.weight $bits
    refused 1 "m/unconditional_transformer/diffusion_pytorch_model.safetensors: layers.1.attention.to_k.weight: holds an Inf or a NaN" "${draw[@]}" --precision $precision
    fresh; poison $vae decoder.up_blocks.1.resnets.0.conv1.weight $bits
    refused 1 "the VAE computed values that are not finite" "${draw[@]}" --precision $precision
  done
done
mkdir v && fresh && cp -r "$data/cases" "$data/wide_transformer" v/ && mv m v/tiny && poison v/tiny/vae/diffusion_pytorch_model.safetensors decoder.conv_in.weight 0x7fc0
expect 1 "verify reports" verify v
stdout_has "not finite"
stdout_has "pass     transformer"
expect 0 "verify with a sound part" verify v --vae "$data/tiny/vae"
fresh
refused 1 "step 1 of 2" "${draw[@]}" --guidance 3e38
stderr_has "not finite"

# Schedules.
sched=(generate --model m --size 16x16 --prompt cat --seed 5 --json --output s.png)
expect 0 "default" "${sched[@]}"
json_is "j['schedule']['preset'], j['steps'], j['schedule']['guidance']" "('QUALITY_48', 48, '7x45,3x3')"
expect 0 "12 steps" "${sched[@]}" --steps 12
json_is "j['schedule']['preset'], j['schedule']['mu'], j['schedule']['std'], j['schedule']['guidance']" "('TURBO_12', 0.5, 1.75, '7x11,3')"
stderr_has "TURBO_12"
cp s.png turbo.png
expect 0 "a picture says its schedule" inspect turbo.png --json
stdout_has '"mu": "0.5"'
stdout_has '"std": "1.75"'
expect 0 "by name" "${sched[@]}" --preset turbo_12
same s.png turbo.png
expect 0 "by its parts" "${sched[@]}" --steps 12 --mu 0.5 --std 1.75 --guidance 7x11,3
same s.png turbo.png
json_is "j['schedule']['preset']" TURBO_12
expect 0 "20 steps" "${sched[@]}" --steps 20
json_is "j['schedule']['preset'], j['schedule']['std']" "('DEFAULT_20', 1.75)"
expect 0 "10 steps" "${sched[@]}" --steps 10
json_is "j['schedule']['preset'], j['schedule']['std'], j['schedule']['guidance']" "(None, 1.5, '7x7,3x3')"
expect 0 "steps in another way" "${sched[@]}" --steps 010
json_is "j['steps']" 10
expect 0 "other mu" "${sched[@]}" --steps 12 --mu=-0.5
json_is "j['schedule']['preset'], j['schedule']['mu'], j['schedule']['std']" "(None, -0.5, 1.5)"
cp s.png mu.png
differ mu.png turbo.png
plain=(generate --model m --size 16x16 --prompt cat)
refused 2 "QUALITY_48, DEFAULT_20, TURBO_12" "${plain[@]}" --preset ULTRA_1
refused 2 "has 12" "${plain[@]}" --preset TURBO_12 --steps 13
refused 2 "10 values for 48 steps" "${plain[@]}" --guidance 45x7,3x3
for bad in 7x 7x0 x3 7xx3 7x-3 "7x3,"; do refused 2 "--guidance" "${plain[@]}" "--guidance=$bad"; done
for bad in nan inf x; do refused 2 "--mu" "${plain[@]}" "--mu=$bad"; refused 2 "--std" "${plain[@]}" "--std=$bad"; done
refused 2 "--std" "${plain[@]}" --std 0
refused 2 "--steps" "${plain[@]}" --steps 2.5
expect 0 "presets are listed" inspect m
stdout_has "QUALITY_48"
stdout_has "7x11,3"
edit m/model_index.json "j['presets'] = {'OWN_3': {'steps': 3, 'mu': 0.1, 'std': 1.2, 'guidance': '2x2,1'}}"
expect 0 "a model's own presets" "${sched[@]}" --steps 3
json_is "j['schedule']['preset'], j['schedule']['std']" "('OWN_3', 1.2)"
refused 2 "OWN_3" "${plain[@]}" --preset TURBO_12
edit m/model_index.json "j['presets'] = {'OWN_3': {'steps': 3, 'guidance': '2x5'}}"
refused 1 "OWN_3" "${plain[@]}"
edit m/model_index.json "j['presets'] = {'OWN_3': {'steps': 3}}"
refused 1 "presets.OWN_3.guidance: missing" "${plain[@]}"
edit m/model_index.json "j['presets'] = {'OWN_3': {'steps': 3, 'guidance': 2}, 'own_3': {'steps': 4, 'guidance': 2}}"
refused 1 "a preset of this name is there already" "${plain[@]}"
edit m/model_index.json "j['presets'] = {'OWN_3': {'steps': 1001, 'guidance': 2}}"
refused 1 "presets.OWN_3.steps" "${plain[@]}"
edit m/model_index.json "j['presets'] = {'OWN_3': {'steps': 3, 'guidance': 2, 'sdt': 9}}; j['intaglio'] = {'default_guidence': 2}"
expect 0 "unknown keys of presets" inspect m
stdout_has "presets.OWN_3.sdt"
stdout_has "intaglio.default_guidence"

if [ "$failures" -ne 0 ]; then
  echo "$failures of $checks checks failed"
  exit 1
fi
echo "$checks checks passed"
