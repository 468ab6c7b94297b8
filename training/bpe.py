"""Byte-level BPE in the published tokenizer.json layout: encoder and a small trainer.

The trainer is made for captions: a lower-case word becomes one token, and so does the word with the
one character before it (a space, a quote). Capitals and digits never merge with anything, so a word
to be drawn is always seen letter by letter.
"""

import json
import unicodedata
from collections import Counter

import regex

kPattern = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
kAdded = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_alphabet():
    """Byte -> printable character, in the customary order."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = keep + [b for b in range(256) if b not in keep]
    table, extra = {}, 0
    for b in order:
        if b in keep:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + extra)
            extra += 1
    return table


kBytes = byte_alphabet()


def to_printable(text):
    return "".join(kBytes[b] for b in text.encode())


class Tokenizer:
    def __init__(self, layout):
        self.layout = layout
        self.vocab = layout["model"]["vocab"]
        self.ranks = {tuple(m): i for i, m in enumerate(layout["model"]["merges"])}
        self.added = {a["content"]: a["id"] for a in layout["added_tokens"]}
        split = layout["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
        self.pattern = regex.compile(split)
        self.added_pattern = regex.compile("(" + "|".join(map(regex.escape, self.added)) + ")")
        self.size = 1 + max([*self.vocab.values(), *self.added.values()])
        self.cache = {}

    @staticmethod
    def load(path):
        with open(path, encoding="utf-8") as f:
            return Tokenizer(json.load(f))

    def merge(self, piece):
        return self.merge_parts(list(to_printable(piece)))

    def merge_parts(self, parts):
        while len(parts) > 1:
            rank, i = min(
                (self.ranks.get(p, 1 << 30), i) for i, p in enumerate(zip(parts, parts[1:]))
            )
            if rank == 1 << 30:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [self.vocab[p] for p in parts]

    def encode(self, text):
        ids = []
        for span in self.added_pattern.split(text):
            if span in self.added:
                ids.append(self.added[span])
                continue
            for piece in self.pattern.findall(unicodedata.normalize("NFC", span)):
                found = self.cache.get(piece)
                if found is None:
                    found = self.merge(piece)
                    if len(self.cache) < 200000:
                        self.cache[piece] = found
                ids += found
        return ids

    def encode_prompt(self, prompt):
        """The chat form around a prompt, as the pipeline does it."""
        return self.encode(f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")


def merge_whole(live, counts, add):
    """Merges until each of `live`, word -> its parts, is whole: the commonest pair of symbols first.

    Each word weighs the same but for a little: all of them must become whole in the end.
    """
    while True:
        pairs = Counter()
        for w, parts in live.items():
            weight = 1 + min(counts[w], 1000) / 1e6
            for pair in zip(parts, parts[1:]):
                pairs[pair] += weight
        if not pairs:
            return
        a, b = max(pairs, key=lambda p: (pairs[p], p))
        add(a, b)
        for parts in live.values():
            i = 0
            while i + 1 < len(parts):
                if parts[i] == a and parts[i + 1] == b:
                    parts[i : i + 2] = [a + b]
                i += 1


def train(captions, max_vocab=2048):
    """Captions -> tokenizer.json layout (a dict)."""
    pattern = regex.compile(kPattern)
    pieces = Counter()
    for c in captions:
        pieces.update(pattern.findall(c))
    for word in ("user", "assistant"):
        pieces[word] += 1
    words, prefixed = Counter(), Counter()
    for piece, n in pieces.items():
        found = regex.fullmatch(r"([^\p{L}\p{N}]?)([a-z]+)", piece)
        if found:
            words[found[2]] += n
            if found[1]:
                prefixed[found[1] + found[2]] += n
    merges, tokens = [], []

    def add(a, b):
        if a + b not in tokens:
            merges.append([a, b])
            tokens.append(a + b)

    merge_whole({w: list(w) for w in words}, words, add)
    # Then the character before the word, then runs of punctuation (JSON), commonest first.
    for piece, _ in sorted(prefixed.items(), key=lambda p: (-p[1], p[0])):
        add(to_printable(piece[0]), piece[1:])
    marks = Counter({p: n for p, n in pieces.items() if regex.fullmatch(r"[ -/:-@\[-`{-~\n]{2,}", p)})
    for piece, n in sorted(marks.items(), key=lambda p: (len(p[0]), -p[1], p[0])):
        parts = list(to_printable(piece))
        while len(parts) > 1:
            add(parts[0], parts[1])
            parts[:2] = [parts[0] + parts[1]]
    room = max_vocab - 256 - len(kAdded)
    merges, tokens = merges[:room], tokens[:room]
    vocab = {c: i for i, c in enumerate(kBytes.values())}
    for t in tokens:
        vocab[t] = len(vocab)
    return layout(vocab, merges)


def extend(layout, captions):
    """The layout with every lower-case word of the captions made one token, too. Old tokens keep their ids.

    Later merges rank below older ones, so text that was whole words before is still cut as it was.
    """
    old = Tokenizer(layout)
    vocab, merges = dict(old.vocab), [list(m) for m in layout["model"]["merges"]]
    known, size = set(map(tuple, merges)), old.size
    names = {i: t for t, i in vocab.items()}

    def parts_of(piece):
        return [names[i] for i in old.merge(piece)]

    def add(a, b):
        nonlocal size
        if (a, b) not in known:
            known.add((a, b))
            merges.append([a, b])
        if a + b not in vocab:
            vocab[a + b] = size
            size += 1

    pattern = regex.compile(old.layout["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
    pieces = Counter(p for c in captions for p in pattern.findall(c))
    found = {p: m for p in pieces if (m := regex.fullmatch(r"([^\p{L}\p{N}]?)([a-z]+)", p))}
    live = {m[2]: parts_of(m[2]) for m in found.values()}
    merge_whole(live, Counter(), add)
    extended = Tokenizer({**layout, "model": {**layout["model"], "vocab": vocab, "merges": merges}})
    names = {i: t for t, i in vocab.items()}
    for piece in sorted((p for p in found if found[p][1]), key=lambda p: (-pieces[p], p)):
        parts = [names[i] for i in extended.merge(piece)]
        while len(parts) > 1:
            add(parts[0], parts[1])
            parts[:2] = [parts[0] + parts[1]]
    whole = json.loads(json.dumps(layout))
    whole["model"].update(vocab=vocab, merges=merges)
    return whole


def layout(vocab, merges):
    added = [
        {
            "id": len(vocab) + i,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, name in enumerate(kAdded)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    split = {"type": "Split", "pattern": {"Regex": kPattern}, "behavior": "Isolated", "invert": False}
    sequence = [{"Sequence": {"id": n, "type_id": i}} for i, n in enumerate("AB")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split, {**byte_level, "use_regex": False}],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": sequence[:1],
            "pair": sequence,
            "special_tokens": {},
        },
        "decoder": {**byte_level, "add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }
