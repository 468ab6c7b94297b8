#!/usr/bin/env python3
"""Checkpoints of shapes that the published test model has not, with random weights, and what the engine's float32 oracle makes of them.

make_oracle_cases.py OUT               OUT/NAME for each: the checkpoint beside its cases (tests/reference/oracle/NAME/cases), ready for
                                       `intaglio verify OUT/NAME [--device cuda] [--precision ...]`
make_oracle_cases.py OUT --record BIN  computes the cases anew with the program BIN, float32 on the CPU, and stores them

Weights come from SHAKE-128 of their names, so they are the same on every machine and only the cases are stored. The oracle itself is held against tensors of the
published code by `intaglio verify tests/reference/data`.
"""
import argparse
import array
import hashlib
import json
import math
import pathlib
import random
import shutil
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORED = ROOT / "tests/reference/oracle"
TOKENIZER = ROOT / "tests/reference/data/tiny/tokenizer"
TAPS = 13  # of the text encoder's 36 layers

TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}


def transformer(heads, head_dim, layers, ffn, channels, adaln=32):
    return {"num_attention_heads": heads, "attention_head_dim": head_dim, "num_layers": layers, "intermediate_size": ffn,
            "in_channels": channels, "adaln_dim": adaln}


# name: parts, and what its pictures look like. `pictures`: width, height, guidance of each step.
MODELS = {
    "deeper_unconditional": {
        "conditional": transformer(2, 64, 2, 320, 16), "unconditional": transformer(2, 64, 4, 448, 16),
        "vae": {"widths": [16, 16, 32], "latents": 4, "groups": 8}, "shift": 1.0,
        "pictures": [(8, 8, [7.0, 3.0]), (72, 40, [7.0, 1.0, 3.0])], "grid": (5, 9), "text_tokens": 11},
    "deeper_conditional": {
        "conditional": transformer(2, 128, 3, 448, 32), "unconditional": transformer(3, 64, 1, 208, 32, 48),
        "vae": {"widths": [8, 24], "latents": 8, "groups": 4}, "shift": 1.0,
        "pictures": [(4, 4, [5.0, 2.0]), (36, 28, [5.0, 2.0])], "grid": (7, 7), "text_tokens": 23},
    "shifted_and_sharded": {
        "conditional": transformer(1, 256, 2, 336, 64), "unconditional": transformer(1, 256, 2, 336, 64),
        "vae": {"widths": [16, 16, 16], "latents": 16, "groups": 16}, "shift": 3.0, "shards": 3,
        "pictures": [(16, 24, [7.0, 7.0, 3.0])], "grid": (8, 3), "text_tokens": 5},
    # Widths that are no multiples of 16, heads of 18, 12 channels a token: what tensor cores and libraries refuse.
    "odd_sizes": {
        "conditional": transformer(3, 18, 2, 100, 12, 20), "unconditional": transformer(3, 18, 3, 52, 12, 28),
        "vae": {"widths": [12, 20], "latents": 3, "groups": 4}, "shift": 1.0,
        "pictures": [(4, 4, [4.0, 4.0]), (20, 12, [4.0, 1.0])], "grid": (3, 5), "text_tokens": 7},
    # A distilled model: no unconditional transformer, guidance 1.
    "one_branch": {
        "conditional": transformer(2, 64, 3, 256, 16), "unconditional": None,
        "vae": {"widths": [16, 16], "latents": 4, "groups": 8}, "shift": 1.0,
        "pictures": [(24, 16, [1.0, 1.0, 1.0, 1.0])], "grid": (4, 6), "text_tokens": 9},
}


def sections(head_dim):
    half = head_dim // 2
    side = half * 5 // 16
    return [half - 2 * side, side, side]


# --- safetensors ---

