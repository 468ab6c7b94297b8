"""Reading and writing the directory layout of a checkpoint, and safetensors without a library."""

import json
import struct
from pathlib import Path

import numpy as np
import torch

from model import TextEncoder, Transformer
from vae import Vae

kTypes = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
}
kTypeNames = {v: k for k, v in kTypes.items()}
kDefaultTaps = list(range(0, 36, 3)) + [35]


def read_safetensors(path):
    """-> (tensors by name, metadata dict)."""
    data = Path(path).read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    metadata = header.pop("__metadata__", {})
    out = {}
    for name, h in header.items():
        begin, end = h["data_offsets"]
        if end == begin:
            out[name] = torch.zeros(h["shape"], dtype=kTypes[h["dtype"]])
            continue
        raw = np.frombuffer(data[8 + n + begin : 8 + n + end], dtype=np.uint8).copy()
        out[name] = torch.from_numpy(raw).view(kTypes[h["dtype"]]).reshape(h["shape"])
    return out, metadata


def write_safetensors(path, tensors, metadata=None):
    header, blobs, offset = {"__metadata__": metadata or {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        blobs.append(t.reshape(-1).view(torch.uint8).numpy().tobytes())
        end = offset + len(blobs[-1])
        header[name] = {
            "dtype": kTypeNames[t.dtype],
            "shape": list(t.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for b in blobs:
            f.write(b)


def read_json(path):
    return json.loads(Path(path).read_text())


def write_json(path, value):
    Path(path).write_text(json.dumps(value, indent=2) + "\n")


def load_weights(module, folder):
    """Loads every *.safetensors of a folder into a module; a missing weight is an error."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        tensors.update(read_safetensors(path)[0])
    own = module.state_dict()
    missing = [k for k in own if k not in tensors]
    if missing:
        raise ValueError(f"{folder}: weights missing: {missing[:4]}")
    extra = [k for k in tensors if k not in own and not k.startswith("visual.")]
    if extra:
        raise ValueError(f"{folder}: weights not in the model: {extra[:4]}")
    module.load_state_dict({k: tensors[k].to(own[k].dtype) for k in own})
    return module.eval()


def load_transformer(folder):
    return load_weights(Transformer(read_json(Path(folder) / "config.json")), folder)


def load_checkpoint(root):
    """-> (text_encoder, transformer, unconditional_transformer, vae, scheduler config), float32."""
    root = Path(root)
    taps = read_json(root / "model_index.json").get("text_activation_layers") or kDefaultTaps
    text_config = read_json(root / "text_encoder" / "config.json")
    text = load_weights(TextEncoder(text_config, taps), root / "text_encoder")
    vae = load_weights(Vae(read_json(root / "vae" / "config.json")), root / "vae")
    return (
        text,
        load_transformer(root / "transformer"),
        load_transformer(root / "unconditional_transformer"),
        vae,
        read_json(root / "scheduler" / "scheduler_config.json"),
    )
