"""A private Sigstore on loopback: what it hands out is real, so that unmodified clients sign and verify against it.

Keys and logs live in memory and end with the test.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography import x509
from sigstore_authority import CertificateAuthority, CertificateLog, IdentityProvider, der, pem, spki
from sigstore_logs import KnownEntryError, Rekor1, Rekor2, TimeStamper, b64

HOST = "127.0.0.1"
LARGEST_REQUEST = 32 * 2**20  # bytes


@dataclass(frozen=True)
class Fault:
    """What happens to one request: a status with headers; without one, the work is done and the answer lost, after so
    many seconds."""

    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class PrivateSigstore:
    """Its parts, and the documents by which clients trust them. `rekor` is the log's version that signers are told."""

    def __init__(self, rekor: int, timestamps: bool, certificate_lifetime: timedelta) -> None:
        self.rekor, self.timestamps = rekor, timestamps
        self.provider = IdentityProvider()
        self.certificate_log = CertificateLog()
        self.authority = CertificateAuthority(self.provider, self.certificate_log, certificate_lifetime)
        self.rekor1, self.rekor2, self.time_stamper = Rekor1(HOST), Rekor2(HOST), TimeStamper()
        self.url = ""
        self.requests: list[str] = []
        self.down: set[str] = set()  # paths that answer 503
        self.faults: list[Fault] = []  # what happens to the next requests of a path, each once
        self.ci_subject = ""  # whom the token names that the CI endpoint gives
        self._since = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def trusted_root(self) -> dict[str, Any]:
        p256 = "PKIX_ECDSA_P256_SHA_256"
        ca, stamper = self.authority, self.time_stamper
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                self._log(self.rekor1.key.public_key(), p256, self.rekor1.key_id),
                self._log(self.rekor2.key.public_key(), "PKIX_ED25519", self.rekor2.key_id),
            ],
            "certificateAuthorities": [self._authority(ca.certificate, ca.root)],
            "ctlogs": [self._log(self.certificate_log.key.public_key(), p256, self.certificate_log.log_id)],
            "timestampAuthorities": [self._authority(stamper.certificate, stamper.root)],
        }

    def signing_config(self) -> dict[str, Any]:
        config = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [self._service(self.url)],
            "oidcUrls": [self._service(self.provider.url)],
            "rekorTlogUrls": [self._service(self.url, self.rekor)],
            "rekorTlogConfig": {"selector": "ANY"},
        }
        if self.timestamps:
            config["tsaUrls"] = [self._service(f"{self.url}/api/v1/timestamp")]
            config["tsaConfig"] = {"selector": "ANY"}
        return config

    def trust_config(self) -> dict[str, Any]:
        """What `--trust-config` takes: both documents in one."""
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": self.signing_config(),
        }

    def _log(self, public: Any, kind: str, key_id: bytes) -> dict[str, Any]:
        key = {"rawBytes": b64(spki(public)), "keyDetails": kind, "validFor": {"start": self._since}}
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": key,
            "logId": {"keyId": b64(key_id)},
        }

    def _authority(self, *chain: x509.Certificate) -> dict[str, Any]:
        return {
            "subject": {"organization": "private", "commonName": "private"},
            "uri": self.url,
            "certChain": {"certificates": [{"rawBytes": b64(der(each))} for each in chain]},
            "validFor": {"start": self._since},
        }

    def _service(self, url: str, version: int = 1) -> dict[str, Any]:
        return {"url": url, "majorApiVersion": version, "validFor": {"start": self._since}, "operator": "private"}

    def get(self, path: str) -> dict[str, Any] | None:
        if path == "/oidc/.well-known/openid-configuration":
            return self.provider.discovery()
        if path == "/oidc/keys":
            key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.provider.key.public_key()))
            return {"keys": [{**key, "kid": "key", "use": "sig", "alg": "RS256"}]}
        if path == "/api/v2/trustBundle":
            return {"chains": [{"certificates": [pem(self.authority.certificate), pem(self.authority.root)]}]}
        if path.startswith("/api/v1/log/entries/"):
            return self.rekor1.entries.get(path.rpartition("/")[2])
        if path == "/ci/token":  # what a CI service answers to a job of its own
            return {"value": self.provider.token(self.ci_subject)}
        return None

    def post(self, path: str, data: bytes, bearer: str) -> tuple[int, bytes, dict[str, str]]:
        if path == "/api/v1/timestamp":
            return 201, self.time_stamper.answer(data), {"Content-Type": "application/timestamp-reply"}
        if path == "/oidc/token":
            return 200, _json(self.provider.exchange(dict(parse_qsl(data.decode())))), {}
        request = json.loads(data)
        if path == "/api/v2/signingCert":
            return 200, _json(self.authority.answer(request, bearer)), {}
        if path == "/api/v2/log/entries":
            return 201, _json(self.rekor2.answer(request)), {}
        if path == "/api/v1/log/entries":
            try:
                name, entry = self.rekor1.answer(request)
            except KnownEntryError as known:
                return (
                    409,
                    _json({"code": 409, "message": "an equivalent entry exists"}),
                    {"Location": f"{path}/{known}"},
                )
            return 201, _json(entry), {"ETag": name, "Location": f"{path}/{name}"}
        return 404, b"{}", {}


@contextmanager
def private_sigstore(
    *, rekor: int = 1, timestamps: bool = False, certificate_lifetime: timedelta = timedelta(minutes=10)
) -> Iterator[PrivateSigstore]:
    """A private Sigstore that listens for the length of the block."""
    instance = PrivateSigstore(rekor, timestamps, certificate_lifetime)
    server = ThreadingHTTPServer((HOST, 0), _handler(instance))
    instance.url = f"http://{HOST}:{server.server_port}"
    instance.provider.url = f"{instance.url}/oidc"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield instance
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _handler(instance: PrivateSigstore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            instance.requests.append(f"GET {path}")
            if path == "/oidc/auth":
                location = instance.provider.authorize(dict(parse_qsl(urlsplit(self.path).query)))
                return self._answer(302, b"", {"Location": location})
            document = instance.get(path)
            self._answer(404 if document is None else 200, _json(document or {}), {})

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            instance.requests.append(f"POST {path}")
            data = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), LARGEST_REQUEST))
            if path in instance.down:
                return self._answer(503, b"{}", {})
            fault = next((each for each in instance.faults if each.path == path), None)
            if fault is not None:
                instance.faults.remove(fault)
                if fault.status:
                    return self._answer(fault.status, b"{}", fault.headers)
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            try:
                if fault is not None:  # it does its work, and nobody hears of it
                    instance.post(path, data, bearer)
                    time.sleep(fault.seconds)
                    self.close_connection = True
                    return
                self._answer(*instance.post(path, data, bearer))
            except Exception as error:  # whatever is wrong with a request is its sender's to know
                self._answer(400, _json({"code": 400, "message": f"{type(error).__name__}: {error}"}), {})

        def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
