"""Draws scene descriptions and their captions: plain Python and numpy, made for worker processes.

A scene is a flat ground, up to three drawings and at most one word, on a 256 x 256 canvas. One
batch is a dict of arrays (see `empty_batch`), which compose.py turns into pictures on the GPU.
"""

import json
import random
from pathlib import Path

from bpe import Tokenizer
from palette import kBackgrounds, kBackgroundWords, kColors, kFonts, kLight, kNoArticle, kStyles, kStyleWords

kHere = Path(__file__).parent
kCanvas = 256
kMaxSprites, kMaxLetters, kMaxTokens = 3, 8, 112
kBuckets = [32, 64, kMaxTokens]  # captions are padded to the first of these that holds them
kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
kGlyphLeft, kCapHeight = 8, 46
# Drawings and letters stand on a grid and come in few sizes, so that the same drawing gives the same
# latents wherever it stands (a latent is 8 x 8 pixels, a token 16 x 16). Places that vary freely would
# have to be learned pixel by pixel, which a model and a run of this size cannot.
kSizes = {"whole": 160, "half": 104, "third": 72, "big": 208, "tiny": 56}
kNear, kMiddle, kFar = 64, 128, 192  # centres of what stands left, in the middle, right; or top to bottom
kThirds = (48, 128, 208)
kCaps = (72, 56, 44, 36, 28)  # heights of capitals
kPenStep, kWordWidth = 4, 236

def load_objects():
    lines = (kHere / "objects.tsv").read_text().splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


