#!/usr/bin/env python3
"""Checks and times everything that runs on this machine's processor; standard library only.

cpu_check.py BUILD_DIR [--threads N] [--steps N] [--timed-threads N] [--rounds N] [--only PART,...] [--json FILE]
  suite      the unit tests of every product, convolution and driver, which walk the levels themselves
  verify     the published code's tensors at fp32, bf16, int8 and int8-dequant, at every level
  pictures   every size below through the whole pipeline at every level, at int8 and, of the timed sizes, one step at fp32; each level against the
             highest one: fp32 at least 60 dB, int8 at least 30 (levels keep activations in bf16 or fp32; int8 is itself 31 dB from fp32 at 512 pixels)
  timed      512, 768 and 1024 pixels: the median and the spread of a step and of the decoder, levels in turn
Levels: those of INTAGLIO_CPU_ISA that this processor has. The reference level (ref) makes pictures up to 256 pixels only: it is there to be right.
The exit code is the number of checks that failed.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from check_pictures import psnr, read_png

kParts = ("pictures", "timed", "verify", "suite")
kLevels = ("ref", "avx2", "avx512vnni", "amx")
kPrecisions = ("fp32", "bf16", "int8", "int8-dequant")
# What pages and examples name, and sizes at which a library once changed its mind (496 and 512 columns).
kSizes = ("16x16", "512x16", "496x32", "512x256", "256x256", "512x512", "768x768", "1024x1024", "1024x1536", "2048x2048")
kTimed = ("512x512", "768x768", "1024x1024")
kPrompt = "a sunflower on a navy background"
kLeastDecibels = {"int8": 30.0, "fp32": 60.0}
kSlow = {"ref": 256 * 256}  # most pixels of a picture


def run(command, level, timeout, processors=None):
    """(exit code, output) of a command at a level, on the first `processors` of those that this process may use."""
    environment = dict(os.environ)
    environment["INTAGLIO_CPU_ISA"] = level
    if processors:
        command = ["taskset", "-c", ",".join(str(p) for p in sorted(os.sched_getaffinity(0))[:processors]), *command]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return 124, f"not done after {timeout} s"
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def processor():
    with open("/proc/cpuinfo") as file:
        text = file.read()
    name = re.search(r"model name\s*:\s*(.*)", text)
    flags = set((re.search(r"flags\s*:\s*(.*)", text) or ["", ""])[1].split())
    caches = {}
    for index in range(4):
        base = f"/sys/devices/system/cpu/cpu0/cache/index{index}/"
        try:
            with open(base + "level") as level, open(base + "type") as kind, open(base + "size") as size:
                caches[f"L{level.read().strip()} {kind.read().strip().lower()}"] = size.read().strip()
        except OSError:
            pass
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
    return {
        "name": name[1].strip() if name else platform.processor(),
        "processors": len(os.sched_getaffinity(0)),
        "features": [flag for flag in wanted if flag in flags],
        "caches": caches,
        "kernel": platform.release(),
    }


def commit(root):
    done = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip()
    try:
        with open(os.path.join(root, "commit")) as file:
            return file.read().strip()
    except OSError:
        return "unknown"


class Check:
    def __init__(self, options):
        self.options = options
        self.root = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
        self.program = os.path.join(options.build, "bin", "intaglio")
        self.tests = os.path.join(options.build, "bin", "intaglio_tests")
        self.failed = []
        self.folder = tempfile.mkdtemp()

    def verdict(self, ok, what):
        print(f"{'ok    ' if ok else 'FAILED'}  {what}", flush=True)
        if not ok:
            self.failed.append(what)

    def path(self, level, size, precision="int8"):
        return os.path.join(self.folder, f"{level}_{size}_{precision}.png")

    def picture(self, level, size, steps, precision="int8", processors=None):
        """The JSON of one picture, or the text of what went wrong."""
        command = [self.program, "generate", "--model", os.path.join(self.root, "models", "mini"), "--prompt", kPrompt, "--seed", "7", "--device", "cpu"]
        command += ["--size", size, "--steps", str(steps), "--threads", str(processors or self.options.threads), "--precision", precision, "--output", self.path(level, size, precision), "--json"]
        code, output = run(command, level, 600, processors)
        try:
            return json.loads(output) if code == 0 else f"exit {code}: {output.strip()[-300:]}"
        except ValueError:
            return f"no JSON: {output.strip()[-300:]}"

    def levels(self):
        """Those that the program takes here."""
        return [level for level in kLevels if isinstance(self.picture(level, "16x16", 1), dict)]

    def suite(self):
        if not os.path.exists(self.tests):
            self.verdict(False, f"suite: {self.tests} is not there")
            return {}
        shards = max(1, min(16, len(os.sched_getaffinity(0))))
        environment = {**os.environ, "GTEST_TOTAL_SHARDS": str(shards), "INTAGLIO_SOURCE_DIR": self.root}
        started = time.monotonic()
        arguments = [self.tests, "--gtest_brief=1"] + ([f"--gtest_filter={self.options.filter}"] if self.options.filter else [])
        running = [subprocess.Popen(arguments, env={**environment, "GTEST_SHARD_INDEX": str(i)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for i in range(shards)]
        passed, failures = 0, []
        for process in running:
            output = process.communicate()[0]
            passed += sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
            failures += re.findall(r"\[  FAILED  \] (\S+) \(", output)
            if process.returncode != 0 and not failures:
                failures.append(f"exit {process.returncode}: {output.strip()[-300:]}")
            if process.returncode != 0 and self.options.verbose:
                print(output)
        self.verdict(passed > 0 and not failures, f"suite: {passed} tests passed in {time.monotonic() - started:.0f} s" + "".join(f"; {f}" for f in failures))
        return {"passed": passed, "failed": failures}

    def verify(self, levels):
        report = {}
        for level in levels:
            for precision in kPrecisions:
                command = [self.program, "verify", os.path.join(self.root, "tests", "reference", "data"), "--device", "cpu", "--precision", precision, "--threads", str(self.options.threads)]
                code, output = run(command, level, 600)
                report[f"{level} {precision}"] = code == 0
                if code != 0:
                    print(output)
                self.verdict(code == 0, f"verify {precision} at {level}")
        return report

    def pictures(self, levels):
        """Every size once at each level, the three timed ones with several steps and at fp32 too; then all against the highest level."""
        report, made = {}, []
        cases = [(size, "int8", self.options.steps if size in kTimed else 1) for size in kSizes] + [(size, "fp32", 1) for size in kTimed]
        for size, precision, steps in cases:
            width, height = map(int, size.split("x"))
            rows = report.setdefault(f"{size} {precision}", {})
            for level in reversed(levels):
                if width * height > kSlow.get(level, 1 << 30):
                    continue
                started = time.monotonic()
                answer = self.picture(level, size, steps, precision)
                rows[level] = {"steps": steps, "total_s": round(time.monotonic() - started, 2)}
                if isinstance(answer, str):
                    self.verdict(False, f"picture {size} {precision} at {level}: {answer}")
                elif level != levels[-1]:
                    made.append((size, precision, level))
        with concurrent.futures.ProcessPoolExecutor() as pool:
            jobs = {pool.submit(compare, self.path(levels[-1], size, precision), self.path(level, size, precision)): (size, precision, level) for size, precision, level in made}
            for job in concurrent.futures.as_completed(jobs):
                size, precision, level = jobs[job]
                report[f"{size} {precision}"][level]["psnr_db"] = job.result()
        for name, rows in report.items():
            text = ", ".join(f"{level} {row['total_s']} s" + (f" {row['psnr_db']} dB" if "psnr_db" in row else "") for level, row in rows.items())
            self.verdict(all(row.get("psnr_db", 100.0) >= kLeastDecibels[name.split()[1]] for row in rows.values()), f"pictures {name}: {text}")
        return report

    def timed(self, levels):
        samples = {}
        for _ in range(self.options.rounds):
            for size in kTimed:
                for level in levels:
                    if level == "ref":
                        continue
                    answer = self.picture(level, size, 1, processors=self.options.timed_threads)
                    if isinstance(answer, str):
                        continue  # reported above
                    phases = answer["pictures"][0]["phase_ms"]
                    for phase in ("denoise", "decode"):
                        samples.setdefault(size, {}).setdefault(level, {}).setdefault(phase, []).append(phases[phase])
        return {size: {level: {phase: spread(values) for phase, values in phases.items()} for level, phases in rows.items()} for size, rows in samples.items()}


def compare(a, b):
    return round(psnr(read_png(a), read_png(b)), 2)


def spread(values):
    return {"median_ms": round(statistics.median(values), 2), "least_ms": round(min(values), 2), "most_ms": round(max(values), 2), "samples": len(values)}


def table(timed):
    if not timed:
        return
    print("\n| picture | level | a step, ms (least to most) | decoder, ms (least to most) |\n|---|---|---:|---:|")
    for size, rows in timed.items():
        for level, phases in rows.items():
            cells = [f"{phases[p]['median_ms']:.0f} ({phases[p]['least_ms']:.0f} to {phases[p]['most_ms']:.0f})" for p in ("denoise", "decode")]
            print(f"| {size} | {level} | {cells[0]} | {cells[1]} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="folder with bin/intaglio and bin/intaglio_tests")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--timed-threads", type=int, help="of the timed part, on as many processors; as --threads without it")
    parser.add_argument("--steps", type=int, default=4, help="of the three timed sizes' pictures")
    parser.add_argument("--rounds", type=int, default=3, help="of the timing")
    parser.add_argument("--only", default=",".join(kParts), help="parts to run, of " + ", ".join(kParts))
    parser.add_argument("--filter", help="of the suite, as --gtest_filter takes it")
    parser.add_argument("--verbose", action="store_true", help="print what failing tests print")
    parser.add_argument("--json", help="write the result here")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.timed_threads = min(options.timed_threads or options.threads, len(os.sched_getaffinity(0)))
    if unknown := set(options.only.split(",")) - set(kParts):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(kParts)}")
    check = Check(options)
    levels = check.levels()
    if not levels:
        print(check.picture("ref", "16x16", 1))
        return 1
    report = {"date": datetime.date.today().isoformat(), "machine": processor(), "commit": commit(check.root), "command": shlex.join(["scripts/cpu_check.sh", "BUILD_DIR", *sys.argv[2:]])}
    print(f"{report['machine']['name']}, {options.threads} threads, levels {', '.join(levels)}, commit {report['commit']}", flush=True)
    report |= {"levels": levels, "threads": options.threads, "timed_threads": options.timed_threads}
    parts = {"pictures": lambda: check.pictures(levels), "timed": lambda: check.timed(levels), "verify": lambda: check.verify(levels), "suite": check.suite}
    for name in kParts:
        if name in options.only.split(","):
            report[name] = parts[name]()
    table(report.get("timed", {}))
    report["failed"] = check.failed
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
    print(f"{len(check.failed)} failed", flush=True)
    return min(len(check.failed), 100)


if __name__ == "__main__":
    sys.exit(main())
