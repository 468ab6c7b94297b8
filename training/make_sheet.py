"""The sheet of 24 pictures: draws prompts_sheet.txt through the engine into one PNG."""

import argparse

import numpy as np
from PIL import Image

from pictures import add_arguments, pictures_for
from scenes import kHere


def main():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args()
    prompts = (kHere / "prompts_sheet.txt").read_text().splitlines()[: args.limit]
    pictures = pictures_for(args, prompts)
    h, w, _ = pictures[0].shape
    sheet = np.full((-(-len(pictures) // 6) * (h + 4), 6 * (w + 4), 3), 255, np.uint8)
    for i, p in enumerate(pictures):
        y, x = i // 6 * (h + 4), i % 6 * (w + 4)
        sheet[y : y + h, x : x + w] = p
    Image.fromarray(sheet).save(args.out / "sheet.png")


if __name__ == "__main__":
    main()
