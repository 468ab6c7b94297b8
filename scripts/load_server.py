#!/usr/bin/env python3
"""Puts `intaglio serve` under load, kills it on the way if asked to, and counts what became of every accepted job.

Usage: load_server.py PROGRAM [--queue sqlite|redis] [--servers 1] [--workers 1] [--clients 200] [--seconds 120] [--kills 0] [--drop-redis 0]
                      [--jump-clock 0] [--fill-disk 0] [--json FILE]

Clients send jobs of one step at 64 x 64 as fast as they are taken, beside a client that asks /healthz 50 times a second. With --kills a process is
killed (SIGKILL) at so many random moments and started again: the server on its folder, or with --queue redis any of the servers and workers that
share a Redis of this script's own (appendonly yes, appendfsync always). --drop-redis kills and starts Redis so often, or cuts all its connections, or
makes it pause. --jump-clock moves the clock of a server, a worker or (half the time) Redis so often, by up to a day ahead or back; --fill-disk fills the
disk of Redis and pictures, or of the server's folder, so often for up to 3 seconds (a file system in memory, so as root). At the end the queue is drained,
and every job that was accepted must be there once, done, with a whole picture, or failed with a reason; on a Redis it must have ended no more than once.
What a sanitizer says of a program that was built with one is a failure, too.
"""
import argparse
import datetime
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))
from redis_server import RedisServer, free_port  # noqa: E402
from server_faults import Clocks, Disk, Ends, broken_files, is_whole  # noqa: E402

kLease = 3  # seconds
kDrain = 300  # seconds after which a queue that is not empty never will be
kDiskMegabytes = 256


class Process:
    """`ready_at()`: since when what it needs has been there; a start takes no longer than from then on."""

    def __init__(self, words, log, env=None, ready_at=lambda: 0.0):
        self.words, self.log, self.env, self.ready_at, self.process, self.restarts = words, log, env, ready_at, None, []

    def start(self):
        began = time.monotonic()
        while True:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=log, text=True, env=self.env)
            if self.is_up():
                break
            # Redis was away, or the disk full: what starts services starts them again.
            if self.process.wait() == 0 or time.monotonic() - began > 60:
                sys.exit(f"load_server: {self.words[1]} ended with {self.process.returncode}; see {self.log}: {self.log.read_text()[-500:]}")
            time.sleep(0.05)
        self.restarts.append(time.monotonic() - max(began, self.ready_at()))

    def is_up(self):
        return self.process.stdout.readline() != ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10


class Server(Process):
    def __init__(self, program, folder, options, log, env, ready_at):
        self.port = free_port()
        super().__init__([program, "serve", "--port", str(self.port), "--data-dir", str(folder / "data"), *options], log, env, ready_at)

    def is_up(self):
        return super().is_up() and self.ask("/healthz") is not None

    def ask(self, path, body=None, allow_failure=False):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body and json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if allow_failure:
                return None
            raise


class Redis(RedisServer):
    up_since = 0.0
    dropped = {}  # how often in which way

    def start(self):
        super().start()
        self.up_since = time.monotonic()

    @property
    def version(self):
        return subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout.split("v=")[1].split()[0]

    def drop(self):
        """One of three ways to lose it."""
        way = random.choice(["kill", "cut", "pause"])
        self.dropped[way] = self.dropped.get(way, 0) + 1
        if way == "kill":
            self.kill()
            time.sleep(random.uniform(0, 2))
            self.start()
            return
        words = {"cut": "CLIENT KILL TYPE normal\r\n", "pause": "CLIENT PAUSE 2000\r\n"}[way]
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(words.encode() + b"CLIENT KILL TYPE pubsub\r\n" * (way == "cut"))
            s.recv(100)


