"""Shares of the judged prompts that are drawn right, with 95% bootstrap intervals, for a folder of pictures.

    judge.py FOLDER --draw PROGRAM --model models/mini [--every 8] [--json bench/results/mini_judged.json]
    judge.py EVAL_FOLDER/int8                 of `intaglio eval run --prompts training/prompts_judged.jsonl`
    judge.py FOLDER --compose                 what the judge makes of pictures that are right by construction

Pictures are called by the prompt's line, from 00000.png on; those that are missing are passed over. A word is
right if Tesseract reads just it in one of three modes; an object if of all drawings of its style the asked one is
nearest (judge_objects.py); "beside" takes both. Needs training/.cache/assets.npz, tesseract-ocr, numpy, PIL.
"""

import argparse
import datetime
import json
import random
import subprocess
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from judge_objects import kFew, distances, ground_of
from judge_words import ink, read
from palette import kColors, kDefaultStyle, kStyles
from scenes import kCountPlaces, kHere, kMiddle, kPlaces, kSizes, SceneMaker, empty_batch, load_objects

kPrompts = kHere / "prompts_judged.jsonl"
kGap = 4  # empty rows or columns between two things
kLeastHeight, kMostHeight = 8, 110  # of a line of letters, pixels
kNear = 28  # pixels from the asked place
kResamples = 4000


def runs(filled):
    """[begin, end) of the runs of True, those with less than kGap between them joined."""
    out = []
    for i in np.flatnonzero(filled):
        if out and i - out[-1][1] < kGap:
            out[-1][1] = int(i) + 1
        else:
            out.append([int(i), int(i) + 1])
    return out


def differs(picture, ground):
    return np.abs(picture.astype(np.float32) - ground).max(-1) > 28


def reads(picture, ground, word):
    """-> whether one of three readings is the word, and the first reading."""
    image = ink(picture, ground)
    first = ""
    for mode in (7, 8, 13):
        seen = read(image, mode)
        first = first or seen
        if seen == word:
            return True, seen
    return False, first


@lru_cache(maxsize=1)
def drawings():
    return np.load(kHere / ".cache" / "assets.npz")["sprites"]


def nearest(picture, style):
    sprites = drawings()[:, style]
    return load_objects()[int(np.argmin(distances(picture, sprites, kFew)))]


@lru_cache(maxsize=1)
def composer():
    import torch

    from compose import Composer

    return Composer(np.load(kHere / ".cache" / "assets.npz"), torch.device("cpu"))


def nearest_color(picture, name, style):
    """Which colour the object has been given, of all colours and its own (None)."""
    import torch

    c = composer()
    index = load_objects().index(name) * len(kStyles) + style
    colors = torch.tensor([[1, *(v / 255 for v in rgb)] for rgb in kColors.values()])
    n = len(colors)
    painted = c.recolor(c.sprites[index].expand(n, -1, -1, -1), c.mean_light[index].expand(n), colors)
    every = torch.cat([painted, c.sprites[index][None]])
    found = int(np.argmin(distances(picture, (every * 255).round().byte().numpy())))
    return [*kColors, None][found]


def without_word(picture, ground, word):
    """-> (whether the word is read on a line of its own, what is read, the picture without that line)."""
    bands = runs(differs(picture, ground).sum(1) >= 2)
    lines = [b for b in bands if kLeastHeight <= b[1] - b[0] <= kMostHeight]
    # The outermost and lowest ones first: letters are lower than drawings.
    lines.sort(key=lambda b: b[1] - b[0])
    right, seen, line = False, "", None
    for band in lines:
        right, text = reads(picture[max(band[0] - 3, 0) : band[1] + 3], ground, word)
        seen = max(seen, text, key=len)
        if right:
            seen, line = text, band
            break
    if line is None and len(bands) > 1:
        line = next((b for b in lines if b in (bands[0], bands[-1])), None)
    rest = picture.copy()
    if line:
        rest[max(line[0] - 3, 0) : line[1] + 3] = np.round(ground)
    return right, seen, rest


def things(picture, ground):
    """Boxes of what stands apart: rows first, then columns."""
    mask = differs(picture, ground)
    boxes = []
    for y0, y1 in runs(mask.sum(1) >= 2):
        boxes += [(y0, y1, x0, x1) for x0, x1 in runs(mask[y0:y1].sum(0) >= 2) if (y1 - y0) * (x1 - x0) > 200]
    return boxes


def look(job):
    """What is right about one picture: {"right": all of it, ...}."""
    expect, file, default_style = job
    picture = np.asarray(Image.open(file).convert("RGB"))
    ground = ground_of(picture)
    style = kStyles.index(expect["style"]) if "style" in expect else default_style
    out = {}
    rest = picture
    if expect["set"] == "words":
        out["word"], out["read"] = reads(picture, ground, expect["text"])
    elif "text" in expect:
        out["word"], out["read"], rest = without_word(picture, ground, expect["text"])
    if "count" in expect:
        boxes = things(picture, ground)
        out["counted"], out["count"] = len(boxes), len(boxes) == expect["count"]
        if boxes:
            y0, y1, x0, x1 = boxes[0]
            rest = np.empty_like(picture)
            rest[:] = np.round(ground)
            rest[y0:y1, x0:x1] = picture[y0:y1, x0:x1]
    if "color" in expect:
        out["colored"] = nearest_color(picture, expect["object"], style)
        out["color"] = out["colored"] == expect["color"]
    elif "object" in expect:
        out["nearest"] = nearest(rest, style)
        out["object"] = out["nearest"] == expect["object"]
    if "place" in expect:
        boxes = np.array(things(picture, ground) or [(-99, -99, -99, -99)])
        at = (boxes[:, 2].min() + boxes[:, 3].max()) / 2, (boxes[:, 0].min() + boxes[:, 1].max()) / 2
        out["place"] = max(abs(a - b) for a, b in zip(at, kPlaces[expect["place"]])) <= kNear
    out["right"] = all(v for k, v in out.items() if k in ("word", "object", "color", "count", "place"))
    return {k: bool(v) if isinstance(v, (bool, np.bool_)) else v for k, v in out.items()}


