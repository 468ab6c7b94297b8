#!/usr/bin/env python3
"""Puts `intaglio serve` under load, kills it on the way if asked to, and counts what became of every accepted job.

Usage: load_server.py PROGRAM [--clients 200] [--seconds 120] [--kills 0] [--json FILE]

Clients send jobs of one step at 64 x 64 as fast as they are taken, beside a client that asks /healthz 50 times a second.
With --kills the process is killed (SIGKILL) at so many random moments and started again on the same folder. At the end the
queue is drained, and every job that was accepted must be there once, done, with a whole picture, or failed with a reason.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request


class Server:
    def __init__(self, program, folder):
        self.program, self.folder, self.port, self.process = program, folder, None, None
        self.restarts = []

    def start(self):
        began = time.monotonic()
        log = open(self.folder / "log.txt", "ab")
        self.process = subprocess.Popen([self.program, "serve", "--port", str(self.port or 0), "--data-dir", str(self.folder / "data")],
                                        stdout=subprocess.PIPE, stderr=log, text=True)
        for line in self.process.stdout:
            if "http://" in line:
                self.port = int(line.split("http://")[1].split("/")[0].rsplit(":", 1)[1])
                break
        while self.ask("/healthz", allow_failure=True) is None:
            if self.process.poll() is not None:
                sys.exit(f"load_server: the server ended with {self.process.returncode}; see {self.folder / 'log.txt'}")
            time.sleep(0.01)
        self.restarts.append(time.monotonic() - began)

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

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10


class Load:
    def __init__(self, server, clients, seconds):
        self.server, self.clients = server, clients
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.accepted, self.refused, self.broken, self.health, self.memory = [], 0, 0, [], []

    def client(self, number):
        while time.monotonic() < self.end:
            wait = 0.05
            try:
                job = json.loads(self.server.ask("/api/jobs", {"prompt": "a red apple", "size": "64x64", "steps": 1, "seed": number}))
                with self.lock:
                    self.accepted.append(job["id"])
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise
                with self.lock:
                    self.refused += 1
                wait = min(2.0, float(error.headers["Retry-After"]))
            except OSError:
                with self.lock:
                    self.broken += 1
            time.sleep(wait)

    def look(self):
        while time.monotonic() < self.end:
            began = time.monotonic()
            if self.server.ask("/healthz", allow_failure=True) is not None:
                self.health.append(time.monotonic() - began)
                self.memory.append(self.server.memory())
            time.sleep(0.02)

    def kill(self, times):
        for moment in sorted(random.uniform(0, self.end - time.monotonic()) for _ in range(times)):
            time.sleep(max(0.0, moment - (time.monotonic() - self.began)))
            self.server.process.send_signal(signal.SIGKILL)
            self.server.process.wait()
            self.server.start()

    def run(self, kills):
        self.began = time.monotonic()
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(self.clients)]
        threads.append(threading.Thread(target=self.kill, args=(kills,)) if kills else threading.Thread(target=self.look))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def ends(server, ids):
    """How the jobs ended, by state; problems."""
    states, problems = {}, []
    for job in ids:
        state = json.loads(server.ask(f"/api/jobs/{job}"))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        server = Server(arguments.program.resolve(), pathlib.Path(name))
        server.start()
        load = Load(server, arguments.clients, arguments.seconds)
        load.run(arguments.kills)
        while json.loads(server.ask("/api/jobs?status=queued&limit=1"))["jobs"] or json.loads(server.ask("/api/jobs?status=running&limit=1"))["jobs"]:
            time.sleep(0.2)
        states, problems = ends(server, load.accepted)
        if len(set(load.accepted)) != len(load.accepted):
            problems.append("an id was given twice")
        health = sorted(load.health)
        result = {"clients": arguments.clients, "seconds": arguments.seconds, "kills": arguments.kills, "accepted": len(load.accepted),
                  "ended": states, "refused_429": load.refused, "connections_broken": load.broken, "processors": os.cpu_count(),
                  "load_of_others": os.getloadavg()[2], "restart_s": {"most": max(server.restarts)}, "problems": problems}
        if health:
            result["healthz_ms"] = {"median": 1e3 * health[len(health) // 2], "p99": 1e3 * health[len(health) * 99 // 100], "most": 1e3 * health[-1]}
            half = len(load.memory) // 2
            result["memory_mb"] = {"first_half": max(load.memory[:half]) / 1e6, "second_half": max(load.memory[half:]) / 1e6}
        server.process.terminate()
        server.process.wait()
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
