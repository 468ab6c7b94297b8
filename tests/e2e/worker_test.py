#!/usr/bin/env python3
"""`intaglio serve --queue` and `intaglio worker`: two of each on one Redis, as on several machines.

  worker_test.py INTAGLIO_BINARY
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import answers
from checks import check, end, eventually
from redis_server import RedisServer, free_port
from s3_server import Store
from server_process import Process, ServerProcess

kBinary = sys.argv[1]
kFew = {"prompt": "an owl on a teal background", "width": 64, "height": 64, "steps": 2, "seed": 5}
kLong = {**kFew, "steps": 200, "previews": 4}
kPassword = "a password"


def environment(folder, env):
    return {"XDG_DATA_HOME": str(folder / "share"), **(env or {})}


def log_name(kind):
    return f"{kind}-{time.monotonic_ns()}.log"


class Worker(Process):
    def __init__(self, folder, *options, env=None):
        super().__init__(kBinary, folder, log_name("worker"), "worker", *options, env=environment(folder, env))


class Server(ServerProcess):
    def __init__(self, folder, *options, env=None):
        super().__init__(kBinary, folder, *options, log=log_name("serve"), env=environment(folder, env))

    def get(self, path):
        """Status and bytes."""
        status, _, data = self.ask("GET", path)
        return status, data

    def state(self, job):
        return self.json("GET", f"/api/jobs/{job}")[1]["status"]


def refused(words, env, text, what):
    done = subprocess.run([kBinary, *words], capture_output=True, text=True, env={**os.environ, "INTAGLIO_TOKEN": "", **env}, timeout=60)
    check(done.returncode != 0 and text in done.stderr, f"{what}: {done.stderr.strip()[:120]}")
    check(kPassword not in done.stderr and kPassword.replace(" ", "%20") not in done.stderr, "no password in it")


def wrong_settings(folder, redis):
    env = {"XDG_DATA_HOME": str(folder / "share"), "XDG_CONFIG_HOME": str(folder)}
    for command in ("serve", "worker"):
        start = [command, *(["--port", "0"] if command == "serve" else [])]
        refused([*start, "--queue", "redis://"], env, "--queue: ", f"{command}: an address without a host")
        refused([*start, "--queue", redis.url.replace("redis://", "rediss://")], env, "tunnel", f"{command}: TLS")
        refused([*start, "--queue", f"redis://:wrong@127.0.0.1:{redis.port}"], env, "WRONGPASS", f"{command}: a wrong password")
        refused([*start, "--queue", f"redis://127.0.0.1:{redis.port}"], env, "NOAUTH", f"{command}: no password")
        refused([*start, "--queue", redis.url, "--results", str(folder / "other")], env, "is not the place", f"{command}: a folder of its own")
        refused([*start, "--queue", redis.url, "--results", "s3://pictures"], {**env, "AWS_ACCESS_KEY_ID": ""}, "AWS_ACCESS_KEY_ID", f"{command}: no keys")
        refused([*start, "--queue", f"redis://127.0.0.1:{free_port()}"], env, "cannot connect", f"{command}: nothing there")
    refused(["worker"], env, "--queue: missing", "worker: no queue")
    refused(["serve", "--port", "0", "--results", "x"], env, "together with --queue", "serve: results without a queue")


def shares(servers, workers, start_worker):
    one, two = servers
    check(eventually(lambda: one.ask("GET", "/readyz")[0] == 200), "a server is ready once there is a worker")
    ids = [server.json("POST", "/api/jobs", kFew)[1]["id"] for server in (one, two) * 2]
    check(all(eventually(lambda: two.state(job) == "done") for job in ids), "jobs of both servers are drawn")
    png = one.get(f"/api/jobs/{ids[1]}/pictures/0.png")[1]
    check(png == two.get(f"/api/jobs/{ids[0]}/pictures/0.png")[1] and png.endswith(b"IEND\xaeB`\x82"), "either server has the pictures, whole")
    check(len(two.json("GET", "/api/jobs?status=done&q=OWL")[1]["jobs"]) == 4, "either lists and finds them")

    # Events of a job drawn elsewhere, through the server that did not take it.
    job = one.json("POST", "/api/jobs", {**kLong, "steps": 20})[1]["id"]
    events = two.get(f"/api/jobs/{job}/events")[1].decode()
    check(all(f"event: {kind}" in events for kind in ("state", "progress", "preview", "picture")) and '"done"' in events, "events of every kind reach the other server")
    stream = one.ask("POST", "/v1/images/generations", {"prompt": "an owl", "size": "64x64", "steps": 8, "stream": True, "partial_images": 1})[2].decode()
    check("partial_image" in stream and "image_generation.completed" in stream, "OpenAI's stream has a preview and the picture")

    # Cancelled through the other server.
    job = one.json("POST", "/api/jobs", kLong)[1]["id"]
    check(eventually(lambda: two.state(job) == "running"), "a long job is drawn")
    check(two.ask("POST", f"/api/jobs/{job}/cancel")[0] == 200 and eventually(lambda: one.state(job) == "cancelled", 10), "the other server cancels it")

    # A1111's progress.
    drawn = []
    client = threading.Thread(target=lambda: drawn.append(one.json("POST", "/sdapi/v1/txt2img", {"prompt": "an owl", "width": 64, "height": 64, "steps": 60})))
    client.start()
    check(eventually(lambda: one.json("GET", "/sdapi/v1/progress")[1]["progress"] > 0), "A1111's progress of a job drawn elsewhere")
    check(eventually(lambda: one.json("GET", "/sdapi/v1/progress")[1]["current_image"]), "and a preview of it")
    client.join()
    check(drawn[0][0] == 200 and len(drawn[0][1]["images"]) == 1, "A1111's picture")

    # Killed in the midst of a picture.
    job = one.json("POST", "/api/jobs", kLong)[1]["id"]
    check(eventually(lambda: two.json("GET", f"/api/jobs/{job}")[1]["progress"]["fraction"] > 0.05), "a long job is under way")
    for worker in workers:
        worker.process.send_signal(signal.SIGSTOP)  # which draws it is not known: none goes on
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
    check(two.state(job) == "running", "its worker is killed")
    workers[:] = [start_worker(), start_worker()]
    check(eventually(lambda: one.state(job) == "done", 180), "another draws it")

    # Stopped in the midst of one.
    job = one.json("POST", "/api/jobs", kLong)[1]["id"]
    check(eventually(lambda: two.state(job) == "running"), "a long job is drawn again")
    codes = [worker.stop() for worker in workers]
    check(codes == [0, 0] and one.state(job) in ("queued", "done"), f"workers that are stopped give back what they draw: {codes}")
    check(eventually(lambda: one.ask("GET", "/readyz")[0] == 503), "without a worker a server is not ready")
    workers[:] = [start_worker(), start_worker()]
    check(eventually(lambda: one.state(job) == "done", 180), "and another draws it")


def log_is_as_described(process):
    """Its lines, with --log-format json, are those of serve.schema.json."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    wrong = [problem for line in lines if (problem := answers.wrong("serve", line))]
    check(len(lines) >= 3 and not wrong, f"{len(lines)} lines of the log, {wrong[:1]}")


