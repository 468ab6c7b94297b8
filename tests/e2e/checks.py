"""Checks that are counted and named, and waiting: of the tests that talk to servers."""

import sys
import time

failures = []


def check(condition, what):
    print(("ok: " if condition else "FAILED: ") + what, flush=True)
    if not condition:
        failures.append(what)


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def end(name):
    """Ends the program: 1 if a check failed."""
    print(f"{name}: {len(failures)} failed")
    sys.exit(1 if failures else 0)
