#!/usr/bin/env python3
"""Plants the faults of tests/mutants/*.json one at a time and tells which of them make a test fail.

Each fault replaces a text that occurs once in its file. Most are expressions: a copy of the tree is built once with all of them, each behind
`planted(i) ? after : before`, and a run of the tests picks one by its number in the environment. The others (`"form": "text"`) are built one by one.
A fault's own tests run first; only a fault that they miss meets the whole suite.

    scripts/mutants.py            builds build/mutants, runs what has no result yet, writes bench/results/mutants.json
    scripts/mutants.py --check    every text still occurs once (part of lint)
"""
import argparse
import concurrent.futures
import glob
import json
import os
import platform
import queue
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = "bench/results/mutants.json"
VARIABLE = "INTAGLIO_PLANTED"
LEAST_CAUGHT = 0.97
# Test programs that a fault's "tests" name, and what each takes at most, in seconds.
PROGRAMS = {"unit": ("intaglio_tests", 900), "kernels": ("intaglio_kernel_tests", 900), "device": ("intaglio_device_tests", 900)}
CTEST_SECONDS = 1500
# Constant expressions keep what is right; everything at run time sees the fault.
PRELUDE = """#ifndef INTAGLIO_PLANTED_FAULTS
#define INTAGLIO_PLANTED_FAULTS
#include <cstdlib>
static inline int intaglio_planted_now() { static const int now = [] { const char* const text = std::getenv("INTAGLIO_" "PLANTED"); return text ? std::atoi(text) : -1; }(); return now; }
static inline constexpr bool intaglio_planted(int fault) { return !__builtin_is_constant_evaluated() && intaglio_planted_now() == fault; }
#endif
"""


