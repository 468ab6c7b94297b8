"""Is the drawing the one that was asked for? Nearest of the 100 named drawings in the named style.

The picture's non-ground region is cut out, fitted to 64 x 64 on its own ground colour, and compared
with each drawing set on the same ground: mean colour difference plus half the mean difference of the
edges, the least over shifts of up to 3 pixels. The nearest must be the one named.
"""

import argparse
import json

import numpy as np
from PIL import Image

from pictures import add_arguments, pictures_for, read_table
from palette import kStyles
from scenes import kHere, load_objects

kSide, kShift = 64, 3
kFew = 24  # drawings that are compared with shifts, where few are


def ground_of(picture):
    p = picture.astype(np.float32)
    return np.median(np.concatenate([p[:3].reshape(-1, 3), p[-3:].reshape(-1, 3)]), 0)


def fit(picture, ground):
    """Crop what differs from the ground, scale it to fill kSide, centre it."""
    differs = np.abs(picture.astype(np.float32) - ground).max(-1) > 28
    # Single stray pixels must not stretch the crop.
    rows, columns = differs.sum(1) >= 3, differs.sum(0) >= 3
    if not rows.any() or not columns.any():
        return np.broadcast_to(ground, (kSide, kSide, 3)).astype(np.float32)
    y0, y1 = np.flatnonzero(rows)[[0, -1]]
    x0, x1 = np.flatnonzero(columns)[[0, -1]]
    cut = Image.fromarray(picture[y0 : y1 + 1, x0 : x1 + 1].astype(np.uint8))
    scale = kSide / max(cut.size)
    size = [max(1, round(n * scale)) for n in cut.size]
    cut = np.asarray(cut.resize(size, Image.Resampling.BILINEAR)).astype(np.float32)
    out = np.empty((kSide, kSide, 3), np.float32)
    out[:] = ground
    top, left = (kSide - size[1]) // 2, (kSide - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = cut
    return out


def features(p):
    """Colour and edges, stacked: [..., 64, 64, 9] in 0..255."""
    dy, dx = np.zeros_like(p), np.zeros_like(p)
    dy[..., 1:, :, :] = p[..., 1:, :, :] - p[..., :-1, :, :]
    dx[..., :, 1:, :] = p[..., :, 1:, :] - p[..., :, :-1, :]
    return np.concatenate([p, 0.5 * dy, 0.5 * dx], -1)


def distances(picture, sprites, few=None):
    """picture [h, w, 3] uint8; sprites [n, 4, s, s] uint8 premultiplied -> [n].

    few: only so many, the nearest ones without a shift, are tried with shifts; the others are infinitely far.
    """
    ground = ground_of(picture)
    mine = features(fit(picture, ground))
    alpha = sprites[:, 3:].astype(np.float32) / 255
    drawn = (sprites[:, :3] + ground[None, :, None, None] * (1 - alpha)).clip(0, 255)
    drawn = drawn.transpose(0, 2, 3, 1)
    theirs = features(np.stack([fit(d, ground) for d in drawn]))
    best = np.full(len(sprites), np.inf)
    inner = slice(kShift, kSide - kShift)
    theirs = theirs[:, inner, inner]
    chosen = slice(None)
    if few is not None and few < len(sprites):
        chosen = np.argsort(np.abs(theirs - mine[inner, inner]).mean((1, 2, 3)))[:few]
        theirs = theirs[chosen]
    for dy in range(-kShift, kShift + 1):
        for dx in range(-kShift, kShift + 1):
            moved = np.roll(mine, (dy, dx), (0, 1))[inner, inner]
            best[chosen] = np.minimum(best[chosen], np.abs(theirs - moved).mean((1, 2, 3)))
    return best


def main():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args()
    rows = read_table(kHere / "prompts_objects.tsv")
    every, names = load_objects(), [r[1] for r in rows]
    sprites = np.load(kHere / ".cache" / "assets.npz")["sprites"][[every.index(n) for n in names]]
    rows = rows[: args.limit]
    right, report = 0, []
    for row, picture in zip(rows, pictures_for(args, [r[0] for r in rows])):
        d = distances(picture, sprites[:, kStyles.index(row[2])])
        order = np.argsort(d)
        ok = names[order[0]] == row[1]
        right += ok
        own = float(d[names.index(row[1])])
        report.append({"prompt": row[0], "nearest": [names[i] for i in order[:3]], "own": own, "right": bool(ok)})
        if not ok:
            print(f"{row[1]:16} looks like {names[order[0]]} ({d[order[0]]:.1f}; itself {own:.1f})")
    (args.out / "objects.json").write_text(json.dumps(report, indent=1) + "\n")
    mean = np.mean([r["own"] for r in report])
    print(f"objects: {right} of {len(rows)} nearest to the named drawing; mean distance to it {mean:.2f}")


if __name__ == "__main__":
    main()
