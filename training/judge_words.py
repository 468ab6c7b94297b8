"""Can Tesseract read the word that was asked for? Exact match, capitals and digits only.

Reported: the first reading (one line, --psm 7), and whether any of three readings is right.
"""

import argparse
import json
import os
import subprocess
from io import BytesIO

import numpy as np
from PIL import Image

from pictures import add_arguments, pictures_for, read_table
from scenes import kHere


def ink(picture, ground=None):
    """Dark letters on white, whatever the colours: distance from the ground (by default the border's median)."""
    p = picture.astype(np.float32)
    border = np.concatenate([p[:4].reshape(-1, 3), p[-4:].reshape(-1, 3), p[:, :4].reshape(-1, 3)])
    distance = np.abs(p - (np.median(border, 0) if ground is None else ground)).sum(-1)
    level = np.percentile(distance, 99.5)
    grey = 255 - (distance / max(level, 30) * 255).clip(0, 255)
    image = Image.fromarray(grey.astype(np.uint8))
    ys, xs = np.nonzero(grey < 128)
    if len(ys):
        image = image.crop((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    height = 64
    image = image.resize((max(8, image.width * height // image.height), height), Image.Resampling.LANCZOS)
    framed = Image.new("L", (image.width + 80, height + 80), 255)
    framed.paste(image, (40, 40))
    return framed


def read(image, mode):
    data = BytesIO()
    image.save(data, "png")
    letters = "tessedit_char_whitelist=ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    command = ["tesseract", "stdin", "stdout", "--psm", str(mode), "--dpi", "150", "-c", letters]
    done = subprocess.run(command, input=data.getvalue(), capture_output=True, check=True, env={**os.environ, "OMP_THREAD_LIMIT": "1"})
    return "".join(done.stdout.decode().split())


def main():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args()
    rows = read_table(kHere / "prompts_words.tsv")[: args.limit]
    report, first, any_of = [], 0, 0
    for row, picture in zip(rows, pictures_for(args, [r[0] for r in rows])):
        image = ink(picture)
        seen = [read(image, mode) for mode in (7, 8, 13)]
        first += seen[0] == row[1]
        any_of += row[1] in seen
        report.append({"prompt": row[0], "word": row[1], "read": seen, "right": row[1] in seen})
        if row[1] not in seen:
            print(f"{row[1]:10} read as {seen}")
    (args.out / "words.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"words: {first} of {len(rows)} right at first reading, {any_of} by any of three readings")


if __name__ == "__main__":
    main()