def bf16_bits(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def random_bf16(name, count, center, size):
    """center + size * u, u one of 256 even steps in (-1, 1), rounded to bf16."""
    values = [bf16_bits(center + size * (2 * i - 255) / 256) for i in range(256)]
    draws = hashlib.shake_128(name.encode()).digest(count)
    out = bytearray(2 * count)
    out[0::2] = draws.translate(bytes(v & 255 for v in values))
    out[1::2] = draws.translate(bytes(v >> 8 for v in values))
    return bytes(out)


def write_safetensors(path, tensors, note=None):
    """tensors: name -> (dtype, shape, bytes)."""
    header, at = {}, 0
    if note is not None:
        header["__metadata__"] = {"note": json.dumps(note)}
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


# --- checkpoints ---

class Weights:
    """Tensors whose outputs have about the size of their inputs."""

    def __init__(self, seed):
        self.seed = seed
        self.tensors = {}

    def add(self, name, shape, center, size):
        count = math.prod(shape)
        self.tensors[name] = ("BF16", shape, random_bf16(f"{self.seed}/{name}", count, center, size))

    def linear(self, name, n, k, bias=False, gain=1.0):
        self.add(name + ".weight", (n, k), 0.0, gain * math.sqrt(3.0 / k))
        if bias:
            self.add(name + ".bias", (n,), 0.0, 0.1)

    def norm(self, name, width, bias=False):
        self.add(name + ".weight", (width,), 1.0, 0.25)
        if bias:
            self.add(name + ".bias", (width,), 0.0, 0.1)

    def conv(self, name, out, into, kernel):
        self.add(name + ".weight", (out, into, kernel, kernel), 0.0, math.sqrt(3.0 / (into * kernel * kernel)))
        self.add(name + ".bias", (out,), 0.0, 0.1)


def text_weights(seed):
    w, t = Weights(seed), TEXT
    d, f, head = t["hidden_size"], t["intermediate_size"], t["head_dim"]
    q, kv = t["num_attention_heads"] * head, t["num_key_value_heads"] * head
    w.add("language_model.embed_tokens.weight", (1205, d), 0.0, 1.0)
    for i in range(36):
        p = f"language_model.layers.{i}."
        w.norm(p + "input_layernorm", d)
        w.norm(p + "post_attention_layernorm", d)
        for name, n, k in (("self_attn.q_proj", q, d), ("self_attn.k_proj", kv, d), ("self_attn.v_proj", kv, d),
                           ("self_attn.o_proj", d, q), ("mlp.gate_proj", f, d), ("mlp.up_proj", f, d), ("mlp.down_proj", d, f)):
            w.linear(p + name, n, k, gain=0.5)
        w.norm(p + "self_attn.q_norm", head)
        w.norm(p + "self_attn.k_norm", head)
    w.norm("language_model.norm", d)
    return w.tensors


def transformer_weights(seed, c):
    w = Weights(seed)
    d, a, f, channels = c["num_attention_heads"] * c["attention_head_dim"], c["adaln_dim"], c["intermediate_size"], c["in_channels"]
    text = TAPS * TEXT["hidden_size"]
    w.linear("input_proj", d, channels, True)
    w.linear("t_embedding.mlp_in", d, d, True)
    w.linear("t_embedding.mlp_out", d, d, True)
    w.linear("adaln_proj", a, d, True)
    w.linear("final_layer.adaln_modulation", d, a, True)
    w.linear("final_layer.linear", channels, d, True)
    w.add("embed_image_indicator.weight", (2, d), 0.0, 0.5)
    w.linear("llm_cond_proj", d, text, True)
    w.norm("llm_cond_norm", text)
    for i in range(c["num_layers"]):
        p = f"layers.{i}."
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            w.linear(p + "attention." + name, d, d)
        w.linear(p + "feed_forward.w1", f, d)
        w.linear(p + "feed_forward.w3", f, d)
        w.linear(p + "feed_forward.w2", d, f)
        w.linear(p + "adaln_modulation", 4 * d, a, True, 1.5)
        for name in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"):
            w.norm(p + name, d)
        w.norm(p + "attention.norm_q", c["attention_head_dim"])
        w.norm(p + "attention.norm_k", c["attention_head_dim"])
    return w.tensors


def vae_weights(seed, v):
    w, widths, latents = Weights(seed), v["widths"], v["latents"]

    def resnet(name, into, out):
        w.norm(name + ".norm1", into, True)
        w.conv(name + ".conv1", out, into, 3)
        w.norm(name + ".norm2", out, True)
        w.conv(name + ".conv2", out, out, 3)
        if into != out:
            w.conv(name + ".conv_shortcut", out, into, 1)

    widest = widths[-1]
    w.add("bn.running_mean", (4 * latents,), 0.0, 0.2)
    w.add("bn.running_var", (4 * latents,), 1.0, 0.5)
    w.conv("post_quant_conv", latents, latents, 1)
    w.conv("decoder.conv_in", widest, latents, 3)
    resnet("decoder.mid_block.resnets.0", widest, widest)
    w.norm("decoder.mid_block.attentions.0.group_norm", widest, True)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        w.linear("decoder.mid_block.attentions.0." + name, widest, widest, True)
    resnet("decoder.mid_block.resnets.1", widest, widest)
    channels = widest
    for i, width in enumerate(reversed(widths)):
        for j in range(3):
            resnet(f"decoder.up_blocks.{i}.resnets.{j}", channels, width)
            channels = width
        if i + 1 < len(widths):
            w.conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", channels, channels, 3)
    w.norm("decoder.conv_norm_out", channels, True)
    w.conv("decoder.conv_out", 3, channels, 3)
    return w.tensors


def write_sharded(folder, tensors, shards):
    names = list(tensors)
    weight_map = {}
    for s in range(shards):
        file = f"diffusion_pytorch_model-{s + 1:05}-of-{shards:05}.safetensors"
        part = names[s::shards]
        write_safetensors(folder / file, {name: tensors[name] for name in part})
        weight_map.update({name: file for name in part})
    total = sum(len(data) for _, _, data in tensors.values())
    write_json(folder / "diffusion_pytorch_model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_transformer(folder, seed, config, shards):
    write_json(folder / "config.json", {"_class_name": "Ideogram4Transformer2DModel", **config,
                                        "llm_features_dim": TAPS * TEXT["hidden_size"], "norm_eps": 1e-5, "rope_theta": 5000000,
                                        "mrope_section": sections(config["attention_head_dim"])})
    tensors = transformer_weights(seed, config)
    if shards > 1:
        write_sharded(folder, tensors, shards)
    else:
        write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors)


def write_checkpoint(folder, name, model):
    parts = {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "Qwen3VLModel"],
             "tokenizer": ["transformers", "TokenizersBackend"], "transformer": ["diffusers", "Ideogram4Transformer2DModel"],
             "vae": ["diffusers", "AutoencoderKLFlux2"]}
    if model["unconditional"]:
        parts["unconditional_transformer"] = parts["transformer"]
    write_json(folder / "model_index.json", {"_class_name": "Ideogram4Pipeline", **parts})
    write_json(folder / "scheduler/scheduler_config.json",
               {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": model["shift"],
                "use_dynamic_shifting": False})
    shutil.copytree(TOKENIZER, folder / "tokenizer", dirs_exist_ok=True)
    head = TEXT["head_dim"]
    write_json(folder / "text_encoder/config.json",
               {"model_type": "qwen3_vl", "text_config": {
                   **TEXT, "model_type": "qwen3_vl_text", "hidden_act": "silu", "num_hidden_layers": 36, "vocab_size": 1205,
                   "rms_norm_eps": 1e-6, "attention_bias": False,
                   "rope_parameters": {"mrope_interleaved": True, "mrope_section": sections(head), "rope_theta": 5000000.0,
                                       "rope_type": "default"}}})
    write_safetensors(folder / "text_encoder/model.safetensors", text_weights(name + "/text"))
    write_transformer(folder / "transformer", name + "/conditional", model["conditional"], model.get("shards", 1))
    if model["unconditional"]:
        write_transformer(folder / "unconditional_transformer", name + "/unconditional", model["unconditional"], model.get("shards", 1))
    v = model["vae"]
    write_json(folder / "vae/config.json",
               {"_class_name": "AutoencoderKLFlux2", "act_fn": "silu", "batch_norm_eps": 1e-4, "block_out_channels": v["widths"],
                "decoder_block_out_channels": None, "in_channels": 3, "out_channels": 3, "latent_channels": v["latents"],
                "layers_per_block": 2, "mid_block_add_attention": True, "norm_num_groups": v["groups"], "patch_size": [2, 2],
                "use_post_quant_conv": True, "use_quant_conv": False})
    write_safetensors(folder / "vae/diffusion_pytorch_model.safetensors", vae_weights(name + "/vae", v))


