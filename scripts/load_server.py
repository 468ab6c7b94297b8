#!/usr/bin/env python3
"""Puts `intaglio serve` under load, kills it on the way if asked to, and counts what became of every accepted job.

Usage: load_server.py PROGRAM [--queue sqlite|redis] [--servers 1] [--workers 1] [--clients 200] [--seconds 120] [--kills 0] [--drop-redis 0] [--json FILE]

Clients send jobs of one step at 64 x 64 as fast as they are taken, beside a client that asks /healthz 50 times a second. With --kills a process is
killed (SIGKILL) at so many random moments and started again: the server on its folder, or with --queue redis any of the servers and workers that
share a Redis of this script's own (appendonly yes, appendfsync always). --drop-redis kills and starts Redis so often, or cuts all its connections, or
makes it pause. At the end the queue is drained, and every job that was accepted must be there once, done, with a whole picture, or failed with a reason.
"""
import argparse
import datetime
import json
import os
import pathlib
import random
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

kLease = 3  # seconds


class Process:
    def __init__(self, words, log):
        self.words, self.log, self.process, self.restarts = words, log, None, []

    def start(self):
        began = time.monotonic()
        while True:
            self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=open(self.log, "ab"), text=True)
            if self.is_up():
                break
            # Redis was away: what starts services starts them again.
            if self.process.wait() == 0 or time.monotonic() - began > 60:
                sys.exit(f"load_server: {self.words[1]} ended with {self.process.returncode}; see {self.log}: {self.log.read_text()[-500:]}")
            time.sleep(0.05)
        self.restarts.append(time.monotonic() - began)

    def is_up(self):
        return self.process.stdout.readline() != ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10


class Server(Process):
    def __init__(self, program, folder, options):
        self.port = free_port()
        super().__init__([program, "serve", "--port", str(self.port), "--data-dir", str(folder / "data"), *options], folder / "log.txt")

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
    @property
    def version(self):
        return subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout.split("v=")[1].split()[0]

    def drop(self):
        """One of three ways to lose it."""
        way = random.choice(["kill", "cut", "pause"])
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
    def __init__(self, servers, workers, redis, clients, seconds):
        self.servers, self.processes, self.redis, self.clients = servers, servers + workers, redis, clients
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
                wait = min(2.0, float(error.headers["Retry-After"]))
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

    def run(self, kills, drops):
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(self.clients)]
        if kills:
            threads.append(threading.Thread(target=self.at_random, args=(kills, self.kill_one)))
        if drops:
            threads.append(threading.Thread(target=self.at_random, args=(drops, self.redis.drop)))
        if not kills and not drops:
            threads.append(threading.Thread(target=self.look))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def drain(server):
    waits = lambda state: json.loads(server.ask(f"/api/jobs?status={state}&limit=1"))["jobs"]
    while True:
        try:
            if not waits("queued") and not waits("running"):
                return
        except OSError:  # Redis was dropped a moment ago
            pass
        time.sleep(0.2)


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
            picture = server.ask(state["pictures"][0]["url"])
            if picture[:8] != b"\x89PNG\r\n\x1a\n" or b"IEND" not in picture[-12:]:
                problems.append(f"{job} has a broken picture")
        elif state["status"] != "failed":
            problems.append(f"{job} is {state['status']}")
    return states, problems


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
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.queue == "sqlite" and (arguments.servers != 1 or arguments.workers != 1 or arguments.drop_redis):
        parser.error("--servers, --workers and --drop-redis are of --queue redis")
    program = arguments.program.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        redis, workers, options = None, [], []
        if arguments.queue == "redis":
            redis = Redis(folder)
            options = ["--queue", redis.url, "--results", str(folder / "results"), "--lease-seconds", str(kLease)]
            workers = [Process([program, "worker", *options], folder / "log.txt") for _ in range(arguments.workers)]
        servers = [Server(program, folder, options) for _ in range(arguments.servers)]
        for process in servers + workers:
            process.start()
        load = Load(servers, workers, redis, arguments.clients, arguments.seconds)
        load.run(arguments.kills, arguments.drop_redis)
        drain(servers[0])
        states, problems = ends(servers[0], load.accepted)
        if len(set(load.accepted)) != len(load.accepted):
            problems.append("an id was given twice")
        health = sorted(load.health)
        restarts = [seconds for process in servers + workers for seconds in process.restarts]
        result = {"date": datetime.date.today().isoformat(), "commit": commit_of(program), "command": "load_server.py PROGRAM " + " ".join(sys.argv[2:]),
                  "queue": "Redis " + redis.version if redis else "SQLite", "servers": len(servers), "workers": len(workers),
                  "clients": arguments.clients, "seconds": arguments.seconds, "kills": arguments.kills, "redis_dropped": arguments.drop_redis,
                  "accepted": len(load.accepted), "ended": states, "refused_429": load.refused, "refused_503": load.unavailable,
                  "connections_broken": load.broken, "processors": os.cpu_count(), "load_of_others": os.getloadavg()[2],
                  "restart_s": {"most": max(restarts)}, "problems": problems}
        if health:
            result["healthz_ms"] = {"median": 1e3 * health[len(health) // 2], "p99": 1e3 * health[len(health) * 99 // 100], "most": 1e3 * health[-1]}
            half = len(load.memory) // 2
            result["memory_mb"] = {"first_half": max(load.memory[:half]) / 1e6, "second_half": max(load.memory[half:]) / 1e6}
        for process in servers + workers:
            process.process.terminate()
            process.process.wait()
        if redis:
            redis.kill()
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
