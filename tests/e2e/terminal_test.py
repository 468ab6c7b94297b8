#!/usr/bin/env python3
"""Progress on a terminal: lines fit its width of now, and elsewhere a line a percent.
terminal_test.py INTAGLIO_BINARY REFERENCE_DATA_FOLDER"""
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unicodedata

BINARY, DATA = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
checks, failures = 0, []


def check(good, what):
    global checks
    checks += 1
    if not good:
        failures.append(what)
        print("FAIL:", what)


def width(text):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def draws(output):
    """What is drawn over and over: between a carriage return and the next, without colours."""
    parts = re.split(r"\r\x1b\[K|\r?\n", output.decode("utf-8", "replace"))
    return [re.sub(r"\x1b\[[0-9;]*m", "", p) for p in parts]


def redrawn(output):
    """Draws without the lines that stay, which a terminal breaks by itself."""
    return [d for d in draws(output) if not d.startswith(("wrote", "schedule:", "[1/2] wrote", "[2/2] wrote"))]


def on_terminal(arguments, columns, later=None, environment=()):
    """Runs with stderr on a terminal of `columns`; after the first steps it gets `later` columns. Returns output, the part after that, exit code."""
    master, slave = pty.openpty()
    resize = lambda c: fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, c, 0, 0))
    resize(columns)
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    env.update({"TERM": "xterm"}, **dict(environment))
    process = subprocess.Popen([BINARY] + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave, env=env)
    os.close(slave)
    output, mark = b"", None
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        output += block
        if later and mark is None and b" 3/" in output:
            resize(later)
            mark = len(output)
    return output, output[mark or 0:], process.wait()


folder = tempfile.mkdtemp()
try:
    os.chdir(folder)
    picture = ["generate", "--model", DATA + "/tiny", "--prompt", "cat", "--size", "64x64", "--seed", "1"]
    for columns in (200, 80, 40, 20, 10, 1):
        output, _, code = on_terminal(picture + ["--steps", "30", "--output", "x.png"], columns)
        check(code == 0, f"{columns} columns: exit code {code}")
        lines = redrawn(output)
        longest = max(lines, key=width)
        check(width(longest) < max(columns, 2), f"{columns} columns: a line of {width(longest)}: {longest!r}")
        if columns >= 20:
            check(any("30/30" in d for d in lines), f"{columns} columns: the count is shown")
        if columns >= 80:
            check(any("━" in d for d in lines) and any("left" in d for d in lines), f"{columns} columns: bar and times")
    output, after, code = on_terminal(picture + ["--size", "128x128", "--steps", "200", "--output", "y.png"][2:], 120, 40)
    # The draw that was on its way when the window changed may still be long.
    long = [d for d in redrawn(after)[2:] if width(d) >= 40]
    check(code == 0 and len(draws(after)) > 10, "narrowed: draws go on")
    check(not long, f"narrowed while drawing: {long[:2]}")

    # Wide characters count twice; nothing of a name is obeyed.
    model = "模型😀" * 8
    shutil.copytree(DATA + "/tiny", model)
    wide = ["generate", "--model", model, "--prompt", "cat", "--size", "64x64", "--steps", "20", "--count", "2", "--output", "z/"]
    output, _, code = on_terminal(wide, 30)
    check(code == 0 and max(width(d) for d in redrawn(output)) < 30, "wide names fit")
    output, _, _ = on_terminal(picture + ["--steps", "5", "--output", "n.png"], 80, environment=[("NO_COLOR", "1")])
    check(b"\x1b[K" in output and b"\x1b[36m" not in output, "NO_COLOR gives no colour")
    output, _, _ = on_terminal(picture + ["--steps", "5", "--output", "n.png"], 80, environment=[("TERM", "dumb")])
    check(b"\x1b" not in output, "a dumb terminal gets plain lines")
    output, _, _ = on_terminal(picture + ["--steps", "5", "--output", "n.png", "--quiet"], 80)
    check(output == b"", "quiet draws nothing")

    # Without a terminal: a line a percent at most, each phase named once.
    plain = subprocess.run([BINARY] + picture + ["--steps", "1000", "--output", "p.png"], capture_output=True, stdin=subprocess.DEVNULL)
    lines = plain.stderr.decode().splitlines()
    steps = [l for l in lines if l.startswith("sampling ")]
    check(50 <= len(steps) <= 101, f"1000 steps: {len(steps)} lines")
    check("1000/1000" in steps[-1], f"the last step is told: {steps[-1]!r}")
    phases = [l for l in lines if l.endswith("...")]
    check(len(phases) >= 4 and len(phases) == len(set(phases)), f"each phase once: {phases}")
    check(not [l for l in lines if "\r" in l or "\x1b" in l], "no terminal codes in a file")
finally:
    os.chdir("/")
    shutil.rmtree(folder)
print(f"{checks} checks, {len(failures)} failed")
sys.exit(bool(failures))
