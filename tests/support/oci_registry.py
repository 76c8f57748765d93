"""An OCI registry with the referrers API, in memory and on loopback, that can be told to misbehave.

Written from the OCI distribution spec v1.1, and stricter than most registries: a manifest's blobs must be in its own
repository, a chunk must start where the upload is, a mount needs the right to read the source.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from oci_registry_api import RegistryHandler, Request


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method and path (regular expressions).

    `status` is answered instead, with `headers` and, where `code` is given, that error. `drop` are bytes of the body
    (sent or received) after which the connection ends. `cut` answers with that much of the body as if it were all.
    `longer` are bytes too many, sent by chunked encoding. `pause` are seconds before the answer, `pace` those after
    each 64 KiB of it.
    """

    method: str
    path: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    code: str = ""
    drop: int = -1
    cut: int = -1
    longer: bytes = b""
    pause: float = 0.0
    pace: float = 0.0


@dataclass
class OciRegistry:
    """What the registry holds and was asked. With a `password`, the user "me" gets tokens from its token server."""

    referrers_api: bool = True
    page: int = 100
    password: str = ""
    host: str = ""
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def methods(self) -> set[str]:
        return {request.method for request in self.asked}

    def fault(self, method: str, path: str) -> Fault:
        with self.lock:
            for fault in self.faults:
                if fault.times and re.fullmatch(fault.method, method) and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return Fault("", "")

    def referrers(self, repository: str, subject: str) -> list[dict[str, Any]]:
        found = {}
        for (name, reference), (body, kind) in list(self.manifests.items()):
            document = json.loads(body)
            if name == repository and ":" in reference and document.get("subject", {}).get("digest") == subject:
                entry = {"mediaType": kind, "digest": reference, "size": len(body)}
                entry |= {"annotations": document["annotations"]} if "annotations" in document else {}
                found[reference] = {**entry, "artifactType": document.get("artifactType", "")}
        return [found[digest] for digest in sorted(found)]


@contextmanager
def serve_registry(registry: OciRegistry) -> Iterator[OciRegistry]:
    """Serve `registry` until the block ends; its host is filled in."""

    class Handler(RegistryHandler):
        known = registry

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away, or a fault of ours

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        registry.host = f"127.0.0.1:{server.server_address[1]}"
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
