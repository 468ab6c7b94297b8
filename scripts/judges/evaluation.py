"""The folder of `intaglio eval run`, for judges written in Python: which pictures to look at, and where findings go."""

import json
from pathlib import Path


def parse_folder(description):
    import argparse
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="of `intaglio eval run`")
    return parser.parse_args().folder


class Findings:
    """judged.JUDGE.jsonl of an evaluation: a judge goes on where it was stopped."""

    def __init__(self, folder, judge):
        self.folder, self.file = Path(folder), Path(folder) / f"judged.{judge}.jsonl"
        self.plan = json.loads((self.folder / "plan.json").read_text())
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.done = {(one["variant"], one["prompt"]) for one in map(json.loads, filter(lambda line: line.endswith("}"), lines))}

    def pictures(self, what):
        """(variant, prompt's number, what is expected, file) of every picture that should show `what` ("text", "object") and has no finding."""
        for variant in self.plan["variants"]:
            for number, prompt in enumerate(self.plan["prompts"]):
                file = self.folder / variant["name"] / f"{number:05}.png"
                if what in prompt["expect"] and (variant["name"], number) not in self.done and file.exists():
                    yield variant["name"], number, prompt["expect"], file

    def add(self, variant, number, **finding):
        with self.file.open("a") as lines:
            lines.write(json.dumps({"variant": variant, "prompt": number, **finding}) + "\n")
