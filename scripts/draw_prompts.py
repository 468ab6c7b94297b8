#!/usr/bin/env python3
"""Prompts for `intaglio eval run` in the words of the bundled model, drawn by chance: nobody picks one.

Usage: draw_prompts.py COUNT [--seed 2026] > prompts.jsonl

A third asks for a word, a third for an object in a named style, a third for a word beside an object, in the phrasings and with the words of
models/mini/vocabulary.json; words are the model's own list (training/words.txt), of which it has seen all. "expect" says what a judge should find.
"""
import argparse
import json
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    sections = {s["title"]: s["values"] for s in json.loads((ROOT / "models/mini/vocabulary.json").read_text())["sections"]}
    words = (ROOT / "training/words.txt").read_text().split()
    colours = sections["colours of an object or a word"]
    styles = [value.split()[0] for value in sections["styles"]]
    grounds = [value.split(" (")[0] for value in sections["grounds"]]

    def ground():
        return draw.choice([" on a {} background", " with a {} background", " on {}", ""]).format(draw.choice(grounds))

    def word_text(word):
        way = draw.choice(sections["how W may read"])
        return way.replace("WORD", word).replace("COLOUR", draw.choice(colours)).replace("TYPEFACE", draw.choice(sections["typefaces"]))

    for number in range(arguments.count):
        word, thing, style = draw.choice(words), draw.choice(sections["objects"]), draw.choice(styles)
        named = ("" if thing[-1] == "s" else "an " if thing[0] in "aeiou" and not thing.startswith("uni") else "a ") + thing
        expect = {}
        if number % 3 == 0:
            prompt, expect["text"] = word_text(word) + ground(), word
        elif number % 3 == 1:
            prompt, expect = f"{named} in {style} style{ground()}", {"object": thing, "style": style}
        else:
            place = draw.choice(sections["a word (W) and an object (A)"])
            # The letters of the phrasing, not those of the word.
            prompt = re.sub(r"\b[AW]\b", lambda slot: named if slot[0] == "A" else word_text(word), place) + ground()
            expect["text"] = word
        print(json.dumps({"prompt": prompt, "seed": number, "expect": expect}))


if __name__ == "__main__":
    main()
