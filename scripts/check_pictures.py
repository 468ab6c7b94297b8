#!/usr/bin/env python3
"""Checks whole pictures of the bundled models on a device; standard library only.

check_pictures.py INTAGLIO [--device cuda] [--count 500] [--json FILE]
  same picture   the device against the CPU, fp32, bf16 and int8: at least 40 dB
  no growth      --count pictures by one process: the host's and the card's memory stay within 8 MiB after the first quarter
  streamed       with the least --vram-budget the latents are those without one, bit for bit, and some layers did stream
The exit code is the number of checks that failed.
"""

import argparse
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib

kPrompt = "a sunflower on a navy background"
kLeastDecibels = 40.0
kMostGrowthBytes = 8 << 20


def unfilter(kind, line, above, pixel):
    """Undoes a PNG filter (PNG specification, 9.2) in place."""
    for x in range(len(line)):
        left = line[x - pixel] if x >= pixel else 0
        up = above[x]
        corner = above[x - pixel] if x >= pixel else 0
        if kind == 1:
            line[x] = line[x] + left & 255
        elif kind == 2:
            line[x] = line[x] + up & 255
        elif kind == 3:
            line[x] = line[x] + (left + up) // 2 & 255
        elif kind == 4:
            estimate = left + up - corner
            line[x] = line[x] + min((left, up, corner), key=lambda v: abs(estimate - v)) & 255


def read_png(path):
    """The bytes of an 8-bit RGB picture, row by row."""
    with open(path, "rb") as file:
        data = file.read()
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            if (depth, colour, interlace) != (8, 2, 0):
                sys.exit(f"{path}: expected 8-bit RGB without interlacing")
        elif kind == b"IDAT":
            packed += body
        at += 12 + size
    raw, stride = zlib.decompress(packed), 3 * width
    above, rows = bytearray(stride), []
    for begin in range(0, height * (stride + 1), stride + 1):
        line = bytearray(raw[begin + 1 : begin + 1 + stride])
        unfilter(raw[begin], line, above, 3)
        rows.append(line)
        above = line
    return b"".join(rows)


def psnr(a, b):
    """Decibels over all bytes; 100 if they are equal."""
    if len(a) != len(b):
        sys.exit(f"pictures of {len(a)} and {len(b)} bytes cannot be compared")
    squares = sum((x - y) ** 2 for x, y in zip(a, b))
    return 100.0 if squares == 0 else 10 * math.log10(255**2 * len(a) / squares)


def same_picture(run, folder, device):
    report, passed = {}, True
    for precision in ("fp32", "bf16", "int8"):
        pictures = []
        for where in (device, "cpu"):
            path = os.path.join(folder, f"{precision}_{where.replace(':', '_')}.png")
            run("--prompt", kPrompt, "--seed", "7", "--device", where, "--precision", precision, "--output", path)
            pictures.append(read_png(path))
        report[precision] = round(psnr(*pictures), 2)
        passed &= report[precision] >= kLeastDecibels
        print(f"same picture: {precision} on {device} against cpu: {report[precision]} dB", flush=True)
    return passed, report


def card_mib():
    """Memory in use on the first card; None without one."""
    try:
        out = subprocess.run(["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return int(out)


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        found = re.search(r"VmRSS:\s+(\d+)", file.read())
    return int(found[1]) if found else None


def no_growth(command, folder, device, count):
    out = os.path.join(folder, "many")
    os.mkdir(out)
    samples = []
    with open(os.path.join(folder, "many.log"), "w") as log:
        process = subprocess.Popen([*command, "--prompt", kPrompt, "--seed", "1", "--count", str(count), "--device", device, "--output", out], stdout=log, stderr=log)
        while process.poll() is None:
            made = len(os.listdir(out))
            resident = resident_kib(process.pid)
            if made > count // 4 and resident:
                samples.append({"pictures": made, "resident_kib": resident, "card_mib": card_mib() if device != "cpu" else None})
            time.sleep(0.5)
    made = len(os.listdir(out))
    growth = {}
    for name, unit in (("resident_kib", 1 << 10), ("card_mib", 1 << 20)):
        values = [s[name] for s in samples if s[name] is not None]
        if values:
            growth[name] = (max(values) - values[0]) * unit
    passed = process.returncode == 0 and made == count and len(samples) >= 2 and all(g <= kMostGrowthBytes for g in growth.values())
    print(f"no growth: {made} of {count} pictures, {len(samples)} samples, growth in bytes: {growth}", flush=True)
    return passed, {"pictures": made, "growth_bytes": growth, "first": samples[:1], "last": samples[-1:]}


def streamed(command, folder, device):
    report, passed = {}, True
    for precision in ("int8", "bf16", "int8-dequant"):
        latents, layers, budget = [], 0, None
        for name in ("resident", "streamed"):
            path = os.path.join(folder, f"{precision}_{name}.safetensors")
            arguments = ["--model", "tests/reference/data/tiny", "--prompt", kPrompt, "--size", "128x128", "--steps", "6", "--seed", "7", "--device", device, "--precision", precision]
            arguments += ["--latents-out", path, "--output", path + ".png", "--json"]
            budget = 1 if name == "streamed" else None
            # Each phase says what it needs at least: as many tries as there are phases.
            for _ in range(4):
                extra = ["--vram-budget", f"{budget}"] if budget else []
                result = subprocess.run([*command, *arguments, *extra], capture_output=True, text=True)
                short = re.search(r"needs .*?\((\d+) bytes\).*\((\d+) bytes\) is available", result.stderr)
                if result.returncode == 0 or not budget or not short:
                    break
                budget += int(short[1]) - int(short[2])
            if result.returncode != 0:
                print(f"streamed: {precision}: {result.stderr.strip().splitlines()[-1]}", flush=True)
                return False, report
            with open(path, "rb") as file:
                latents.append(file.read())
            layers = json.loads(result.stdout)["pictures"][0].get("streamed_layers", 0)
        equal = latents[0] == latents[1]
        report[precision] = {"budget_bytes": budget, "streamed_layers": layers, "equal": equal}
        passed &= equal and layers > 0
        print(f"streamed: {precision}: {layers} layers streamed in {budget} bytes, latents {'equal' if equal else 'DIFFER'}", flush=True)
    return passed, report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("intaglio")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--json")
    args = parser.parse_args()
    intaglio = os.path.abspath(args.intaglio)
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    command = [intaglio, "generate", "--model", "models/mini"]

    def run(*arguments):
        result = subprocess.run([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join([*command, *arguments])} ended with {result.returncode}:\n{result.stderr}")

    with tempfile.TemporaryDirectory() as folder:
        checks = {"same_picture": same_picture(run, folder, args.device), "no_growth": no_growth(command, folder, args.device, args.count)}
        if args.device != "cpu":
            checks["streamed"] = streamed(command, folder, args.device)
    failed = [name for name, (passed, _) in checks.items() if not passed]
    if args.json:
        with open(args.json, "w") as file:
            json.dump({name: report for name, (_, report) in checks.items()}, file, indent=1)
            file.write("\n")
    print("failed: " + ", ".join(failed) if failed else "all passed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
