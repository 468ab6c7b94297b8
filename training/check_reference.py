"""Reproduces the reference cases in float32: `check_reference.py REFERENCE_DIR`. Exit 1 on a miss.

Works on any folder with tiny/, cases/ and, if there, wide_transformer/; or with `--model DIR` on
the cases of another checkpoint.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from bpe import Tokenizer
from checkpoint import load_checkpoint, load_transformer, read_json, read_safetensors
from sampler import sample, schedule

kTolerance = {"text": 1e-5, "velocity": 2e-4, "vae": 1e-4, "latents": 2e-3, "image": 2e-3}


def relative(a, b):
    return float((a - b).norm() / b.norm())


def note(metadata):
    return json.loads(metadata.get("note", "{}"))


class Checker:
    def __init__(self):
        self.misses = 0

    def expect(self, name, error, limit):
        ok = error <= limit
        self.misses += not ok
        print(f"{'ok  ' if ok else 'MISS'} {name}: {error:.2e} (limit {limit:g})")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reference", type=Path)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args()
    root = args.model or args.reference / "tiny"
    cases = args.reference / "cases"
    check = Checker()
    tokenizer = Tokenizer.load(root / "tokenizer" / "tokenizer.json")
    text, small, unconditional, vae, scheduler = load_checkpoint(root)
    shift = scheduler.get("shift", 1.0)

    wrong = sum(tokenizer.encode(c["text"]) != c["ids"] for c in read_json(cases / "tokenizer.json"))
    check.expect("tokenizer, wrong texts", wrong, 0)
    for path in sorted(cases.glob("text_features_*")):
        t, meta = read_safetensors(path)
        ids = tokenizer.encode_prompt(note(meta)["prompt"])
        check.expect(path.stem + " ids", int(ids != t["ids"].tolist()), 0)
        check.expect(path.stem, relative(text(t["ids"][None])[0], t["features"]), kTolerance["text"])
    for name, value in read_safetensors(cases / "schedule.safetensors")[0].items():
        size, n, mu, std = name.split("_")[1:]
        w, h = map(int, size.split("x"))
        mine = torch.from_numpy(schedule(h, w, int(n[1:]), float(mu[2:]), float(std[3:])))
        check.expect(name, float((mine[: len(value)] - value).abs().max()), 1e-6)
    for kind in ("small", "wide"):
        if kind == "wide" and not (args.reference / "wide_transformer").exists():
            continue
        net = small if kind == "small" else load_transformer(args.reference / "wide_transformer")
        for path in sorted(cases.glob(f"transformer_{kind}_*")):
            t, meta = read_safetensors(path)
            grid = (note(meta)["grid_h"], note(meta)["grid_w"])
            features = t["text_features"][None] if t["text_features"].numel() else None
            v = net(t["latents"][None], t["timestep"], grid, features)[0]
            check.expect(path.stem, relative(v, t["velocity"]), kTolerance["velocity"])
    for path in sorted(cases.glob("vae_decode_*")):
        t, _ = read_safetensors(path)
        check.expect(path.stem, relative(vae.decode(t["latent"][None])[0], t["image"]), kTolerance["vae"])
    for path in sorted(cases.glob("pipeline_*")):
        t, meta = read_safetensors(path)
        n = note(meta)
        grid = (n["height"] // 16, n["width"] // 16)
        features = text(torch.tensor([tokenizer.encode_prompt(n["prompt"])]))
        sigmas = schedule(n["height"], n["width"], n["steps"], shift=shift)
        guidance = n["guidance_schedule"] or n["guidance_scale"]
        x = sample(small, unconditional, features, None, t["noise"][None], grid, sigmas, guidance)
        worst = max(relative(a[0], b) for a, b in zip(x, t["latents"]))
        check.expect(path.stem + " latents", worst, kTolerance["latents"])
        image = (vae.decode(vae.denormalise(x[-1], grid))[0] / 2 + 0.5).clamp(0, 1)
        check.expect(path.stem + " image", relative(image, t["image"]), kTolerance["image"])
    print("all right" if check.misses == 0 else f"{check.misses} missed")
    return check.misses != 0


if __name__ == "__main__":
    sys.exit(main())
