#!/usr/bin/env python3
"""Rewrites the tables of every page from bench/results/*.json; tables/ makes them, a file a subject.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, on one page only. Nothing between them is typed by hand. The first columns of a
table are its rows' key: two rows with the same key are refused, as nobody could tell which of them holds. `--check` fails if a page would change.
"""

import argparse
import glob
import re
import sys

from tables import cpu, formats, gpu_kernels, gpu_pictures, gpu_products, lacking, quality, server

kPages = ("README.md", "docs/**/*.md", "models/*/README.md", "bindings/*/README.md", "training/README.md")
kSubjects = (cpu, gpu_products, gpu_kernels, gpu_pictures, formats, quality, server, lacking)
kTables = {name.removesuffix("_table"): make for subject in kSubjects for name, make in vars(subject).items() if name.endswith("_table")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    pages = sorted(path for pattern in kPages for path in glob.glob(pattern, recursive=True))
    stale, home = [], {}
    for path in pages:
        with open(path) as file:
            text = file.read()

        def fill(match):
            name = match[1]
            if name not in kTables:
                sys.exit(f"{path}: there is no table {name}")
            if name in home:
                sys.exit(f"table {name} stands in {home[name]} and in {path}; link to one of them")
            home[name] = path
            return f"<!-- table: {name} -->\n{kTables[name]().text(name)}\n<!-- end -->"

        fresh = re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.S)
        if fresh != text:
            stale.append(path)
            if not args.check:
                with open(path, "w") as file:
                    file.write(fresh)
    # A table of results that nobody stored yet needs no page.
    if unused := sorted(name for name in kTables.keys() - home.keys() if kTables[name]().rows):
        sys.exit(f"no page shows {', '.join(unused)}")
    if args.check and stale:
        sys.exit(f"tables are out of date in {', '.join(stale)}; run make tables")


if __name__ == "__main__":
    main()
