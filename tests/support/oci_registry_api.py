"""The API of `oci_registry.OciRegistry`, from the OCI distribution spec v1.1, with the faults that it was told of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from oci_registry import OciRegistry

INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Request:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]


class RegistryHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    known: OciRegistry

    def log_message(self, format: str, *args: object) -> None:
        pass

    def route(self) -> None:
        url = urlsplit(self.path)
        self.query = dict(parse_qs(url.query))
        self.known.asked.append(Request(self.command, self.path, dict(self.headers)))
        self.broken = self.known.fault(self.command, self.path)
        time.sleep(self.broken.pause)
        if url.path == "/token":
            return self.token()
        if self.broken.status:
            self.body()
            if self.broken.code:
                return self.error(self.broken.status, self.broken.code, **self.broken.headers)
            return self.answer(self.broken.status, **self.broken.headers)
        for pattern, method in _ROUTES:
            if match := re.fullmatch(pattern, url.path):
                if not self.allowed(match[1] if match.groups() else ""):
                    self.body()
                    realm = f'Bearer realm="http://{self.known.host}/token",service="registry"'
                    scope = f',scope="repository:{match[1]}:{self.action()}"' if match.groups() else ""
                    return self.error(401, "UNAUTHORIZED", WWW_Authenticate=realm + scope)
                return getattr(self, method)(*match.groups())  # type: ignore[no-any-return]
        return self.error(404, "NOT_FOUND")

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = route  # noqa: N815

    # -- who may do what

    def token(self) -> None:
        expected = "Basic " + base64.b64encode(f"me:{self.known.password}".encode()).decode()
        scopes = self.query.get("scope", [])
        if self.command == "POST":  # OAuth 2: a refresh token instead of a password
            form = parse_qs(self.body().decode())
            proven = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == [self.known.password]
            scopes = form["scope"][0].split()
        else:
            proven = self.headers.get("Authorization") == expected
        if not proven:
            return self.error(401, "DENIED")
        token = secrets.token_hex(8)
        self.known.tokens[token] = set(scopes)
        return self.answer(200, json.dumps({"token": token, "expires_in": 60}).encode())

    def action(self) -> str:
        return "pull" if self.command in ("GET", "HEAD") else "pull,push"

    def allowed(self, repository: str) -> bool:
        if not self.known.password:
            return True
        scopes = self.known.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "), set())
        needed = self.action()
        return any(each.startswith(f"repository:{repository}:") and needed in each for each in scopes)

    # -- answers

    def body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if 0 <= self.broken.drop < length and self.command != "GET":
            self.partial = self.rfile.read(self.broken.drop)
            return b""
        return self.rfile.read(length)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        sent = body
        if self.broken.cut >= 0 and body:
            sent = body = body[: self.broken.cut]
        if self.broken.longer:
            sent = body + self.broken.longer
            self.send_header("Transfer-Encoding", "chunked")
        elif status != 204:
            headers.setdefault("Content_Length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.broken.longer:
            self.wfile.write(b"%x\r\n" % len(sent) + sent + b"\r\n0\r\n\r\n")
        elif 0 <= self.broken.drop < len(sent):
            self.wfile.write(sent[: self.broken.drop])
            self.drop()
        else:
            for start in range(0, len(sent), 1 << 16):
                self.wfile.write(sent[start : start + (1 << 16)])
                time.sleep(self.broken.pace)

    def error(self, status: int, code: str, **headers: str) -> None:
        self.answer(status, json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode(), **headers)

    def drop(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)

    # -- the API

    def version(self) -> None:
        self.answer(200, b"{}")

    def open_upload(self, name: str) -> None:
        self.body()
        digest, source = self.query.get("mount", [""])[0], self.query.get("from", [""])[0]
        if (source, digest) in self.known.blobs and self.allowed_to_read(source):
            self.known.blobs[name, digest] = self.known.blobs[source, digest]
            return self.answer(201, Location=f"/v2/{name}/blobs/{digest}")
        number = secrets.token_hex(8)
        self.known.uploads[number] = bytearray()
        return self.answer(202, Location=f"/v2/{name}/blobs/uploads/{number}?state=1", Range="0-0")

    def allowed_to_read(self, repository: str) -> bool:
        if not self.known.password:
            return True
        scopes = self.known.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "), set())
        return any(each.startswith(f"repository:{repository}:pull") for each in scopes)

    def upload(self, name: str, number: str) -> None:
        held = self.known.uploads.get(number)
        if held is None:
            self.body()
            return self.error(404, "BLOB_UPLOAD_UNKNOWN")
        where = f"/v2/{name}/blobs/uploads/{number}?state={len(held)}"
        if self.command == "GET":
            return self.answer(204, Location=where, Range=f"0-{max(0, len(held) - 1)}")
        place = self.headers.get("Content-Range")
        data = self.body()
        if self.broken.drop >= 0:
            held += self.partial
            return self.drop()
        if place and int(place.partition("-")[0]) != len(held):
            return self.error(416, "RANGE_INVALID")
        held += data
        if self.command == "PATCH":
            return self.answer(202, Location=where, Range=f"0-{max(0, len(held) - 1)}")
        digest = self.query["digest"][0]
        del self.known.uploads[number]
        if f"sha256:{hashlib.sha256(held).hexdigest()}" != digest:
            return self.error(400, "DIGEST_INVALID")
        self.known.blobs[name, digest] = bytes(held)
        return self.answer(201, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)

    def blob(self, name: str, digest: str) -> None:
        data = self.known.blobs.get((name, digest))
        if data is None:
            return self.error(404, "BLOB_UNKNOWN")
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and int(start[1]) < len(data):
            place = f"bytes {start[1]}-{len(data) - 1}/{len(data)}"
            return self.answer(206, data[int(start[1]) :], Content_Range=place)
        return self.answer(200, data, Docker_Content_Digest=digest, Content_Type="application/octet-stream")

    def manifest(self, name: str, reference: str) -> None:
        if self.command == "PUT":
            return self.put_manifest(name, reference, self.body())
        found = self.known.manifests.get((name, reference))
        if found is None:
            return self.error(404, "MANIFEST_UNKNOWN")
        digest = f"sha256:{hashlib.sha256(found[0]).hexdigest()}"
        return self.answer(200, found[0], Content_Type=found[1], Docker_Content_Digest=digest)

    def put_manifest(self, name: str, reference: str, data: bytes) -> None:
        document = json.loads(data)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if ":" in reference and reference != digest:
            return self.error(400, "DIGEST_INVALID")
        for blob in [document.get("config"), *document.get("layers", [])]:
            if blob and (name, blob["digest"]) not in self.known.blobs:
                return self.error(400, "MANIFEST_BLOB_UNKNOWN")
        for key in (reference, digest):
            self.known.manifests[name, key] = (data, self.headers["Content-Type"])
        headers = {"OCI_Subject": document["subject"]["digest"]} if "subject" in document else {}
        return self.answer(201, Docker_Content_Digest=digest, **(headers if self.known.referrers_api else {}))

    def tags(self, name: str) -> None:
        tags = sorted(tag for repository, tag in self.known.manifests if repository == name and ":" not in tag)
        self.answer(200, json.dumps({"name": name, "tags": tags}).encode())

    def referrers(self, name: str, subject: str) -> None:
        if not self.known.referrers_api:
            return self.error(404, "NOT_FOUND")
        start = int(self.query.get("start", ["0"])[0])
        everything = self.known.referrers(name, subject)
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": everything[start : start + self.known.page]}
        onward = f"/v2/{name}/referrers/{subject}?start={start + self.known.page}"
        more = {"Link": f'<{onward}>; rel="next"'} if len(everything) > start + self.known.page else {}
        return self.answer(200, json.dumps(document).encode(), Content_Type=INDEX, **more)


_DIGEST = r"sha256:[0-9a-f]{64}"
_ROUTES = (
    (r"/v2/?", "version"),
    (r"/v2/(.+)/blobs/uploads/", "open_upload"),
    (r"/v2/(.+)/blobs/uploads/(\w+)", "upload"),
    (rf"/v2/(.+)/blobs/({_DIGEST})", "blob"),
    (rf"/v2/(.+)/referrers/({_DIGEST})", "referrers"),
    (r"/v2/(.+)/manifests/([^/]+)", "manifest"),
    (r"/v2/(.+)/tags/list", "tags"),
)
