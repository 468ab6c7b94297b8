#!/usr/bin/env python3
"""The schemas of --json: there is one for each command that has it, they are strict, and real answers are as they say.

  schemas_test.py INTAGLIO_BINARY SOURCE_TREE
"""

import copy
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import jsonschema

import answers

kBinary, kTree = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
kTiny = str(kTree / "tests/reference/data/tiny")
kQuick = ["--device", "cpu", "--threads", "1"]
kCommands = [
    ["generate", "--model", kTiny, "--prompt", "cat", "--size", "64x64", "--steps", "2", "--progressive", "1", "--attention", "float", "--count", "2", "--output", "pictures/", "--json"],
    ["inspect", kTiny, "--json"],
    ["inspect", "mini", "--json"],
    ["inspect", str(kTree / "tests/formats/comfy_int8_rowwise"), "--json"],
    ["inspect", "--diff", kTiny, kTiny, "--json"],
    ["verify", str(kTree / "tests/reference/data"), "--json"],
    ["quantize", kTiny, "quantized", "--json"],
    ["cache", "list", "--json"],
    ["cache", "clear", "--json"],
    ["tune", "--list", "--device", "cuda:99", "--json"],
    ["map", *kQuick, "--layers", "1", "--size", "32x32", "--text-tokens", "4", "--rounds", "1", "--precision", "int8,bf16", "--json", "-"],
    ["bench", "linear", *kQuick, "--m", "33", "--n", "64", "--k", "96", "--rounds", "1", "--json", "-"],
    ["bench", "block", "--threads", "1", "--heads", "2", "--head-dim", "32", "--ffn", "64", "--tokens", "16", "--rounds", "1", "--json", "-"],
    ["bench", "step", *kQuick, "--layers", "1", "--size", "32x32", "--text-tokens", "4", "--rounds", "1", "--precision", "int8", "--json", "-"],
    ["bench", "image", *kQuick, "--model", "synthetic:mini", "--size", "64x64", "--steps", "1", "--text-tokens", "4", "--count", "1", "--json", "-"],
    ["bench", "load", *kQuick, "--model", kTiny, "--rounds", "1", "--json", "-"],
    ["bench", "link", "--devices", "cpu", "--most", "64K", "--rounds", "2", "--json", "-"],
    ["eval", "report", "evaluated", "--json"],
    ["bench", "schemes", "--threads", "1", "--model", kTiny, "--calibration-steps", "1", "--calibration-size", "32x32", "--json", "-"],
]
# What has to be done before.
kFirst = {"eval-report": ["eval", "run", "evaluated", "--model", kTiny, "--prompts", "prompts.txt", "--source", "fp32,steps=2", "--candidate", "int8,steps=2", "--trace", "1",
                          "--size", "64x64", "--quiet", *kQuick]}
kFailures = [
    ["generate", "--model", "nowhere", "--prompt", "cat", "--json"],
    ["inspect", "nowhere", "--json"],
    ["inspect", "--diff", "nowhere", "mini", "--json"],
    ["verify", "nowhere", "--json"],
    ["quantize", "nowhere", "x.safetensors", "--json"],
    ["cache", "clear", "0000nothing", "--json"],
    ["tune", "--json"],
    ["eval", "report", "nowhere", "--json"],
]


def objects(schema, place="$"):
    """Every part of a schema that describes an object, and where it stands."""
    if isinstance(schema, list):
        for i, item in enumerate(schema):
            yield from objects(item, f"{place}[{i}]")
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield place, schema
        for key, item in schema.items():
            yield from objects(item, f"{place}.{key}")


class Schemas(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "prompts.txt").write_text("a cat\na dog\n")

    def run_program(self, *arguments):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache"), "INTAGLIO_MODELS": str(kTree / "models")}
        return subprocess.run([kBinary, *arguments], capture_output=True, text=True, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, check=False)

    def test_each_command_has_one(self):
        self.assertEqual(self.run_program("manual", "pages").returncode, 0)
        pages = {page.name.removeprefix("intaglio-").removesuffix(".1"): page.read_text() for page in (self.folder / "pages").glob("intaglio-*.1")}
        with_json = {name for name, text in pages.items() if "\\-\\-json" in text.split("SH EXAMPLES")[0]}
        self.assertGreater(len(with_json), 10)
        self.assertEqual(with_json | {"serve"}, set(answers.names()))  # serve: lines of its log

    def test_they_are_strict(self):
        for name in [*answers.names(), answers.kShared]:
            schema = answers.read(name)
            jsonschema.Draft202012Validator.check_schema(schema)
            for place, item in objects(schema):
                with self.subTest(f"{name} {place}"):
                    self.assertIn("additionalProperties", item)
                    self.assertIsNot(item["additionalProperties"], True)
                    if "properties" in item:
                        self.assertLessEqual(set(item["required"]), set(item["properties"]))
                    for field, value in item.get("properties", {}).items():
                        self.assertTrue(value.get("description") or value.get("$ref"), f"{field} is described")
                        if field.endswith("_ms") and "$ref" not in value:
                            self.assertIn("illiseconds", value["description"])
                        if field.endswith("bytes") and value.get("type") == "integer":
                            self.assertIn("ytes", value["description"])

    def test_answers(self):
        seen = set()
        for arguments in kCommands:
            with self.subTest(" ".join(arguments)):
                name = answers.command_of(arguments)
                if name in kFirst:
                    self.assertEqual(self.run_program(*kFirst[name]).returncode, 0)
                run = self.run_program(*arguments)
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertIsNone(answers.wrong_text(arguments, run.stdout))
                seen.add(name)
                # Nothing may be missing at the top, and nothing more may be there.
                answer = json.loads(run.stdout)
                self.assertIsNotNone(answers.wrong(name, {**answer, "colour": 1}))
                for field in ("benchmark", "status"):
                    less = copy.deepcopy(answer)
                    if less.pop(field, None) is not None:
                        self.assertIsNotNone(answers.wrong(name, less))
        self.assertEqual(seen, set(answers.names()) - {"serve"})  # the server's own test reads its log

    def test_inspect_of_every_format(self):
        folders = [folder for folder in sorted((kTree / "tests/formats").iterdir()) if folder.is_dir()]
        files = [file for folder in folders for file in sorted([*folder.rglob("*.safetensors"), *folder.rglob("*.gguf")])[:1]]
        self.assertGreater(len(files), 20)
        for file in files:
            with self.subTest(str(file)):
                run = self.run_program("inspect", str(file), "--json")
                self.assertIn(run.returncode, (0, 1), run.stderr)
                self.assertIsNone(answers.wrong_text(["inspect"], run.stdout))

    def test_failures(self):
        for arguments in kFailures:
            with self.subTest(" ".join(arguments)):
                run = self.run_program(*arguments)
                self.assertNotEqual(run.returncode, 0)
                self.assertIsNone(answers.wrong_text(arguments, run.stdout))
                self.assertEqual(json.loads(run.stdout)["status"], "error")

    def test_results_of_real_cards(self):
        count = 0
        for file in sorted((kTree / "bench/results").glob("*.json")):
            result = json.loads(file.read_text())
            benchmark = result.get("benchmark") if isinstance(result, dict) else None
            name = "map" if benchmark == "map" else f"bench-{benchmark}"
            if name not in answers.names():
                continue
            count += 1
            for field in ("commit", "command", "driver"):  # those who keep results add them
                result.pop(field, None)
            if benchmark == "map":
                result.setdefault("model", "ideogram4")  # the older ones are of no other, and do not say so
            with self.subTest(file.name):
                self.assertIsNone(answers.wrong(name, result))
        self.assertGreater(count, 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