# --- cases ---

def floats(shape, values):
    return ("F32", shape, array.array("f", values).tobytes())


def normal(source, *shape):
    return floats(shape, (source.gauss(0.0, 1.0) for _ in range(math.prod(shape))))


def empty(*shape):
    return floats(shape, [0.0] * math.prod(shape))


def write_cases(folder, name, model, outputs):
    """outputs(stem, tensor, shape): what the oracle computed, or zeros of that shape."""
    source = random.Random(name)
    c, v = model["conditional"], model["vae"]
    channels, scale = c["in_channels"], 2 ** (len(v["widths"]) - 1)
    grid_h, grid_w = model["grid"]
    stem = "transformer_small_0"
    write_safetensors(folder / f"{stem}.safetensors",
                      {"latents": normal(source, grid_h * grid_w, channels),
                       "text_features": normal(source, model["text_tokens"], TAPS * TEXT["hidden_size"]),
                       "timestep": floats((1,), [0.375]),
                       "velocity": outputs(stem, "velocity", (grid_h * grid_w, channels))},
                      {"grid_h": grid_h, "grid_w": grid_w, "text_tokens": model["text_tokens"]})
    stem = "vae_decode_0"
    write_safetensors(folder / f"{stem}.safetensors",
                      {"latent": normal(source, v["latents"], grid_h, grid_w),
                       "image": outputs(stem, "image", (3, grid_h * scale, grid_w * scale))}, {})
    for i, (width, height, guidance) in enumerate(model["pictures"]):
        stem = f"pipeline_{i}"
        tokens = width * height // (2 * scale) ** 2
        write_safetensors(folder / f"{stem}.safetensors",
                          {"noise": normal(source, tokens, channels), "latents": outputs(stem, "latents", (1, tokens, channels)),
                           "image": outputs(stem, "image", (3, height, width))},
                          {"prompt": "a red fox", "height": height, "width": width, "steps": len(guidance),
                           "guidance_schedule": guidance})