def share(values):
    """Share of True with the interval of 95 of 100 resamples."""
    draw = random.Random(1)
    n = len(values)
    means = sorted(sum(draw.choices(values, k=n)) / n for _ in range(kResamples))
    low, high = means[int(0.025 * kResamples)], means[int(0.975 * kResamples) - 1]
    return {"right": sum(values), "of": n, "share": round(sum(values) / n, 4), "low": round(low, 4), "high": round(high, 4)}


def draw(args, prompts):
    """With the engine, all in one call; pictures that are there are not drawn again."""
    missing = [(i, p) for i, p in prompts if not (args.folder / f"{i:05}.png").exists()]
    if not missing:
        return
    lines = [json.dumps({"prompt": p["prompt"], "seed": p["seed"], "output": f"{i:05}.png"}) for i, p in missing]
    file = args.folder / "prompts.jsonl"
    file.write_text("\n".join(lines) + "\n")
    words = [args.draw, "generate", "--model", args.model, "--prompts", file, "--output", f"{args.folder}/", "--quiet", *args.options.split()]
    subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL)


def compose(args, prompts):
    """The pictures as the training would have them, on white."""
    import torch

    from compose import slice_batch, to_device

    maker = SceneMaker(np.load(kHere / ".cache" / "assets.npz")["advances"])
    batch = empty_batch(len(prompts))
    batch["background"][:] = 1
    for row, (_, p) in enumerate(prompts):
        e = p["expect"]
        if "text" in e:
            alone = e["set"] == "words"
            maker.put_word(batch, row, {"word": e["text"], "font": None, "shown": "black"}, kMiddle if alone else 216, 92 if alone else 50)
        if "object" in e:
            style = kStyles.index(e["style"]) if "style" in e else args.default_style
            thing = {"object": load_objects().index(e["object"]), "style": style, "color": e.get("color")}
            places = kCountPlaces[e["count"]] if "count" in e else [kPlaces[e["place"]]] if "place" in e else [(kMiddle, 96 if "text" in e else kMiddle)]
            size = kSizes["third" if e.get("count") == 3 else "half" if "count" in e or "place" in e else "whole"]
            for slot, (x, y) in enumerate(places):
                maker.put_sprite(batch, row, slot, thing, x, y, size)
    batch = to_device(batch, torch.device("cpu"))
    for begin in range(0, len(prompts), 32):
        pictures = composer()(slice_batch(batch, begin, begin + 32))
        for (i, _), picture in zip(prompts[begin:], pictures):
            Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(args.folder / f"{i:05}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=Path, default=kPrompts, help="the judged prompts")
    parser.add_argument("--draw", type=Path, metavar="PROGRAM", help="draw what is missing with this engine")
    parser.add_argument("--model", default="models/mini")
    parser.add_argument("--options", default="", help="further ones for the engine")
    parser.add_argument("--compose", action="store_true", help="make right pictures instead")
    parser.add_argument("--every", type=int, default=1, help="every so many prompts of each set")
    parser.add_argument("--default-style", default=kStyles[kDefaultStyle], choices=kStyles, help="of prompts that name none")
    parser.add_argument("--sets", nargs="+", help="these alone")
    parser.add_argument("--json", type=Path, help="where the shares go")
    args = parser.parse_args()
    args.default_style = kStyles.index(args.default_style)
    args.folder.mkdir(parents=True, exist_ok=True)
    every = list(enumerate(map(json.loads, args.prompts.read_text().splitlines())))
    prompts = [(i, p) for i, p in every if i % args.every == 0 and (not args.sets or p["expect"]["set"] in args.sets)]
    if args.compose:
        compose(args, prompts)
    elif args.draw:
        draw(args, prompts)
    prompts = [(i, p) for i, p in prompts if (args.folder / f"{i:05}.png").exists()]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(look, [(p["expect"], args.folder / f"{i:05}.png", args.default_style) for i, p in prompts]))
    (args.folder / "judged.json").write_text(json.dumps([{"number": i, **p, **f} for (i, p), f in zip(prompts, found)], indent=1) + "\n")
    sets = {}
    for kind in dict.fromkeys(p["expect"]["set"] for _, p in prompts):
        of = [f for (_, p), f in zip(prompts, found) if p["expect"]["set"] == kind]
        sets[kind] = share([f["right"] for f in of])
        if kind == "beside":
            sets[kind].update({part: share([f[part] for f in of]) for part in ("word", "object")})
        one = sets[kind]
        print(f"{kind}: {one['right']} of {one['of']}, {100 * one['share']:.1f}% ({100 * one['low']:.1f} to {100 * one['high']:.1f})")
    if args.json:
        cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
        commit = subprocess.run(["git", "rev-parse", "--short=7", "HEAD"], cwd=kHere, capture_output=True, text=True).stdout.strip()
        result = {"date": datetime.date.today().isoformat(), "command": f"judge.py FOLDER --prompts {args.prompts.name} --draw PROGRAM --every {args.every}", "commit": commit, "cpu": cpu, "model": args.model, "options": args.options, "every": args.every, "default_style": kStyles[args.default_style], "sets": sets}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
