#!/usr/bin/env python3
"""`intaglio serve` over TLS, with certificates that openssl makes: what curl gets, and what is refused before the start.

  serve_tls_test.py INTAGLIO_BINARY
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import answers
from checks import check, end
from server_process import ServerProcess

kBinary = Path(sys.argv[1]).resolve()
kToken = "0123456789abcdef0123456789abcdef"


def openssl(*arguments, folder):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificate(folder, name, days=None):
    """NAME.pem and NAME.key, self-signed for localhost; `days`: from and to, as YYYYMMDD."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-subj", "/CN=localhost"]
    extension = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    if days is None:
        return openssl("req", "-x509", *key, *extension, "-days", "2", "-out", f"{name}.pem", folder=folder)
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    (folder / "ca.cnf").write_text("[ca]\ndefault_ca=c\n[c]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
    openssl("req", *key, "-out", f"{name}.csr", folder=folder)
    return openssl("ca", "-batch", "-config", "ca.cnf", "-selfsign", "-keyfile", f"{name}.key", "-in", f"{name}.csr", "-out", f"{name}.pem", "-startdate", days[0] + "000000Z", "-enddate", days[1] + "000000Z", folder=folder)


class Curl:
    def __init__(self, folder, port):
        self.folder, self.port = folder, port

    def __call__(self, path, *options, authority="good.pem", scheme="https"):
        return subprocess.run(["curl", "-sS", "--max-time", "60", "--cacert", authority, "-H", f"Authorization: Bearer {kToken}", *options, f"{scheme}://localhost:{self.port}{path}"],
                              cwd=self.folder, capture_output=True)


def serves(folder):
    (folder / "token").write_text(kToken)
    server = ServerProcess(kBinary, folder, "--tls-cert", str(folder / "good.pem"), "--tls-key", str(folder / "good.key"), "--token-file", str(folder / "token"), "--log-format", "json")
    check(server.address.startswith("https://127.0.0.1:"), f"it prints its address: {server.address}")
    curl = Curl(folder, server.host.port)
    page = curl("/", "-D", "headers")
    check(page.returncode == 0 and b"<html" in page.stdout and "script-src 'self'" in (folder / "headers").read_text(), "the page, with its policy")
    check(curl("/", authority="other.pem").returncode == 60, "a client that knows another certificate does not take it")
    check(curl("/", scheme="http").returncode != 0, "no plain HTTP on this port")
    check(curl("/", "--tls-max", "1.1").returncode != 0, "no TLS older than 1.2")
    answer = curl("/api/jobs", "--json", json.dumps({"prompt": "an owl", "size": "64x64", "steps": 4, "previews": 2, "seed": 5}))
    created = json.loads(answer.stdout)
    check("id" in created, f"a job is accepted: {answer.stdout[:200]}")
    events = curl(f"/api/jobs/{created['id']}/events", "-N").stdout
    check(events.count(b"event: ") >= 3 and b'"done"' in events, "a job, and its events until it is done")
    done = json.loads(curl(f"/api/jobs/{created['id']}").stdout)
    png = curl(done["pictures"][0]["url"]).stdout
    check(png[1:4] == b"PNG" and len(png) == done["pictures"][0]["bytes"], "its picture")
    stream = curl("/v1/images/generations", "-N", "--json", json.dumps({"prompt": "an owl", "size": "64x64", "steps": 2, "stream": True, "partial_images": 1})).stdout
    check(b"event: image_generation.completed" in stream, "OpenAI's stream")
    drawn = json.loads(curl("/v1/images/generations", "--json", json.dumps({"prompt": "an owl", "size": "64x64", "steps": 2, "response_format": "url"})).stdout)
    check(drawn["data"][0]["url"].startswith(f"https://localhost:{server.host.port}/"), "addresses of pictures are https")
    refused = subprocess.run(["curl", "-sS", "--cacert", "good.pem", "-o", "/dev/null", "-w", "%{http_code}", f"https://localhost:{server.host.port}/api/info"], cwd=folder, capture_output=True, text=True)
    check(refused.stdout == "401", "the token counts here, too")
    with server.socket() as s:  # no handshake at all
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    check(curl("/healthz").returncode == 0, "it lives after what is no TLS")
    check(server.stop(signal.SIGTERM) == 0, "it ends with 0")
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    wrong = [problem for line in lines if (problem := answers.wrong("serve", line))]
    check(len(lines) > 8 and not wrong, f"lines of the log are as their schema has them{': ' + wrong[0] if wrong else ''}")


def refuses(folder):
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", "good.key", "-out", "locked.key", "-passout", "pass:secret"], cwd=folder, check=True, capture_output=True)
    (folder / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\njunk\n-----END CERTIFICATE-----\n")
    (folder / "empty.pem").write_text("")
    cases = [
        ("good.pem", "other.key", 2, "other.key is not the key of the certificate in", "a key of another certificate"),
        ("old.pem", "old.key", 2, "old.pem expired on 2020-02-01", "a certificate that has expired"),
        ("new.pem", "new.key", 2, "new.pem is not valid before 2090-01-01", "one that is not valid yet"),
        ("junk.pem", "good.key", 2, "junk.pem: expected a certificate in PEM", "junk"),
        ("empty.pem", "good.key", 2, "empty.pem: expected a certificate in PEM", "an empty certificate"),
        ("good.pem", "empty.pem", 2, "empty.pem: expected a private key in PEM", "an empty key"),
        ("good.key", "good.key", 2, "good.key: expected a certificate in PEM", "a key in the certificate's place"),
        ("good.pem", "good.pem", 2, "good.pem: expected a private key in PEM", "a certificate in the key's place"),
        ("good.pem", "locked.key", 2, "without a passphrase", "a key with a passphrase"),
        ("none.pem", "good.key", 1, "none.pem", "a certificate that is not there"),
        ("good.pem", "none.key", 1, "none.key", "a key that is not there"),
        ("good.pem", None, 2, "--tls-cert, --tls-key: expected both or neither", "no key"),
    ]
    command = [kBinary, "serve", "--port", "0", "--data-dir", str(folder / "none"), "--model", "nowhere", "--tls-cert"]
    if os.getuid() != 0:
        shutil.copy(folder / "good.key", folder / "secret.key")
        (folder / "secret.key").chmod(0)
        cases.append(("good.pem", "secret.key", 1, "secret.key", "a key that may not be read"))
    for certificate, key, code, message, what in cases:
        run = subprocess.run([*command, certificate, *(["--tls-key", key] if key else [])], cwd=folder, capture_output=True, text=True, timeout=60)
        # "nowhere" is no model: certificates are looked at first.
        check(run.returncode == code and message in run.stderr and "nowhere" not in run.stderr and run.stdout == "", f"{what}: {run.returncode}, {run.stderr.strip()[:200]}")
    check(not (folder / "none").exists(), "nothing was begun")


def main():
    if not shutil.which("openssl") or not shutil.which("curl"):
        print("skipped: openssl and curl are needed; scripts/setup.sh test installs them")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for certificate in ("good", "other"):
            make_certificate(folder, certificate)
        make_certificate(folder, "old", ("20200101", "20200201"))
        make_certificate(folder, "new", ("20900101", "20910101"))
        for part in (serves, refuses):
            print(f"-- {part.__name__}")
            part(folder)
    end("serve_tls_test")


if __name__ == "__main__":
    main()
