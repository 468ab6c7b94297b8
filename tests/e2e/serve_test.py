#!/usr/bin/env python3
"""`intaglio serve` as clients meet it: every route, streams, clients that leave, abuse, signals.

  serve_test.py INTAGLIO_BINARY SOURCE_TREE
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from checks import check, end, eventually
from server_process import ServerProcess

kBinary, kTree = sys.argv[1], Path(sys.argv[2])
kFew = {"prompt": "an owl on a teal background", "width": 64, "height": 64, "steps": 2}


class Server(ServerProcess):
    """Every answer in JSON is held to the description of the API."""

    def __init__(self, folder, *options, env=None):
        super().__init__(kBinary, folder, *options, env=env)

    def json(self, method, path, body=None, headers=None):
        status, document = super().json(method, path, body, headers)
        described(method, path, status, document)
        return status, document

    def raw(self, data, timeout=30):
        with self.socket() as s:
            s.settimeout(timeout)
            try:
                s.sendall(data)
                answer = b""
                while block := s.recv(65536):
                    answer += block
            except (ConnectionError, socket.timeout):
                pass
            return answer


kTypes = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
kDescription = json.loads((kTree / "apps/server/api/openapi.json").read_text())


def mismatch(value, schema, place="$"):
    """What of `value` is not as the part of JSON Schema that the description uses has it; None: nothing."""
    if "$ref" in schema:
        return mismatch(value, kDescription["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], place)
    if "oneOf" in schema:
        found = [mismatch(value, s, place) for s in schema["oneOf"]]
        return None if None in found else found[0]
    if "enum" in schema and value not in schema["enum"]:
        return f"{place}: {value} is none of {schema['enum']}"
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(isinstance(value, kTypes[t]) and not (isinstance(value, bool) and t != "boolean") for t in types):
        return f"{place}: {value!r} is no {types}"
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                return f"{place}: {name} is missing"
        for name, item in value.items():
            known = schema.get("properties", {})
            if name in known:
                if wrong := mismatch(item, known[name], f"{place}.{name}"):
                    return wrong
            elif schema.get("additionalProperties", True) is False:
                return f"{place}: {name} is not described"
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            if wrong := mismatch(item, schema["items"], f"{place}[{i}]"):
                return wrong
    return None


def described(method, path, status, document):
    """The answer is one that openapi.json allows."""
    parts = path.split("?")[0]
    for pattern, item in kDescription["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), parts) and method.lower() in item:
            response = item[method.lower()]["responses"].get(str(status))
            if response is None:
                return check(False, f"{method} {pattern}: {status} is described")
            schema = response.get("content", {}).get("application/json", {}).get("schema")
            wrong = mismatch(document, schema) if schema else None
            return check(wrong is None, f"{method} {pattern} answers {status} as described{': ' + wrong if wrong else ''}")
    return None


def wait_for_job(server, job, states=("done",)):
    state = lambda: json.loads(server.ask("GET", f"/api/jobs/{job}")[2])["status"]
    return eventually(lambda: state() in states)


def own_api(server):
    status, info = server.json("GET", "/api/info")
    check(status == 200 and info["models"][0]["name"] == "mini", "info names the bundled model")
    status, headers, data = server.ask("GET", "/")
    check(status == 200 and b"<html" in data and "script-src 'self'" in headers["Content-Security-Policy"], "the page, with its policy")
    status, job = server.json("POST", "/api/jobs", {**kFew, "seed": 5})
    check(status == 201 and job["status"] in ("queued", "running"), "a job is accepted")
    path = f"/api/jobs/{job['id']}"
    stream = server.ask("GET", path + "/events")
    check(b"event: state" in stream[2] and b'"done"' in stream[2] and stream[1]["Content-Type"] == "text/event-stream", "its events end with its end")
    status, done = server.json("GET", path)
    check(done["status"] == "done" and done["pictures"][0]["seed"] == 5, "it is done")
    status, headers, png = server.ask("GET", done["pictures"][0]["url"])
    check(status == 200 and png[1:4] == b"PNG" and len(png) == done["pictures"][0]["bytes"], "its picture")
    status, listed = server.json("GET", "/api/jobs?limit=1&q=owl")
    check(listed["jobs"][0]["id"] == job["id"], "it is listed and found by a word")
    check(server.json("DELETE", path)[0] in (204,), "it is removed")
    check(server.json("GET", path)[0] == 404 and server.ask("GET", done["pictures"][0]["url"])[0] == 404, "it is gone, and its picture")
    for body, field in (({"prompt": ""}, "prompt"), ({**kFew, "colour": 1}, "colour"), ({**kFew, "width": 63}, None), ({**kFew, "model": "none"}, "model")):
        status, error = server.json("POST", "/api/jobs", body)
        check(status in (400, 404) and (field is None or error["error"]["param"] == field), f"{field}: refused by name, {error['error']['message'][:60]}")
    status, _ = server.json("POST", "/api/jobs", "{")
    check(status == 400, "no JSON")
    for path in ("/healthz", "/readyz"):
        check(server.json("GET", path)[0] == 200, path)
    metrics = server.ask("GET", "/metrics")[2].decode()
    check('intaglio_pictures_total{model="mini",precision="int8",outcome="done"}' in metrics, "metrics count the picture")
    check(server.json("GET", "/openapi.json")[1] == kDescription, "the description is served")


def openai(server):
    body = {"prompt": kFew["prompt"], "size": "64x64", "steps": 2, "seed": 5}
    status, answer = server.json("POST", "/v1/images/generations", body)
    check(status == 200 and base64.b64decode(answer["data"][0]["b64_json"])[1:4] == b"PNG", "OpenAI: a picture")
    for name, begin in (("jpeg", b"\xff\xd8"), ("webp", b"RIFF")):
        status, answer = server.json("POST", "/v1/images/generations", {**body, "output_format": name})
        check(status == 200 and base64.b64decode(answer["data"][0]["b64_json"]).startswith(begin), f"OpenAI: {name}")
    stream = server.ask("POST", "/v1/images/generations", {**body, "stream": True, "partial_images": 1})[2].decode()
    check("event: image_generation.completed" in stream, "OpenAI: stream")
    status, answer = server.json("POST", "/v1/images/generations", {**body, "preset": "x"})
    check(status == 400 and answer["error"]["param"] == "preset", "OpenAI: a preset with steps is refused")
    check(server.json("GET", "/v1/models")[1]["data"][0]["id"] == "mini", "OpenAI: models")
    check(server.json("GET", "/v1/models/mini")[0] == 200 and server.json("GET", "/v1/models/none")[0] == 404, "OpenAI: a model")


def openai_package(server):
    client = kTree / "tests/e2e/openai_client"
    if not shutil.which("node") or not shutil.which("npm"):
        print("skipped: the openai package needs node and npm, which are not here")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json", "draw.mjs"):
            shutil.copy(client / name, folder)
        # From npm's cache where it has the package.
        try:
            subprocess.run(["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, capture_output=True, timeout=120, check=True)
        except subprocess.SubprocessError as error:
            print(f"skipped: npm cannot get the openai package: {error}")
            return
        run = subprocess.run(["node", "draw.mjs", server.address], cwd=folder, capture_output=True, text=True, timeout=600)
        print(run.stdout, end="")
        check(run.returncode == 0, "the openai package draws" + (": " + run.stderr[-600:] if run.returncode else ""))


def a1111(server):
    for name in ("options", "sd-models", "samplers", "schedulers", "loras", "upscalers", "latent-upscale-modes", "sd-vae", "progress"):
        check(server.json("GET", "/sdapi/v1/" + name)[0] == 200, f"AUTOMATIC1111: {name}")
    check(server.json("POST", "/sdapi/v1/options", {"sd_model_checkpoint": "mini"})[0] == 200, "AUTOMATIC1111: chooses a model")
    status, answer = server.json("POST", "/sdapi/v1/txt2img", {**kFew, "cfg_scale": 5, "sampler_name": "Euler a", "batch_size": 2, "seed": 3, "restore_faces": False})
    check(status == 200 and len(answer["images"]) == 2 and json.loads(answer["info"])["all_seeds"] == [3, 4], "AUTOMATIC1111: two pictures")
    status, info = server.json("POST", "/sdapi/v1/png-info", {"image": answer["images"][0]})
    check(status == 200 and "Steps: 2" in info["info"], "AUTOMATIC1111: reads a picture")
    check(server.json("POST", "/sdapi/v1/interrupt")[0] == 200, "AUTOMATIC1111: interrupt")


def form(parts):
    """A body of multipart/form-data and its header; a file's name stands behind '@'."""
    body = b""
    for name, data in parts.items():
        name, _, file = name.partition("@")
        body += f'--b\r\nContent-Disposition: form-data; name="{name}"'.encode() + (f'; filename="{file}"'.encode() if file else b"")
        body += b"\r\n\r\n" + (data if isinstance(data, bytes) else str(data).encode()) + b"\r\n"
    return body + b"--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


