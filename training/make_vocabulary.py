"""Writes models/mini/vocabulary.json: what the bundled model can draw and how to ask, from the lists and captions it was trained on.

`intaglio inspect mini` prints the file. `--check` fails if it is stale. Needs no package but `regex`.
"""

import argparse
import json
import random
import re
import sys
from pathlib import Path

from palette import kBackgrounds, kBackgroundWords, kColors, kFonts, kStyleWords
from scenes import SceneMaker, kHere, load_objects

kOut = kHere.parent / "models" / "mini" / "vocabulary.json"
kAbout = "flat pictures of 256 x 256 pixels: up to three of the objects below, at most one word, on a plain ground"
kWords = "one word of 2 to 8 capital letters A to Z, or a number of 2 to 4 digits, in double quotes; real words come out right, rows of random letters may lose one"
kCannot = [
    "people, scenes, landscapes, photographs, plain shapes, anything that is not among the objects",
    "more than three objects, several of one kind by a number, more than one word, a sentence",
    "lower-case or accented letters, other scripts, words of more than eight letters",
    "what something does, what it is made of, light, mood, camera, artists",
    "grounds with a pattern or a gradient, colours that are not among the colours and grounds",
    "other sizes than 256 x 256: they are drawn, but were never learned",
]


class Phrases(SceneMaker):
    """Draws scenes like the training, with names of slots in place of objects, words and colours."""

    def __init__(self):
        super().__init__([[1.0] * 36] * len(kFonts))
        self.progress = 1.0

    def scene(self, kind, *rest):
        self.slots = iter("ABC")
        return getattr(self, kind)(None, 0, *rest)[0]

    def thing(self, style, colored=0.0):
        return {"name": next(self.slots), "color": None}

    def phrase(self, t):
        return " ".join(x for x in (t.get("size_word"), t["name"]) if x)

    def text(self, ground):
        face = self.rng.random() < 0.5
        return {"word": "WORD", "font": "TYPEFACE" if face else None, "color": "COLOUR" if face else None}

    def put_sprite(self, *_):
        pass

    put_word = put_sprite

    def all_of(self, draw, count=4000):
        """Every phrasing that `count` draws give, the most frequent ones first, then by name."""
        seen = {}
        for seed in range(count):
            self.rng = random.Random(seed)
            text = re.sub(r"(?<=TYPEFACE )(text|type|capitals)", "letters", draw())
            seen[text] = seen.get(text, 0) + 1
        return sorted(seen, key=lambda text: (-seen[text] // (count // 50), text))


def captions(phrases, ground, style):
    def draw():
        while True:
            text = phrases.caption("A", [], ground, style)
            if not text.startswith("{"):
                return re.sub("^In ", "in ", re.sub("[Aa]n? (picture|image|icon|drawing) of ", "", text.rstrip(".")))

    return phrases.all_of(draw)


def pairs_of_word_and_object(phrases):
    """With the plainest way to say the word in place of all ways."""
    plain = 'the word "WORD"'
    drawn = phrases.all_of(lambda: phrases.scene("word_with_object", 0, "white"))
    return [text.replace(plain, "W") for text in drawn if plain in text and "TYPEFACE" not in text]


def vocabulary():
    phrases = Phrases()
    grounds = []
    for name in kBackgrounds:
        others = sorted(set(kBackgroundWords.get(name, [])) - {name})
        grounds.append(f"{name} ({', '.join(others)})" if others else name)
    sections = [
        ("objects", load_objects()),
        ("colours of an object or a word", list(kColors)),
        ("styles", [f"{words[0]} ({words[-1]})" for words in kStyleWords]),
        ("grounds", grounds),
        ("words", [kWords]),
        ("typefaces", kFonts),
        ("sizes of a lone object", ["small", "tiny", "big", "large"]),
        ("one object (A)", phrases.all_of(lambda: phrases.scene("single", 0))),
        ("two objects (A, B)", phrases.all_of(lambda: phrases.scene("pair", 0))),
        ("three objects (A, B, C)", phrases.all_of(lambda: phrases.scene("triple", 0))),
        ("a word (W)", ["W", "W in the center", "W at the top", "W at the bottom"]),
        ("how W may read", [t for t in phrases.all_of(lambda: phrases.scene("lone_word", "white")) if not re.search(" (in the center|at the top|at the bottom)$", t)]),
        ("a word (W) and an object (A)", pairs_of_word_and_object(phrases)),
        ("a ground", captions(phrases, "GROUND", None)),
        ("a style", captions(phrases, None, "STYLE")),
        ("also", ["a picture of A, an image of A, an icon of A, a drawing of A", "Ideogram's JSON captions, like the last two examples"]),
        ("examples, fixed before training", [line for line in (kHere / "prompts_sheet.txt").read_text().splitlines() if line]),
        ("cannot", kCannot),
    ]
    return {"about": kAbout, "sections": [{"title": title, "values": values} for title, values in sections]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    fresh = json.dumps(vocabulary(), ensure_ascii=False, indent=1) + "\n"
    if args.check:
        if not kOut.exists() or kOut.read_text() != fresh:
            sys.exit(f"{kOut} is stale; run python3 training/make_vocabulary.py")
        return
    kOut.write_text(fresh)


if __name__ == "__main__":
    main()
