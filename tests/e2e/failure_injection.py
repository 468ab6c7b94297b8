#!/usr/bin/env python3
"""Makes every kind of call that can fail do so, one call at a time, over a tiny picture.

failure_injection.py PROGRAM PRELOAD TINY_MODEL [--report FILE] [--all] [--class NAME] [--tries N]

A try is right if the program succeeds with whole files, or fails with exit code 1 and a message that names the cause; it never ends by a signal, never
hangs, and leaves no temporary or half-written file. Kinds with few calls are tried call by call. Memory is asked for tens of thousands of times: it is
refused at the first call from each place (a stack of five callers), and of those places evenly at as many as `--tries` (all of them with `--all`).
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import answers

TIMEOUT_S = 60
CLASSES = ["alloc", "gone", "mmap", "open", "read", "write", "fsync", "rename", "link", "thread"]
# "gone": from that allocation on there is no memory at all.
# Kinds of which each place is tried once; the others call by call.
BY_PLACE = {"alloc", "gone", "read"}
# What a message must say. A library of others may speak in its own words.
CAUSE = {
    "alloc": "memory",
    "gone": "memory",
    "mmap": "memory",
    "open": "Too many open files|cannot (open|read)|not found|no such",
    "read": "Input/output error|cannot read",
    "write": "No space left|cannot write",
    "fsync": "Input/output error",
    "rename": "Permission denied",
    "link": "not permitted",
    "thread": "cannot start",
}
# oneDNN writes through a null pointer when an allocation of its own fails, and libgomp ends the process; the loader and the C library's reading of
# locales, of which the same is true, run before and beside.
SPARE = "libdnnl.so:libgomp.so:ld-linux:libOpenCL.so"


class Scenario:
    def __init__(self, name, arguments, outputs):
        self.name, self.arguments, self.outputs = name, arguments, outputs
        self.expected = {}


def scenarios(model):
    picture = ["generate", "--model", model, "--prompt", "a red circle", "--size", "16x16", "--steps", "1", "--seed", "1", "--threads", "2"]
    return [
        Scenario("picture", picture + ["--output", "a.png"], ["a.png"]),
        Scenario("picture with latents and JSON", picture + ["--output", "a.png", "--latents-out", "a.safetensors", "--json"], ["a.png", "a.safetensors"]),
        Scenario("inspect", ["inspect", model, "--json"], []),
    ]


class Injection:
    def __init__(self, program, preload, folder):
        self.program, self.preload, self.folder = program, preload, folder

    def run(self, scenario, kind, at, count_file=""):
        """Exit code (None: it hung), stdout, stderr and the files of one run in a folder of its own."""
        work = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        environment = dict(os.environ, LD_PRELOAD=self.preload, FAIL_CLASS="alloc" if kind == "gone" else kind, FAIL_AT=str(at), FAIL_COUNT_FILE=str(count_file), FAIL_SPARE=SPARE, LC_ALL="C")
        if kind == "gone":
            environment["FAIL_ON"] = "1"
        try:
            done = subprocess.run([self.program, *scenario.arguments], cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S)
            code, out, err = done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        except subprocess.TimeoutExpired:
            code, out, err = None, "", ""
        files = {path.name: path.read_bytes() for path in work.iterdir()}
        shutil.rmtree(work)
        return code, out, err, files

    def count(self, scenario, kind):
        """Number of calls, and the calls that come first from their place."""
        count_file = pathlib.Path(self.folder) / "count"
        count_file.unlink(missing_ok=True)
        code, _, err, files = self.run(scenario, kind, 0, count_file)
        if code != 0:
            sys.exit(f"{scenario.name}: fails without help: exit {code}: {err}")
        scenario.expected = files
        numbers = [int(line) for line in count_file.read_text().split()]
        return numbers[0], numbers[1:]


def judge(scenario, kind, code, out, err, files):
    """('ok' or 'met', '') or the fault and what was seen."""
    left = [name for name in files if files[name] != scenario.expected.get(name)]
    if code is None:
        return "hang", f"no end within {TIMEOUT_S} s"
    if left:
        return "leftover", f"{', '.join(left)} (exit {code})"
    if code < 0 or code > 128:
        return "abort", f"exit {code}: {err[-300:]}"
    if code == 0:
        missing = [name for name in scenario.outputs if name not in files]
        if missing:
            return "silent", f"exit 0 without {', '.join(missing)}: {err[-300:]}"
        if "--json" in scenario.arguments:
            if problem := answers.wrong_text(scenario.arguments, out):
                return "silent", f"exit 0 with another answer than its schema allows: {problem}"
        return "ok", ""
    if code != 1:
        return "silent", f"exit {code}, expected 0 or 1: {err[-300:]}"
    # A message that could not be written cannot be asked for.
    if kind != "write" and not re.search(CAUSE[kind], err):
        return "silent", f"exit 1 without the cause: {err[-300:]}"
    return "met", ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("preload")
    parser.add_argument("model")
    parser.add_argument("--report")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--class", dest="kinds", action="append", choices=CLASSES)
    parser.add_argument("--tries", type=int, default=50, help="places of a kind of memory in each scenario")
    arguments = parser.parse_args()

    problems, tries, met, notes = [], 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        injection = Injection(os.path.abspath(arguments.program), os.path.abspath(arguments.preload), folder)
        work = []
        for scenario in scenarios(os.path.abspath(arguments.model)):
            for kind in arguments.kinds or CLASSES:
                calls, first = injection.count(scenario, kind)
                chosen = first if kind in BY_PLACE else list(range(1, calls + 1))
                if kind in BY_PLACE and not arguments.all and len(chosen) > arguments.tries:
                    chosen = [chosen[i * len(chosen) // arguments.tries] for i in range(arguments.tries)]
                work += [(scenario, kind, at) for at in chosen]
                if kind in BY_PLACE:
                    notes.append(f"{scenario.name}, {kind}: {len(chosen)} of {len(first)} places, {calls} calls")

        def one(item):
            scenario, kind, at = item
            return item, judge(scenario, kind, *injection.run(scenario, kind, at))

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for (scenario, kind, at), (verdict, seen) in pool.map(one, work):
                tries += 1
                met += verdict == "met"
                if verdict not in ("ok", "met"):
                    problems.append((verdict, f"{scenario.name}: {kind} {at}: {verdict}: {seen}"))

    counts = {name: sum(verdict == name for verdict, _ in problems) for name in ("abort", "hang", "leftover", "silent")}
    line = f"failure injection: {tries} tries, {met} failures met, {tries - met - len(problems)} harmless, aborts {counts['abort']}, hangs {counts['hang']}, leftovers {counts['leftover']}, without a cause {counts['silent']} ({'; '.join(notes)})"
    for _, text in problems:
        print(text, file=sys.stderr)
    print(line)
    if arguments.report:
        pathlib.Path(arguments.report).write_text(line + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
