#!/usr/bin/env python3
"""Reference cases of pictures that begin from another: tests/reference/MODEL/cases/{vae_encode,pipeline_init}_*.safetensors.

make_init_cases.py [MODEL...]   computes them anew from the formulas, in float64 with torch, and nothing of the engine; models: z_image flux2_klein
qwen_image krea2

It holds itself to what the published code computed before it writes anything: the decoders to vae_decode_*, the transformers to transformer_small_*. Text features
are those of text_features_*, so no text encoder is run. Encoders: resnets as the decoders', a 3 x 3 convolution with stride 2 behind a row of zeros below and a
column of zeros on the right, the mean of the two halves of channels.
"""
import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

SETS = pathlib.Path(__file__).resolve().parent.parent / "tests/reference"
MOST_ERROR = 1e-5  # of the published code's float32
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I64": torch.int64}


# --- files ---

def read(path):
    """Float tensors as float64, and the metadata's note."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    note = json.loads(header.pop("__metadata__", {}).get("note", "{}"))
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(bytearray(data[8 + size + begin:8 + size + end]), dtype=DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).to(torch.float64)
    return tensors, note


def write(path, tensors, note):
    header, blobs, at = {"__metadata__": {"note": json.dumps(note)}}, [], 0
    for name, tensor in sorted(tensors.items()):
        blob = tensor.numpy().tobytes()
        dtype = {torch.float32: "F32", torch.uint8: "U8"}[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def error(a, b):
    return (torch.linalg.norm(a - b) / torch.linalg.norm(b)).item()


# --- layers of the autoencoders ---

class Autoencoder:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.w, _ = read(folder / "diffusion_pytorch_model.safetensors")
        self.is_wan = "z_dim" in self.config
        self.channels = self.config["z_dim" if self.is_wan else "latent_channels"]

    def conv(self, x, name, **how):
        w = self.w[name + ".weight"]
        if w.dim() == 5:
            w = w[:, :, -1]  # the frame meets the last slice in time
        return F.conv2d(x, w, self.w[name + ".bias"], padding=how.pop("padding", w.shape[-1] // 2), **how)

    def norm(self, x, name):
        if self.is_wan:
            length = x.norm(dim=1, keepdim=True).clamp_min(1e-12)
            return x / length * math.sqrt(x.shape[1]) * self.w[name + ".gamma"].reshape(1, -1, 1, 1)
        return F.group_norm(x, self.config["norm_num_groups"], self.w[name + ".weight"], self.w[name + ".bias"], 1e-6)

    def resnet(self, x, name):
        h = self.conv(F.silu(self.norm(x, name + ".norm1")), name + ".conv1")
        h = self.conv(F.silu(self.norm(h, name + ".norm2")), name + ".conv2")
        shortcut = name + ".conv_shortcut"
        return h + (self.conv(x, shortcut) if shortcut + ".weight" in self.w else x)

    def attention(self, x, name):
        def rows(part):
            return self.w[name + part + ".weight"].reshape(-1, x.shape[1]), self.w[name + part + ".bias"]
        u = self.norm(x, name + (".norm" if self.is_wan else ".group_norm")).flatten(2)[0].T
        if self.is_wan:
            q, k, v = F.linear(u, *rows(".to_qkv")).chunk(3, dim=1)
        else:
            q, k, v = (F.linear(u, *rows(part)) for part in (".to_q", ".to_k", ".to_v"))
        out = torch.softmax(q @ k.T / math.sqrt(x.shape[1]), dim=1) @ v
        return x + F.linear(out, *rows(".proj" if self.is_wan else ".to_out.0")).T.reshape(x.shape)

    def mid(self, x, half):
        x = self.resnet(x, half + ".mid_block.resnets.0")
        return self.resnet(self.attention(x, half + ".mid_block.attentions.0"), half + ".mid_block.resnets.1")

    def out(self, x, half):
        x = F.silu(self.norm(x, half + (".norm_out" if self.is_wan else ".conv_norm_out")))
        return self.conv(x, half + ".conv_out")

    def down(self, x, name):
        return self.conv(F.pad(x, (0, 1, 0, 1)), name, stride=2, padding=0)

    def encode(self, image):
        """[3, H, W] in [-1, 1] -> mean [C, h, w]."""
        x = self.conv(image[None], "encoder.conv_in")
        if self.is_wan:
            entries = {int(name.split(".")[2]) for name in self.w if name.startswith("encoder.down_blocks.")}
            for i in sorted(entries):
                name = f"encoder.down_blocks.{i}"
                is_down = name + ".resample.1.weight" in self.w
                x = self.down(x, name + ".resample.1") if is_down else self.resnet(x, name)
        else:
            blocks = len(self.config["block_out_channels"])
            for i in range(blocks):
                for j in range(self.config["layers_per_block"]):
                    x = self.resnet(x, f"encoder.down_blocks.{i}.resnets.{j}")
                if i + 1 < blocks:
                    x = self.down(x, f"encoder.down_blocks.{i}.downsamplers.0.conv")
        x = self.out(self.mid(x, "encoder"), "encoder")
        if "quant_conv.weight" in self.w:
            x = self.conv(x, "quant_conv")
        return x[0, :self.channels]

    def decode(self, latent):
        x = latent[None]
        if "post_quant_conv.weight" in self.w:
            x = self.conv(x, "post_quant_conv")
        x = self.mid(self.conv(x, "decoder.conv_in"), "decoder")
        i = 0
        while f"decoder.up_blocks.{i}.resnets.0.conv1.weight" in self.w:
            j = 0
            while f"decoder.up_blocks.{i}.resnets.{j}.conv1.weight" in self.w:
                x = self.resnet(x, f"decoder.up_blocks.{i}.resnets.{j}")
                j += 1
            up = f"decoder.up_blocks.{i}.upsamplers.0" + (".resample.1" if self.is_wan else ".conv")
            if up + ".weight" in self.w:
                x = self.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), up)
            i += 1
        return self.out(x, "decoder")[0]

    def statistics(self):
        """Scale and shift of each packed channel: latent = x * scale + shift. Packed with the channel slowest where they differ."""
        if self.is_wan:
            scale, shift = (torch.tensor(self.config[key], dtype=torch.float64) for key in ("latents_std", "latents_mean"))
            return scale.repeat_interleave(4), shift.repeat_interleave(4)
        if "bn.running_var" in self.w:
            return (self.w["bn.running_var"] + self.config["batch_norm_eps"]).sqrt(), self.w["bn.running_mean"]
        ones = torch.ones(4 * self.channels, dtype=torch.float64)
        return ones / self.config["scaling_factor"], ones * self.config["shift_factor"]


def pack(planes, channel_slowest):
    """[C, 2h, 2w] -> [h * w, 4C]."""
    c, h, w = planes.shape
    x = planes.reshape(c, h // 2, 2, w // 2, 2)
    order = (1, 3, 0, 2, 4) if channel_slowest else (1, 3, 2, 4, 0)
    return x.permute(*order).reshape(h * w // 4, 4 * c)


def unpack(tokens, grid, channel_slowest):
    h, w = grid
    c = tokens.shape[1] // 4
    if channel_slowest:
        return tokens.reshape(h, w, c, 2, 2).permute(2, 0, 3, 1, 4).reshape(c, 2 * h, 2 * w)
    return tokens.reshape(h, w, 2, 2, c).permute(4, 0, 2, 1, 3).reshape(c, 2 * h, 2 * w)


# --- layers of the transformers ---

def rms(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def layer_norm(x, eps=1e-6):
    return F.layer_norm(x, x.shape[-1:], eps=eps)


def time_embedding(s, n=256):
    angles = s * torch.exp(-math.log(1e4) * torch.arange(n // 2, dtype=torch.float64) / (n // 2))
    return torch.cat([angles.cos(), angles.sin()])


def rope(x, positions, axes, theta):
    """x: [tokens, heads, size]; channels 2j and 2j + 1 turn together."""
    angles = []
    for axis, size in enumerate(axes):
        f = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles.append(positions[:, axis:axis + 1] * f)
    angle = torch.cat(angles, dim=1)[:, None]
    a, b = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)
    return turned.flatten(-2)


def attend(q, k, v):
    """[tokens, heads, size] each; k and v may have fewer heads."""
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("hqk,khd->qhd", torch.softmax(scores, dim=-1), v).flatten(1)


def grid_positions(grid, *before, after=()):
    """(before..., y, x, after...) of each token."""
    h, w = grid
    return torch.tensor([[*before, y, x, *after] for y in range(h) for x in range(w)], dtype=torch.float64)


class Transformer:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.w, _ = read(folder / "diffusion_pytorch_model.safetensors")

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))


class ZImage(Transformer):
    def block(self, h, name, positions, a=None):
        c, w = self.config, self.w
        eps = c["norm_eps"]
        scale1 = scale2 = 0.0
        gate1 = gate2 = 1.0
        if a is not None:
            scale1, gate1, scale2, gate2 = self.linear(a, name + ".adaLN_modulation.0").chunk(4)
            gate1, gate2 = gate1.tanh(), gate2.tanh()
        u = rms(h, w[name + ".attention_norm1.weight"], eps) * (1 + scale1)
        q, k, v = (self.linear(u, f"{name}.attention.to_{part}").unflatten(1, (c["n_heads"], -1)) for part in "qkv")
        q, k = (rope(rms(t, w[f"{name}.attention.norm_{part}.weight"], 1e-5), positions, c["axes_dims"], c["rope_theta"])
                for t, part in ((q, "q"), (k, "k")))
        o = self.linear(attend(q, k, v), name + ".attention.to_out.0")
        h = h + gate1 * rms(o, w[name + ".attention_norm2.weight"], eps)
        u = rms(h, w[name + ".ffn_norm1.weight"], eps) * (1 + scale2)
        f = name + ".feed_forward."
        o = self.linear(F.silu(self.linear(u, f + "w1")) * self.linear(u, f + "w3"), f + "w2")
        return h + gate2 * rms(o, w[name + ".ffn_norm2.weight"], eps)

    def velocity(self, x, text, grid, sigma_time):
        c, w = self.config, self.w
        e = time_embedding(c["t_scale"] * sigma_time)
        a = self.linear(F.silu(self.linear(e, "t_embedder.mlp.0")), "t_embedder.mlp.2")
        pads, text_pads = -len(x) % 32, -len(text) % 32
        hx = torch.cat([self.linear(x, "all_x_embedder.2-1"), w["x_pad_token"].expand(pads, -1)])
        hc = self.linear(rms(text, w["cap_embedder.0.weight"], c["norm_eps"]), "cap_embedder.1")
        hc = torch.cat([hc, w["cap_pad_token"].expand(text_pads, -1)])
        of_image = torch.cat([grid_positions(grid, len(hc) + 1), torch.zeros(pads, 3, dtype=torch.float64)])
        of_text = torch.tensor([[1 + i, 0, 0] for i in range(len(hc))], dtype=torch.float64)
        for i in range(c["n_refiner_layers"]):
            hx = self.block(hx, f"noise_refiner.{i}", of_image, a)
            hc = self.block(hc, f"context_refiner.{i}", of_text)
        h, positions = torch.cat([hx, hc]), torch.cat([of_image, of_text])
        for i in range(c["n_layers"]):
            h = self.block(h, f"layers.{i}", positions, a)
        scale = self.linear(F.silu(a), "all_final_layer.2-1.adaLN_modulation.1")
        return self.linear(layer_norm(h[:len(x)]) * (1 + scale), "all_final_layer.2-1.linear")


class Klein(Transformer):
    def heads(self, u, name, part, norm):
        t = self.linear(u, f"{name}.attn.{part}").unflatten(1, (self.config["num_attention_heads"], -1))
        return rms(t, self.w[f"{name}.attn.{norm}.weight"], 1e-6) if norm else t

    def velocity(self, x, text, grid, sigma):
        c = self.config
        t = "time_guidance_embed.timestep_embedder."
        s = F.silu(self.linear(F.silu(self.linear(time_embedding(1000 * sigma), t + "linear_1")), t + "linear_2"))
        h, y = self.linear(x, "x_embedder"), self.linear(text, "context_embedder")
        of_text = torch.tensor([[0, 0, 0, i] for i in range(len(y))], dtype=torch.float64)
        positions = torch.cat([of_text, grid_positions(grid, 0, after=(0,))])
        turn = lambda t: rope(t, positions, c["axes_dims_rope"], c["rope_theta"])
        image, words = (self.linear(s, f"double_stream_modulation_{of}.linear").chunk(6) for of in ("img", "txt"))
        mod = lambda z, shift, scale: layer_norm(z) * (1 + scale) + shift

        def feed(u, name):
            g, w = self.linear(u, name + ".linear_in").chunk(2, dim=1)
            return self.linear(F.silu(g) * w, name + ".linear_out")
        for i in range(c["num_layers"]):
            name = f"transformer_blocks.{i}"
            u, v = mod(y, *words[:2]), mod(h, *image[:2])
            q, k, values = (torch.cat([self.heads(u, name, f"add_{p}_proj", n and "norm_added_" + p),
                                       self.heads(v, name, "to_" + p, n and "norm_" + p)])
                            for p, n in (("q", True), ("k", True), ("v", False)))
            o = attend(turn(q), turn(k), values)
            h = h + image[2] * self.linear(o[len(y):], name + ".attn.to_out.0")
            h = h + image[5] * feed(mod(h, *image[3:5]), name + ".ff")
            y = y + words[2] * self.linear(o[:len(y)], name + ".attn.to_add_out")
            y = y + words[5] * feed(mod(y, *words[3:5]), name + ".ff_context")
        z = torch.cat([y, h])
        shift, scale, gate = self.linear(s, "single_stream_modulation.linear").chunk(3)
        width = z.shape[1]
        for i in range(c["num_single_layers"]):
            name = f"single_transformer_blocks.{i}.attn"
            all_rows = self.linear(mod(z, shift, scale), name + ".to_qkv_mlp_proj")
            q, k, v = (t.unflatten(1, (c["num_attention_heads"], -1)) for t in all_rows[:, :3 * width].chunk(3, dim=1))
            q, k = (turn(rms(t, self.w[f"{name}.norm_{p}.weight"], 1e-6)) for t, p in ((q, "q"), (k, "k")))
            g, w = all_rows[:, 3 * width:].chunk(2, dim=1)
            z = z + gate * self.linear(torch.cat([attend(q, k, v), F.silu(g) * w], dim=1), name + ".to_out")
        scale, shift = self.linear(s, "norm_out.linear").chunk(2)
        return self.linear(layer_norm(z[len(y):]) * (1 + scale) + shift, "proj_out")


class QwenImage(Transformer):
    def heads(self, u, name, part, norm):
        t = self.linear(u, f"{name}.attn.{part}").unflatten(1, (self.config["num_attention_heads"], -1))
        return rms(t, self.w[f"{name}.attn.{norm}.weight"], 1e-6) if norm else t

    def velocity(self, x, text, grid, sigma):
        t = "time_text_embed.timestep_embedder."
        s = F.silu(self.linear(F.silu(self.linear(time_embedding(1000 * sigma), t + "linear_1")), t + "linear_2"))
        h, y = self.linear(x, "img_in"), self.linear(rms(text, self.w["txt_norm.weight"], 1e-6), "txt_in")
        (gh, gw), first = grid, max(grid[0] // 2, grid[1] // 2)
        of_text = torch.tensor([[first + i] * 3 for i in range(len(y))], dtype=torch.float64)
        of_image = torch.tensor([[0, r - (gh - gh // 2), c - (gw - gw // 2)] for r in range(gh) for c in range(gw)], dtype=torch.float64)
        positions = torch.cat([of_text, of_image])
        turn = lambda t: rope(t, positions, self.config["axes_dims_rope"], 10000.0)
        mod = lambda z, shift, scale: layer_norm(z) * (1 + scale) + shift
        for i in range(self.config["num_layers"]):
            name = f"transformer_blocks.{i}"
            image, words = (self.linear(s, f"{name}.{of}_mod.1").chunk(6) for of in ("img", "txt"))
            feed = lambda u, of: self.linear(gelu(self.linear(u, f"{name}.{of}_mlp.net.0.proj")), f"{name}.{of}_mlp.net.2")
            u, v = mod(y, *words[:2]), mod(h, *image[:2])
            q, k, values = (torch.cat([self.heads(u, name, f"add_{p}_proj", n and "norm_added_" + p),
                                       self.heads(v, name, "to_" + p, n and "norm_" + p)])
                            for p, n in (("q", True), ("k", True), ("v", False)))
            o = attend(turn(q), turn(k), values)
            h = h + image[2] * self.linear(o[len(y):], name + ".attn.to_out.0")
            h = h + image[5] * feed(mod(h, *image[3:5]), "img")
            y = y + words[2] * self.linear(o[:len(y)], name + ".attn.to_add_out")
            y = y + words[5] * feed(mod(y, *words[3:5]), "txt")
        scale, shift = self.linear(s, "norm_out.linear").chunk(2)
        return self.linear(layer_norm(h) * (1 + scale) + shift, "proj_out")


class Krea(Transformer):
    def norm(self, x, name):
        return rms(x, 1 + self.w[name + ".weight"], self.config["norm_eps"])

    def attention(self, u, name, heads, key_heads, turn):
        q, k, v = (self.linear(u, f"{name}.to_{p}").unflatten(1, (n, -1)) for p, n in (("q", heads), ("k", key_heads), ("v", key_heads)))
        o = attend(turn(self.norm(q, name + ".norm_q")), turn(self.norm(k, name + ".norm_k")), v)
        return self.linear(o * torch.sigmoid(self.linear(u, name + ".to_gate")), name + ".to_out.0")

    def feed(self, u, name):
        return self.linear(F.silu(self.linear(u, name + ".gate")) * self.linear(u, name + ".up"), name + ".down")

    def text_block(self, h, name):
        c = self.config
        h = h + self.attention(self.norm(h, name + ".norm1"), name + ".attn", c["text_num_attention_heads"],
                               c["text_num_key_value_heads"], lambda t: t)
        return h + self.feed(self.norm(h, name + ".norm2"), name + ".ff")

    def text(self, features):
        c = self.config
        rows = []
        for token in features.unflatten(1, (c["num_text_layers"], -1)):
            for i in range(c["num_layerwise_text_blocks"]):
                token = self.text_block(token, f"text_fusion.layerwise_blocks.{i}")
            rows.append(self.w["text_fusion.projector.weight"][0] @ token)
        h = torch.stack(rows)
        for i in range(c["num_refiner_text_blocks"]):
            h = self.text_block(h, f"text_fusion.refiner_blocks.{i}")
        return self.linear(gelu(self.linear(self.norm(h, "txt_in.norm"), "txt_in.linear_1")), "txt_in.linear_2")

    def velocity(self, x, text, grid, sigma):
        c = self.config
        t = self.linear(gelu(self.linear(time_embedding(1000 * sigma), "time_embed.linear_1")), "time_embed.linear_2")
        m = self.linear(gelu(t), "time_mod_proj").unflatten(0, (6, -1))
        y = self.text(text)
        z = torch.cat([y, self.linear(x, "img_in")])
        positions = torch.cat([torch.zeros(len(y), 3, dtype=torch.float64), grid_positions(grid, 0)])
        turn = lambda u: rope(u, positions, c["axes_dims_rope"], c["rope_theta"])
        for i in range(c["num_layers"]):
            name = f"transformer_blocks.{i}"
            scale1, shift1, gate1, scale2, shift2, gate2 = m + self.w[name + ".scale_shift_table"]
            u = (1 + scale1) * self.norm(z, name + ".norm1") + shift1
            z = z + gate1 * self.attention(u, name + ".attn", c["num_attention_heads"], c["num_key_value_heads"], turn)
            z = z + gate2 * self.feed((1 + scale2) * self.norm(z, name + ".norm2") + shift2, name + ".ff")
        table = self.w["final_layer.scale_shift_table"]
        return self.linear((1 + t + table[0]) * self.norm(z[len(y):], "final_layer.norm") + t + table[1], "final_layer.linear")


def gelu(x):
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


# --- schedules ---

def exponential(steps, mu):
    u = np.linspace(1, 0, steps, endpoint=False)
    return np.exp(mu) / (np.exp(mu) + (1 / u - 1))


def z_image_sigmas(steps, tokens):
    u = np.linspace(1, 0, steps, endpoint=False)
    return 3.0 * u / (1 + 2.0 * u)  # the shift of its scheduler


def klein_sigmas(steps, tokens):
    far, near = 0.00016927 * tokens + 0.45666666, 8.73809524e-5 * tokens + 1.89833333
    k = (far - near) / 190
    return exponential(steps, k * steps + far - 200 * k)


def krea_sigmas(steps, tokens):
    return exponential(steps, 0.5 + (1.15 - 0.5) * (tokens - 256) / (6400 - 256))


def qwen_sigmas(steps, tokens):
    levels = exponential(steps, 0.5 + (0.9 - 0.5) * (tokens - 256) / (8192 - 256))
    return 1 - (1 - levels) * (1 - 0.02) / (1 - levels[-1])


# Guidance that is none; the text features of a short prompt; whether the model's time is 1 - sigma and its update x -= d v.
MODELS = {
    "z_image": {"transformer": ZImage, "sigmas": z_image_sigmas, "text": 0, "no_guidance": 0.0, "backwards": True, "channel_slowest": False},
    "flux2_klein": {"transformer": Klein, "sigmas": klein_sigmas, "text": 1, "no_guidance": 1.0, "backwards": False, "channel_slowest": True},
    "qwen_image": {"transformer": QwenImage, "sigmas": qwen_sigmas, "text": 0, "no_guidance": 1.0, "backwards": False, "channel_slowest": True},
    "krea2": {"transformer": Krea, "sigmas": krea_sigmas, "text": 0, "no_guidance": 0.0, "backwards": False, "channel_slowest": True},
}


# --- cases ---

def check(model, vae, transformer):
    """Against the published code's numbers."""
    cases = SETS / model / "cases"
    for path in sorted(cases.glob("vae_decode_*")):
        tensors, _ = read(path)
        hold(path.stem, error(vae.decode(tensors["latent"]), tensors["image"]))
    for path in sorted(cases.glob("transformer_small_*")):
        tensors, note = read(path)
        velocity = transformer.velocity(tensors["latents"], tensors["text_features"], (note["grid_h"], note["grid_w"]), tensors["timestep"].item())
        hold(path.stem, error(velocity, tensors["velocity"]), 1e-4)


