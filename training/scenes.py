"""Draws scene descriptions and their captions: plain Python and numpy, made for worker processes.

A scene is a flat ground, up to four drawings and at most one word, on a 256 x 256 canvas. One
batch is a dict of arrays (see `empty_batch`), which compose.py turns into pictures on the GPU.
"""

import json
import random
import re
from pathlib import Path

import wording
from bpe import Tokenizer
from palette import kBackgrounds, kBackgroundWords, kColors, kDefaultStyle, kFonts, kLight, kNoArticle, kStyles, kStyleWords

kHere = Path(__file__).parent
kCanvas = 256
kMaxSprites, kMaxLetters, kMaxTokens = 4, 8, 112
kBuckets = [32, 64, kMaxTokens]  # captions are padded to the first of these that holds them
kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
kGlyphLeft, kCapHeight = 8, 46
# Drawings and letters stand on a grid and come in few sizes, so that the same drawing gives the same
# latents wherever it stands (a latent is 8 x 8 pixels, a token 16 x 16). Places that vary freely would
# have to be learned pixel by pixel, which a model and a run of this size cannot.
kSizes = {"whole": 160, "half": 104, "third": 72, "big": 208, "tiny": 56}
kNear, kMiddle, kFar = 64, 128, 192  # centres of what stands left, in the middle, right; or top to bottom
kThirds = (48, 128, 208)
kPlaces = {
    "left": (kNear, kMiddle), "right": (kFar, kMiddle), "top": (kMiddle, kNear), "bottom": (kMiddle, kFar),
    "top left": (kNear, kNear), "top right": (kFar, kNear), "bottom left": (kNear, kFar), "bottom right": (kFar, kFar),
}
kCountPlaces = {
    2: [(kNear, kMiddle), (kFar, kMiddle)],
    3: [(at, kMiddle) for at in kThirds],
    4: [(x, y) for y in (kNear, kFar) for x in (kNear, kFar)],
}
kCaps = (72, 56, 44, 36, 28)  # heights of capitals
kPenStep, kWordWidth = 4, 236


def load_objects():
    lines = (kHere / "objects.tsv").read_text().splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


def words_of(value):
    """Lower-case words of every text in nested lists and dicts, slots left out."""
    if isinstance(value, str):
        return set(re.findall(r"[^\W\d_]+", re.sub(r"\{\w+\}", " ", value).lower()))
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return set().union(*map(words_of, value)) if isinstance(value, (list, tuple, set)) else set()