def without_redis(server, redis):
    job = server.json("POST", "/api/jobs", kFew)[1]["id"]
    check(eventually(lambda: server.state(job) == "done"), "a job before Redis goes")
    redis.kill()
    status, answer = server.json("POST", "/api/jobs", kFew)
    check(status == 503 and "redis://127.0.0.1" in answer["error"]["message"] and kPassword not in answer["error"]["message"], "without Redis: 503 with words")
    for path in (f"/api/jobs/{job}", "/api/jobs", f"/api/jobs/{job}/pictures/0.png"):
        check(server.ask("GET", path)[0] == 503, f"without Redis: {path} is 503, not lost")
    check(server.ask("GET", "/readyz")[0] == 503 and server.ask("GET", "/healthz")[0] == 200, "without Redis: alive, not ready")
    redis.start()
    check(eventually(lambda: server.ask("GET", "/readyz")[0] == 200), "ready again by itself")
    check(server.ask("GET", f"/api/jobs/{job}/pictures/0.png")[0] == 200, "nothing is lost")
    status, answer = server.json("POST", "/api/jobs", kFew)
    check(status == 201 and eventually(lambda: server.state(answer["id"]) == "done"), "and jobs are drawn again")


def in_a_bucket(folder, redis):
    store = Store("key", "sec/ret+", "pictures")
    env = {"AWS_ENDPOINT_URL": store.address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "sec/ret+", "AWS_REGION": store.region}
    queue = ["--queue", redis.url + "/1", "--results", "s3://pictures/a/b"]
    for change, text, what in (({"AWS_SECRET_ACCESS_KEY": "other"}, "403", "a wrong key"), ({}, "404", "no such bucket")):
        results = queue if change else [*queue[:2], "--results", "s3://none"]
        refused(["worker", *results], {**env, **change, "XDG_DATA_HOME": str(folder)}, text, f"S3: {what}")
    store.wrong.clear()
    server, worker = Server(folder, "--data-dir", str(folder / "s3"), *queue, env=env), Worker(folder, *queue, env=env)
    store.failures = 2
    job = server.json("POST", "/api/jobs", kFew)[1]["id"]
    check(eventually(lambda: server.state(job) == "done"), "S3: a job is drawn though the store fails twice")
    check(f"a/b/{job}/0.1.png" in store.objects, "S3: the picture lies below the prefix")
    status, png = server.get(f"/api/jobs/{job}/pictures/0.png")
    check(status == 200 and png == store.objects[f"a/b/{job}/0.1.png"], "S3: the server has the picture")
    store.objects.clear()
    check(server.get(f"/api/jobs/{job}/pictures/0.png") == (200, png), "S3: and keeps a copy")
    check(server.ask("DELETE", f"/api/jobs/{job}")[0] == 204, "S3: removed")
    check(not store.wrong, f"S3: every signature was right {store.wrong[:1]}")
    check(server.stop() == 0 and worker.stop() == 0, "S3: both end")


def main():
    if not shutil.which("redis-server"):
        print("skipped: redis-server is not installed")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis = RedisServer(folder, kPassword)
        queue = ["--queue", redis.url, "--results", str(folder / "results"), "--lease-seconds", "2", "--log-format", "json"]
        start_worker = lambda: Worker(folder, *queue, "--stop-seconds", "0")
        servers = [Server(folder, "--data-dir", str(folder / f"data{i}"), *queue, "--stop-seconds", "1") for i in range(2)]
        workers = [start_worker(), start_worker()]
        try:
            wrong_settings(folder, redis)
            shares(servers, workers, start_worker)
            without_redis(servers[0], redis)
            in_a_bucket(folder, redis)
            check([process.stop() for process in servers + workers] == [0] * 4, "all end with 0")
            for process in servers + workers:
                log_is_as_described(process)
            check(not any(kPassword in path.read_text() for path in folder.glob("*-*.log")), "no password in any log")
        finally:
            for process in servers + workers:
                process.process.kill()
            redis.kill()
    end("worker_test")


if __name__ == "__main__":
    main()
