"""Writes vocabulary.json: what the model can draw and how to ask, from the lists and phrasings that it is trained on.

The file lies beside the weights (export.py writes it with them): `intaglio inspect` prints its sections, `generate`
warns of words that its list does not have. `--check` fails if that of models/mini is stale; while those weights are
older than the captions here, which their tokenizer tells, if it lists a word that is no token of theirs. Needs no
package but `regex`.
"""

import argparse
import json
import sys

import bpe
import wording
from palette import kBackgrounds, kBackgroundWords, kColors, kFonts, kStyleWords
from scenes import kHere, known_words, load_objects

kMini = kHere.parent / "models" / "mini"
kOut = kMini / "vocabulary.json"
kAbout = "flat pictures of 256 x 256 pixels: up to three of the objects below, or up to four of one kind, at most one word, on a plain ground"
kWords = "one word of 2 to 8 letters A to Z, or a number of 2 to 4 digits, in quotes; it is drawn in capitals, however it is written; rows of random letters may lose one"
kCannot = [
    "people, scenes, landscapes, photographs, plain shapes, anything that is not among the objects",
    "more than three different objects, more than four of one kind, several of two kinds, more than one word, a sentence",
    "lower-case or accented letters (a to z become capitals), other scripts, words of more than eight letters",
    "what something does, what it is made of, light, mood, camera, artists",
    "grounds with a pattern or a gradient, colours that are not among the colours and grounds",
    "other sizes than 256 x 256: they are drawn, but were never learned",
]


def ways(*tables, **slots):
    """Every form of the tables once, slots filled."""
    return list(dict.fromkeys(form.format(**slots) for table in tables for form in table))


def vocabulary():
    grounds = []
    for name in kBackgrounds:
        others = sorted(set(kBackgroundWords.get(name, [])) - {name})
        grounds.append(f"{name} ({', '.join(others)})" if others else name)
    a = {"a": "A", "b": "B", "c": "C"}
    plain, face = 'the word "WORD"', {"color": "COLOUR", "font": "TYPEFACE"}
    word = {"w": '"WORD"', "lead": plain, **face}
    sections = [
        ("objects", load_objects()),
        ("other names", [f"{other} ({name})" for name, others in wording.kOtherNames.items() for other in others]),
        ("colours of an object or a word", list(kColors)),
        ("styles", [f"{words[0]} ({words[-1]})" for words in kStyleWords]),
        ("grounds", grounds),
        ("words", [kWords]),
        ("typefaces", kFonts),
        ("sizes of a lone object", list(dict(wording.kSizeNames))),
        ("one object (A)", ways(*wording.kOne.values(), **a)),
        ("two objects (A, B)", ways(wording.kPairAcross, wording.kPairDown, **a)),
        ("three objects (A, B, C)", ways(wording.kTripleAcross, wording.kTripleDown, **a)),
        ("two to four of one kind (N)", ways(wording.kCounted, n="N") + ["two, three or four cats", "a pair of cats", "a couple of cats", "some, several, many or a few cats (three are drawn)"]),
        ("a word (W)", ways(*wording.kWordAt.values(), p="W")),
        ("how W may read", ways(wording.kWordLeads, wording.kWordColored, wording.kWordSet, wording.kWordColoredSet, **word)),
        ("a word (W) and an object (A)", ways(wording.kWordAbove, wording.kWordBelow, wording.kWordWith, a="A", p="W")),
        ("an object that says it", ways(wording.kObjectSays, a="A", w='"WORD"')),
        ("a ground", ways(wording.kGrounds, x="A", g="GROUND", an="a")),
        ("a style; without one it is flat", ways(wording.kStyled, x="A", s="STYLE")),
        ("also", ways(wording.kFrames, wording.kOpenings, x="A") + ["Ideogram's JSON captions, whole or with keys left out, like the last two examples"]),
        ("examples, fixed before training", [line for line in (kHere / "prompts_sheet.txt").read_text().splitlines() if line]),
        ("cannot", kCannot),
    ]
    return {"about": kAbout, "sections": [{"title": title, "values": values} for title, values in sections], "words": sorted(known_words())}


def text():
    return json.dumps(vocabulary(), ensure_ascii=False, indent=1) + "\n"


def check():
    own = kMini / "tokenizer" / "tokenizer.json"
    if own.read_bytes() == (kHere / "tokenizer" / "tokenizer.json").read_bytes():
        if not kOut.exists() or kOut.read_text() != text():
            sys.exit(f"{kOut} is stale; run python3 training/make_vocabulary.py")
        return
    tokenizer = bpe.Tokenizer.load(own)
    strange = [w for w in json.loads(kOut.read_text())["words"] if 1 not in (len(tokenizer.encode(w)), len(tokenizer.encode(" " + w)))]
    if strange:
        sys.exit(f"{kOut} lists words that are no tokens of {own}: {', '.join(strange)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        check()
        return
    kOut.write_text(text())


if __name__ == "__main__":
    main()