class Load:
    def __init__(self, servers, workers, redis, clocks, disk, clients, seconds):
        self.servers, self.processes, self.redis, self.clocks, self.disk, self.clients = servers, servers + workers, redis, clocks, disk, clients
        self.began = time.monotonic()
        self.end = self.began + seconds
        self.lock = threading.Lock()
        self.accepted, self.refused, self.unavailable, self.broken, self.health, self.memory = [], 0, 0, 0, [], []

    def client(self, number):
        server = self.servers[number % len(self.servers)]
        while time.monotonic() < self.end:
            wait = 0.05
            try:
                job = json.loads(server.ask("/api/jobs", {"prompt": "a red apple", "size": "64x64", "steps": 1, "seed": number}))
                with self.lock:
                    self.accepted.append(job["id"])
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503):
                    raise
                with self.lock:
                    self.refused += error.code == 429
                    self.unavailable += error.code == 503
                wait = min(2.0, float(error.headers.get("Retry-After", 1)))
            except OSError:
                with self.lock:
                    self.broken += 1
            time.sleep(wait)

    def look(self):
        while time.monotonic() < self.end:
            began = time.monotonic()
            if self.servers[0].ask("/healthz", allow_failure=True) is not None:
                self.health.append(time.monotonic() - began)
                self.memory.append(self.servers[0].memory())
            time.sleep(0.02)

    def at_random(self, times, act):
        for moment in sorted(random.uniform(0, self.end - time.monotonic()) for _ in range(times)):
            time.sleep(max(0.0, moment - (time.monotonic() - self.began)))
            act()

    def kill_one(self):
        process = random.choice(self.processes)
        process.kill()
        process.start()

    def fill_disk(self):
        self.disk.fill()
        time.sleep(random.uniform(0.5, 3))
        self.disk.free()
        # Redis that cannot write its log (appendfsync always) ends.
        if self.redis and self.redis.process.poll() is not None:
            self.redis.start()

    def run(self, kills, drops, jumps, fills):
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(self.clients)]
        for times, act in ((kills, self.kill_one), (drops, self.redis and self.redis.drop), (jumps, self.clocks and self.clocks.jump), (fills, self.fill_disk)):
            if times:
                threads.append(threading.Thread(target=self.at_random, args=(times, act)))
        if not (kills or drops or jumps or fills):
            threads.append(threading.Thread(target=self.look))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def drain(server):
    """Until no job waits or runs; false: some never end."""
    waits = lambda state: json.loads(server.ask(f"/api/jobs?status={state}&limit=1"))["jobs"]
    until = time.monotonic() + kDrain
    while time.monotonic() < until:
        try:
            if not waits("queued") and not waits("running"):
                return True
        except OSError:  # Redis was dropped a moment ago
            pass
        time.sleep(0.2)
    return False


def ends(server, ids):
    """How the jobs ended, by state; problems."""
    states, problems = {}, []
    for job in ids:
        try:
            state = json.loads(server.ask(f"/api/jobs/{job}"))
        except urllib.error.HTTPError as error:
            problems.append(f"{job} is lost: {error.code}")
            continue
        states[state["status"]] = states.get(state["status"], 0) + 1
        if state["status"] == "failed" and not state["error"]["message"]:
            problems.append(f"{job} failed without a reason")
        if state["status"] == "done":
            if not is_whole(server.ask(state["pictures"][0]["url"])):
                problems.append(f"{job} has a broken picture")
        elif state["status"] != "failed":
            problems.append(f"{job} is {state['status']}")
    return states, problems


def cpu_name():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    return re.search(r"model name\s*:\s*(.*)", text)[1]


