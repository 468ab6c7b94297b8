#!/usr/bin/env python3
"""Every prompt that --help and README give for the bundled model lies inside what it can draw, as `inspect mini` lists it.

    prompts_test.py INTAGLIO_BINARY SOURCE_FOLDER
"""

import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

kProgram, kSource = (Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()) if len(sys.argv) > 2 else (None, None)
kCommands = ([], ["generate"], ["inspect"], ["verify"], ["bench"], ["bench", "linear"], ["bench", "block"], ["bench", "step"], ["bench", "image"], ["tune"], ["map"])
kSlots = {"A", "B", "C", "W", "WORD", "GROUND", "STYLE", "COLOUR", "TYPEFACE"}


def run(*arguments):
    environment = {**os.environ, "INTAGLIO_MODELS": str(kSource / "models")}  # the build may lie anywhere
    return subprocess.run([kProgram, *arguments], capture_output=True, text=True, check=True, env=environment).stdout


def prompts_of(text):
    """Quoted prompts of examples, except for models whose weights one brings."""
    for line in text.splitlines():
        if "ideogram-" in line:
            continue
        yield from (prompt for _, prompt in re.findall(r"""--prompt (["'])((?:(?!\1).)+)\1""", line))
        yield from (prompt for _, prompt in re.findall(r"""echo (["'])((?:(?!\1).)+)\1 > prompt""", line))


class PromptsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.help = json.loads(run("inspect", "mini", "--json"))["prompt_help"]
        cls.sections = {s["title"]: s["values"] for s in cls.help["sections"]}
        text = " ".join(value for title, values in cls.sections.items() if title not in ("cannot", "words", "also") and not title.startswith("examples") for value in values)
        cls.words = (set(re.findall(r"[A-Za-z]+", text)) - kSlots) | {"a", "an", "the", "some"}

    def outside(self, prompt):
        drawn = re.findall(r'"([^"]*)"', prompt)
        wrong = [word for word in drawn if not re.fullmatch(r"[A-Z]{2,8}|[0-9]{2,4}", word)]
        plain = re.sub(r'"[^"]*"', " ", prompt)
        return wrong + [word for word in re.findall(r"\w+", plain) if word.lower() not in self.words]

    def test_the_measure_itself(self):
        self.assertEqual(self.outside('a sunflower on a navy background'), [])
        self.assertEqual(self.outside('a penguin with "ICE" in white letters at the bottom on a blue background'), [])
        self.assertEqual(self.outside("a red circle on white"), ["circle"])
        self.assertEqual(self.outside('the word "hello" on a poster'), ["hello"])

    def test_examples_of_help_can_be_drawn(self):
        found = 0
        for command in kCommands:
            for prompt in prompts_of(run(*command, "--help")):
                found += 1
                self.assertEqual(self.outside(prompt), [], f"{' '.join(command)} --help: {prompt}")
        self.assertGreaterEqual(found, 3)

    def test_prompts_of_the_pages_can_be_drawn(self):
        found = 0
        for page in (kSource / "README.md", *sorted((kSource / "docs").glob("*.md"))):
            for prompt in prompts_of(page.read_text()):
                found += 1
                self.assertEqual(self.outside(prompt), [], f"{page.name}: {prompt}")
        self.assertGreaterEqual(found, 3)

    def test_its_own_examples_can_be_drawn(self):
        examples = next(values for title, values in self.sections.items() if title.startswith("examples"))
        for prompt in examples:
            if not prompt.startswith("{"):
                self.assertEqual(self.outside(prompt.replace("INTAGLIO", "PRINT")), [], prompt)

    def test_the_lists_are_those_it_was_trained_on(self):
        sys.path.insert(0, str(kSource / "training"))
        import palette

        objects = [line.split("\t")[0] for line in (kSource / "training/objects.tsv").read_text().splitlines()[1:]]
        self.assertEqual(self.sections["objects"], objects)
        self.assertEqual([re.sub(r" \(.*", "", ground) for ground in self.sections["grounds"]], list(palette.kBackgrounds))
        self.assertEqual(self.sections["typefaces"], palette.kFonts)
        self.assertEqual([re.sub(r" \(.*", "", style) for style in self.sections["styles"]], palette.kStyles)
        self.assertEqual(self.sections["colours of an object or a word"], list(palette.kColors))

    def test_text_names_every_object(self):
        text = re.sub(r"\s+", " ", run("inspect", "mini"))
        for name in self.sections["objects"]:
            self.assertIn(name, text)
        self.assertIn("cannot", text)

    def test_the_file_is_fresh(self):
        done = subprocess.run([sys.executable, "-c", "import regex"], capture_output=True)
        if done.returncode:
            self.skipTest("Debian's python3-regex is not installed")
        done = subprocess.run([sys.executable, kSource / "training/make_vocabulary.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main(argv=sys.argv[:1])