def pictures_to_begin_from(server):
    """img2img and inpainting by every API, or their refusals where the bundled model has no encoder."""
    able = server.json("GET", "/api/info")[1]["models"][0]["init_image"]
    jpeg = (kTree / "tests/fuzz/corpus/picture/baseline.jpg").read_bytes()
    alpha = (kTree / "tests/fuzz/corpus/picture/rgba.png").read_bytes()
    begun = {**kFew, "seed": 5, "strength": 0.5, "init_image": base64.b64encode(jpeg).decode()}
    status, job = server.json("POST", "/api/jobs", begun)
    a1111 = {**kFew, "seed": 5, "init_images": [begun["init_image"]], "denoising_strength": 0.5, "mask": base64.b64encode(alpha).decode()}
    body, headers = form({"image@a.jpg": jpeg, "mask@b.png": alpha, "prompt": kFew["prompt"], "size": "64x64", "steps": 2})
    if not able:
        check(status == 400 and job["error"]["param"] == "init_image", f"no encoder: {job['error']['message'][:60]}")
        check(server.json("POST", "/sdapi/v1/img2img", a1111)[0] == 400, "AUTOMATIC1111: no encoder")
        check(server.json("POST", "/v1/images/edits", body, headers)[1]["error"]["param"] == "image", "OpenAI: no encoder")
    else:
        path = f"/api/jobs/{job['id']}"
        check(status == 201 and job["request"]["init_image"]["width"] == 64, "a job that begins from a picture is accepted")
        check(wait_for_job(server, job["id"]), "it is drawn")
        check(server.ask("GET", path + "/init_image.png")[2][1:4] == b"PNG" and server.json("GET", path + "/mask.png")[0] == 404, "what it began from is there")
        again = {**kFew, "init_image": job["request"]["init_image"]}
        check(server.json("POST", "/api/jobs", again)[0] == 201, "another names it by its id")
        files, kind = form({"prompt": kFew["prompt"], "width": 64, "height": 64, "steps": 2, "strength": 1, "init_image@a.jpg": jpeg, "mask@b.png": alpha})
        status, masked = server.json("POST", "/api/jobs", files, kind)
        check(status == 201 and masked["request"]["mask"] is not None, "as a form, with a mask")
        status, answer = server.json("POST", "/sdapi/v1/img2img", a1111)
        check(status == 200 and base64.b64decode(answer["images"][0])[1:4] == b"PNG", "AUTOMATIC1111: img2img with a mask")
        status, answer = server.json("POST", "/v1/images/edits", body, headers)
        check(status == 200 and base64.b64decode(answer["data"][0]["b64_json"])[1:4] == b"PNG", "OpenAI: an edit")
    for wrong, field in (({"strength": 0}, "strength"), ({"init_image": "?"}, "init_image"), ({"init_image": "aGVsbG8="}, "init_image"), ({"mask": begun["init_image"], "init_image": None, "strength": None}, "mask")):
        status, error = server.json("POST", "/api/jobs", {**begun, **wrong})
        check(status == 400 and error["error"]["param"] == field, f"{field}: refused by name, {error['error']['message'][:60]}")
    status, error = server.json("POST", "/sdapi/v1/img2img", {**a1111, "init_images": []})
    check(status == 400 and error["detail"].startswith("init_images"), "AUTOMATIC1111: no picture")
    status, error = server.json("POST", "/v1/images/edits", *form({"image[]@a": jpeg, "image[]@b": jpeg, "prompt": "x"}))
    check(status == 400 and error["error"]["param"] == "image", "OpenAI: several pictures are refused")
    status, job = server.json("POST", "/api/jobs", {**kFew, "prompt": "a zyxomma"})
    check(status == 201 and any("zyxomma" in line for line in job["warnings"]), "words that the model was never trained on are told")