def commit_of(program):
    done = subprocess.run(["git", "-C", str(program.parent), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--queue", choices=["sqlite", "redis"], default="sqlite")
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--drop-redis", type=int, default=0)
    parser.add_argument("--jump-clock", type=int, default=0)
    parser.add_argument("--fill-disk", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.queue == "sqlite" and (arguments.servers != 1 or arguments.workers != 1 or arguments.drop_redis):
        parser.error("--servers, --workers and --drop-redis are of --queue redis")
    program = arguments.program.resolve()
    with tempfile.TemporaryDirectory() as name:
        disk = Disk(pathlib.Path(name) / "disk", kDiskMegabytes) if arguments.fill_disk else None
        try:
            result = run(arguments, program, pathlib.Path(name), disk)
        finally:
            if disk:
                disk.unmount()
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if result["problems"] else 0)


def run(arguments, program, folder, disk):
    files, log = disk.folder if disk else folder, folder / "log.txt"
    clocks = Clocks(folder) if arguments.jump_clock else None
    clock = clocks.environment if clocks else lambda name: None
    redis, workers, options, watcher = None, [], [], None
    ready_at = lambda: redis.up_since if redis else 0.0
    if arguments.queue == "redis":
        redis = Redis(files, env=clock("redis"))
        watcher = Ends(redis.port)
        watcher.start()
        watcher.subscribed.wait()
        options = ["--queue", redis.url, "--results", str(files / "results"), "--lease-seconds", str(kLease)]
        workers = [Process([program, "worker", *options], log, clock(f"worker-{i}"), ready_at) for i in range(arguments.workers)]
    servers = [Server(program, files, options, log, clock(f"server-{i}"), ready_at) for i in range(arguments.servers)]
    for process in servers + workers:
        process.start()
    load = Load(servers, workers, redis, clocks, disk, arguments.clients, arguments.seconds)
    load.run(arguments.kills, arguments.drop_redis, arguments.jump_clock, arguments.fill_disk)
    drained = drain(servers[0])
    states, problems = ends(servers[0], load.accepted)
    if not drained:
        problems.append(f"some jobs have not ended after {kDrain} s")
    if len(set(load.accepted)) != len(load.accepted):
        problems.append("an id was given twice")
    pictures, others = broken_files(files / "results" if redis else files / "data" / "pictures")
    problems += [f"{name} is half written" for name in pictures]
    restarts = sorted(seconds for process in servers + workers for seconds in process.restarts)
    result = {"date": datetime.date.today().isoformat(), "commit": commit_of(program), "command": "load_server.py PROGRAM " + " ".join(sys.argv[2:]),
              "queue": "Redis " + redis.version if redis else "SQLite", "servers": len(servers), "workers": len(workers),
              "clients": arguments.clients, "seconds": arguments.seconds, "kills": arguments.kills, "redis_dropped": arguments.drop_redis,
              "clock_jumps": arguments.jump_clock, "disk_full": arguments.fill_disk,
              "accepted": len(load.accepted), "ended": states, "refused_429": load.refused, "refused_503": load.unavailable,
              "connections_broken": load.broken, "cpu": cpu_name(), "processors": os.cpu_count(), "load_of_others": os.getloadavg()[2],
              "restart_s": {"count": len(restarts), "least_s": restarts[0], "median": restarts[len(restarts) // 2], "most": restarts[-1]}, "temporary_files_left": others}
    if watcher:
        watcher.leaving = True
        result["redis_dropped_by"] = redis.dropped
        problems += [f"{job} ended {count} times" for job, count in watcher.counts.items() if count > 1]
        heard = sum(job in watcher.counts for job in load.accepted)
        result["ends_heard"] = heard
        if watcher.heard_all and heard != len(load.accepted):
            problems.append(f"{len(load.accepted) - heard} ends were not told")
    if load.health:
        health = sorted(load.health)
        result["healthz_ms"] = {"median": 1e3 * health[len(health) // 2], "p99": 1e3 * health[len(health) * 99 // 100], "most": 1e3 * health[-1]}
        half = len(load.memory) // 2
        result["memory_mb"] = {"first_half": max(load.memory[:half]) / 1e6, "second_half": max(load.memory[half:]) / 1e6}
    for process in servers + workers:
        process.process.terminate()
        if process.process.wait():
            problems.append(f"{process.words[1]} ended with {process.process.returncode}")
    if redis:
        redis.kill()
    # Of a build with sanitizers.
    reports = re.findall(r"(?:WARNING|ERROR): \w+Sanitizer.*|.*runtime error: .*", log.read_text(errors="replace"))
    if reports:
        print(log.read_text(errors="replace")[-20000:], file=sys.stderr)
    problems += reports
    return {**result, "problems": problems}


if __name__ == "__main__":
    main()
