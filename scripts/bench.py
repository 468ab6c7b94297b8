#!/usr/bin/env python3
"""Measures this machine: linears, one block at Ideogram 4's widths, the bundled model's whole process.

bench.py INTAGLIO [--out FILE]: writes bench/results/cpu_<name>.json. Runs are interleaved inside the tool; here the whole process is started afresh each time.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time

kPrompt = "a red apple on the left of a blue fish, in fluent style, on a yellow background"


def run_json(command):
    """The command's --json report."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        subprocess.run([*command, "--json", path], check=True, stdout=subprocess.DEVNULL)
        with open(path) as file:
            return json.load(file)


def whole_process(command, runs):
    """Wall seconds and peak resident bytes of fresh processes, first one dropped."""
    seconds, peaks, phases = [], [], []
    for i in range(runs + 1):
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{' '.join(command)} failed with status {status}")
        if i:
            seconds.append(time.monotonic() - start)
            peaks.append(usage.ru_maxrss * 1024)
            phases.append(json.loads(out)["pictures"][0]["phase_ms"])
    return {
        "runs": runs,
        "seconds_median": statistics.median(seconds),
        "seconds_min": min(seconds),
        "seconds_max": max(seconds),
        "peak_bytes": max(peaks),
        "phase_ms": {k: statistics.median(p[k] for p in phases) for k in phases[0]},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("intaglio")
    parser.add_argument("--out")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    linear = run_json([args.intaglio, "bench", "linear", "--shapes", "bench/shapes/ideogram4_1024.txt", "--device", "cpu", "--precision", "int8,bf16", "--rounds", str(args.rounds)])
    block = run_json([args.intaglio, "bench", "block", "--tokens", "1024", "--rounds", str(args.rounds)])
    pictures = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("int8", "bf16", "int8-dequant", "fp32"):
            command = [args.intaglio, "generate", "--model", "mini", "--prompt", kPrompt, "--seed", "0", "--precision", precision]
            pictures[precision] = whole_process([*command, "--output", os.path.join(folder, "o.png"), "--json"], args.rounds)
    machine = block["machine"]
    report = {
        "machine": machine,
        "commit": commit,
        "load": os.getloadavg(),
        "command": "make bench",
        "linear": linear["shapes"],
        "block": {k: block[k] for k in ("heads", "head_dim", "ffn", "tokens", "rounds", "results")},
        "picture": {"model": "mini", "size": "256x256", "steps": 24, "results": pictures},
    }
    name = re.sub(r"[^a-z0-9]+", "_", machine["cpu"].lower()).strip("_")
    out = args.out or f"bench/results/cpu_{name}_{machine['isa']}_{machine['threads']}t.json"
    with open(out, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
