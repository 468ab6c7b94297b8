"""What stored results do not say."""

import re

from tables.results import all_results, Table


def walk(value):
    """Every object inside a result."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(item)


def lacks(data, of_gpu):
    """What a reader needs to repeat a result, or to trust it, and does not find in its file."""
    objects = list(walk(data))
    has = lambda *names: any(name in o for o in objects for name in names)
    missing = [] if has("card", "gpu", "device", "name", "cpu") else ["card or CPU"]
    if of_gpu and not has("driver"):
        missing.append("driver")
    if not has("date"):
        missing.append("date")
    if not has("command", "psnr_command"):
        missing.append("command")
    commits = [o[name] for o in objects for name in ("commit", "weights_commit") if name in o]
    if not commits:
        missing.append("commit")
    elif any(" " in commit for commit in commits):
        missing.append("exact commit: a working tree after " + ", ".join(sorted({c.split()[-1] for c in commits if " " in c})))
    timed = [o for o in objects if any(name.startswith(("min_", "max_", "least_")) or name.endswith(("_min", "_max")) for name in o)]
    alone = [o for o in timed if "min_ms" in o and o["min_ms"] == o.get("max_ms")]
    is_timed = any(re.search(r"(_ms|_us|_s|_seconds|tops)$", name) for o in objects for name in o)
    if is_timed and not timed:
        missing.append("spread")
    elif alone:
        missing.append(f"spread of {len(alone)} of {len(timed)} times, each taken once")
    return missing


def lacking_table():
    rows = []
    for name, result in all_results("*"):
        missing = lacks(result, of_gpu=name.startswith(("h100", "h200", "map_h")))
        if missing:
            rows.append([f"`{name}`", "; ".join(missing)])
    return Table(["result", "does not say"], rows)
