"""A proxy in front of a registry on loopback that passes requests on, and answers some of them with a redirect."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Rule:
    """Requests of a method and path (regular expressions) are answered with `status` and the Location `to(path)`."""

    method: str
    path: str
    status: int
    to: Callable[[str], str]
    times: int = 10_000


@dataclass
class RedirectingProxy:
    """`asked` are (method, path, headers) as they came in; `redirected` those that a rule answered."""

    upstream: str
    rules: list[Rule] = field(default_factory=list)
    host: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    redirected: list[tuple[str, str]] = field(default_factory=list)

    def rule(self, method: str, path: str) -> Rule | None:
        for rule in self.rules:
            if rule.times and re.fullmatch(rule.method, method) and re.search(rule.path, path):
                rule.times -= 1
                self.redirected.append((method, path))
                return rule
        return None


@contextmanager
def serve_proxy(proxy: RedirectingProxy) -> Iterator[RedirectingProxy]:
    """Serve `proxy` until the block ends; its host is filled in."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def route(self) -> None:
            _route(self, proxy)

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = route  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        proxy.host = f"127.0.0.1:{server.server_address[1]}"
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _route(handler: BaseHTTPRequestHandler, proxy: RedirectingProxy) -> None:
    method, path = handler.command, handler.path
    proxy.asked.append((method, path, dict(handler.headers)))
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    if rule := proxy.rule(method, path):
        handler.send_response(rule.status)
        handler.send_header("Location", rule.to(path))
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    connection = http.client.HTTPConnection(proxy.upstream, timeout=30)
    try:
        # The client's own Host: so the registry's addresses lead through the proxy again
        connection.request(method, path, body or None, dict(handler.headers))
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    handler.send_response(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in HOP_BY_HOP and (name.lower() != "content-length" or method == "HEAD"):
            handler.send_header(name, value)
    if method != "HEAD" and answer.status != 204:
        handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
