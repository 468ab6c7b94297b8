#!/usr/bin/env python3
"""The training's captions, tokenizer and judged prompts: what can be said of them without a network.

    training_test.py SOURCE_TREE
"""

import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

kTree = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
kTraining = kTree / "training"
sys.path.insert(0, str(kTraining))
sys.dont_write_bytecode = True

try:
    import bpe
    import judging_grammar
    import scenes
    import wording
except ModuleNotFoundError as missing:
    print(f"skipped: {missing}; Debian's python3-regex is not installed")
    sys.exit(77)

from quoted import capitals_in_quotes


def texts(value):
    """What a JSON caption says, but for the letters to be drawn."""
    if isinstance(value, dict):
        return " ".join(f"{k} {'' if k == 'text' else texts(v)}" for k, v in value.items())
    return " ".join(map(texts, value)) if isinstance(value, list) else value


class TrainingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        maker = scenes.SceneMaker([[40.0] * 36] * 5)
        maker.strange = 0.0
        maker.seed(4)
        cls.captions = judging_grammar.captions(maker, 6000)
        cls.known = scenes.known_words()

    def test_quotes_are_read_as_the_engine_reads_them(self):
        lines = (kTraining / "quoted_cases.tsv").read_text().splitlines()
        self.assertGreaterEqual(len(lines), 20)
        for line in lines:
            prompt, right = line.split("\t")
            self.assertEqual(capitals_in_quotes(prompt), right)

    def test_captions_hold_known_words_alone(self):
        for caption in self.captions:
            text = texts(json.loads(caption)) if caption.startswith("{") else caption
            text = re.sub(r"“[^”]*”|\"[^\"]*\"|(?<!\w)'[^']*'", " ", text)
            for word in re.findall(r"[^\W\d_]+", text):
                if not word.isupper() or len(word) < 2:
                    self.assertIn(word.lower(), self.known, caption)

    def test_strange_words_are_no_known_ones(self):
        maker = scenes.SceneMaker([[40.0] * 36] * 5)
        maker.strange = 1.0
        maker.seed(2)
        self.assertFalse(set(maker.strangers) & self.known)
        drawn = judging_grammar.captions(maker, 300)
        strange = sum(any(w in maker.strangers for w in re.findall("[a-z]+", c)) for c in drawn if not c.startswith("{"))
        self.assertGreater(strange, 200)

    def test_every_kind_of_caption_is_drawn(self):
        for form in ("two ", "INTAGLIO", "elements", "“", " under ", "fluent style"):
            self.assertTrue(any(form in caption for caption in self.captions), form)
        left_out = [c for c in self.captions if c.startswith("{") and "high_level_description" not in c]
        self.assertGreater(len(left_out), 50)
        named = sum(any(re.search(rf"\b{s}\b", c) for s in ("noto", "glossy", "fluent", "flat", "twemoji", "simple")) for c in self.captions)
        self.assertLess(named, len(self.captions) / 2)

    def test_plurals_and_articles(self):
        right = {"cat": "cats", "fox": "foxes", "butterfly": "butterflies", "monkey": "monkeys", "wolf": "wolves", "sheep": "sheep", "watch": "watches", "glass of wine": "glasses of wine"}
        self.assertEqual({name: wording.plural(name) for name in right}, right)
        self.assertEqual([wording.article(w) for w in ("apple", "unicorn", "umbrella", "hourglass", "ufo", "horse", "cat")], ["an", "a", "an", "an", "a", "a", "a"])

    def test_every_known_word_is_one_token_and_old_tokens_stay(self):
        now = bpe.Tokenizer.load(kTraining / "tokenizer/tokenizer.json")
        self.assertEqual([w for w in sorted(self.known) if len(now.encode(" " + w)) != 1 or len(now.encode(w)) != 1], [])
        before = bpe.Tokenizer.load(kTree / "models/mini/tokenizer/tokenizer.json")
        self.assertEqual([t for t, i in {**before.vocab, **before.added}.items() if {**now.vocab, **now.added}.get(t) != i], [])
        for prompt in (kTraining / "prompts_sheet.txt").read_text().splitlines():
            self.assertEqual(now.encode_prompt(prompt), before.encode_prompt(prompt), prompt)
        self.assertEqual(now.encode("“INTAGLIO”")[-11:-3], now.encode("INTAGLIO"))

    def test_an_extended_tokenizer_keeps_its_ids(self):
        first = bpe.train(["a cat", "a red cat \"HI\""])
        whole = bpe.extend(first, ["two cats and a dog", "\"dog"])
        before, now = bpe.Tokenizer(first), bpe.Tokenizer(whole)
        self.assertEqual(now.encode("a red cat"), before.encode("a red cat"))
        for word in ("two", " cats", " dog", "\"dog", " and"):
            self.assertEqual(len(now.encode(word)), 1, word)
        self.assertGreaterEqual(min(now.encode(" cats")), before.size)

    def test_judged_prompts_share_no_phrasing_with_the_captions(self):
        done = subprocess.run([sys.executable, "-B", kTraining / "judging_grammar.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_shared_phrasing_is_found(self):
        self.assertEqual(judging_grammar.shared(["{a} next to {w}", "kindly {a}"], ["{a} next to {w}", "{a} and {w}"]), ["{a} next to {w}"])
        self.assertEqual(judging_grammar.shared(["{a} and {b}"], ["{a} and {w}", "{w} and {b}", "a {b}"]), ["{a} and {b}"])

    def test_judged_prompts_come_in_the_promised_numbers(self):
        sets = [json.loads(line)["expect"]["set"] for line in (kTraining / "prompts_judged.jsonl").read_text().splitlines()]
        self.assertEqual({kind: sets.count(kind) for kind in set(sets)}, judging_grammar.kCount)
        self.assertGreaterEqual(min(judging_grammar.kCount[k] for k in ("words", "objects", "beside")), 256)

    def test_a_grown_vocabulary_keeps_what_was_learned(self):
        try:
            import torch
            import warm_start
        except ModuleNotFoundError:
            self.skipTest("PyTorch is not installed")
        first = bpe.train(["a kite is a kite", "some", "s s"])
        before, now = bpe.Tokenizer(first), bpe.Tokenizer(bpe.extend(first, ["two kites and kites"]))
        rows = torch.randn(before.size, 4, generator=torch.Generator().manual_seed(1))
        grown = warm_start.grown_embedding(rows, before, now, spread=0.0)
        self.assertTrue(torch.equal(grown[: before.size], rows))
        (kites,), pieces = now.encode(" kites"), before.encode(" kites")
        self.assertGreater(len(pieces), 1)
        self.assertTrue(torch.allclose(grown[kites], rows[pieces].mean(0)))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