def clients_that_leave(server):
    long = {"prompt": "a cat", "size": "128x128", "steps": 200, "n": 4}
    for more in ({}, {"stream": True}):
        body = json.dumps({**long, **more}).encode()
        before = {j["id"] for j in json.loads(server.ask("GET", "/api/jobs")[2])["jobs"]}
        s = server.socket()
        s.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        new = lambda: [j for j in json.loads(server.ask("GET", "/api/jobs")[2])["jobs"] if j["id"] not in before]
        check(eventually(new), "a long job is there")
        s.close()
        check(eventually(lambda: new()[0]["status"] == "cancelled"), f"its client left: cancelled {more}")


def abuse(server):
    good = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2f..%2fetc%2fpasswd", "/api/jobs/..%2f..%2fx", "/api/jobs/%00", "//etc/passwd"):
        answer = server.raw(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        check(b" 404 " in answer.split(b"\r\n")[0] and b"root:" not in answer, f"traversal: {path}")
    for route, length in ((b"/v1/images/generations", 2_000_000), (b"/api/jobs", 40_000_000)):
        announced = b"POST " + route + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length
        check(b" 413 " in server.raw(announced).split(b"\r\n")[0], f"a body of {length} bytes is refused before it comes")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    check(b" 413 " in server.raw(head + chunk * 20 + b"0\r\n\r\n").split(b"\r\n")[0], "a chunked one when it has come")
    status, error = server.json("POST", "/api/jobs", {**kFew, "prompt": "x" * 1_000_000})
    check(status == 400 and error["error"]["param"] == "prompt", "a prompt of 1 MB")
    check(server.ask("POST", "/api/jobs", b"[" * 900_000)[0] == 400, "brackets without end")
    check(b" 431 " in server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 20000 + b"\r\n\r\n").split(b"\r\n")[0], "headers of 20 kB")
    check(b" 403 " in server.raw(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), "another Host")
    check(server.ask("POST", "/api/jobs", kFew, {"Origin": "http://evil.example"})[0] == 403, "another site's page")
    for junk in (b"\x16\x03\x01" + b"\0" * 300, b"GET\r\n\r\n", b"\0" * 5000, b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        server.raw(junk, timeout=3)
    check(b" 200 " in server.raw(good), "it lives after junk")

    idle = []
    try:
        for _ in range(1200):
            idle.append(server.socket())
    except OSError as error:
        print(f"note: {len(idle)} connections, then {error}")
    check(len(idle) >= 900, f"{len(idle)} idle connections")
    check(b" 200 " in server.raw(good), "/healthz answers beside them")
    for s in idle:
        s.close()

    slow = server.socket()
    slow.sendall(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
    slow.settimeout(0.2)
    answer, deadline = b"", time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            slow.sendall(b"x")
            block = slow.recv(4096)
            if not block:
                break
            answer += block
        except socket.timeout:
            continue
        except ConnectionError:
            break
    check(time.monotonic() < deadline and (b" 408 " in answer or not answer), "a body that trickles ends at its deadline")


def stops():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder, "--stop-seconds", "0")
        jobs = [server.json("POST", "/api/jobs", {**kFew, "steps": 200, "count": 4})[1]["id"] for _ in range(2)]
        stream = threading.Thread(target=lambda: server.ask("GET", "/api/events"))
        stream.start()
        eventually(lambda: json.loads(server.ask("GET", f"/api/jobs/{jobs[0]}")[2])["status"] == "running")
        check(server.stop() == 0, "SIGTERM: ends with 0")
        stream.join(10)
        check(not stream.is_alive(), "SIGTERM: ends streams")
        again = Server(folder)
        states = [json.loads(again.ask("GET", f"/api/jobs/{job}")[2])["status"] for job in jobs]
        check(all(s in ("queued", "running") for s in states), f"jobs are there after a restart: {states}")
        for job in jobs:
            again.ask("POST", f"/api/jobs/{job}/cancel")
        again.process.send_signal(signal.SIGINT)
        check(again.process.wait(60) == 0, "SIGINT: ends with 0")
        log = (Path(folder) / "log.txt").read_text()
        check("POST /api/jobs 201" in log and "owl" not in log, "a line a request, without the prompt")


def tokens():
    with tempfile.TemporaryDirectory() as folder:
        token = "0123456789abcdef0123456789abcdef"
        (Path(folder) / "token").write_text(token + "\n")
        refused = subprocess.run([kBinary, "serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", folder], capture_output=True, text=True, env={**os.environ, "INTAGLIO_TOKEN": ""})
        check(refused.returncode == 2 and "so a token is needed" in refused.stderr, "no other address without a token")
        server = Server(folder, "--host", "0.0.0.0", "--token-file", str(Path(folder) / "token"), "--log-format", "json")
        right = {"Authorization": f"Bearer {token}"}
        check(server.ask("GET", "/api/info")[0] == 401, "no token")
        for wrong in (token[:-1], token + "0", token[:-1] + "0", ""):
            check(server.ask("GET", "/api/info", headers={"Authorization": f"Bearer {wrong}"})[0] == 401, "a wrong token")
        check(server.ask("GET", "/api/info", headers=right)[0] == 200 and server.ask("GET", "/healthz")[0] == 200, "the token")
        body = {"prompt": "a cat", "size": "64x64", "steps": 2, "response_format": "url"}
        url = json.loads(server.ask("POST", "/v1/images/generations", body, right)[2])["data"][0]["url"]
        check(server.ask("GET", url.split("/", 3)[3].join(("/", "")))[0] == 200, "an address of a picture vouches for itself")
        server.stop()
        log = (Path(folder) / "log.txt").read_text()
        check(token not in log and "key=" not in log, "no secrets in the log")
        check(all(json.loads(line)["time"] for line in log.splitlines()), "a JSON object a line")


def starts():
    with tempfile.TemporaryDirectory() as folder:
        first = Server(folder)
        taken = subprocess.run([kBinary, "serve", "--port", str(first.host.port), "--data-dir", folder + "/other"], capture_output=True, text=True)
        check(taken.returncode == 1 and "is taken by another program; --port 0 picks a free one" in taken.stderr, "a port that is taken")
        first.stop()
        settings = Path(folder) / "serve.toml"
        settings.write_text('# mine\nmax-queue = 1\nlog-format = "json"\n')
        run = lambda *options, **env: subprocess.run([kBinary, "serve", "--config", str(settings), "--data-dir", folder, *options], capture_output=True, text=True, env={**os.environ, **env}, timeout=60)
        settings.write_text('host = "no such host"\n')
        check("no such host" in run().stderr, "the file counts")
        check("not this" in run(INTAGLIO_SERVE_HOST="not this").stderr, "the environment goes before the file")
        check("nor this" in run("--host", "nor this", INTAGLIO_SERVE_HOST="not this").stderr, "the command line before both")
        settings.write_text("prot = 1\n")
        check('unknown setting "prot", nearest: port' in run().stderr, "a wrong name in the file")
        check(run(INTAGLIO_SERVE_PORT="x").returncode == 2, "a wrong value in the environment")


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        check(server.address.startswith("http://127.0.0.1:"), f"it prints its address: {server.address}")
        for part in (own_api, openai, a1111, pictures_to_begin_from, openai_package, clients_that_leave, abuse):
            print(f"-- {part.__name__}")
            part(server)
        check(server.stop() == 0, "it ends with 0")
    for part in (stops, tokens, starts):
        print(f"-- {part.__name__}")
        part()
    end("serve_test")


if __name__ == "__main__":
    main()
