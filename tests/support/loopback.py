"""A real HTTP server on the loopback interface, which can be told to misbehave."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Site:
    """What the server serves, and what it was asked.

    `files` are bodies by path. `drops` are, by path, the bytes after which the next connections break off, one number a
    request. `statuses` are answered first, one a request. `slow` is a pause in seconds after each 64 KiB. Where
    `password` is set, every request needs it, as user "me".
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    drops: dict[str, list[int]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    lying_ranges: bool = False
    tells_length: bool = True
    slow: float = 0.0
    password: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}{path}"

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for path, _ in self.asked]


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve `site` until the block ends; its address is filled in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, site)

        def do_HEAD(self) -> None:
            _answer(self, site)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        site.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    path = unquote(handler.path)
    wanted = handler.headers.get("Range", "")
    site.asked.append((path, wanted))
    if site.password and handler.headers.get("Authorization") != basic("me", site.password):
        handler.send_error(401)
        return
    if site.statuses.get(path):
        handler.send_error(site.statuses[path].pop(0))
        return
    if path not in site.files:
        handler.send_error(404)
        return
    body, start = site.files[path], 0
    match = re.fullmatch(r"bytes=(\d+)-", wanted)
    if match and site.ranges:
        start = int(match[1])
        if start >= len(body):
            handler.send_error(416)
            return
        handler.send_response(206)
        claimed = start + 1 if site.lying_ranges else start
        handler.send_header("Content-Range", f"bytes {claimed}-{len(body) - 1}/{len(body)}")
    else:
        handler.send_response(200)
    if site.tells_length:
        handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("Content-Type", site.types.get(path, "application/octet-stream"))
    handler.send_header("Connection", "close")
    handler.end_headers()
    if handler.command == "GET":
        _send(handler, site, body[start:], site.drops[path].pop(0) if site.drops.get(path) else None)
    handler.close_connection = True


def basic(user: str, password: str) -> str:
    """The Authorization header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _send(handler: BaseHTTPRequestHandler, site: Site, body: bytes, drop: int | None) -> None:
    body = body if drop is None else body[:drop]
    try:
        for at in range(0, len(body), 1 << 16):
            handler.wfile.write(body[at : at + (1 << 16)])
            time.sleep(site.slow)
    except OSError:
        pass  # the client went away
