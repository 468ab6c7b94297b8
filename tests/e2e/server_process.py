"""`intaglio serve` and `intaglio worker` in processes of their own, for tests that talk to them."""

import http.client
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit


class Process:
    """PROGRAM with `words`; its log is the file `log`, `line` the first one that it printed."""

    def __init__(self, program, folder, log, *words, env=None):
        self.folder, self.log = Path(folder), Path(folder) / log
        # No settings of the user's.
        environment = {**os.environ, "XDG_CONFIG_HOME": str(self.folder), "INTAGLIO_TOKEN": "", **(env or {})}
        with open(self.log, "ab") as file:
            self.process = subprocess.Popen([program, *words], stdout=subprocess.PIPE, stderr=file, text=True, env=environment)
        self.line = self.process.stdout.readline().strip()

    def stop(self, number=signal.SIGTERM, seconds=60):
        """The exit code; None: it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None


class ServerProcess(Process):
    """A server on a free port, with jobs in FOLDER/data unless an option says otherwise; `address` is what it printed."""

    def __init__(self, program, folder, *options, log="log.txt", env=None):
        data = [] if "--data-dir" in options else ["--data-dir", str(Path(folder) / "data")]
        super().__init__(program, folder, log, "serve", "--port", "0", *data, *options, env=env)
        self.address = self.line
        self.host = urlsplit(self.address)

    def ask(self, method, path, body=None, headers=None, timeout=120):
        connection = http.client.HTTPConnection(self.host.hostname, self.host.port, timeout=timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, headers=None):
        status, _, data = self.ask(method, path, body, headers)
        return status, json.loads(data) if data else None

    def socket(self, timeout=30, source=None):
        return socket.create_connection((self.host.hostname, self.host.port), timeout=timeout, source_address=source and (source, 0))

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10
