#!/usr/bin/env bash
# GGUF files wherever the program takes weights: in a part's folder, and by the options of a part; and what is refused.
#   gguf_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

to_gguf() { python3 "$here/to_gguf.py" "$@"; pass_or_fail $? "to_gguf.py $*"; }
other_pixels() { [ "$(pixels "$1")" != "$(pixels "$2")" ]; pass_or_fail $? "$1 shows other than $2"; }

transformer=transformer/diffusion_pytorch_model.safetensors
unconditional=unconditional_transformer/diffusion_pytorch_model.safetensors
vae=vae/diffusion_pytorch_model.safetensors
text=text_encoder/model.safetensors
mkdir g
to_gguf "$data/tiny/$transformer" g/t.gguf as_is reference
to_gguf "$data/tiny/$unconditional" g/u.gguf as_is
to_gguf "$data/tiny/$text" g/e.gguf as_is llama
to_gguf "$data/tiny/$vae" g/v.gguf as_is
to_gguf "$data/tiny/$transformer" g/t-Q8_0.gguf Q8_0 reference
to_gguf "$data/tiny/$text" g/e-Q8_0.gguf Q8_0 llama

draw=(--size 32x32 --steps 2 --prompt cat --seed 5)
expect 0 "safetensors" generate "${tiny[@]}" "${draw[@]}" --output whole.png

# The same weights in another container, under other names: the same picture.
files=(--transformer g/t.gguf --unconditional g/u.gguf --text-encoder g/e.gguf --vae g/v.gguf)
for precision in int8 bf16 fp32; do
  expect 0 "safetensors, $precision" generate "${tiny[@]}" "${draw[@]}" --precision $precision --output a.png
  expect 0 "every part by its option, $precision" generate "${tiny[@]}" "${draw[@]}" --precision $precision "${files[@]}" --output b.png
  same_pixels a.png b.png
done
cp -r "$data/tiny" m
chmod -R u+w m
rm m/*/*.safetensors
cp g/t.gguf m/transformer/any-name.gguf
cp g/u.gguf m/unconditional_transformer/
cp g/e.gguf m/text_encoder/
cp g/v.gguf m/vae/
expect 0 "every part in its folder" generate --model m "${draw[@]}" --output folder.png
same_pixels folder.png whole.png

# Blocks draw, and nearly the same.
expect 0 "Q8_0" generate "${tiny[@]}" "${draw[@]}" --transformer g/t-Q8_0.gguf --text-encoder g/e-Q8_0.gguf --output q8.png
other_pixels q8.png whole.png
for precision in bf16 fp32; do
  expect 0 "Q8_0, $precision" generate "${tiny[@]}" "${draw[@]}" --precision $precision --transformer g/t-Q8_0.gguf --output q8.png
done

# The other commands.
expect 0 "inspect a file" inspect g/t-Q8_0.gguf
stdout_has "t-Q8_0.gguf: weights, GGUF"
stdout_has "layers.*.attention.qkv.weight"
stdout_has "Q8_0"
stdout_has "general.architecture"
expect 0 "inspect a file as JSON" inspect g/t-Q8_0.gguf --json
valid_json out.txt
stdout_has '"dtype": "Q8_0"'
expect 0 "inspect a folder of them" inspect g
expect 0 "inspect a model" inspect m
expect 0 "inspect a part from elsewhere" inspect "$data/tiny" --transformer g/t-Q8_0.gguf
stdout_has "Q8_0"
mkdir v
cp -r "$data/cases" "$data/wide_transformer" "$data/tiny" v/
expect 0 "verify with parts" verify v "${files[@]}"
expect 0 "bench" bench image --device cpu --model m --size 32x32 --steps 1 --text-tokens 4 --count 1
expect 0 "bench with a part" bench image --device cpu "${tiny[@]}" --transformer g/t-Q8_0.gguf --size 32x32 --steps 1 --text-tokens 4 --count 1

# What cannot be is said in the user's words.
refused() { local message=$1; shift; expect_refused 1 "$message" generate "${tiny[@]}" "${draw[@]}" "$@" --output refused/x.png; }
refused "--transformer g/gone.gguf: no such folder or file" --transformer g/gone.gguf
refused "g/e.gguf: " --transformer g/e.gguf
stderr_has "tensors not as the model needs"
head -c 1000 g/t.gguf >g/cut.gguf
refused "g/cut.gguf: " --transformer g/cut.gguf
stderr_has "truncated?"
cp "$data/tiny/$transformer" g/not.gguf
refused "not GGUF?" --transformer g/not.gguf
printf x >g/weights.ckpt
refused "g/weights.ckpt: unknown kind of file; expected weights as .safetensors or .gguf" --vae g/weights.ckpt
cp g/t-Q8_0.gguf m/transformer/other-name.gguf
expect_refused 1 "more than one variant of the weights" generate --model m "${draw[@]}" --output refused/x.png
stderr_has "any-name.gguf, config.json, other-name.gguf"
finish
