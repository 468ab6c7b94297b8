"""For the judges: pictures for a list of prompts, from the engine's command line or a 10-column grid."""

import shlex
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

kCommand = "{intaglio} generate --model {model} --prompt {prompt} --seed {seed} --output {out}"


def add_arguments(parser):
    parser.add_argument("--intaglio", help="the engine's command line program")
    parser.add_argument("--model", help="checkpoint folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures and the report")
    parser.add_argument("--grid", type=Path, help="judge this 10-column grid of 256 px pictures instead")
    parser.add_argument("--command", default=kCommand, help="how to call the engine (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=10**9)


def cut_grid(path, count):
    sheet = np.asarray(Image.open(path).convert("RGB"))
    s = sheet.shape[1] // 10
    return [sheet[i // 10 * s :, i % 10 * s :][:s, :s] for i in range(count)]


def pictures_for(args, prompts):
    """-> list of uint8 arrays [h, w, 3]. Pictures already in --out are not drawn again."""
    args.out.mkdir(parents=True, exist_ok=True)
    if args.grid:
        return cut_grid(args.grid, len(prompts))
    out = []
    for i, prompt in enumerate(prompts):
        path = args.out / f"{i:03d}.png"
        if not path.exists():
            names = dict(intaglio=args.intaglio, model=args.model, prompt=prompt, seed=args.seed, out=path)
            words = [w.format(**names) for w in shlex.split(args.command)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        out.append(np.asarray(Image.open(path).convert("RGB")))
    return out


def read_table(path):
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]