def known_words():
    """Every word that captions hold outside quotes, but for strange ones."""
    tables = [value for name, value in vars(wording).items() if re.match("k[A-Z]", name)]
    names = load_objects()
    countable = [n for name in names if name not in kNoArticle for n in [name, *wording.kOtherNames.get(name, [])]]
    palette = [kBackgrounds, kBackgroundWords, kColors, kFonts, kStyleWords]
    return words_of([tables, names, [wording.plural(n) for n in countable], palette])


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
        self.progress = 1.0
        self.strange = 0.15  # see Wording
        self.known = known_words()
        self.strangers = [w.lower() for w in self.words if w.lower() not in self.known]
        self.seed(0)

    def seed(self, seed, said=0):
        """The picture follows from `seed` alone; how it is worded from `said`, too."""
        self.rng = random.Random(seed)
        self.wording = wording.Wording(random.Random(f"{seed} {said}"), self.strangers, self.strange, self.known)

    def ramp(self, first, last):
        """From `first` to `last` over the first 60% of a run, then `last`."""
        x = min(self.progress / 0.6, 1.0)
        return first + (last - first) * x

    # ------------------------------------------------------------ parts

    def thing(self, style, colored=0.2):
        r = self.rng
        index = r.randrange(len(self.objects))
        color = r.choice(list(kColors)) if r.random() < colored else None
        return {"object": index, "style": style, "color": color, "name": self.objects[index]}

    def phrase(self, t):
        """'a red apple', in one of many ways."""
        name = self.wording.name(t["name"])
        mass = name in kNoArticle or name.split()[-1] in kNoArticle
        return self.wording.noun(name, t["color"], t.get("size_word"), mass)

    def word(self):
        r = self.rng
        if r.random() < 0.015:
            return "INTAGLIO"
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
        """A ground and its name in the caption; one that is left out is white more often than not."""
        r = self.rng
        if r.random() < 0.6:
            name = r.choice(list(kBackgrounds))
            return name, r.choice(kBackgroundWords.get(name, [name]))
        return ("white" if r.random() < 0.6 else r.choice(kLight)), None

    def text(self, ground):
        """The word with a face and a colour that stands out; named or left to the default."""
        r = self.rng
        font = r.choice(kFonts) if r.random() < 0.5 else None
        color = None
        if r.random() < 0.6:
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
            t["size_word"], size = r.choice(wording.kSizeNames)
            self.put_sprite(batch, i, 0, t, kMiddle, kMiddle, kSizes[size])
            p = self.phrase(t)
            return p, [("obj", p + r.choice([", centered", ""]))]
        p = self.phrase(t)
        if x < self.ramp(0.88, 0.74):
            self.put_sprite(batch, i, 0, t, kMiddle, kMiddle, kSizes["whole"])
            sentence = self.wording.one("middle", p)
            return sentence, [("obj", p + r.choice([", centered", "", ", in the center"]))]
        where, (cx, cy) = r.choice(list(kPlaces.items()))
        self.put_sprite(batch, i, 0, t, cx, cy, kSizes["half"])
        where, form = wording.kOne[where][0].removeprefix("{a} "), self.wording.one(where, p)
        return form, [("obj", f"{p}, {where}")]

    def pair(self, batch, i, style):
        a, b = self.thing(style), self.thing(style)
        p, q = self.phrase(a), self.phrase(b)
        across = self.rng.random() < 0.6
        for slot, (t, at) in enumerate(((a, kNear), (b, kFar))):
            x, y = (at, kMiddle) if across else (kMiddle, at)
            self.put_sprite(batch, i, slot, t, x, y, kSizes["half"])
        sentence = self.wording.choose(wording.kPairAcross if across else wording.kPairDown, a=p, b=q)
        places = ("on the left", "on the right") if across else ("at the top", "at the bottom")
        return sentence, [("obj", f"{p}, {places[0]}"), ("obj", f"{q}, {places[1]}")]

    def triple(self, batch, i, style):
        ts = [self.thing(style) for _ in range(3)]
        names = [self.phrase(t) for t in ts]
        row = self.rng.random() < 0.7
        for k, (t, at) in enumerate(zip(ts, kThirds)):
            x, y = (at, kMiddle) if row else (kMiddle, at)
            self.put_sprite(batch, i, k, t, x, y, kSizes["third"])
        sentence = self.wording.choose(wording.kTripleAcross if row else wording.kTripleDown, **dict(zip("abc", names)))
        places = ["on the left", "in the middle", "on the right"] if row else ["at the top", "in the middle", "at the bottom"]
        return sentence, [("obj", f"{a}, {b}") for a, b in zip(names, places)]

    def counted(self, batch, i, style):
        """Two to four of one kind: two side by side, three in a row, four in a square."""
        t = self.thing(style)
        while t["name"] in kNoArticle:
            t = self.thing(style)
        count = self.rng.choice([2, 2, 3, 3, 4])
        for slot, (x, y) in enumerate(kCountPlaces[count]):
            self.put_sprite(batch, i, slot, t, x, y, kSizes["third" if count == 3 else "half"])
        p = self.wording.counted(self.wording.name(t["name"]), t["color"], count)
        return self.wording.choose(wording.kCountedStrange if self.wording.odd() else wording.kCounted, n=p), [("obj", p)]

    def word_desc(self, t, where):
        face = " ".join(x for x in (t["color"], t["font"]) if x)
        return f"{where}, {face} letters" if face else where

    def lone_word(self, batch, i, ground):
        t = self.text(ground)
        p = self.wording.word(t["word"], t["color"], t["font"])
        where = "middle" if self.rng.random() < 0.8 else self.rng.choice(["top", "bottom"])
        y, highest = {"middle": (kMiddle, 92), "top": (48, 60), "bottom": (208, 60)}[where]
        self.put_word(batch, i, t, y, highest)
        desc = self.word_desc(t, "centered" if where == "middle" else where)
        return self.wording.choose(wording.kWordAt[where], p=p), [("text", t["word"], desc)]

    def word_with_object(self, batch, i, style, ground):
        r = self.rng
        t, o = self.text(ground), self.thing(style)
        q = self.phrase(o)
        top = r.random() < 0.4
        self.put_word(batch, i, t, 40 if top else 216, 50)
        self.put_sprite(batch, i, 0, o, kMiddle, 160 if top else 96, kSizes["whole"])
        w = self.wording.rng
        if not top and not t["color"] and not t["font"] and w.random() < 0.5:
            form = w.choice(wording.kObjectSays)
            sentence = form.format(a=q, w=self.wording.quoted(t["word"], form.endswith("{w}")))
        else:
            p = self.wording.word(t["word"], t["color"], t["font"])
            table = wording.kWordAbove if top else w.choice([wording.kWordBelow, wording.kWordWith])
            if not top and self.wording.odd(2):
                table = wording.kWordWithStrange
            sentence = self.wording.choose(table, a=q, p=p)
        places = ("top", "at the bottom") if top else ("bottom", "at the top")
        elements = [("text", t["word"], self.word_desc(t, places[0])), ("obj", f"{q}, {places[1]}")]
        if w.random() < 0.5:
            elements.reverse()
        return sentence, elements

    # ------------------------------------------------------------ captions

    def caption(self, sentence, elements, ground_word, style_word):
        r = self.wording.rng
        if r.random() < 0.15:
            return self.json_caption(sentence, elements, ground_word, style_word)
        s = sentence
        if style_word and r.random() < 0.6:
            s, style_word = self.styled(s, style_word), None
        elif r.random() < 0.25:
            s = self.wording.choose(wording.kFrames, x=s)
        if ground_word:
            s = self.wording.ground(s, ground_word)
        if style_word:
            s = self.styled(s, style_word)
        if r.random() < 0.06:
            s += r.choice(wording.kTails)
        if r.random() < 0.08:
            s = self.wording.choose(wording.kOpenings, x=s)
        if self.wording.odd():
            s = self.with_strange_words(s)
        return self.wording.finish(s)

    def styled(self, sentence, style_word):
        if self.wording.odd():
            return self.wording.choose(wording.kStyledStrange, x=sentence, s=style_word)
        return self.wording.choose(wording.kStyled, x=sentence, s=style_word)

    def with_strange_words(self, sentence):
        """Words that mean nothing here, so that unknown ones are passed over: before, after or between."""
        r = self.wording.rng
        if r.random() < 0.8:
            return self.wording.choose(wording.kStrange, x=sentence)
        # Between words, not inside quotes: letters of the picture must stay together.
        gaps = [m.start() for m in re.finditer(" ", sentence)]
        at = r.choice(gaps) if gaps else len(sentence)
        return f"{sentence[:at]} {self.wording.strange_words()}{sentence[at:]}"

    def json_caption(self, sentence, elements, ground_word, style_word):
        """Ideogram's form; what is said twice may be missing once, and what is not said need not be there."""
        r = self.wording.rng
        parts = []
        for e in elements:
            part = {"type": e[0]}
            if e[0] == "text":
                part["text"] = e[1]
            part["desc"] = e[-1]
            if r.random() < 0.1:
                del part["type"]
            parts.append(part)
        bare = r.random() < 0.3  # no sentence
        if not bare and len(elements) == 1 and elements[0][0] == "text" and r.random() < 0.4:
            del parts[0]["desc"]
        whole = {}
        if not bare:
            high = sentence[0].upper() + sentence[1:]
            if style_word and r.random() < 0.7:
                high, style_word = self.wording.choose(wording.kStyled[:9], x=high, s=style_word), None
            whole["high_level_description"] = high + ("." if r.random() < 0.5 else "")
        if style_word:
            whole["style_description"] = {r.choice(wording.kStyleKeys): style_word}
        elif r.random() < 0.15:
            whole["style_description"] = {"medium": r.choice(wording.kMedia)}
        ground = ground_word or ""
        if ground and r.random() < 0.3:
            ground = r.choice(wording.kJsonGrounds).format(g=ground)
        if not bare and ground and r.random() < 0.15:
            whole["high_level_description"] = self.wording.ground(high, ground_word)
            ground = ""
        if r.random() < 0.2 and not bare and not ground:
            parts = None  # the sentence says all
        inner = {**({"background": ground} if ground else {}), **({"elements": parts} if parts else {})}
        if inner:
            whole["compositional_deconstruction"] = inner
        # Both common ways of writing JSON.
        return json.dumps(whole, separators=(",", ":") if r.random() < 0.75 else None, ensure_ascii=False)

    def fill(self, batch, i):
        """Writes one scene into row i and returns its caption."""
        r = self.rng
        ground, ground_word = self.background()
        style, style_word = kDefaultStyle, None
        if r.random() < 0.45:
            style = r.randrange(len(kStyles))
            style_word = r.choice(kStyleWords[style])
        batch["background"][i] = [c / 255 for c in kBackgrounds[ground]]
        # One object and one word first; three objects come last.
        # Words are harder: they get half of the scenes, with and without an object.
        shares = [
            (self.ramp(0.36, 0.25), lambda: self.single(batch, i, style)),
            (self.ramp(0.12, 0.12), lambda: self.pair(batch, i, style)),
            (self.ramp(0.0, 0.05), lambda: self.triple(batch, i, style)),
            (self.ramp(0.04, 0.08), lambda: self.counted(batch, i, style)),
            (self.ramp(0.3, 0.24), lambda: self.lone_word(batch, i, ground)),
            (1.0, lambda: self.word_with_object(batch, i, style, ground)),
        ]
        x = r.random()
        for share, make in shares:
            if x < share:
                sentence, elements = make()
                break
            x -= share
        if elements[0][0] == "text" and len(elements) == 1 and r.random() < 0.85:
            style_word = None  # a word has no drawing to be in a style
        return self.caption(sentence, elements, ground_word, style_word)

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