def hold(name, found, most=MOST_ERROR):
    print(f"  {name}: {found:.1e}")
    if not found < most:
        sys.exit(f"{name}: {found:.1e} from the published code, expected less than {most:.0e}")


def picture(height, width, seed):
    """Waves, a disc and a little noise, 8 bits: [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin((x * (c + 1) + y * (3 - c)) / 9 + seed + c) for c in range(3)]
    disc = (x - width * 0.6) ** 2 + (y - height * 0.4) ** 2 < (height / 4) ** 2
    noise = np.random.default_rng(seed).standard_normal((height, width, 3)) * 6
    levels = 128 + 80 * np.stack(waves, axis=-1) + np.where(disc, 60, -20)[..., None] + noise
    return torch.from_numpy(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def planes(image):
    return image.to(torch.float64).permute(2, 0, 1) / 255 * 2 - 1


def soft_mask(height, width):
    """White right of the middle, black left of it, a soft edge and odd borders between."""
    ramp = np.clip((np.arange(width) - width * 0.45) / 12, 0, 1) * 255
    mask = np.repeat(np.rint(ramp)[None], height, axis=0)
    mask[:13] = 0
    mask[-5:, -9:] = 255
    return torch.from_numpy(mask.astype(np.uint8))


def write_encode_cases(model, vae):
    for i, (height, width) in enumerate(((64, 64), (48, 96))):
        image = planes(picture(height, width, i))
        latent = vae.encode(image)
        scale, shift = vae.statistics()
        latents = (pack(latent, MODELS[model]["channel_slowest"]) - shift) / scale
        write(SETS / model / f"cases/vae_encode_{i}.safetensors",
              {"image": image.float(), "latent": latent.float().contiguous(), "latents": latents.float().contiguous()}, {})


def write_pipeline_cases(model, vae, transformer):
    m = MODELS[model]
    text, text_note = read(SETS / model / f"cases/text_features_{m['text']}.safetensors")
    scale, shift = vae.statistics()
    for i, (height, width, steps, strength, masked) in enumerate(((64, 64, 5, 0.6, False), (48, 80, 4, 1.0, True), (64, 48, 6, 0.35, True))):
        grid = height // 16, width // 16
        given = picture(height, width, 10 + i)
        mask = soft_mask(height, width) if masked else None
        clean = (pack(vae.encode(planes(given)), m["channel_slowest"]) - shift) / scale
        noise = torch.from_numpy(np.random.default_rng(100 + i).standard_normal(clean.shape).astype(np.float32)).to(torch.float64)
        sigmas = [*m["sigmas"](steps, grid[0] * grid[1]), 0.0]
        drawn = torch.ones_like(clean)
        if masked:
            means = F.avg_pool2d(mask[None, None].to(torch.float64) / 255, 8)[0]
            drawn = pack(means.expand(vae.channels, -1, -1), m["channel_slowest"])
        first = int(max(steps - min(steps * strength, steps), 0))
        x = sigmas[first] * noise + (1 - sigmas[first]) * clean
        after = []
        for step in range(first, steps):
            s, next_s = sigmas[step], sigmas[step + 1]
            v = transformer.velocity(x, text["features"], grid, 1 - s if m["backwards"] else s)
            x = x + (next_s - s) * (-v if m["backwards"] else v)
            x = drawn * x + (1 - drawn) * (next_s * noise + (1 - next_s) * clean)
            after.append(x)
        image = (vae.decode(unpack(x * scale + shift, grid, m["channel_slowest"])) / 2 + 0.5).clamp(0, 1)
        tensors = {"init_image": given.contiguous(), "noise": noise.float(), "latents": torch.stack(after).float()}
        if masked:
            share = mask.to(torch.float64) / 255
            image = share * image + (1 - share) * given.to(torch.float64).permute(2, 0, 1) / 255
            tensors["mask"] = mask
        tensors["image"] = image.float().contiguous()
        note = {"prompt": text_note["prompt"], "height": height, "width": width, "steps": steps, "guidance_scale": m["no_guidance"],
                "strength": strength}
        if "max_sequence_length" in text_note:
            note["max_sequence_length"] = text_note["max_sequence_length"]
        write(SETS / model / f"cases/pipeline_init_{i}.safetensors", tensors, note)


def main():
    for model in sys.argv[1:] or MODELS:
        print(model)
        tiny = SETS / model / "tiny"
        vae, transformer = Autoencoder(tiny / "vae"), MODELS[model]["transformer"](tiny / "transformer")
        check(model, vae, transformer)
        write_encode_cases(model, vae)
        write_pipeline_cases(model, vae, transformer)


main()
