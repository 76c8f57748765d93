"""Asking a transparency log and a time stamper, with patience: signature → log entry, signature → time stamp.

sigstore-python's own clients give up at the first failure and wait without an end, and its log client takes
certificates alone; so the questions are asked here, and the answers read by its models.

Sources: rekor's openapi.yaml (`POST /api/v1/log/entries`; 409 names the entry that is there already), rekor-tiles'
CLIENTS.md (`POST /api/v2/log/entries`), RFC 3161 section 3.4.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import Certificate

from reprise.artifacts.patience import NoAnswerError, persistently, refuse_bad_status, refuse_busy
from reprise.lock.session import open_session
from reprise.trust.keyless import one_line
from reprise_trainer.errors import UnavailableError
from reprise_trainer.identity.bundle import PAYLOAD_TYPE, Envelope, pre_authentication_encoding

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig

Verifier = ec.EllipticCurvePublicKey | Certificate
"""By what a signature is checked: a key, or a certificate with one (Sigstore's certify P-256 keys)."""

TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and to wait for an answer; a log of version 2 answers once its next batch is signed."""
LARGEST_ANSWER = 1 << 20
"""Bytes; an entry has 6 kB, a time stamp 4 kB."""


@dataclass(frozen=True, slots=True)
class WitnessServices:
    """Who is asked: the log's address of entries (`…/api/v1/log/entries` or `…/api/v2/…`) and time stampers'."""

    log: str
    stampers: tuple[str, ...]
    timeout: tuple[float, float] = TIMEOUT

    def log_entry(self, envelope: Envelope, verifier: Verifier) -> dict[str, Any]:
        """The log's entry about a signature, as bundles hold it; it is not verified yet.

        Raises:
            UnavailableError: the log does not answer, or not with an entry.
        """
        if self.log.endswith("/api/v2/log/entries"):
            return _read_object(self._ask(self.log, json=_hashedrekord(envelope, verifier)), self.log)
        answer = self._ask(self.log, json=_dsse(envelope, verifier))
        from sigstore.models import TransparencyLogEntry

        try:
            entry = TransparencyLogEntry._from_v1_response(_read_object(answer, self.log))
            return json.loads(entry._inner.to_json())  # type: ignore[no-any-return]
        except UnavailableError:
            raise
        except Exception as error:  # of pydantic, of base64, of sigstore
            raise UnavailableError(f"the log {self.log} does not answer with an entry: {one_line(error)}") from error

    def time_stamp(self, stamper: str, signature: bytes) -> dict[str, str]:
        """A time stamp of a signature, as bundles hold it; it is not verified yet.

        Raises:
            UnavailableError: the time stamper does not answer, or not with a stamp.
        """
        from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response

        question = TimestampRequestBuilder().data(signature).nonce(nonce=True).cert_request(cert_request=True).build()
        kind = {"Content-Type": "application/timestamp-query"}
        answer = self._ask(stamper, data=question.as_bytes(), headers=kind)
        try:
            decode_timestamp_response(answer)
        except ValueError as error:
            raise UnavailableError(f"{stamper} does not answer with a time stamp: {error}") from error
        return {"signedTimestamp": base64.b64encode(answer).decode()}

    def _ask(self, url: str, **question: Any) -> bytes:
        answers: list[bytes] = []

        def once() -> None:
            answer = session.post(url, timeout=self.timeout, allow_redirects=False, stream=True, **question)
            body = _body(answer)
            refuse_busy(answer)
            if answer.status_code == 409 and (place := answer.headers.get("Location")):  # it is there already
                answer = session.get(urljoin(url, place), timeout=self.timeout, allow_redirects=False, stream=True)
                body = _body(answer)
            if answer.status_code != 201:
                refuse_bad_status(answer)
            answers.append(body)

        try:
            with open_session() as session:
                persistently(once, lambda: 0, sleep)
        except NoAnswerError as error:
            hint = "What is signed stays signed; run the command again later."
            raise UnavailableError(f"{url} gives no answer: {error}", hint=hint) from error
        return answers[-1]


def services_of(config: ClientTrustConfig) -> WitnessServices:
    """The log and the time stampers that a client trust config names for signing."""
    signing = config.signing_config
    log = signing.get_tlogs()[0].url  # type: ignore[attr-defined]
    return WitnessServices(f"{log}/log/entries", tuple(each.url for each in signing.get_tsas()))


def _dsse(envelope: Envelope, verifier: Verifier) -> dict[str, Any]:
    """What a log of version 1 is asked to keep: the whole envelope (it keeps hashes and the signature)."""
    signature = {"sig": base64.b64encode(envelope.signature).decode()}
    payload = base64.b64encode(envelope.payload).decode()
    whole = json.dumps({"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [signature]})
    by = base64.b64encode(_encoded(verifier, serialization.Encoding.PEM)).decode()
    content = {"envelope": whole, "verifiers": [by]}
    return {"kind": "dsse", "apiVersion": "0.0.1", "spec": {"proposedContent": content}}


def _hashedrekord(envelope: Envelope, verifier: Verifier) -> dict[str, Any]:
    """What a log of version 2 is asked to keep: hash of what was signed, signature, and by what it is checked."""
    digest = hashlib.sha256(pre_authentication_encoding(envelope.payload)).digest()
    raw = {"rawBytes": base64.b64encode(_encoded(verifier, serialization.Encoding.DER)).decode()}
    form = "x509Certificate" if isinstance(verifier, Certificate) else "publicKey"
    by = {form: raw, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    signature = {"content": base64.b64encode(envelope.signature).decode(), "verifier": by}
    return {"hashedRekordRequestV002": {"digest": base64.b64encode(digest).decode(), "signature": signature}}


def _encoded(verifier: Verifier, encoding: serialization.Encoding) -> bytes:
    if isinstance(verifier, Certificate):
        return verifier.public_bytes(encoding)
    return verifier.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def _body(answer: requests.Response) -> bytes:
    data = b""
    for piece in answer.iter_content(1 << 16):
        data += piece
        if len(data) > LARGEST_ANSWER:
            raise NoAnswerError(f"its answer has more than {LARGEST_ANSWER} bytes")
    return data


def _read_object(answer: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"the log {url} does not answer with JSON") from error
    if not isinstance(document, dict):
        raise UnavailableError(f"the log {url} does not answer with an entry")
    return document
