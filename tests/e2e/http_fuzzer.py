#!/usr/bin/env python3
"""Throws garbled HTTP at a real `intaglio serve` and sees whether it lives, answers in whole, and keeps what is not to be had.

  http_fuzzer.py INTAGLIO_BINARY [--seconds 10] [--seed 1] [--clients 4] [--json FILE]

Each client makes its requests from its seed, so that a run of one client is made again by the same command. The program may be built with sanitizers,
whose reports end it; a leak is told when it stops. Fails at: a crash, a report, a hang, a status of 500, an answer that is cut or no HTTP, a file of the
system's, anything but a refusal without the right token. --json adds its counts to FILE under "fuzz".
"""

import argparse
import base64
import collections
import json
import random
import re
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from redis_server import RedisServer
from server_process import Process, ServerProcess

kPictures = sorted((Path(__file__).resolve().parents[1] / "fuzz/corpus/picture").iterdir())
kBoundary = "b"
kPicture = base64.b64encode((kPictures[0].parent / "palette.png").read_bytes()).decode()
kToken = "0123456789abcdef0123456789abcdef"
kOpen = ("/", "/healthz", "/readyz", "/openapi.json", "/favicon.svg")  # without a token
kBodies = {
    "/api/jobs": {"prompt": "an owl", "negative_prompt": None, "model": "mini", "width": 64, "height": 64, "preset": None, "steps": 1, "guidance": "3",
                  "seed": 7, "count": 1, "loras": [], "priority": 0, "deadline_seconds": None, "previews": 1, "init_image": None, "mask": None, "strength": None},
    "/v1/images/generations": {"prompt": "an owl", "n": 1, "size": "64x64", "steps": 1, "seed": 7, "output_format": "webp", "output_compression": 50,
                               "response_format": "b64_json", "stream": True, "partial_images": 1, "quality": "auto"},
    "/sdapi/v1/txt2img": {"prompt": "an owl", "negative_prompt": "", "width": 64, "height": 64, "steps": 1, "cfg_scale": 3, "seed": 7,
                          "batch_size": 1, "n_iter": 1, "override_settings": {"sd_model_checkpoint": "mini"}},
    "/v1/images/edits": {"prompt": "an owl", "n": 1, "size": "64x64", "steps": 1, "strength": 0.5, "stream": True},
    "/sdapi/v1/img2img": {"prompt": "an owl", "width": 64, "height": 64, "steps": 1, "init_images": [kPicture], "mask": kPicture, "denoising_strength": 0.5,
                          "mask_blur": 4, "inpainting_mask_invert": 1, "include_init_images": True},
    "/sdapi/v1/options": {"sd_model_checkpoint": "mini"},
    "/sdapi/v1/png-info": {"image": "data:image/png;base64,iVBORw0KGgoAAAAQdEVYdHBhcmFtZXRlcnMAYSBjYXQAAAAA"},
    "/sdapi/v1/interrupt": {},
}
kPaths = [*kBodies, *kOpen, "/metrics", "/api/info", "/api/jobs?limit=3&q=owl", "/api/jobs?status=done&before=x", "/api/events", "/v1/models", "/v1/models/mini",
          "/sdapi/v1/progress?skip_current_image=true", "/sdapi/v1/sd-models", "/api/jobs/00000000000000000001", "/api/jobs/00000000000000000001/events",
          "/api/jobs/00000000000000000001/pictures/0.png?key=0", "/api/jobs/00000000000000000001/cancel", "/assets/index.js"]
kClimbs = ["/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2f..%2f..%2fetc%2fpasswd", "//etc/passwd", "/assets/%5c..%5c..%5cetc%5cpasswd", "/api/jobs/..%2f..",
           "/api/jobs/%00", "/%ff%fe", "/%", "/%zz", "/a/./b/../c", "/assets/....//....//etc/passwd", "http://evil.example/etc/passwd", "*", "", "?", "/\u00e9".encode().decode("latin-1")]
kMethods = ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "G\0T", "GET" * 2000, "", "\xff"]
kLengths = ["-1", "0", "1", "99999999999999999999999", "18446744073709551615", "9223372036854775807", "1048577", "0x10", "1e3", " 5", "5, 5", "", "\0"]
kValues = [kPicture, None, True, 0, -1, 1.5, 1e308, -1e308, 2**63, -2**63, 2**64, "", "\0", "\ud800", "x" * 70000, "7x" * 5000, "x:1", "<lora:x:0.5>", [{"name": "x", "strength": 1}], [], {}, [[]], "\u202e", "../../etc/passwd", "-1", "64x64x64", "999999x999999"]


