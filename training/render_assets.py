"""Renders the drawings and letters into .cache/assets.npz and the word list into words.txt.

sprites: [objects, 3 styles, 4, 160, 160] uint8, premultiplied RGBA, each fitted to its box;
glyphs: [fonts, 36, 64, 96] uint8 coverage, A-Z 0-9, common baseline; advances [fonts, 36] in pixels.
"""

import json
import re
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

kHere = Path(__file__).parent
kPackages = kHere / ".cache" / "packages"
kSize = 160
kStyles = {"noto": "noto", "fluent": "fluent-emoji-flat", "twemoji": "twemoji"}
kGlyphHeight, kGlyphWidth, kLeft, kBaseline, kCapHeight = 64, 96, 8, 56, 46
kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
kFonts = {
    "sans": "truetype/lato/Lato-Bold.ttf",
    "serif": "opentype/ebgaramond/EBGaramond12-Bold.otf",
    "typewriter": "opentype/courier-prime/Courier Prime Bold.otf",
    "rounded": "truetype/comfortaa/Comfortaa-Bold.ttf",
    "condensed": "opentype/bebas-neue/BebasNeue-Bold.otf",
}


def package_json(package, name):
    (path,) = kPackages.glob(f"*{package}-[0-9]*.tgz")
    with tarfile.open(path) as tar:
        return json.load(tar.extractfile(f"package/{name}"))


def render(svg):
    """SVG text -> premultiplied RGBA, the drawing fitted into kSize with a small margin."""
    big = subprocess.run(
        ["rsvg-convert", "-w", "512", "-h", "512"], input=svg.encode(), capture_output=True, check=True
    ).stdout
    rgba = np.asarray(Image.open(BytesIO(big)).convert("RGBA")).astype(np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    ys, xs = np.nonzero(rgba[..., 3] > 0.02)
    y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    inner = kSize - 4
    scale = inner / max(y1 - y0, x1 - x0)
    h, w = max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))
    out = np.zeros((4, kSize, kSize), np.float32)
    top, left = (kSize - h) // 2, (kSize - w) // 2
    for c in range(4):
        # Premultiplied planes are resized one by one, so no colour bleeds from clear pixels.
        plane = Image.fromarray(rgba[y0:y1, x0:x1, c]).resize((w, h), Image.Resampling.LANCZOS)
        out[c, top : top + h, left : left + w] = np.asarray(plane)
    out = out.clip(0, 1)
    out[:3] = np.minimum(out[:3], out[3:])
    return (out * 255 + 0.5).astype(np.uint8)


def render_sprites(rows):
    jobs = []
    for column, package in enumerate(kStyles.values()):
        icons = package_json(package, "icons.json")
        width, height = icons.get("width", 16), icons.get("height", 16)
        aliases = icons.get("aliases", {})
        for row in rows:
            key = row[2 + column]
            icon = icons["icons"].get(key) or icons["icons"][aliases[key]["parent"]]
            w, h = icon.get("width", width), icon.get("height", height)
            head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            jobs.append(f'<svg {head} viewBox="0 0 {w} {h}">{icon["body"]}</svg>')
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(render, jobs))
    return np.stack(done).reshape(len(kStyles), len(rows), 4, kSize, kSize).swapaxes(0, 1)


def render_glyphs():
    glyphs = np.zeros((len(kFonts), len(kLetters), kGlyphHeight, kGlyphWidth), np.uint8)
    advances = np.zeros((len(kFonts), len(kLetters)), np.float32)
    for i, file in enumerate(kFonts.values()):
        path = f"/usr/share/fonts/{file}"
        size = 4 * 64
        font = ImageFont.truetype(path, size)
        x0, y0, x1, y1 = font.getbbox("H", anchor="ls")
        font = ImageFont.truetype(path, round(size * 4 * kCapHeight / (y1 - y0)))
        for j, letter in enumerate(kLetters):
            big = Image.new("L", (4 * kGlyphWidth, 4 * kGlyphHeight))
            draw = ImageDraw.Draw(big)
            draw.text((4 * kLeft, 4 * kBaseline), letter, fill=255, font=font, anchor="ls")
            glyphs[i, j] = np.asarray(big.resize((kGlyphWidth, kGlyphHeight), Image.Resampling.BOX))
            advances[i, j] = font.getlength(letter) / 4
    return glyphs, advances


def collect_words(held_out):
    """Plain words of 2 to 8 letters from the English labels and tags."""
    words = set()
    for e in package_json("emojibase-data", "en/data.json"):
        for text in [e["label"], *e.get("tags", [])]:
            words.update(re.findall(r"(?<![A-Za-z’'-])[A-Za-z]{2,8}(?![A-Za-z’'-])", text))
    bad = "kill|dead|death|die|drug|sex|gun|poo|shit|fuck|damn|hell$|butt|ass$|bitch|crap|nsfw|weed|nazi|fart"
    words = {w.upper() for w in words if not re.match(bad, w.lower())}
    words = {w for w in words if len(w) > 2 or w in ("GO", "HI", "NO", "UP", "OK", "ON", "ME", "WE")}
    return sorted(words - held_out)


def main():
    rows = [line.split("\t") for line in (kHere / "objects.tsv").read_text().splitlines()[1:]]
    held = (kHere / "prompts_words.tsv").read_text().splitlines() if (
        kHere / "prompts_words.tsv"
    ).exists() else []
    held_out = {line.split("\t")[1] for line in held[1:]}
    words = collect_words(held_out)
    (kHere / "words.txt").write_text("\n".join(words) + "\n")
    glyphs, advances = render_glyphs()
    sprites = render_sprites(rows)
    np.savez_compressed(
        kHere / ".cache" / "assets.npz", sprites=sprites, glyphs=glyphs, advances=advances
    )
    size = (kHere / ".cache" / "assets.npz").stat().st_size
    print(f"{len(rows)} objects, {len(words)} words, assets.npz {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
