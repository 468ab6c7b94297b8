#!/usr/bin/env python3
"""What a server and its previews add to a picture: `intaglio generate` against a job of `intaglio serve`, and a job against one with previews.

Usage: server_cost.py PROGRAM [--rounds 12] [--count 9] [--size 256x256] [--previews 4] [--json FILE]

Each round draws the same pictures three times, in an order that turns: by the command, by a job, by a job with previews that a client reads. Times are
from the first picture's end to the last one's, so what happens once a process does not count; sampling alone is from /metrics. The ratios are of one
round each; printed are their median and its 95 % interval (bootstrap).
"""
import argparse
import datetime
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))
from server_process import ServerProcess  # noqa: E402

PROMPT = "a red apple on the left of a blue fish"


def by_command(program, folder, arguments, seed):
    """Seconds a picture."""
    pictures = folder / f"command{seed}"
    pictures.mkdir()
    subprocess.run([program, "generate", "--prompt", PROMPT, "--size", arguments.size, "--seed", str(seed), "--count", str(arguments.count),
                    "--output", f"{pictures}/", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    times = sorted(file.stat().st_mtime_ns for file in pictures.iterdir())
    assert len(times) == arguments.count, times
    return (times[-1] - times[0]) * 1e-9 / (arguments.count - 1)


def sampling_seconds(server):
    """Of all pictures until now."""
    text = server.ask("GET", "/metrics")[2].decode()
    found = re.search(r'^intaglio_phase_seconds_sum\{[^}]*phase="denoise"[^}]*\} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def by_job(server, arguments, seed, previews):
    """Seconds a picture, and of sampling."""
    before = sampling_seconds(server)
    request = {"prompt": PROMPT, "size": arguments.size, "seed": seed, "count": arguments.count, "previews": previews}
    status, job = server.json("POST", "/api/jobs", request, {"Content-Type": "application/json"})
    assert status == 201, job
    times, seen = [], 0
    with server.socket(timeout=600) as connection:
        connection.sendall(f"GET /api/jobs/{job['id']}/events HTTP/1.1\r\nHost: {server.host.netloc}\r\n\r\n".encode())
        for line in connection.makefile("rb"):
            if line.startswith(b"event: picture"):
                times.append(time.monotonic())
            seen += line.startswith(b"event: preview")
            if len(times) == arguments.count:
                break
    assert seen == previews * arguments.count, (seen, previews)
    while server.json("GET", f"/api/jobs/{job['id']}")[1]["status"] != "done":
        time.sleep(0.01)
    return (times[-1] - times[0]) / (arguments.count - 1), (sampling_seconds(server) - before) / arguments.count


def spread(values):
    draws = random.Random(1)
    medians = sorted(statistics.median(draws.choices(values, k=len(values))) for _ in range(2000))
    return {"median": round(statistics.median(values), 4), "low": round(medians[50], 4), "high": round(medians[-51], 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--count", type=int, default=9)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--previews", type=int, default=4)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    program = arguments.program.resolve()
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server = ServerProcess(program, folder)
        by_job(server, arguments, 0, arguments.previews)  # the model, and what previews are fitted to
        for seed in range(1, arguments.rounds + 1):
            ways = {"command": lambda: by_command(program, folder, arguments, seed), "job": lambda: by_job(server, arguments, seed, 0),
                    "previews": lambda: by_job(server, arguments, seed, arguments.previews)}
            order = list(ways)[seed % 3:] + list(ways)[:seed % 3]
            rounds.append({way: ways[way]() for way in order})
        assert server.stop() == 0
    commit = subprocess.run(["git", "-C", str(program.parent), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True).stdout.strip()
    result = {"date": datetime.date.today().isoformat(), "commit": commit, "command": "server_cost.py PROGRAM " + " ".join(sys.argv[2:]),
              "rounds": arguments.rounds, "pictures_each": arguments.count, "size": arguments.size, "previews": arguments.previews,
              "command_s": spread([r["command"] for r in rounds]), "job_s": spread([r["job"][0] for r in rounds]),
              "job_to_command": spread([r["job"][0] / r["command"] for r in rounds]),
              "previews_to_none": spread([r["previews"][0] / r["job"][0] for r in rounds]),
              "previews_to_none_sampling": spread([r["previews"][1] / r["job"][1] for r in rounds])}
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
