#!/usr/bin/env python3
"""What Tesseract reads in the pictures of `intaglio eval run` that should show a text; adds judged.tesseract.jsonl to the folder.

Usage: tesseract.py FOLDER

Needs tesseract-ocr, python3-numpy and python3-pil. It is shown how far each pixel is from the ground's colour, four times as large, and looks for words
anywhere (--psm 11), capitals and digits only. What it is less sure of than kSure is no word: drawings look like letters to it.
"""
import subprocess
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from PIL import Image

from evaluation import Findings, parse_folder

kSure = 40  # of 100
kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def ink(file):
    """Dark on white, whatever the colours: distance from the border's median colour."""
    picture = np.asarray(Image.open(file).convert("RGB")).astype(np.float32)
    border = np.concatenate([picture[:4].reshape(-1, 3), picture[-4:].reshape(-1, 3), picture[:, :4].reshape(-1, 3)])
    distance = np.abs(picture - np.median(border, 0)).sum(-1)
    grey = 255 - (distance / max(np.percentile(distance, 99.5), 30) * 255).clip(0, 255)
    image = Image.fromarray(grey.astype(np.uint8))
    return image.resize((4 * image.width, 4 * image.height), Image.Resampling.LANCZOS)


def read(file):
    data = BytesIO()
    ink(file).save(data, "png")
    done = subprocess.run(["tesseract", "stdin", "stdout", "--psm", "11", "--dpi", "300", "-c", f"tessedit_char_whitelist={kLetters}", "tsv"],
                          input=data.getvalue(), capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "OMP_THREAD_LIMIT": "1"})
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()[1:]]
    return " ".join(row[11].strip() for row in rows if len(row) > 11 and float(row[10]) >= kSure and row[11].strip())


def main():
    findings = Findings(parse_folder(__doc__.split("\n")[0]), "tesseract")
    todo = list(findings.pictures("text"))
    with ThreadPoolExecutor() as pool:
        for (variant, number, _, _), text in zip(todo, pool.map(lambda one: read(one[3]), todo)):
            findings.add(variant, number, text=text)
    print(f"{len(todo)} pictures read")


if __name__ == "__main__":
    main()
