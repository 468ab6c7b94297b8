"""Draws the judged prompts with the averaged weights of a run, as 10 x 10 grids, at some guidances."""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import config
from common import setup
from scenes import kHere
from train_dit import Sampler, build
from vae import Vae


def prompts_of(name):
    return [line.split("\t")[0] for line in (kHere / name).read_text().splitlines()[1:]]


def save_grid(pictures, path):
    """Exactly ten columns, no gaps, so that the judges can cut it up again."""
    p = (pictures.cpu() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    n, h, w, c = p.shape
    p = np.concatenate([p, np.zeros((-n % 10, h, w, c), np.uint8)])
    p = p.reshape(-1, 10, h, w, c).swapaxes(1, 2).reshape(-1, 10 * w, c)
    Image.fromarray(p).save(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--guidance", type=float, nargs="+", default=[2.0, 3.0, 4.0, 6.0])
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", type=int, default=0)
    args = parser.parse_args()
    if args.tiny:
        config.scaled_down()
    args.out.mkdir(parents=True, exist_ok=True)
    device = setup(args.device, 0)
    vae = Vae(config.kVae).to(device).eval()
    vae.load_state_dict(torch.load(args.run / "vae.pt", map_location=device)["model"])
    dit = torch.load(args.run / "dit.pt", map_location="cpu")
    nets = [net.eval() for net in build(dit["vocab"], device)]
    for net, state in zip(nets, dit["nets"]):
        net.load_state_dict(state)
    sampler = Sampler(nets, vae, device)
    for name in ("words", "objects"):
        prompts = prompts_of(f"prompts_{name}.tsv")[: args.limit]
        for g in args.guidance:
            save_grid(sampler(prompts, g, args.steps), args.out / f"{name}_g{g:g}.png")
            print(f"{name} at guidance {g:g}", flush=True)


if __name__ == "__main__":
    main()
