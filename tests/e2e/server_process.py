"""`intaglio serve` in a process of its own, for tests that talk to it."""

import http.client
import os
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit


class ServerProcess:
    """On a free port, with jobs in FOLDER/data and its log in FOLDER/log.txt; `address` is what it printed."""

    def __init__(self, program, folder, *options, env=None):
        self.folder = Path(folder)
        self.log = self.folder / "log.txt"
        # No settings of the user's.
        environment = {**os.environ, "XDG_CONFIG_HOME": str(self.folder), "INTAGLIO_TOKEN": "", **(env or {})}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [program, "serve", "--port", "0", "--data-dir", str(self.folder / "data"), *options],
                stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.address = self.process.stdout.readline().strip()
        self.host = urlsplit(self.address)

    def ask(self, method, path, body=None, headers=None, timeout=120):
        connection = http.client.HTTPConnection(self.host.hostname, self.host.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def socket(self, timeout=30, source=None):
        return socket.create_connection((self.host.hostname, self.host.port), timeout=timeout, source_address=source and (source, 0))

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10

    def stop(self, number=signal.SIGTERM, seconds=60):
        """The exit code; None: it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None
