"""What every table is made from: stored results, and how a row says them."""

import glob
import json
import sys
from dataclasses import dataclass


@dataclass
class Table:
    head: list
    rows: list
    key: int = 1  # columns that name a row

    def text(self, name):
        seen = set()
        for row in self.rows:
            if len(row) != len(self.head):
                sys.exit(f"table {name}: {len(row)} cells under {len(self.head)} heads: {row}")
            key = tuple(row[: self.key])
            if key in seen:
                sys.exit(f"table {name}: two rows are {' / '.join(key)}; keep the newer result, or tell them apart in the key")
            seen.add(key)
        line = lambda cells: "| " + " | ".join(cells) + " |"
        return "\n".join([line(self.head), line(["---"] * len(self.head)), *map(line, self.rows)])


def read(name):
    with open(f"bench/results/{name}.json") as file:
        return json.load(file)


def all_results(pattern):
    for path in sorted(glob.glob(f"bench/results/{pattern}.json")):
        with open(path) as file:
            yield path.split("/")[-1], json.load(file)


def cpu_results(part):
    """(machine's name, that part of its result) of every CPU."""
    for name, result in all_results("cpu_*"):
        if part in result and not name.startswith("cpu_check_"):
            m = result["machine"]
            yield f"{m['cpu']}, {m['threads']} threads, {m['isa']}", result[part]


def spread(r, unit="ms", digits=1):
    values = [r[f"{what}_{unit}"] for what in ("median", "min", "max")]
    return "{} ({} to {})".format(*(f"{v:.{digits}f}" for v in values))


def ms(r, digits=1):
    return "{} ms ({} to {})".format(*(f"{r[f'{what}_ms']:.{digits}f}" for what in ("median", "min", "max")))
