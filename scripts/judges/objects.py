#!/usr/bin/env python3
"""Which drawing the pictures of `intaglio eval run` show that should show an object of the bundled model; adds judged.objects.jsonl to the folder.

Usage: objects.py FOLDER

The nearest of all drawings of the named style, as training/judge_objects.py measures it. Needs what training/README.md says for training/.cache/assets.npz,
python3-numpy and python3-pil.
"""
import pathlib
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from PIL import Image

from evaluation import Findings, parse_folder

kTraining = pathlib.Path(__file__).resolve().parents[2] / "training"
sys.path.insert(0, str(kTraining))
from judge_objects import distances, kFew  # noqa: E402
from palette import kStyles  # noqa: E402
from scenes import load_objects  # noqa: E402

sprites = None


def nearest(one):
    global sprites
    if sprites is None:
        sprites = np.load(kTraining / ".cache/assets.npz")["sprites"]
    _, _, expect, file = one
    drawings = sprites[:, kStyles.index(expect["style"])]
    return load_objects()[int(np.argmin(distances(np.asarray(Image.open(file).convert("RGB")), drawings, kFew)))]


def main():
    findings = Findings(parse_folder(__doc__.split("\n")[0]), "objects")
    todo = list(findings.pictures("object"))
    with ProcessPoolExecutor() as pool:
        for (variant, number, _, _), name in zip(todo, pool.map(nearest, todo, chunksize=4)):
            findings.add(variant, number, object=name)
    print(f"{len(todo)} pictures looked at")


if __name__ == "__main__":
    main()
