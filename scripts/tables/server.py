"""Tables of the server."""

import glob

from tables.results import all_results, read, Table


def server_cost_table():
    """What a server and its previews add to a picture."""
    rows = []
    for _, r in all_results("server_cost"):
        percent = lambda interval: "{:+.1f} % ({:+.1f} to {:+.1f})".format(*(100 * (interval[key] - 1) for key in ("median", "low", "high")))
        rows.append([f"{r['size'].replace('x', ' x ')}, {r['rounds']} rounds of {r['pictures_each']}", f"{1000 * r['command_s']['median']:.0f} ms", percent(r["job_to_command"]),
                     f"{r['previews']}: {percent(r['previews_to_none'])}", percent(r["previews_to_none_sampling"])])
    return Table(["pictures", "by `generate`", "by a job", "previews a picture", "of its sampling"], rows)


def server_load_table():
    rows = []
    for _, r in [*all_results("server_kills_*"), *all_results("server_faults_*"), *all_results("server_load")]:
        machines = f", {r['servers']} servers, {r['workers']} workers" if r["queue"].startswith("Redis") else ""
        kinds = [(r["kills"], "{} kills"), (r["redis_dropped"], "Redis lost {} times"), (r.get("clock_jumps"), "{} jumps of clocks"), (r.get("disk_full"), "disk full {} times")]
        faults = ", ".join(text.format(count) for count, text in kinds if count) or "none"
        ended = ", ".join(f"{n} {state}" for state, n in sorted(r["ended"].items()))
        health = f"{r['healthz_ms']['p99']:.1f} ms" if "healthz_ms" in r else ""
        rows.append([r["queue"] + machines, f"{r['clients']} clients, {r['seconds']:.0f} s", faults, str(r["accepted"]), ended, str(len(r["problems"])),
                     f"{r['restart_s']['median']:.2f} s" if "median" in r["restart_s"] else "", f"{r['restart_s']['most']:.2f} s", health])
    return Table(["kept in", "load", "faults", "accepted", "ended as", "lost, doubled, broken", "start, median", "slowest start", "`/healthz`, 99 of 100"], rows, key=3)


def server_abuse_table():
    """What was thrown at the server, and what it cost others."""
    if not glob.glob("bench/results/server_abuse.json"):
        return Table(["", "sent", "answered", "crashes, reports, leaks"], [])
    r = read("server_abuse")
    fuzz, idle, slow = r["fuzz"], r["connections"]["idle"], r["connections"]["slow"]
    answers = ", ".join(f"{count:,} {name}" for name, count in fuzz["answers"].items())
    bad = lambda part: str(part["crashes"] + part["sanitizer_reports"])
    rows = [[f"garbled HTTP, {fuzz['seconds']:.0f} s, ASan and UBSan", f"{fuzz['requests']:,} requests on {fuzz['connections']:,} connections", answers, bad(fuzz)]]
    for t in r["targets"]:
        rows.append([f"`fuzz_{t['target']}`, {t['seconds']} s, ASan and UBSan", f"{t['inputs']:,} inputs", f"{t['edges']:,} edges", str(t["crashes"])])
    for t in r.get("thread_sanitizer", []):
        rows.append([f"{t['what']}, ThreadSanitizer", t["sent"], t["answered"], str(t["reports"])])
    health = lambda part: f"/healthz p50 {part['healthz']['p50_ms']:.1f} ms, p99 {part['healthz']['p99_ms']:.1f} ms"
    alone = health({"healthz": r["connections"]["alone"]})
    rows.append(["nothing beside", "", alone, ""])
    rows.append([f"{idle['connections']:,} idle connections", f"{idle['bytes_a_connection'] / 1000:.0f} kB each", health(idle), "0"])
    rows.append([f"{slow['connections']:,} that trickle headers", f"all closed after {slow['all_closed_s']:.0f} s", health(slow), "0"])
    return Table(["", "sent, held", "answered", "crashes, reports"], rows)