def record(out, name, model, program):
    folder, computed = out / name, out / f"{name}.computed"
    write_cases(folder / "cases", name, model, lambda stem, tensor, shape: empty(*shape))
    computed.mkdir(exist_ok=True)
    # It finds every case wrong, since nothing is known yet.
    run = subprocess.run([program, "verify", folder, "--device", "cpu", "--precision", "fp32", "--tensors-out", computed],
                         stdout=subprocess.PIPE, text=True)

    def outputs(stem, tensor, shape):
        data = (computed / f"{stem}.{tensor}.f32").read_bytes() if (computed / f"{stem}.{tensor}.f32").exists() else b""
        if len(data) != 4 * math.prod(shape):
            sys.exit(f"{name}: {stem} gave {len(data) // 4} values of {tensor}, expected {math.prod(shape)}\n{run.stdout}")
        return ("F32", shape, data)

    write_cases(STORED / name / "cases", name, model, outputs)
    shutil.rmtree(computed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--record", metavar="BIN")
    parser.add_argument("--only", choices=MODELS, action="append", help="these models; all by default")
    options = parser.parse_args()
    for name, model in MODELS.items():
        if options.only and name not in options.only:
            continue
        folder = options.out / name
        shutil.rmtree(folder, ignore_errors=True)
        write_checkpoint(folder, name, model)
        if options.record:
            record(options.out, name, model, options.record)
        shutil.copytree(STORED / name / "cases", folder / "cases", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
