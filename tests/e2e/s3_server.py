"""An S3-like store for tests: objects in memory, every request's signature (AWS Signature Version 4) verified."""

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Store(ThreadingHTTPServer):
    def __init__(self, key, secret, bucket, region="eu-test-1"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.key, self.secret, self.bucket, self.region = key, secret, bucket, region
        self.objects, self.wrong, self.failures = {}, [], 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def mistake(self, body):
        """What is wrong with the signature; None: nothing."""
        given = self.headers.get("Authorization", "")
        if not given.startswith("AWS4-HMAC-SHA256 "):
            return "no signature"
        parts = dict(part.strip().split("=", 1) for part in given[len("AWS4-HMAC-SHA256 "):].split(","))
        key, day, region, service, end = parts["Credential"].split("/")
        if (key, region, service, end) != (self.server.key, self.server.region, "s3", "aws4_request"):
            return f"credential {parts['Credential']}"
        time, payload = self.headers["x-amz-date"], self.headers.get("x-amz-content-sha256", "")
        if payload not in (hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD"):
            return "the body is not what was signed"
        names = parts["SignedHeaders"].split(";")
        if "host" not in names or "x-amz-date" not in names:
            return "host or date is not signed"
        headers = "".join(f"{name}:{' '.join(self.headers[name].split())}\n" for name in names)
        address = urlsplit(self.path)
        request = "\n".join([self.command, address.path, address.query, headers, parts["SignedHeaders"], payload])
        scope = f"{day}/{region}/{service}/{end}"
        text = "\n".join(["AWS4-HMAC-SHA256", time, scope, hashlib.sha256(request.encode()).hexdigest()])
        signing = digest(digest(digest(digest(b"AWS4" + self.server.secret.encode(), day), region), service), end)
        if not hmac.compare_digest(digest(signing, text).hex(), parts["Signature"]):
            return "the signature is wrong"
        return None

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if wrong := self.mistake(body):
            self.server.wrong.append(wrong)
            return self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if self.server.failures > 0:
            self.server.failures -= 1
            return self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
        _, bucket, name = self.path.split("/", 2)
        if bucket != self.server.bucket:
            return self.answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        if self.command == "PUT":
            self.server.objects[name] = body
            return self.answer(200)
        if self.command == "DELETE":
            self.server.objects.pop(name, None)
            return self.answer(204)
        found = self.server.objects.get(name)
        return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>") if found is None else self.answer(200, found)

    do_GET = do_HEAD = do_PUT = do_DELETE = handle_any
