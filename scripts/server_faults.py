"""What load_server.py lets happen to servers, workers and Redis beside kills: clocks that jump, disks that are full; and who watches how jobs end."""
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import threading
import time

TREE = pathlib.Path(__file__).resolve().parents[1]
DAY = 86400  # seconds


class Clocks:
    """A clock of its own for every process that is started with `environment()`; `jump()` moves one of them."""

    def __init__(self, folder):
        self.folder = folder
        self.shim = folder / "shift_clock.so"
        subprocess.run(["c++", "-std=c++20", "-O1", "-shared", "-fPIC", "-o", self.shim, TREE / "tests/e2e/shift_clock.cpp"], check=True)
        self.names = []

    def environment(self, name):
        self.names.append(name)
        self.set(name, 0)
        return {**os.environ, "LD_PRELOAD": str(self.shim), "INTAGLIO_CLOCK_SHIFT": str(self.folder / f"clock-{name}")}

    def set(self, name, seconds):
        path = self.folder / f"clock-{name}"
        path.with_suffix(".new").write_text(str(seconds))
        path.with_suffix(".new").rename(path)

    def jump(self):
        """Redis's every second time, where there is one; ahead or back, by seconds or hours."""
        name = "redis" if "redis" in self.names and random.random() < 0.5 else random.choice(self.names)
        self.set(name, round(random.choice([-1, 1]) * DAY ** random.random()))


class Disk:
    """A file system in memory of so many bytes, mounted at `folder`; needs root."""

    def __init__(self, folder, megabytes):
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
        self.folder = folder
        self.ballast = folder / "ballast"

    def fill(self):
        with open(self.ballast, "ab", buffering=0) as file:
            room = shutil.disk_usage(self.folder).free
            while room:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), room)
                    file.seek(0, os.SEEK_END)
                except OSError:  # somebody else was faster
                    pass
                room = shutil.disk_usage(self.folder).free

    def free(self):
        self.ballast.unlink()

    def unmount(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


class Ends(threading.Thread):
    """Hears on Redis's own channel how often each job ended, as long as Redis is there."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.counts, self.heard_all, self.leaving = port, {}, True, False
        self.subscribed = threading.Event()

    def run(self):
        while not self.leaving:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s, s.makefile("rb") as file:
                    s.settimeout(None)
                    s.sendall(b"SUBSCRIBE intaglio:events\r\n")
                    while (value := read_reply(file)) is not None:
                        self.subscribed.set()
                        if value[0] == b"message":
                            self.take(value[2])
            except OSError:
                pass
            self.heard_all = self.heard_all and self.leaving
            time.sleep(0.02)

    def take(self, message):
        event = json.loads(message) if message.startswith(b"{") else {}
        if event.get("kind") == "state" and event["job"]["state"] not in ("queued", "running"):
            job = event["job"]["id"]
            self.counts[job] = self.counts.get(job, 0) + 1


def read_reply(file):
    """An answer of Redis; None: it has hung up."""
    line = file.readline()
    if not line.endswith(b"\r\n"):
        return None
    kind, rest = line[:1], line[1:-2]
    if kind == b"*":
        items = [read_reply(file) for _ in range(int(rest))]
        return None if None in items else items
    if kind == b"$":
        data = file.read(int(rest) + 2)
        return data[:-2] if len(data) == int(rest) + 2 else None
    return rest


def is_whole(picture):
    return picture[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" in picture[-12:]


def broken_files(results):
    """Pictures below a folder that are not whole; how many other files lie beside them."""
    pictures, others = [], 0
    for path in results.glob("*/*"):
        if path.suffix == ".png":
            if not is_whole(path.read_bytes()):
                pictures.append(path.name)
        else:
            others += 1
    return pictures, others
