"""A Redis of its own on 127.0.0.1 that forgets nothing, for tests of `--queue`."""

import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class RedisServer:
    """With its files in `folder`; killed and started again it has what was acknowledged."""

    def __init__(self, folder, password="", env=None):
        self.folder, self.port, self.password, self.env = Path(folder), free_port(), password, env
        self.url = f"redis://{':' + quote(password) + '@' if password else ''}127.0.0.1:{self.port}"
        self.start()

    def start(self):
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always",
                 "--save", "", "--logfile", "redis.log", *(["--requirepass", self.password] if self.password else [])]
        self.process = subprocess.Popen(words, env=self.env)
        for _ in range(1000):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError(f"redis-server does not start; see {self.folder / 'redis.log'}")

    def kill(self):
        self.process.kill()
        self.process.wait()
