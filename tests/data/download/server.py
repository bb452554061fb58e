"""A server on this machine that behaves like the real ones, and misbehaves on purpose."""

import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WEB_PAGE = b"<!DOCTYPE html><html><title>Welcome to the hotel network</title><body>Please log in</body></html>"


@dataclass
class Request:
    """What was asked for, and how much of the body was sent."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class Resource:
    """A file on the server; each entry of `faults` spoils one request."""

    body: bytes | Callable[[Request], bytes]
    etag: str | None = '"1"'
    ranges: bool = True
    heeds_if_range: bool = True
    content_type: str = "application/octet-stream"
    faults: list[Callable[["Handler", "Resource"], None]] = field(default_factory=list)


class Server:
    """Resources by path, and a record of all requests."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.released = threading.Event()
        self.sent_some = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"owner": self}))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def add(self, path: str, body: bytes | Callable[[Request], bytes], **options) -> str:
        self.resources[path] = Resource(body, **options)
        return f"{self.url}{path}"

    def requests_for(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.request_seen = Request(parts.path, query, {k.lower(): v for k, v in self.headers.items()})
        self.owner.requests.append(self.request_seen)
        resource = self.owner.resources.get(parts.path)
        if resource is None:
            self.answer(404, {}, b"not here")
        elif resource.faults:
            resource.faults.pop(0)(self, resource)
        else:
            self.serve(resource)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        posted = {key: values[0] for key, values in parse_qs(self.rfile.read(length).decode()).items()}
        self.request_seen = Request(self.path, posted, {k.lower(): v for k, v in self.headers.items()})
        self.owner.requests.append(self.request_seen)
        if posted.get("key") == "right-key":
            self.answer(200, {}, json.dumps({"authToken": {"token": "secret-token"}}).encode())
        else:
            self.answer(400, {}, b'{"message": "Invalid API key."}')

    def body(self, resource: Resource) -> bytes:
        return resource.body(self.request_seen) if callable(resource.body) else resource.body

    def serve(self, resource: Resource) -> None:
        body = self.body(resource)
        headers = {"Content-Type": resource.content_type}
        if resource.etag:
            headers["ETag"] = resource.etag
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        unchanged = self.headers.get("If-Range") in (None, resource.etag) or not resource.heeds_if_range
        if not (match and resource.ranges and unchanged):
            self.answer(200, headers, body)
            return
        start = int(match[1])
        if start >= len(body):
            self.answer(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
            return
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.answer(206, headers, body[start:])

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.head(status, {"Content-Length": str(len(body)), **headers})
        self.send(body)

    def send(self, body: bytes) -> None:
        with suppress(ConnectionError):
            self.wfile.write(body)
            self.wfile.flush()
            self.request_seen.sent += len(body)

    def hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, *_) -> None:
        pass


def status(code: int, **headers: str):
    """An error status."""
    return lambda handler, _: handler.answer(code, {k.replace("_", "-"): v for k, v in headers.items()}, b"sorry")


def redirect(target: str):
    return lambda handler, _: handler.answer(302, {"Location": target}, b"")


def truncated(size: int):
    """Promises everything, sends `size` bytes more of what was asked for, hangs up."""

    def fault(handler: Handler, resource: Resource) -> None:
        body = handler.body(resource)
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        headers = {"ETag": resource.etag} if resource.etag else {}
        if match:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.head(206 if match else 200, {"Content-Length": str(len(body) - start), **headers})
        handler.send(body[start : start + size])
        handler.hang_up()

    return fault


def wrong_length(length: int):
    """Declares another length than that of the file, and sends no more than declared."""

    def fault(handler: Handler, resource: Resource) -> None:
        handler.head(200, {"Content-Length": str(length), "ETag": '"1"', "Connection": "close"})
        handler.send(handler.body(resource)[:length])
        handler.hang_up()

    return fault


def less_than_asked(size: int):
    """Continues a half file by `size` bytes only, and says so: a proxy's limit."""

    def fault(handler: Handler, resource: Resource) -> None:
        body = handler.body(resource)
        start = int(re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"])[1])
        place = f"bytes {start}-{start + size - 1}/{len(body)}"
        handler.answer(206, {"Content-Range": place, "ETag": '"1"'}, body[start : start + size])

    return fault


def from_elsewhere(handler: Handler, resource: Resource) -> None:
    """Continues a half file at another place than asked for, with as many bytes as are missing."""
    body = handler.body(resource)
    missing = len(body) - int(re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"])[1])
    place = f"bytes 0-{missing - 1}/{len(body)}"
    handler.answer(206, {"Content-Range": place, "ETag": '"1"'}, body[:missing])


def chunked(cut: int | None = None):
    """No length at all; with `cut` the end is missing although the transfer ends properly."""

    def fault(handler: Handler, resource: Resource) -> None:
        handler.head(200, {"Transfer-Encoding": "chunked"})
        body = handler.body(resource)[:cut]
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            handler.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.send(b"0\r\n\r\n")

    return fault


def reset(size: int):
    """Sends `size` bytes, then the connection is reset."""

    def fault(handler: Handler, resource: Resource) -> None:
        body = handler.body(resource)
        handler.head(200, {"Content-Length": str(len(body)), "ETag": '"1"'})
        handler.send(body[:size])
        handler.owner.released.wait(0.05)  # the bytes must leave before the reset discards them
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.shutdown(socket.SHUT_RD)
        handler.connection.close()
        handler.hang_up()

    return fault


def stall(size: int):
    """Sends `size` bytes, then nothing until the server is released."""

    def fault(handler: Handler, resource: Resource) -> None:
        body = handler.body(resource)
        handler.head(200, {"Content-Length": str(len(body)), "ETag": '"1"'})
        handler.send(body[:size])
        handler.owner.sent_some.set()
        handler.owner.released.wait()
        handler.hang_up()

    return fault


def web_page(handler: Handler, _: Resource) -> None:
    """What a captive portal answers to everything, with status 200."""
    handler.answer(200, {"Content-Type": "text/html"}, WEB_PAGE)
