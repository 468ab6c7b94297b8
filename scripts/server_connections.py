#!/usr/bin/env python3
"""Holds many connections to `intaglio serve` open, idle ones and ones that trickle, and measures what that costs others.

Usage: server_connections.py PROGRAM [--idle 10000] [--slow 500] [--json FILE]

Idle: each asks once, then keeps its connection, from 127.0.0.2 on; half of them close, the rest wait until the server does. Slow: each sends a byte of a
header a second (slow loris). Meanwhile a client asks /healthz, 50 times a second, each time on a connection of its own. Fails where the server refuses
one, answers no more, or keeps what it should have closed. --json adds the figures to FILE under "connections". It needs `ulimit -Hn` above --idle.
"""
import argparse
import json
import pathlib
import re
import resource
import selectors
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))
from server_process import ServerProcess  # noqa: E402

ADDRESSES = 5  # of 127.0.0.x: an address has 28,000 ports
SLACK_S = 10   # by which the server may close later than it says
FIRST_HEADERS_S, NEXT_HEADERS_S = 20, 75  # its deadlines
ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Health:
    """Asks /healthz until it is left; then `p50_ms`, `p99_ms`, `count`."""

    def __init__(self, server):
        self.server, self.times, self.end = server, [], threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self):
        while not self.end.wait(0.02):
            began = time.monotonic()
            status = self.server.ask("GET", "/healthz", timeout=30)[0]
            assert status == 200, status
            self.times.append(1e3 * (time.monotonic() - began))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()

    def figures(self):
        times = sorted(self.times)
        return {"asked": len(times), "p50_ms": round(times[len(times) // 2], 2), "p99_ms": round(times[int(0.99 * (len(times) - 1))], 2), "max_ms": round(times[-1], 2)}


def open_connections(server):
    text = server.ask("GET", "/metrics")[2].decode()
    return int(re.search(r"^intaglio_http_connections (\d+)", text, re.MULTILINE)[1])


def wait_for(condition, seconds):
    """How long it took; None: it did not come."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.2)
    return None


def idle(server, count):
    before = server.resident_bytes()
    began = time.monotonic()
    sockets = []
    for i in range(count):
        s = server.socket(source=f"127.0.0.{2 + i % ADDRESSES}")
        s.sendall(ASK)
        sockets.append(s)
    for s in sockets:
        s.settimeout(30)
        assert s.recv(4096).startswith(b"HTTP/1.1 200"), "an idle connection got no answer"
    opened_s = time.monotonic() - began
    held = open_connections(server)
    assert held >= count, f"the server holds {held} of {count} connections"
    with Health(server) as health:
        time.sleep(10)
    during = server.resident_bytes()
    for s in sockets[::2]:
        s.close()
    freed_s = wait_for(lambda: open_connections(server) <= count - len(sockets[::2]) + 1, 30)
    assert freed_s is not None, "connections that were closed are still held"
    closed_s = wait_for(lambda: open_connections(server) <= 1, NEXT_HEADERS_S + SLACK_S)
    assert closed_s is not None, f"{open_connections(server)} idle connections are held beyond their deadline"
    for s in sockets[1::2]:
        assert s.recv(4096) == b"", "an idle connection was not closed"
        s.close()
    return {"connections": count, "open_s": round(opened_s, 1), "healthz": health.figures(), "resident_bytes_before": before, "resident_bytes_during": during,
            "resident_bytes_after": server.resident_bytes(), "bytes_a_connection": (during - before) // count, "freed_after_close_s": round(freed_s, 1)}


def slow(server, count):
    selector = selectors.DefaultSelector()
    began = time.monotonic()
    for i in range(count):
        s = server.socket(source=f"127.0.0.{2 + i % ADDRESSES}")
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        selector.register(s, selectors.EVENT_READ)
    told = 0
    with Health(server) as health:
        while selector.get_map() and time.monotonic() - began < FIRST_HEADERS_S + SLACK_S:
            for key, _ in selector.select(timeout=1):
                try:
                    told += b" 408 " in key.fileobj.recv(4096)
                except ConnectionError:
                    pass
                selector.unregister(key.fileobj)
                key.fileobj.close()
            for key in list(selector.get_map().values()):
                try:
                    key.fileobj.send(b"y", socket.MSG_DONTWAIT)
                except OSError:
                    pass  # the server has closed it: the next select says so
            time.sleep(0.5)
        left = len(selector.get_map())
    assert left == 0, f"{left} slow connections are held beyond their deadline"
    return {"connections": count, "all_closed_s": round(time.monotonic() - began, 1), "told_408": told, "healthz": health.figures()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < options.idle + 300:
        sys.exit(f"server_connections: the limit of open files is {most}; `ulimit -n {options.idle + 300}` first")
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(options.program, folder)
        try:
            with Health(server) as alone:
                time.sleep(5)
            result = {"command": f"scripts/server_connections.py INTAGLIO --idle {options.idle} --slow {options.slow}", "alone": alone.figures(), "idle": idle(server, options.idle), "slow": slow(server, options.slow)}
        finally:
            code = server.stop()
        assert code == 0, f"exit code {code}"
    print(json.dumps(result, indent=1))
    if options.json:
        whole = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(json.dumps({**whole, "connections": result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
