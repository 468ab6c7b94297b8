#!/usr/bin/env python3
"""`intaglio eval`: pictures, figures, shards, what goes on where it was stopped, judges, the page.

  eval_test.py INTAGLIO_BINARY SOURCE_TREE
"""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

kBinary, kTree = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
kTiny = str(kTree / "tests/reference/data/tiny")
kPrompts = [{"prompt": "a red fox", "expect": {"text": "FOX"}}, {"prompt": "a <b>cat</b>", "seed": 7, "expect": {"object": "cat"}}, {"prompt": "a dog", "expect": {"text": "DOG"}}]


class Eval(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.write_prompts(kPrompts)

    def write_prompts(self, prompts):
        (self.folder / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in prompts))

    def intaglio(self, *arguments):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "INTAGLIO_MODELS": str(kTree / "models")}
        return subprocess.run([kBinary, *arguments], capture_output=True, text=True, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, check=False)

    def draw(self, *arguments, candidates=("int8",)):
        asked = [word for text in candidates for word in ("--candidate", text)]
        defaults = {"--source": "fp32,steps=3", "--size": "64x64", "--device": "cpu", "--trace": "2"}
        rest = [word for flag, value in defaults.items() if flag not in arguments for word in (flag, value)]
        return self.intaglio("eval", "run", "out", "--model", kTiny, "--prompts", "prompts.jsonl", *rest, *asked, *arguments)

    def report(self, *arguments):
        done = self.intaglio("eval", "report", "out", "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def records(self):
        lines = [line for file in sorted((self.folder / "out").glob("measured.*.jsonl")) for line in file.read_text().splitlines() if line]
        return [json.loads(line) for line in lines]

    def test_figures_of_each_candidate(self):
        done = self.draw(candidates=("int8,steps=3", "fp32,steps=3,name=same", "fp32,steps=2"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("12 pictures drawn, 6 traced", done.stderr)
        result = self.report()
        int8, same, short = result["candidates"]
        self.assertEqual((int8["name"], same["name"], short["name"]), ("int8-steps3", "same", "fp32-steps2"))
        for one in (int8, same, short):
            self.assertEqual(one["pictures"], 3)
        self.assertEqual(same["equal"], 3)
        self.assertEqual((same["latents"]["mean"], same["velocity"]["mean"], same["ssim"]["mean"]), (0, 0, 1))
        self.assertEqual(int8["equal"], 0)
        self.assertEqual(int8["psnr"]["count"], 3)
        self.assertLess(0.001, int8["latents"]["mean"])
        self.assertLess(int8["latents"]["mean"], 0.15)
        self.assertLess(int8["latents"]["low"], int8["latents"]["high"])
        self.assertEqual(len(int8["velocity_by_step"]), 3)
        self.assertEqual(int8["velocity_by_step"][0]["count"], 2)
        self.assertEqual({linear["transformer"] for linear in int8["linears"]}, {"transformer", "unconditional transformer"})
        self.assertEqual(short["not_traced"], "their steps differ")
        self.assertGreater(short["latents"]["mean"], int8["latents"]["mean"])
        self.assertIsNone(short["ms_ssim"])  # 64 pixels are too few for it
        self.assertEqual(int8["worst"], sorted(int8["worst"], key=lambda one: one["psnr"]))
        # The picture is the one that generate draws.
        file = self.folder / "generated.png"
        drawn = self.intaglio("generate", "--model", kTiny, "--prompt", kPrompts[1]["prompt"], "--seed", "7", "--steps", "3", "--size", "64x64", "--precision", "int8",
                              "--device", "cpu", "--output", str(file))
        self.assertEqual(drawn.returncode, 0, drawn.stderr)
        self.assertEqual(file.read_bytes(), (self.folder / "out/int8-steps3/00001.png").read_bytes())

    def test_fewer_passes_are_held_against_plain_steps(self):
        candidates = ("fp32,steps=6,cache=0.5,name=half", "fp32,steps=2", "int8,steps=6")
        done = self.draw("--source", "fp32,steps=6", candidates=candidates)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("15 pictures drawn, 6 traced", done.stderr)  # a fifth variant, which is not traced
        result = self.report()
        half, short, int8, plain = result["candidates"]
        self.assertEqual((plain["name"], plain["text"]), ("fp32-steps3", "fp32,steps=3"))
        self.assertEqual([one["about"]["passes"] for one in (result["source"], half, short, int8, plain)], [12, 6, 4, 12, 6])
        self.assertEqual(half["about"]["cache"], "0.5")
        self.assertEqual([one for one in (short, int8, plain) if "baseline" in one], [])
        against = half["baseline"]
        self.assertEqual(against["name"], "fp32-steps3")
        for key in ("psnr", "ssim", "latents"):
            self.assertAlmostEqual(against[key]["mean"], half[key]["mean"] - plain[key]["mean"])
            self.assertEqual(against[key]["count"], 3)
        self.assertGreater(against["time"]["mean"], 0)
        page = self.intaglio("eval", "report", "out")
        self.assertRegex(page.stdout, r"  against fp32-steps3, of as many passes: PSNR -?[0-9.]+ \(")
        self.assertIn("Fewer passes against plain steps", (self.folder / "out/report.html").read_text())
        # The folder keeps whose baseline it is.
        self.assertIn("0 pictures drawn", self.draw("--source", "fp32,steps=6", "--baseline", "off", candidates=candidates).stderr)
        self.assertIn("baseline", self.report()["candidates"][0])
        wrong = self.draw("--source", "fp32,steps=6", "--baseline", "presets", candidates=candidates)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn('--baseline: expected steps or off, found "presets"', wrong.stderr)

    def test_it_goes_on_where_it_was_stopped(self):
        self.assertEqual(self.draw(candidates=("int8,steps=3",)).returncode, 0)
        self.assertIn("0 pictures drawn, 0 traced", self.draw(candidates=("int8,steps=3",)).stderr)
        file = self.folder / "out/measured.0-of-1.jsonl"
        before = self.records()
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not ('"prompt":1,' in line and '"picture"' in line and "int8" in line)]
        self.assertEqual(len(kept), len(lines) - 1)
        # Another candidate joins; a line that was cut off takes nothing with it.
        file.write_text("".join(kept) + '{"kind":"picture","variant":"int8-st')
        self.assertIn("4 pictures drawn, 2 traced", self.draw(candidates=("int8,steps=3", "bf16,steps=3")).stderr)
        found = [{key: value for key, value in record.items() if key != "denoise_ms"} for text in file.read_text().splitlines() if text.endswith("}")
                 for record in [json.loads(text)] if record.get("kind") == "picture" and record["prompt"] == 1 and "int8" in record["variant"]]
        there = [{key: value for key, value in record.items() if key != "denoise_ms"} for record in before
                 if record["kind"] == "picture" and record["prompt"] == 1 and "int8" in record["variant"]]
        self.assertEqual(found, there)
        self.assertEqual([one["pictures"] for one in self.report()["candidates"]], [3, 3])

    def test_shards_share_a_folder(self):
        candidates = ("int8,steps=3",)
        self.assertIn("4 pictures drawn, 1 traced", self.draw("--shard", "0/2", candidates=candidates).stderr)
        self.assertEqual(self.report()["candidates"][0]["pictures"], 2)
        self.assertIn("2 pictures drawn, 1 traced", self.draw("--shard", "1/2", candidates=candidates).stderr)
        self.assertEqual(self.report()["candidates"][0]["pictures"], 3)

    def test_another_evaluation_is_refused(self):
        self.assertEqual(self.draw().returncode, 0)
        self.write_prompts([*kPrompts[:2], {"prompt": "a bird"}])
        other = self.draw()
        self.assertEqual(other.returncode, 2)
        self.assertIn("holds an evaluation with another prompt 3 or seed; expected another folder", other.stderr)
        self.write_prompts(kPrompts)
        self.assertEqual(self.draw(candidates=("int8,name=x",)).returncode, 0)
        self.assertIn('a candidate x that is "int8,name=x"', self.draw(candidates=("bf16,name=x",)).stderr)
        other = self.intaglio("eval", "run", "out", "--model", kTiny, "--prompts", "prompts.jsonl", "--source", "bf16", "--size", "64x64", "--candidate", "int8")
        self.assertIn('an evaluation with the source "fp32,steps=3", here "bf16"', other.stderr)

    def test_judges_are_summed_up(self):
        self.assertEqual(self.draw(candidates=("int8,steps=3",)).returncode, 0)
        read = [("fp32-steps3", 0, "FOX"), ("fp32-steps3", 2, "DOG"), ("int8-steps3", 0, "F0X"), ("int8-steps3", 2, "DOG")]
        (self.folder / "out/judged.reader.jsonl").write_text("".join(json.dumps({"variant": v, "prompt": p, "text": t}) + "\n" for v, p, t in read))
        (self.folder / "out/judged.looker.jsonl").write_text(json.dumps({"variant": "fp32-steps3", "prompt": 1, "object": "cat"}) + "\n" +
                                                             json.dumps({"variant": "int8-steps3", "prompt": 1, "object": "dog"}) + "\n")
        result = self.report()
        self.assertEqual(result["judges"], ["looker", "reader"])
        self.assertEqual(result["source"]["judged"]["reader"]["right"]["mean"], 1)
        judged = result["candidates"][0]["judged"]
        self.assertEqual(judged["reader"]["right"]["mean"], 0.5)
        self.assertEqual(judged["reader"]["right_difference"]["mean"], -0.5)
        self.assertAlmostEqual(judged["reader"]["similarity"]["mean"], (2 / 3 + 1) / 2)
        self.assertEqual(judged["looker"]["right"]["mean"], 0)

    def test_networks_score_pictures_once(self):
        towers = kTree / "tests/reference/towers"
        flags = ["--lpips", str(towers / "lpips/alex.safetensors"), "--lpips", str(towers / "lpips/alex_lin.safetensors"), "--clip", str(towers / "clip"),
                 "--pickscore", str(towers / "pickscore"), "--image-reward", str(towers / "image_reward")]
        self.assertEqual(self.draw(candidates=("int8,steps=3", "fp32,steps=3,name=same")).returncode, 0)
        done = self.intaglio("eval", "report", "out", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("33 pictures scored", done.stderr)  # 2 x 3 pairs, 3 x 3 pictures thrice
        self.assertRegex(done.stdout, r"int8-steps3: [^:]*(?s:.)*  LPIPS 0\.\d{4} \(")
        self.assertRegex(done.stdout, r"  ImageReward \S+ \(\S+ to \S+\), against the source ")
        again = self.intaglio("eval", "report", "out", *flags)
        self.assertIn("0 pictures scored", again.stderr)
        self.assertEqual(again.stdout, done.stdout)
        # Without the flags what was scored stays.
        result = self.report()
        self.assertEqual(result["scores"], ["clip", "image_reward", "lpips", "pickscore"])
        int8, same = (one["scored"] for one in result["candidates"])
        self.assertEqual(set(result["source"]["scored"]), {"clip", "image_reward", "pickscore"})
        self.assertEqual(same["lpips"]["score"]["mean"], 0)
        self.assertGreater(int8["lpips"]["score"]["mean"], 0)
        self.assertNotIn("difference", int8["lpips"])
        for name in ("clip", "image_reward", "pickscore"):
            self.assertEqual(same[name]["difference"], {"mean": 0, "low": 0, "high": 0, "count": 3})
            self.assertAlmostEqual(int8[name]["difference"]["mean"], int8[name]["score"]["mean"] - result["source"]["scored"][name]["score"]["mean"], 9)
        # A line that is lost, or of other weights, is made again.
        file = self.folder / "out/scored.clip.jsonl"
        lines = [line for line in file.read_text().splitlines() if line]
        file.write_text("\n".join(lines[1:]) + "\n" + lines[0][:20])
        self.assertIn("1 pictures scored", self.intaglio("eval", "report", "out", *flags).stderr)
        self.assertEqual(self.report()["candidates"], result["candidates"])
        other = self.intaglio("eval", "report", "out", "--clip", str(towers / "pickscore"))
        self.assertIn("9 pictures scored", other.stderr)
        self.assertNotEqual(self.report()["source"]["scored"]["clip"], result["source"]["scored"]["clip"])

    def test_wrong_weights_are_told(self):
        self.assertEqual(self.draw(candidates=("int8,steps=3",)).returncode, 0)
        (self.folder / "ImageReward").mkdir()
        (self.folder / "ImageReward/ImageReward.pt").write_bytes(b"PK")
        for flags, message in ((["--clip", "nowhere"], "nowhere/config.json"), (["--lpips", "vgg16.pth"], "vgg16.pth: a pickle"), (["--image-reward", "ImageReward"], "save_file"),
                               (["--lpips", str(kTree / "tests/reference/towers/lpips/alex.safetensors")], 'no tensor "lin0.model.1.weight"'),
                               (["--pickscore", str(kTree / "tests/reference/towers/image_reward")], "image_reward/config.json")):
            done = self.intaglio("eval", "report", "out", *flags)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(message, done.stderr)

    def test_the_page_needs_nothing_else(self):
        self.assertEqual(self.draw(candidates=("int8,steps=3",)).returncode, 0)
        self.report("--html", "page.html", "--worst", "2")
        page = (self.folder / "page.html").read_text()
        data = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)[1]
        worst = json.loads(data)["candidates"][0]["worst"]
        self.assertEqual(len(worst), 2)
        self.assertTrue(all(one["source"].startswith("data:image/png;base64,iVBOR") for one in worst))
        self.assertNotIn("<b>cat", data)
        self.assertEqual(re.findall(r'(?:src|href)="?(?:https?:)?//', page), [])

    def test_wrong_input_is_told_before_any_work(self):
        for arguments, message in [(["--shard", "2/2"], "--shard: expected a number below a count"), (["--size", "63x64"], "63x64"), (["--trace", "-1"], "--trace"),
                                   (["--source", "fp32,steps=0"], "steps"), (["--source", "fp32,model=nowhere"], "nowhere"), (["--source", "fp32,keep-bf16=nothing"], "nothing"),
                                   (["--device", "cuda:99"], "cuda")]:
            with self.subTest(arguments=arguments):
                done = self.draw(*arguments)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("error", done.stderr)
                self.assertIn(message, done.stderr)
                self.assertNotIn("twice", done.stderr)
        self.assertIn("two variants are called \"int8\"", self.draw(candidates=("int8", "int8")).stderr)
        for name, value in (("steps", 3), ("cache", "0.5"), ("progressive", "2"), ("negative_prompt", "b")):
            self.write_prompts([{"prompt": "a", name: value}])
            self.assertIn(f"prompts.jsonl:1: only \"prompt\", \"seed\", \"expect\" are of a line here, found \"{name}\"", self.draw().stderr)
        (self.folder / "prompts.jsonl").write_text('{ "prompt": "a", "expect": [] }\n')
        self.assertIn("\"expect\": expected an object", self.draw().stderr)
        self.assertIn("no evaluation there", self.intaglio("eval", "report", "nowhere").stderr)
        self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
