"""Averaged weights of a run -> a checkpoint folder in bf16, and parts small enough to carry."""

import argparse
import shutil
import tarfile
from pathlib import Path

import torch

import config
import make_vocabulary
from checkpoint import write_json, write_safetensors
from scenes import kHere

kLimit = 58_000_000  # bytes; the whole folder is to stay within 60 MB


def bf16(state):
    return {k: v if v.dtype == torch.int64 else v.to(torch.bfloat16) for k, v in state.items()}


def export(run, out, guidance, parts=None):
    """Weights of a run directory -> checkpoint folder `out`; also parts of a tar of it in `parts`."""
    vae = torch.load(run / "vae.pt", map_location="cpu")["model"]
    dit = torch.load(run / "dit.pt", map_location="cpu")
    text, conditional, unconditional = dit["nets"]
    index = dict(config.kModelIndex)
    index["intaglio"] = {**index["intaglio"], "default_guidance": guidance}
    diffusers = "diffusion_pytorch_model.safetensors"
    files = [
        ("text_encoder", config.text_encoder(dit["vocab"]), "model.safetensors", text),
        ("transformer", config.kConditional, diffusers, conditional),
        ("unconditional_transformer", config.kUnconditional, diffusers, unconditional),
        ("vae", config.kVae, diffusers, vae),
    ]
    total = 0
    for name, settings, file, state in files:
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", settings)
        write_safetensors(folder / file, bf16(state))
        total += (folder / file).stat().st_size
    (out / "scheduler").mkdir(exist_ok=True)
    write_json(out / "scheduler" / "scheduler_config.json", config.kScheduler)
    write_json(out / "model_index.json", index)
    shutil.copytree(kHere / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    (out / "vocabulary.json").write_text(make_vocabulary.text())
    if total > kLimit:
        raise ValueError(f"weights take {total} bytes, the limit is {kLimit}")
    if parts:
        parts.mkdir(parents=True, exist_ok=True)
        whole = run / "model.tar"
        with tarfile.open(whole, "w") as tar:
            tar.add(out, arcname=".")
        data = whole.read_bytes()
        step = 15 << 20
        for i in range(0, len(data), step):
            (parts / f"part_a{chr(97 + i // step)}").write_bytes(data[i : i + step])
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--parts", type=Path, help="also a tar of it here, cut in 15 MiB parts")
    parser.add_argument("--tiny", type=int, default=0)
    args = parser.parse_args()
    if args.tiny:
        config.scaled_down()
    total = export(args.run, args.out, args.guidance, args.parts)
    print(f"weights: {total} bytes; parts join with: cat part_a? | tar x -C DIR")


if __name__ == "__main__":
    main()