class Maker:
    """Requests out of a seed: lists of pieces to send, and whether the token was right."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one_of(self, items):
        return self.random.choice(items)

    def chance(self, share):
        return self.random.random() < share

    def body(self, path):
        """Bytes of a body for `path`, which may be none of its own."""
        document = dict(kBodies.get(path) or self.one_of(list(kBodies.values())))
        for _ in range(self.random.randrange(4)):
            name = self.one_of([*document, "colour", "prompt", "lora", "loras", "\0"])
            document[name] = self.one_of([*kValues, *document.values()])
        if self.chance(0.03):
            document["prompt"] = "x" * self.one_of([65536, 65537, 1_000_000])
        text = json.dumps(document)
        if self.chance(0.1):
            deep = self.one_of([31, 33, 1000, 200_000])
            opening, closing = self.one_of([("[", "]"), ('{"a":', "}")])
            text = f'{{"{self.one_of(list(document) or ["x"])}": {opening * deep}0{closing * deep}}}'
        data = bytearray(text.encode("utf-8", "surrogatepass"))
        is_form = path == "/v1/images/edits" or (path == "/api/jobs" and self.chance(0.3))
        if is_form:
            data = bytearray(self.form(document))
        if self.chance(0.3):
            for _ in range(self.random.randrange(1, 8)):
                at = self.random.randrange(len(data) + 1)
                self.one_of([lambda: data.insert(at, self.random.randrange(256)), lambda: data.__delitem__(slice(at, at + self.random.randrange(9))),
                             lambda: data.extend(data[at:at + 100]), lambda: data.__setitem__(slice(at, at + 1), b"\0")])()
        return bytes(data)

    def form(self, document):
        """multipart/form-data of the fields, and some pictures."""
        parts = [(name, value if isinstance(value, str) else json.dumps(value), None) for name, value in document.items()]
        for _ in range(self.random.randrange(3)):
            parts.append((self.one_of(["image", "image[]", "mask", "init_image", "prompt", "\0"]), self.one_of(kPictures).read_bytes(), self.one_of(["a.png", "", '"', "../x"])))
        body = b""
        for name, data, file in parts:
            body += f'--{kBoundary}\r\nContent-Disposition: form-data; name="{name}"'.encode("utf-8", "surrogatepass") + (b"" if file is None else f'; filename="{file}"'.encode())
            body += b"\r\n\r\n" + (data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data) + b"\r\n"
        return body + f"--{kBoundary}--".encode()

    def headers(self, path, body):
        right = self.chance(0.8)
        token = kToken if right else self.one_of([kToken[:-1], kToken + "0", kToken.upper(), "", "x" * 8000, "\0"])
        lines = [f"Host: {self.one_of(['localhost', '127.0.0.1:1', '[::1]', 'LOCALHOST']) if self.chance(0.9) else self.one_of(['', 'evil.example', '[', 'localhost' * 900, chr(0)])}"]
        if right or self.chance(0.7):
            lines.append(f"Authorization: Bearer {token}" if self.chance(0.97) or right else "Authorization: Basic " + token)
        else:
            right = False
        if self.chance(0.05):
            lines.append("Origin: " + self.one_of(["http://evil.example", "null", "http://localhost", "\0", "x" * 5000]))
        if self.chance(0.05):
            lines += [f"X-{i}: {'y' * self.one_of([1, 100])}" for i in range(self.one_of([100, 1000, 5000]))]
        if self.chance(0.03):
            lines.append(self.one_of(["", ":", "X", "X :y", " folded", "\0: \0", "X: " + "y" * 40000, "\r", "X:\ty\x0b", "Expect: 100-continue", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"]))
        if self.chance(0.5):
            is_form = body.startswith(f"--{kBoundary}".encode())
            lines.append("Content-Type: " + (f"multipart/form-data; boundary={self.one_of([kBoundary] * 9 + ['', 'x' * 71])}" if is_form else "application/json"))
        lines.append("Connection: " + self.one_of(["close", "close", "keep-alive", "x", "close, keep-alive"]))
        return lines, right

    def chunked(self, body):
        pieces = []
        while body:
            size = self.random.randrange(1, 1 + len(body))
            length = f"{size:x}" if self.chance(0.9) else self.one_of(["-1", "ffffffffffffffff", "zz", "", f"{size:x};a=b", "0" * 5000, f"{size + 1:x}", "\0"])
            pieces.append(length.encode("latin-1") + b"\r\n" + body[:size] + self.one_of([b"\r\n"] * 9 + [b"\n", b""]))
            body = body[size:]
        pieces.append(self.one_of([b"0\r\n\r\n"] * 6 + [b"0\r\nTrailer: x\r\n\r\n", b"", b"0\r\n"]))
        return pieces

    def request(self):
        path = self.one_of(kPaths) if self.chance(0.85) else self.one_of(kClimbs)
        has_body = path in kBodies and self.chance(0.9) or self.chance(0.05)
        method = ("POST" if has_body else "GET") if self.chance(0.9) else self.one_of(kMethods)
        body = self.body(path) if has_body else b""
        lines, right = self.headers(path, body)
        if self.chance(0.03):
            path += "?" + self.one_of(["a" * 20000, "&" * 3000, "a=%zz", "%00=1", "=" * 100, "a=1;b=2"])
        version = "HTTP/1.1" if self.chance(0.95) else self.one_of(["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "http/1.1", "", "HTTP/1.1 x", "HTTP/-1.1"])
        pieces = [body]
        if has_body and self.chance(0.15):
            lines.append("Transfer-Encoding: " + ("chunked" if self.chance(0.9) else self.one_of(["gzip, chunked", "chunked, chunked", "x", ""])))
            if self.chance(0.2):
                lines.append(f"Content-Length: {len(body)}")
            pieces = self.chunked(body)
        elif has_body or self.chance(0.02):
            length = str(len(body)) if self.chance(0.9) else self.one_of(kLengths)
            lines += [f"Content-Length: {length}"] * (1 if self.chance(0.98) else 2)
        end = "\r\n" if self.chance(0.98) else self.one_of(["\n", "\r", "\r\n\r\n", "\0"])
        head = end.join([f"{method} {path} {version}", *lines, "", ""]).encode("latin-1", "replace")
        if self.chance(0.04):
            head = bytearray(head)
            for _ in range(self.random.randrange(1, 6)):
                head[self.random.randrange(len(head))] = self.random.randrange(256)
            return [bytes(head), *pieces], None  # nobody knows what it asks for now
        wants_token = path.split("?")[0] not in kOpen and not path.startswith("/assets/")
        return [head, *pieces], (not right and wants_token)

    def junk(self):
        return [self.one_of([b"\x16\x03\x01" + bytes(300), b"\0" * 5000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 3000, b"GET\r\n\r\n", b"GET /" + b"a" * 70000, self.random.randbytes(self.random.randrange(1, 3000))])]


def answered(data):
    """Whether one whole answer with a length is there."""
    head, gap, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
    return bool(gap and length and len(body) >= int(length[1]))


class Run:
    def __init__(self, server):
        self.server = server
        self.lock = threading.Lock()
        self.statuses = collections.Counter()
        self.counts = collections.Counter()
        self.failures = []

    def fail(self, what, sent=b""):
        with self.lock:
            self.failures.append(f"{what}; sent {sent[:300]!r}")

    def take(self, answer, sent, must_refuse, whole):
        """Counts the answers in what a connection gave, and looks at each."""
        if b"root:x:0" in answer:
            self.fail("a file of the system's", sent)
        own = re.match(rb"(HTTP/1\.1 (\d{3}) [^\0]*?\r\n\r\n){1,2}<html><head><title>", answer)
        if own and own[2].startswith(b"4"):
            # What libmicrohttpd refuses before this program hears of it; 0.9.75 writes the head twice, and closes.
            with self.lock:
                self.statuses[int(own[2])] += 1
            return None
        rest = answer
        while rest:
            begin = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", rest)
            if not begin:
                return self.fail(f"no HTTP: {rest[:100]!r}", sent)
            status = int(begin[1])
            with self.lock:
                self.statuses[status] += 1
            if status == 500 and b"the job was cancelled or removed" in rest:
                with self.lock:
                    self.counts["interrupted"] += 1  # by another client's /sdapi/v1/interrupt
            elif status == 500:
                self.fail(f"500: {rest[:600]!r}", sent)
            if must_refuse and status < 400:
                self.fail(f"{status} without the token", sent)
            head, gap, body = rest.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
            if status == 100:
                rest = body
                continue
            if not gap or not length or sent.startswith(b"HEAD"):
                return None  # cut while it was read, a stream, or without a body
            if whole and len(body) < int(length[1]):
                return self.fail(f"{status}: {len(body)} of {int(length[1])} bytes", sent)
            if b"application/json" in head and len(body) >= int(length[1]):
                try:
                    json.loads(body[:int(length[1])])
                except ValueError:
                    self.fail(f"{status}: broken JSON {body[:200]!r}", sent)
            rest = body[int(length[1]):]
        return None

    def connection(self, maker):
        requests = [maker.request() for _ in range(1 if maker.chance(0.9) else maker.random.randrange(2, 6))]
        pieces = [piece for request, _ in requests for piece in request]
        must_refuse = all(refused is True for _, refused in requests) and len(requests) == 1
        if maker.chance(0.05):
            pieces, must_refuse = maker.junk(), False
        cut = maker.chance(0.1)
        if cut:
            whole = b"".join(pieces)
            pieces = [whole[:maker.random.randrange(len(whole) + 1)]]
        sent, answer, ended = b"".join(pieces), b"", False
        patience = 0.2 if cut else 2.0
        try:
            with self.server.socket(timeout=20) as s:
                for piece in pieces:
                    for at in range(0, len(piece), 1 << 16):
                        s.sendall(piece[at:at + (1 << 16)])
                if maker.chance(0.2):
                    s.shutdown(socket.SHUT_WR)
                s.settimeout(patience)
                until = time.monotonic() + patience
                while len(answer) < 1 << 21 and time.monotonic() < until and not (maker.chance(0.02)):
                    block = s.recv(1 << 16)
                    if not block:
                        ended = True
                        break
                    answer += block
                    if len(requests) == 1 and answered(answer):
                        break
        except TimeoutError:
            pass
        except OSError:
            with self.lock:
                self.counts["reset"] += 1
        with self.lock:
            self.counts["connections"] += 1
            self.counts["requests"] += len(requests)
            self.counts["unanswered"] += not answer
        self.take(answer, sent, must_refuse, whole=ended and len(requests) == 1)

    def client(self, seed, until):
        maker = Maker(seed)
        while time.monotonic() < until and self.server.process.poll() is None and len(self.failures) < 20:
            self.connection(maker)

    def watch(self, until):
        """Asks /healthz all the while."""
        times = []
        while time.monotonic() < until and self.server.process.poll() is None:
            began = time.monotonic()
            try:
                status = self.server.ask("GET", "/healthz", timeout=60)[0]
                if status != 200:
                    self.fail(f"/healthz: {status}")
            except OSError as error:
                self.fail(f"/healthz: {error}")
            times.append(time.monotonic() - began)
            time.sleep(0.1)
        self.health = sorted(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--queue", action="store_true", help="jobs in a Redis of its own, drawn by a worker")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "token").write_text(kToken + "\n")
        redis = RedisServer(folder) if options.queue else None
        queue = ["--queue", redis.url, "--results", str(Path(folder) / "results")] if redis else []
        server = ServerProcess(options.program, folder, "--token-file", str(Path(folder) / "token"), "--stop-seconds", "1", "--max-queue", "20", *queue)
        worker = Process(options.program, folder, "worker.txt", "worker", *queue, "--stop-seconds", "1") if redis else None
        run = Run(server)
        until = time.monotonic() + options.seconds
        threads = [threading.Thread(target=run.client, args=(options.seed * 1000 + i, until)) for i in range(options.clients)]
        threads.append(threading.Thread(target=run.watch, args=(until,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        crashed = server.process.poll()
        if crashed is not None:
            run.failures.append(f"the server ended by itself: {crashed}")
        metrics = b"" if crashed is not None else server.ask("GET", "/metrics", headers={"Authorization": "Bearer " + kToken})[2]
        drawn = sum(int(count) for count in re.findall(rb'intaglio_pictures_total\{[^}]*outcome="done"\} (\d+)', metrics))
        codes = [process.stop(seconds=120) for process in (server, worker) if process]
        log = "".join(process.log.read_text(errors="replace") for process in (server, worker) if process)
        if redis:
            redis.kill()
    if any(codes):
        run.failures.append(f"exit codes {codes}")
    reports = re.findall(r"(?:ERROR|WARNING): (?:Address|Leak|Thread)Sanitizer[^\n]*|runtime error: [^\n]*", log)
    run.failures += reports
    if reports:
        print(log[log.find(reports[0]) - 200:][:6000])
    classes = collections.Counter(f"{status // 100}xx" for status in run.statuses.elements())
    result = {"command": f"tests/e2e/http_fuzzer.py INTAGLIO --seconds {options.seconds:g} --seed {options.seed} --clients {options.clients}{' --queue' if options.queue else ''}", "seconds": options.seconds, **run.counts, "answers": dict(sorted(classes.items())),
              "statuses": {str(status): count for status, count in sorted(run.statuses.items())}, "pictures": drawn,
              "healthz_p99_ms": round(1e3 * run.health[int(0.99 * (len(run.health) - 1))], 1) if run.health else None,
              "crashes": int(crashed is not None), "sanitizer_reports": len(reports), "failures": len(run.failures)}
    print(json.dumps(result, indent=1))
    for failure in run.failures[:20]:
        print("FAILED:", failure)
    if options.json:
        whole = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(json.dumps({**whole, "fuzz_queue" if options.queue else "fuzz": result}, indent=1) + "\n")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