def read_faults():
    faults = []
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/mutants/*.json"))):
        with open(path) as file:
            faults += json.load(file)
    names = [fault["id"] for fault in faults]
    double = {name for name in names if names.count(name) > 1}
    if double:
        sys.exit("mutants: ids used twice: " + ", ".join(sorted(double)))
    return faults


def find_place(fault, text):
    """Begin and end of `before` in the text of the file, or a reason."""
    within = fault.get("within", fault["before"])
    count = text.count(within)
    if count != 1:
        return None, f"{fault['id']}: {fault['file']} holds {within!r} {count} times, expected once"
    if within.count(fault["before"]) != 1:
        return None, f"{fault['id']}: {within!r} holds {fault['before']!r} {within.count(fault['before'])} times, expected once"
    begin = text.index(within) + within.index(fault["before"])
    return (begin, begin + len(fault["before"])), None


def check(faults):
    """Reasons why the list does not fit the tree."""
    problems = []
    for fault in faults:
        missing = [key for key in ("id", "layer", "file", "before", "after", "tests") if not fault.get(key)]
        if missing:
            problems.append(f"{fault.get('id')}: no {', '.join(missing)}")
            continue
        if fault["before"] == fault["after"]:
            problems.append(f"{fault['id']}: before and after are the same")
        path = os.path.join(ROOT, fault["file"])
        if not os.path.exists(path):
            problems.append(f"{fault['id']}: no file {fault['file']}")
            continue
        with open(path) as file:
            problem = find_place(fault, file.read())[1]
        if problem:
            problems.append(problem)
    return problems


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True).stdout


def planted_sources(faults):
    """The files with all switchable faults in them, each behind its number."""
    by_file = {}
    for number, fault in enumerate(faults):
        if fault.get("form", "expression") == "expression":
            by_file.setdefault(fault["file"], []).append((number, fault))
    sources = {}
    for path, group in by_file.items():
        with open(os.path.join(ROOT, path)) as file:
            text = file.read()
        # From behind, so that places stay where they are.
        places = sorted(((find_place(fault, text)[0], number, fault) for number, fault in group), reverse=True)
        for (begin, end), number, fault in places:
            text = f"{text[:begin]}(intaglio_planted({number}) ? ({fault['after']}) : ({fault['before']})){text[end:]}"
        sources[path] = PRELUDE + text
    return sources


class Tree:
    """A copy of the working tree with a build of its own."""

    def __init__(self, folder, jobs):
        self.tree = os.path.join(folder, "tree")
        self.build_folder = os.path.join(folder, "build")
        self.jobs = jobs
        # A test uses all processors that it finds: each gets its share of them.
        processors = sorted(os.sched_getaffinity(0))
        share = max(1, len(processors) // jobs)
        self.shares = queue.Queue()
        for job in range(jobs):
            self.shares.put([processors[(job * share + i) % len(processors)] for i in range(share)])
        # Tests that fail here without a fault tell nothing. Each is tried when it is first needed.
        self.left_out = set()
        self.tried = {}
        self.lock = threading.Lock()
        self.sources = {}

    def write(self, path, text):
        """Only what changes is written: the build compares times."""
        target = os.path.join(self.tree, path)
        data = text if isinstance(text, bytes) else text.encode()
        if os.path.exists(target):
            with open(target, "rb") as file:
                if file.read() == data:
                    return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)

    def copy(self, sources):
        self.sources = sources
        wanted = set()
        for path in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
            source = os.path.join(ROOT, path)
            if not path or not os.path.isfile(source):
                continue
            wanted.add(path)
            with open(source, "rb") as file:
                self.write(path, sources.get(path, file.read()))
            os.chmod(os.path.join(self.tree, path), os.stat(source).st_mode)
        for folder, _, names in os.walk(self.tree):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.tree)
                if path not in wanted:
                    os.remove(os.path.join(folder, name))

    def build(self):
        os.makedirs(self.build_folder, exist_ok=True)
        log = os.path.join(self.build_folder, "build.log")
        with open(log, "w") as file:
            for command in (["cmake", "-G", "Ninja", "-S", self.tree, "-B", self.build_folder, "-DCMAKE_BUILD_TYPE=Release", "-DINTAGLIO_BUILD_TESTS=ON",
                             "-DINTAGLIO_CUDA=OFF", "-DINTAGLIO_USE_ONEDNN=OFF"],
                            ["nice", "cmake", "--build", self.build_folder, "-j", str(self.jobs)]):
                if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode != 0:
                    return log
        return None

    def command_of(self, test):
        """What a test of the list runs: "unit FILTER", "kernels FILTER", "device FILTER", or the name of a test of ctest."""
        kind, _, rest = test.partition(" ")
        if kind in PROGRAMS:
            program, seconds = PROGRAMS[kind]
            return [os.path.join(self.build_folder, "bin", program), "--gtest_fail_fast", "--gtest_brief=1", f"--gtest_filter={rest or '*'}"], seconds
        return ["ctest", "--test-dir", self.build_folder, "--stop-on-failure", "--output-on-failure", "-R", f"^{test}$", "--no-tests=error"], CTEST_SECONDS

    def whole_suite(self):
        # The command line's and the C interface's own tests; those of the programs above are run as programs.
        return ["unit", "device", "kernels", "cli", "cli_tune", "cli_map", "abi.*", "fuzz.*"]

    def is_sound(self, test):
        with self.lock:
            mine = test not in self.tried
            if mine:
                self.tried[test] = concurrent.futures.Future()
            tried = self.tried[test]
        if mine:
            passed, reason, output = self.passes(test, -1)
            if not passed:
                print("\n".join(output.splitlines()[-40:]))
                print(f"mutants: \"{test}\" fails without a fault and is left out: {reason}", flush=True)
                self.left_out.add(test)
            tried.set_result(passed)
        return tried.result()

    def passes(self, test, number):
        """Whether the test passes with the fault of this number (-1: none); a crash or a hang is no pass. Also what failed, and the output."""
        command, seconds = self.command_of(test)
        environment = dict(os.environ, **{VARIABLE: str(number), "GTEST_SHUFFLE": "0"})
        share = self.shares.get()
        process = subprocess.Popen(["taskset", "-c", ",".join(map(str, share)), "nice", *command], cwd=self.tree, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return False, "took too long", ""
        finally:
            self.shares.put(share)
        text = output.decode(errors="replace")
        failed = re.findall(r"^\[  FAILED  \] ([\w/.]+)", text, re.MULTILINE) or re.findall(r"\d+ - (\S+) \(\w+", text)
        if command[0] != "ctest" and "0 tests ran" in text or re.search(r"Running 0 tests", text):
            sys.exit(f"mutants: \"{test}\" runs no test")
        reason = failed[0] if failed else f"ended with {process.returncode}"
        return process.returncode == 0, reason, text


def run_fault(tree, number, fault):
    """The first test that fails, its own first. A fault that is built alone (number -1) runs its own tests only: the others were not tried without it."""
    begin = time.monotonic()
    result = {"id": fault["id"], "layer": fault["layer"], "file": fault["file"], "caught": False, "cpu": machine(), "commit": commit()}
    for stage, tests in (("own", fault["tests"]), ("suite", tree.whole_suite() if number >= 0 else [])):
        for test in filter(tree.is_sound, tests):
            passed, reason, _ = tree.passes(test, number)
            if not passed:
                result.update(caught=True, by=f"{test.split()[0]}: {reason}", stage=stage)
                break
        if result["caught"]:
            break
    result["seconds"] = round(time.monotonic() - begin, 1)
    return result


def machine():
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {len(os.sched_getaffinity(0))} threads"


def commit():
    dirty = bool(git("status", "--porcelain", "--untracked-files=no", "--", "src", "apps", "tests").strip())
    return git("rev-parse", "--short=12", "HEAD").strip() + (" with changes" if dirty else "")


def write_results(path, faults, results, left_out):
    done = [results[fault["id"]] for fault in faults if fault["id"] in results]
    caught = sum(result["caught"] for result in done)
    summary = {
        "commits": sorted({result["commit"] for result in done}),
        "command": "scripts/mutants.py",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpus": sorted({result["cpu"] for result in done}),
        "planted": len(done),
        "caught": caught,
        "caught_by_their_own_tests": sum(result.get("stage") == "own" for result in done),
        "tests_left_out": sorted(left_out),
        "survivors": [result["id"] for result in done if not result["caught"]],
        "seconds": round(sum(result["seconds"] for result in done), 1),
        "results": done,
    }
    temporary = path + ".tmp"
    with open(temporary, "w") as file:
        json.dump(summary, file, indent=1)
        file.write("\n")
    os.replace(temporary, path)
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only see whether the list fits the tree")
    parser.add_argument("--list", action="store_true", help="print the faults")
    parser.add_argument("--only", metavar="REGEX", help="faults whose id matches")
    parser.add_argument("--again", action="store_true", help="also those that have a result")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="compilers, and faults at once")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/mutants"), metavar="DIR")
    parser.add_argument("--results", default=os.path.join(ROOT, RESULTS), metavar="FILE")
    arguments = parser.parse_args()

    faults = read_faults()
    problems = check(faults)
    if arguments.check or problems:
        for problem in problems:
            print(f"mutants: {problem}", file=sys.stderr)
        if not problems:
            print(f"mutants: {len(faults)} faults, every text occurs once")
        sys.exit(1 if problems else 0)
    if arguments.list:
        for fault in faults:
            print(f"{fault['id']:36} {fault['layer']:14} {fault['file']}")
        return

    tree = Tree(arguments.build, arguments.jobs)
    state_path = os.path.join(arguments.build, "results.json")
    results = {}
    if os.path.exists(state_path):
        with open(state_path) as file:
            results = json.load(file)
    wanted = [number for number, fault in enumerate(faults)
              if (not arguments.only or re.search(arguments.only, fault["id"])) and (arguments.again or fault["id"] not in results)]
    switched = [number for number in wanted if faults[number].get("form", "expression") == "expression"]
    alone = [number for number in wanted if number not in switched]

    def keep(result):
        results[result["id"]] = result
        with open(state_path + ".tmp", "w") as file:
            json.dump(results, file)
        os.replace(state_path + ".tmp", state_path)
        print(f"{result['id']:36} {'caught by ' + result['by'] if result['caught'] else 'SURVIVED'} ({result['seconds']:.0f} s)", flush=True)

    sources = planted_sources(faults)
    tree.copy(sources)
    print("mutants: building", flush=True)
    log = tree.build()
    if log:
        sys.exit(f"mutants: the tree with the faults does not build: {log}")
    print(f"mutants: {len(switched)} faults to switch on, {len(alone)} to build", flush=True)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run_fault, tree, number, faults[number]) for number in switched]):
            keep(future.result())
    # Tried in the sound tree, before anything is planted in it.
    for test in sorted({test for number in alone for test in faults[number]["tests"]}):
        tree.is_sound(test)
    for number in alone:
        fault = faults[number]
        text = sources.get(fault["file"])
        if text is None:
            with open(os.path.join(ROOT, fault["file"])) as file:
                text = file.read()
        begin, end = find_place(fault, text)[0]
        tree.write(fault["file"], text[:begin] + fault["after"] + text[end:])
        log = tree.build()
        # A compiler that refuses the fault has caught it.
        keep({"id": fault["id"], "layer": fault["layer"], "file": fault["file"], "caught": True, "by": "build: refused", "stage": "own", "seconds": 0.0, "cpu": machine(), "commit": commit()}
             if log else run_fault(tree, -1, fault))
        tree.write(fault["file"], text)
    if alone:
        tree.build()
    summary = write_results(arguments.results, faults, results, tree.left_out)
    print(f"mutants: {summary['caught']} of {summary['planted']} caught")
    for name in summary["survivors"]:
        print(f"mutants: survived: {name}")
    sys.exit(0 if summary["caught"] >= LEAST_CAUGHT * summary["planted"] else 1)


if __name__ == "__main__":
    main()