def luminance(rgb):
    linear = [(c / 255) ** 2.2 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    x, y = luminance(a) + 0.05, luminance(b) + 0.05
    return max(x / y, y / x)


def empty_batch(n):
    import numpy as np  # here, so that what only reads captions does without it

    return {
        "background": np.zeros((n, 3), np.float32),
        "sprite": np.full((n, kMaxSprites), -1, np.int64),
        "sprite_box": np.full((n, kMaxSprites, 3), 64, np.float32),  # centre x, y, size in pixels
        "sprite_color": np.zeros((n, kMaxSprites, 4), np.float32),  # recolour? then r, g, b
        "glyph": np.full((n, kMaxLetters), -1, np.int64),
        "glyph_x": np.zeros((n, kMaxLetters), np.float32),  # left edge of the glyph cell
        "text_box": np.ones((n, 2), np.float32),  # baseline y, pixels per glyph pixel
        "text_color": np.zeros((n, 3), np.float32),
    }


class SceneMaker:
    def __init__(self, advances, objects=None, words=None):
        """advances: [fonts, 36] widths in glyph pixels."""
        self.objects = objects or load_objects()
        self.words = words or (kHere / "words.txt").read_text().split()
        self.short_words = [w for w in self.words if len(w) <= 5] or self.words
        self.advances = [[float(a) for a in row] for row in advances]
        self.rng = random.Random(0)
        self.progress = 1.0

    def ramp(self, first, last):
        """From `first` to `last` over the first 60% of a run, then `last`."""
        x = min(self.progress / 0.6, 1.0)
        return first + (last - first) * x

    # ------------------------------------------------------------ parts

    def thing(self, style, colored=0.15):
        r = self.rng
        index = r.randrange(len(self.objects))
        color = r.choice(list(kColors)) if r.random() < colored else None
        return {"object": index, "style": style, "color": color, "name": self.objects[index]}

    def phrase(self, t):
        """'a red apple' with a fitting article, or without one."""
        r = self.rng
        words = f"{t['color']} {t['name']}" if t["color"] else t["name"]
        if t.get("size_word"):
            words = f"{t['size_word']} {words}"
        x = r.random()
        if x < 0.12:
            return words
        if x < 0.17:
            return "the " + words
        if t["name"] in kNoArticle:
            return words if x < 0.7 else "some " + words
        return ("an " if words[0] in "aeiou" else "a ") + words

    def word(self):
        r = self.rng
        if r.random() < self.ramp(0.75, 0.0):
            # Short ones first: two to five letters.
            n = r.choice([2, 3, 3, 4, 4, 5])
            if r.random() < 0.5:
                return "".join(r.choice(kLetters[:26]) for _ in range(n))
            return r.choice(self.short_words)
        x = r.random()
        if x < 0.62:
            return r.choice(self.words)
        if x < 0.66:
            return "".join(r.choice("0123456789") for _ in range(r.randint(2, 4)))
        n = r.choice([2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7, 8])
        return "".join(r.choice(kLetters[:26]) for _ in range(n))

    def background(self):
        r = self.rng
        if r.random() < 0.7:
            name = r.choice(list(kBackgrounds))
            return name, r.choice(kBackgroundWords.get(name, [name]))
        return r.choice(kLight), None

    def text(self, ground):
        """The word with a face and a colour that stands out; named or left to the default."""
        r = self.rng
        font = r.choice(kFonts) if r.random() < 0.6 else None
        color = None
        if r.random() < 0.75:
            fits = [c for c in kColors if contrast(kColors[c], kBackgrounds[ground]) > 2.2]
            color = r.choice(fits) if fits else None
        shown = color or ("black" if luminance(kBackgrounds[ground]) > 0.22 else "white")
        return {"word": self.word(), "font": font, "color": color, "shown": shown}

    # ------------------------------------------------------------ layout

    def put_sprite(self, batch, i, slot, t, x, y, size):
        batch["sprite"][i, slot] = t["object"] * len(kStyles) + t["style"]
        batch["sprite_box"][i, slot] = (x, y, size)
        if t["color"]:
            batch["sprite_color"][i, slot] = (1, *(c / 255 for c in kColors[t["color"]]))

    def put_word(self, batch, i, t, y, highest, free=False):
        """y: centre of the capitals; highest: their greatest height. free: any height, any place."""
        font = kFonts.index(t["font"] or "sans")
        codes = [kLetters.index(c) for c in t["word"]]
        advances = [self.advances[font][c] for c in codes]
        unit = sum(advances) / kCapHeight
        widest = kWordWidth / unit
        fits = [c for c in kCaps if c <= min(highest, widest)]
        cap = fits[0] if fits and not free else min(highest, widest)
        scale = cap / kCapHeight
        pen = kCanvas / 2 - unit * cap / 2
        for k, (code, advance) in enumerate(zip(codes, advances)):
            left = pen if free else kPenStep * round(pen / kPenStep)
            batch["glyph"][i, k] = font * len(kLetters) + code
            batch["glyph_x"][i, k] = left - kGlyphLeft * scale
            pen += advance * scale
        batch["text_box"][i] = (y + cap / 2, scale)
        batch["text_color"][i] = [c / 255 for c in kColors[t["shown"]]]

    # ------------------------------------------------------------ scenes: each -> (sentence, elements)

    def single(self, batch, i, style):
        r = self.rng
        t = self.thing(style)
        x = r.random()
        if x < 0.1:
            t["size_word"], size = r.choice(
                [("small", "third"), ("tiny", "tiny"), ("big", "big"), ("large", "big")]
            )
            self.put_sprite(batch, i, 0, t, kMiddle, kMiddle, kSizes[size])
            p = self.phrase(t)
            return p, [("obj", p + r.choice([", centered", ""]))]
        p = self.phrase(t)
        if x < self.ramp(0.88, 0.72):
            self.put_sprite(batch, i, 0, t, kMiddle, kMiddle, kSizes["whole"])
            where = r.choice(["", "", "", "", " in the center", " in the middle", " centered"])
            return p + where, [("obj", p + r.choice([", centered", "", ", in the center"]))]
        where, cx, cy = r.choice(
            [
                ("on the left", kNear, kMiddle),
                ("on the right", kFar, kMiddle),
                ("at the top", kMiddle, kNear),
                ("at the bottom", kMiddle, kFar),
                ("in the top left corner", kNear, kNear),
                ("in the top right corner", kFar, kNear),
                ("in the bottom left corner", kNear, kFar),
                ("in the bottom right corner", kFar, kFar),
            ]
        )
        self.put_sprite(batch, i, 0, t, cx, cy, kSizes["half"])
        return f"{p} {where}", [("obj", f"{p}, {where}")]

    def pair(self, batch, i, style):
        r = self.rng
        a, b = self.thing(style), self.thing(style)
        p, q = self.phrase(a), self.phrase(b)
        size = kSizes["half"]
        if r.random() < 0.55:
            self.put_sprite(batch, i, 0, a, kNear, kMiddle, size)
            self.put_sprite(batch, i, 1, b, kFar, kMiddle, size)
            sentence = r.choice(
                [
                    f"{p} on the left of {q}",
                    f"{p} to the left of {q}",
                    f"{q} to the right of {p}",
                    f"{q} on the right of {p}",
                    f"{p} on the left and {q} on the right",
                    f"{p} on the left, {q} on the right",
                    f"{p} next to {q}",
                    f"{p} beside {q}",
                    f"{p} and {q}",
                    f"{p} left of {q}",
                ]
            )
            return sentence, [("obj", f"{p}, on the left"), ("obj", f"{q}, on the right")]
        self.put_sprite(batch, i, 0, a, kMiddle, kNear, size)
        self.put_sprite(batch, i, 1, b, kMiddle, kFar, size)
        sentence = r.choice(
            [
                f"{p} above {q}",
                f"{q} below {p}",
                f"{q} under {p}",
                f"{p} at the top and {q} at the bottom",
                f"{p} at the top, {q} at the bottom",
                f"{p} over {q}",
            ]
        )
        return sentence, [("obj", f"{p}, at the top"), ("obj", f"{q}, at the bottom")]

    def triple(self, batch, i, style):
        r = self.rng
        ts = [self.thing(style) for _ in range(3)]
        p, q, s = (self.phrase(t) for t in ts)
        row = r.random() < 0.6
        for k, (t, at) in enumerate(zip(ts, kThirds)):
            x, y = (at, kMiddle) if row else (kMiddle, at)
            self.put_sprite(batch, i, k, t, x, y, kSizes["third"])
        if row:
            sentence = r.choice(
                [
                    f"{p}, {q} and {s}",
                    f"{p}, {q} and {s} in a row",
                    f"a row of {p}, {q} and {s}",
                    f"{p} on the left, {q} in the middle and {s} on the right",
                    f"{p}, {q} and {s} from left to right",
                ]
            )
            places = ["on the left", "in the middle", "on the right"]
        else:
            sentence = r.choice(
                [
                    f"{p}, {q} and {s} in a column",
                    f"{p}, {q} and {s} from top to bottom",
                    f"{p} at the top, {q} in the middle and {s} at the bottom",
                    f"a stack of {p}, {q} and {s}",
                ]
            )
            places = ["at the top", "in the middle", "at the bottom"]
        return sentence, [("obj", f"{a}, {b}") for a, b in zip((p, q, s), places)]

    def word_phrase(self, t):
        r = self.rng
        face = " ".join(x for x in (t["color"], t["font"]) if x)
        w = f'"{t["word"]}"'
        if not face:
            return r.choice(
                [
                    f"the word {w}",
                    f"the text {w}",
                    f"a sign that says {w}",
                    f"a sign saying {w}",
                    f"text that says {w}",
                    f"a poster that says {w}",
                    w,
                ]
            )
        letters = r.choice(["letters", "letters", "text", "type", "capitals"])
        return r.choice(
            [
                f"the word {w} in {face} {letters}",
                f"the text {w} in {face} {letters}",
                f"{w} in {face} {letters}",
                f"{w} written in {face} {letters}",
                f"a sign that says {w} in {face} {letters}",
                f"{face} {letters} that say {w}",
                f"{face} {letters} saying {w}",
            ]
        )

    def word_desc(self, t, where):
        face = " ".join(x for x in (t["color"], t["font"]) if x)
        return f"{where}, {face} letters" if face else where

    def lone_word(self, batch, i, ground):
        r = self.rng
        t = self.text(ground)
        p = self.word_phrase(t)
        x = r.random()
        if x < 0.8:
            self.put_word(batch, i, t, kMiddle, 92)
            return p + r.choice(["", "", "", " in the center"]), [
                ("text", t["word"], self.word_desc(t, "centered"))
            ]
        where, y = r.choice([("at the top", 48), ("at the bottom", 208)])
        self.put_word(batch, i, t, y, 60)
        return f"{p} {where}", [("text", t["word"], self.word_desc(t, where.split()[-1]))]

    def word_with_object(self, batch, i, style, ground):
        r = self.rng
        t, o = self.text(ground), self.thing(style)
        p, q = self.word_phrase(t), self.phrase(o)
        top = r.random() < 0.5
        self.put_word(batch, i, t, 40 if top else 216, 50)
        self.put_sprite(batch, i, 0, o, kMiddle, 160 if top else 96, kSizes["whole"])
        # Plain "with": the word stands below.
        sentences = (
            [f"{p} above {q}", f"{q} with {p} at the top", f"{q} below {p}", f"{p} over {q}"]
            if top
            else [
                f"{p} below {q}",
                f"{q} with {p} at the bottom",
                f"{q} above {p}",
                f"{q} with {p}",
                f"{q} and {p}",
                f"{p} under {q}",
            ]
        )
        places = ("top", "at the bottom") if top else ("bottom", "at the top")
        desc = self.word_desc(t, places[0])
        elements = [("text", t["word"], desc), ("obj", f"{q}, {places[1]}")]
        if r.random() < 0.5:
            elements.reverse()
        return r.choice(sentences), elements

    # ------------------------------------------------------------ captions

    def caption(self, sentence, elements, ground_word, style_word):
        r = self.rng
        if r.random() < 0.2:
            return self.json_caption(sentence, elements, ground_word, style_word)
        s = sentence
        if r.random() < 0.15:
            s = r.choice(["a picture of ", "an image of ", "an icon of ", "a drawing of "]) + s
        back = ""
        if ground_word:
            an = "an" if ground_word[0] in "aeiou" else "a"
            back = r.choice(
                [
                    f" on {an} {ground_word} background",
                    f" on {an} {ground_word} background",
                    f" on {an} {ground_word} background",
                    f", {ground_word} background",
                    f" with {an} {ground_word} background",
                    f" against {an} {ground_word} background",
                    f" on {ground_word}",
                ]
            )
        if style_word:
            x = r.random()
            if x < 0.25:
                s = f"in {style_word} style, {s}{back}"
            elif x < 0.6:
                s = f"{s} in {style_word} style{back}"
            elif x < 0.9:
                s = f"{s}{back} in {style_word} style"
            else:
                s = f"{s}{back}, {style_word} style"
        else:
            s += back
        if r.random() < 0.35:
            s = s[0].upper() + s[1:]
        return s + "." if r.random() < 0.25 else s

    def json_caption(self, sentence, elements, ground_word, style_word):
        r = self.rng
        parts = []
        for e in elements:
            if e[0] == "obj":
                parts.append({"type": "obj", "desc": e[1]})
            else:
                parts.append({"type": "text", "text": e[1], "desc": e[2]})
        high = sentence[0].upper() + sentence[1:]
        if style_word:
            high += f" in {style_word} style"
        if r.random() < 0.5:
            high += "."
        ground = ground_word or ""
        if ground and r.random() < 0.3:
            ground += " background"
        parts = {"background": ground, "elements": parts}
        whole = {"high_level_description": high, "compositional_deconstruction": parts}
        if not ground:
            del parts["background"]
        # Both common ways of writing JSON.
        if r.random() < 0.75:
            return json.dumps(whole, separators=(",", ":"))
        return json.dumps(whole)

    def fill(self, batch, i):
        """Writes one scene into row i and returns its caption."""
        r = self.rng
        ground, ground_word = self.background()
        style, style_word = 0, None
        x = r.random()
        if x < 0.75:
            style = r.randrange(3)
            style_word = r.choice(kStyleWords[style])
        batch["background"][i] = [c / 255 for c in kBackgrounds[ground]]
        # One object and one word first; three objects come last.
        # Words are harder: they get half of the scenes, with and without an object.
        single, pair, triple = self.ramp(0.36, 0.24), self.ramp(0.13, 0.18), self.ramp(0.0, 0.08)
        word = self.ramp(0.34, 0.27)
        x = r.random()
        if x < single:
            made = self.single(batch, i, style)
        elif x < single + pair:
            made = self.pair(batch, i, style)
        elif x < single + pair + triple:
            made = self.triple(batch, i, style)
        elif x < single + pair + triple + word:
            made = self.lone_word(batch, i, ground)
            style_word = style_word if r.random() < 0.15 else None
        else:
            made = self.word_with_object(batch, i, style, ground)
        return self.caption(*made, ground_word, style_word)

    def fill_dense(self, batch, i):
        """A crowded picture on any ground, for the autoencoder: every pixel should teach something."""
        r = self.rng
        batch["background"][i] = (
            [c / 255 for c in r.choice(list(kBackgrounds.values()))]
            if r.random() < 0.5
            else [r.random() for _ in range(3)]
        )
        for slot in range(kMaxSprites):
            t = self.thing(r.randrange(3))
            size = r.uniform(60, 180)
            self.put_sprite(batch, i, slot, t, r.uniform(20, 236), r.uniform(20, 236), size)
        if r.random() < 0.8:
            t = {"word": self.word(), "font": r.choice(kFonts), "shown": r.choice(list(kColors))}
            self.put_word(batch, i, t, r.uniform(20, 236), r.uniform(30, 90), free=True)


kWorker = {}


def start_worker(advances):
    kWorker["maker"] = SceneMaker(advances)
    path = kHere / "tokenizer" / "tokenizer.json"
    kWorker["tokenizer"] = Tokenizer.load(path) if path.exists() else None


def make_scenes(job):
    """job = (seed, count, progress) -> batch with `ids` [n, 112] int16 (0 beyond `length`), `length`.

    progress, 0 to 1, is the place in the curriculum; 1, the final mix, when it is left out.
    """
    seed, count, *progress = job
    maker, tokenizer = kWorker["maker"], kWorker["tokenizer"]
    maker.rng = random.Random(seed)
    maker.progress = progress[0] if progress else 1.0
    import numpy as np

    batch = empty_batch(count)
    batch["ids"] = np.zeros((count, kMaxTokens), np.int16)
    batch["length"] = np.zeros(count, np.int16)
    for i in range(count):
        while True:
            ids = tokenizer.encode_prompt(maker.fill(batch, i))
            if len(ids) <= kMaxTokens:
                break
            fresh = empty_batch(1)
            for key in fresh:
                batch[key][i] = fresh[key][0]
        batch["ids"][i, : len(ids)] = ids
        batch["length"][i] = len(ids)
    return batch


def make_dense(job):
    seed, count = job[:2]
    maker = kWorker["maker"]
    maker.rng = random.Random(seed)
    maker.progress = 1.0
    batch = empty_batch(count)
    for i in range(count):
        maker.fill_dense(batch, i)
    return batch
