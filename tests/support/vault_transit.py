"""A stand-in for the Transit engine of Vault, on loopback: no package of Vault or OpenBao can be had for the tests.

It answers the two requests that signing needs, in the form that Vault's API documentation gives, and refuses a wrong
token; what it proves is that we and hvac speak that protocol, not that Vault does.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.identity.bundle import public_pem

TOKEN = "s.stand-in"


@dataclass
class Transit:
    """Keys by name, a list of versions each; `address` is for VAULT_ADDR."""

    keys: dict[str, list[ec.EllipticCurvePrivateKey]] = field(default_factory=dict)
    kind: str = "ecdsa-p256"
    address: str = ""

    def answer(self, method: str, path: list[str], sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        match method, path:
            case "GET", ["v1", "transit", "keys", name] if name in self.keys:
                versions = {
                    str(number): {"name": "P-256", "public_key": public_pem(key.public_key())}
                    for number, key in enumerate(self.keys[name], 1)
                }
                return 200, {"data": {"name": name, "type": self.kind, "keys": versions}}
            case (("POST" | "PUT"), ["v1", "transit", "sign", name, *hashed]) if name in self.keys:
                algorithm = hashed[0] if hashed else sent.get("hash_algorithm")
                if (algorithm, sent.get("marshaling_algorithm")) != ("sha2-256", "asn1"):
                    return 400, {"errors": ["unsupported algorithm"]}
                version = int(sent["key_version"])
                made = self.keys[name][version - 1].sign(base64.b64decode(sent["input"]), ec.ECDSA(hashes.SHA256()))
                return 200, {"data": {"signature": f"vault:v{version}:{base64.b64encode(made).decode()}"}}
        return 404, {"errors": []}


@contextmanager
def serve_transit(transit: Transit) -> Iterator[Transit]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length) or b"{}")
            status, document = 403, {"errors": ["permission denied"]}
            if self.headers.get("X-Vault-Token") == TOKEN:
                status, document = transit.answer(self.command, self.path.strip("/").split("/"), sent)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        transit.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield transit
        finally:
            server.shutdown()
            thread.join()
