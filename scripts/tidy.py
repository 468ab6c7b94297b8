#!/usr/bin/env python3
"""clang-tidy of the sources that read untrusted bytes or hold them all together; fails on any finding.

Usage: tidy.py BUILD_DIR CHECKS

CHECKS as clang-tidy takes them, behind those of .clang-tidy. A source that was clean is not checked again until it, a
header it includes, its command, or a setting is another: names of what was clean are kept under
$XDG_CACHE_HOME/intaglio-tidy, as the compiler cache keeps objects.
"""
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIDY = "clang-tidy-14"
SOURCES = ["src/core/*.cpp", ":!src/core/cuda", "src/io/*.cpp", "src/text/*.cpp", "src/models/*.cpp",
           "src/pipeline/*.cpp", "src/advice/*.cpp", "src/verify/*.cpp", "src/eval/*.cpp"]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "intaglio-tidy"
DAYS_KEPT = 30


def output(*command, cwd=ROOT):
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@functools.lru_cache(maxsize=None)
def digest(path):
    """Of a header: contents of the project's and of what the build makes, the size and date of others."""
    if path.is_relative_to(ROOT):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def included(build):
    """By object file of the build: all that it was compiled from."""
    files, current = {}, None
    for line in output("ninja", "-C", str(build), "-t", "deps").splitlines():
        if line.startswith("    "):
            files[current].append(build / line.strip())
        elif "#deps" in line and "(VALID)" in line:
            current = line.split(":")[0]
            files[current] = []
    return files


def key(command, headers, settings):
    """Another one whenever clang-tidy might say something else; None: not known."""
    if not headers:
        return None
    hashed = hashlib.sha256(settings.encode())
    hashed.update(command["command"].replace(str(ROOT), "").encode())
    for path in sorted({pathlib.Path(os.path.normpath(header)) for header in headers}):
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        hashed.update(f"{name} {digest(path)}\n".encode())
    return hashed.hexdigest()


def findings(build, source, checks):
    run = subprocess.run([TIDY, "-p", str(build), f"--checks={checks}", "--quiet", "--warnings-as-errors=*", str(source)],
                         cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode == 0 and not re.search(r"(error|warning):", run.stdout):
        return ""
    return run.stdout + run.stderr


def forget_old():
    oldest = time.time() - DAYS_KEPT * 86400
    for stamp in CACHE.iterdir():
        if stamp.stat().st_mtime < oldest:
            stamp.unlink(missing_ok=True)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: tidy.py BUILD_DIR CHECKS")
    build, checks = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    commands = {pathlib.Path(c["file"]): c for c in json.loads((build / "compile_commands.json").read_text())}
    sources = [ROOT / name for name in output("git", "ls-files", *SOURCES).split()]
    dependencies = included(build)
    settings = "\n".join([output(TIDY, "--version"), checks, (ROOT / ".clang-tidy").read_text()])
    CACHE.mkdir(parents=True, exist_ok=True)
    forget_old()

    def check(source):
        """What clang-tidy finds, and whether it was asked."""
        command = commands.get(source)
        if command is None:
            return f"{source.relative_to(ROOT)}: is not built, so it is not checked", True
        name = re.search(r" -o (\S+)", command["command"]).group(1)
        stamp = key(command, dependencies.get(name), settings)
        if stamp and (CACHE / stamp).exists():
            (CACHE / stamp).touch()
            return "", False
        found = findings(build, source, checks)
        if stamp and not found:
            (CACHE / stamp).touch()
        return found, True

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, sources))
    problems = [found for found, _ in results if found]
    print("\n".join(problems), end="\n" if problems else "")
    print(f"clang-tidy: {len(results)} sources, {sum(asked for _, asked in results)} of them not seen before, "
          f"{len(problems)} with findings")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