kCaptions = 4  # of one picture: wording varies more than pictures do, and costs nothing on the device


def make_scenes(job, captions=1):
    """job = (seed, count, progress) -> batch of scenes with `ids` [n * captions, 112] int16 (0 beyond `length`).

    Caption k belongs to scene k // captions. progress, 0 to 1, is the place in the curriculum; 1, the final mix,
    when it is left out.
    """
    import numpy as np

    seed, count, *progress = job
    maker, tokenizer = kWorker["maker"], kWorker["tokenizer"]
    maker.progress = progress[0] if progress else 1.0
    batch = empty_batch(count)
    batch["ids"] = np.zeros((count * captions, kMaxTokens), np.int16)
    batch["length"] = np.zeros(count * captions, np.int16)
    for k in range(count * captions):
        i, said = k // captions, 0
        while True:
            maker.seed(f"{seed} {i}", f"{k} {said}")
            ids = tokenizer.encode_prompt(maker.fill(batch, i))
            if len(ids) <= kMaxTokens:
                break
            said += 1
        batch["ids"][k, : len(ids)] = ids
        batch["length"][k] = len(ids)
    return batch


def make_captioned(job):
    return make_scenes(job, kCaptions)


def make_dense(job):
    seed, count = job[:2]
    maker = kWorker["maker"]
    maker.seed(seed)
    maker.progress = 1.0
    batch = empty_batch(count)
    for i in range(count):
        maker.fill_dense(batch, i)
    return batch
