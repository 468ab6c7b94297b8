"""A safetensors file as GGUF: to_gguf.py IN OUT TYPE [NAMES]. TYPE: as_is, or Q8_0 or Q4_0, which take matrices whose rows divide into blocks.
NAMES: own, reference (Ideogram 4's, q, k and v fused) or llama (llama.cpp's, of a text encoder). Tensors of more than 4 dimensions are left out."""
import json, re, struct, sys

TYPES = {"F32": 0, "F16": 1, "I64": 27, "BF16": 30}
LLAMA = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def read(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + n])
    header.pop("__metadata__", None)
    data = raw[8 + n :]
    return {k: [v["dtype"], v["shape"], data[v["data_offsets"][0] : v["data_offsets"][1]]] for k, v in header.items()}


def reference_names(tensors):
    out = {}
    for name, (dtype, shape, data) in tensors.items():
        if name.endswith("attention.to_q.weight"):
            begin = name[: -len("to_q.weight")]
            parts = [tensors[begin + part + ".weight"] for part in ("to_q", "to_k", "to_v")]
            out[begin + "qkv.weight"] = [dtype, [3 * shape[0], shape[1]], b"".join(p[2] for p in parts)]
        elif not re.search(r"attention\.to_[kv]\.weight$", name):
            out[name.replace("attention.to_out.0.", "attention.o.")] = [dtype, shape, data]
    return out


def llama_names(tensors):
    out = {}
    for name, tensor in tensors.items():
        layer = re.fullmatch(r"language_model\.layers\.(\d+)\.(.*)\.weight", name)
        if layer:
            out[f"blk.{layer[1]}.{LLAMA[layer[2]]}.weight"] = tensor
        elif name == "language_model.embed_tokens.weight":
            out["token_embd.weight"] = tensor
        elif name == "language_model.norm.weight":
            out["output_norm.weight"] = tensor
    return out


def floats(dtype, data):
    if dtype == "F32":
        return struct.unpack(f"<{len(data) // 4}f", data)
    halves = struct.unpack(f"<{len(data) // 2}H", data)
    return struct.unpack(f"<{len(halves)}f", b"".join(struct.pack("<I", h << 16) for h in halves))


def q8_0(values):
    out = []
    for i in range(0, len(values), 32):
        block = values[i : i + 32]
        d = max(map(abs, block)) / 127
        d = struct.unpack("<e", struct.pack("<e", d))[0]
        codes = [max(-127, min(127, round(v / d))) if d else 0 for v in block]
        out.append(struct.pack("<e32b", d, *codes))
    return b"".join(out)


def q4_0(values):
    out = []
    for i in range(0, len(values), 32):
        block = values[i : i + 32]
        d = max(block, key=abs) / -8
        codes = [min(15, int(v / d + 8.5)) if d else 0 for v in block]
        out.append(struct.pack("<e16B", d, *(a | b << 4 for a, b in zip(codes[:16], codes[16:]))))
    return b"".join(out)


BLOCKS = {"Q8_0": (8, q8_0), "Q4_0": (2, q4_0)}


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def main(source, target, kind, names="own"):
    tensors = read(source)
    tensors = {"own": dict, "reference": reference_names, "llama": llama_names}[names](tensors)
    infos, body = b"", b""
    kept = {k: v for k, v in tensors.items() if len(v[1]) <= 4}
    for name, (dtype, shape, data) in kept.items():
        number = TYPES[dtype]
        if kind in BLOCKS and len(shape) == 2 and shape[1] % 32 == 0 and dtype in ("F32", "BF16"):
            number, pack = BLOCKS[kind]
            data = pack(floats(dtype, data))
        sizes = list(reversed(shape))
        infos += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, number, len(body))
        body += data + b"\0" * (-len(data) % 32)
    key = text("general.architecture") + struct.pack("<I", 8) + text("anything")
    head = b"GGUF" + struct.pack("<IQQ", 3, len(kept), 1) + key + infos
    open(target, "wb").write(head + b"\0" * (-len(head) % 32) + body)


main(*sys.argv[1:])
