#!/usr/bin/env bash
# --lora from the command line: pictures, their text, strengths, and what is refused before any work.
#   lora_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

# write_adapter FILE SCALE NAME ROWS COLUMNS [NAME ROWS COLUMNS ...]: tensors of small numbers.
write_adapter() {
  python3 - "$@" <<'PYTHON'
import json, struct, sys
path, scale, rest = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
header, data = {}, b""
for name, rows, columns in zip(rest[::3], map(int, rest[1::3]), map(int, rest[2::3])):
    values = [scale * ((i * 7919 % 13) - 6) / 6 for i in range(rows * columns)]
    header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [len(data), len(data) + 4 * len(values)]}
    data += struct.pack("<%df" % len(values), *values)
text = json.dumps(header).encode()
open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
PYTHON
}
q=transformer.layers.0.attention.to_q
write_adapter style.safetensors 1 $q.lora_A.weight 4 128 $q.lora_B.weight 128 4
flat=lora_unet_layers_1_feed_forward_w2
write_adapter other.safetensors 1 $flat.lora_down.weight 2 256 $flat.lora_up.weight 128 2 lora_te_0.lora_up.weight 4 4

draw=(generate "${small[@]}" --prompt cat --seed 1)
expect 0 "without" "${draw[@]}" --output without.png --latents-out without.safetensors
expect 0 "with" "${draw[@]}" --lora style.safetensors --output with.png
cmp -s without.png with.png; [ $? -eq 1 ]; pass_or_fail $? "an adapter changes the picture"
expect 0 "again" "${draw[@]}" --lora style.safetensors:1 --output again.png
same with.png again.png
expect 0 "strength 0" "${draw[@]}" --lora style.safetensors:0 --output zero.png --latents-out zero.safetensors
python3 - without.safetensors zero.safetensors <<'PYTHON'
import struct, sys
def data(path):
    whole = open(path, "rb").read()
    return whole[8 + struct.unpack("<Q", whole[:8])[0]:]
sys.exit(data(sys.argv[1]) != data(sys.argv[2]))
PYTHON
pass_or_fail $? "strength 0 is as if it were not there"

# Two, one of which has a tensor of no module.
expect 0 "two" "${draw[@]}" --lora style.safetensors:0.5 --lora other.safetensors:-1.5 --output two.png --json
stderr_has "other.safetensors: 1 of its 3 tensors"
stderr_has "lora_te_0.lora_up.weight"
valid_json out.txt
stdout_has '"style:0.5"'
stdout_has '"other:-1.5"'
cmp -s with.png two.png; [ $? -eq 1 ]; pass_or_fail $? "a second adapter changes the picture"
expect 0 "inspect picture" inspect two.png --json
stdout_has '"lora": "style:0.5, other:-1.5"'

# What is refused.
refused=("${draw[@]}" --output refused/x.png)
expect_refused 2 "--lora: expected FILE or FILE:STRENGTH, a number such as 0.8, found \"style.safetensors:much\"" \
  "${refused[@]}" --lora style.safetensors:much
run "${refused[@]}" --lora absent.safetensors
[ "$status" -ne 0 ]; pass_or_fail $? "an absent adapter is refused"
stderr_has "absent.safetensors"
write_adapter flux.safetensors 1 diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight 2 8
run "${refused[@]}" --lora flux.safetensors
[ "$status" -ne 0 ]; pass_or_fail $? "an adapter of another model is refused"
stderr_has "it seems to be for a FLUX transformer; such as diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight"
write_adapter wide.safetensors 1 $q.lora_A.weight 4 129 $q.lora_B.weight 128 4
run "${refused[@]}" --lora wide.safetensors
[ "$status" -ne 0 ]; pass_or_fail $? "an adapter of another size is refused"
stderr_has "$q.lora_A.weight: found F32 [4, 129], layers.0.attention.to_q of the model takes [4, 128]"
empty_folder refused
# An output never replaces an adapter.
cp style.safetensors keep.png
run "${draw[@]}" --lora keep.png --output keep.png
[ "$status" -ne 0 ]; pass_or_fail $? "the adapter is not replaced"
same style.safetensors keep.png

finish
