#!/usr/bin/env python3
"""How fast `intaglio quantize` is, beside the memory and the disk that it reads and writes.

  scripts/bench_quantize.py INTAGLIO --folder FOLDER [--gib 1.5] [--json FILE]

A bf16 transformer of random weights in full-size linears is written to FOLDER and quantized at each level of instructions that this processor has.
`cat` is its reading from the page cache alone, `write` the writing of as many bytes as the int8 file has, with fsync: neither can be undercut, so the
slower of the two is what quantizing is compared with. Repeats are medians.
"""

import argparse
import json
import os
import random
import resource
import statistics
import struct
import subprocess
import sys
import time

REPEATS = 3
LAYER = {
    "attention.qkv.weight": [13824, 4608],
    "attention.o.weight": [4608, 4608],
    "feed_forward.w1.weight": [12288, 4608],
    "feed_forward.w2.weight": [4608, 12288],
    "feed_forward.w3.weight": [12288, 4608],
}


def timed(work):
    times, cpu = [], []
    for _ in range(REPEATS):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        work()
        times.append(time.monotonic() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(times), statistics.median(cpu)


def make_source(pattern, path, gib):
    with open(pattern, "rb") as file:
        small = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    small.pop("__metadata__", None)
    layers = max(1, round(gib * 2**30 / sum(2 * rows * cols for rows, cols in LAYER.values())))
    header, at = {}, 0
    for name, tensor in small.items():
        leaf = name.removeprefix("layers.0.")
        for layer in range(layers) if leaf != name else [0]:
            tensor = dict(tensor, shape=LAYER.get(leaf, tensor["shape"]) if leaf != name else tensor["shape"])
            size = {"BF16": 2, "F32": 4}[tensor["dtype"]]
            for n in tensor["shape"]:
                size *= n
            header[name.replace("layers.0.", f"layers.{layer}.")] = dict(tensor, data_offsets=[at, at + size])
            at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # Signs and mantissas at random, magnitudes of 2^-7 to 2^-5.
    block = bytearray(random.Random(1).randbytes(32 << 20))
    block[1::2] = block[1::2].translate(bytes((b & 0x80) | 0x3C + (b & 1) for b in range(256)))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        left = at
        while left > 0:
            left -= file.write(block[: min(left, len(block))])


def write_plainly(path, size):
    block = bytes(random.Random(2).randbytes(8 << 20))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for at in range(0, size, len(block)):
        os.write(descriptor, block[: min(len(block), size - at)])
    os.fsync(descriptor)
    os.close(descriptor)


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("intaglio")
    parser.add_argument("--folder", required=True, help="on the disk that is meant; it needs 2.5 times --gib")
    parser.add_argument("--gib", type=float, default=1.5)
    parser.add_argument("--json")
    args = parser.parse_args()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    source, target = (os.path.join(args.folder, f"bench-quantize-{name}.safetensors") for name in ("source", "target"))
    run = lambda command, **more: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    # Of others: what runs beside takes its part of every figure.
    load = round(os.getloadavg()[0], 1)
    try:
        make_source(os.path.join(root, "tests/formats/base/reference/model.safetensors"), source, args.gib)
        os.sync()
        mb = os.path.getsize(source) / 1e6
        cat, _ = timed(lambda: run(["sh", "-c", 'cat "$0" >/dev/null', source]))
        runs, write = [], None
        for scheme in ("row", "convrot"):
            for isa in ("ref", "avx2", "avx512vnni"):
                command = [args.intaglio, "quantize", source, target, "--scheme", scheme, "--overwrite"]
                try:
                    wall, cpu = timed(lambda: run(command, env=dict(os.environ, INTAGLIO_CPU_ISA=isa)))
                except subprocess.CalledProcessError:
                    continue  # a level that this processor lacks
                if write is None:
                    size = os.path.getsize(target)
                    write, _ = timed(lambda: write_plainly(target, size))
                runs.append({"scheme": scheme, "isa": isa, "seconds": wall, "cpu_seconds": cpu, "mb_s": mb / wall, "mb_cpu_s": mb / cpu, "share": max(cat, write) / wall})
        result = {
            "command": "scripts/bench_quantize.py INTAGLIO --folder FOLDER --json FILE",
            "date": time.strftime("%Y-%m-%d"),
            "commit": subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(),
            "cpu": cpu_name(),
            "threads": os.cpu_count(),
            "load": load,
            "source_mb": mb,
            "cat_mb_s": mb / cat,
            "write_mb_s": size / 1e6 / write,
            "cat_seconds": cat,
            "write_seconds": write,
            "runs": runs,
        }
    finally:
        for path in (source, target):
            if os.path.exists(path):
                os.remove(path)
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        with open(args.json, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
