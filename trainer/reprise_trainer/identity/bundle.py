"""One signed form: an in-toto v1 statement in a DSSE envelope in a Sigstore bundle v0.3, signed by a P-256 key.

Used by the host and inside the image. Nothing here knows the time: whoever reads an expiry judges it with a time given.

Sources: DSSE v1 (protocol.md), in-toto attestation spec v1 (statement.md), Sigstore bundle format v0.3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.canonical import DIGEST_PATTERN, canonical_json
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.strict_json import parse_json

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_READ_TYPES = (STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1")
"""Version 0.1 has the same fields with the same meaning; `cosign attest` 3.1 still writes it."""

IMAGE_SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
"""Predicate type of an image signature: the one that cosign 3 writes and reads."""
RUN_RECORD = "urn:reprise:run:v1"
DELEGATION = "urn:reprise:delegation:v1"

SIZE_LIMIT = 16 * 2**20
"""Bytes. The largest statement of ours (a run record with a line a checkpoint) is far below 1 MiB."""

# Other things that a bundle may hold (a log entry, a timestamp) say nothing about an own key, and are not read.
_BUNDLE_KEYS = {"mediaType", "verificationMaterial", "dsseEnvelope"}
_MATERIAL_KEYS = {"publicKey", "tlogEntries", "timestampVerificationData"}
_ENVELOPE_KEYS = {"payload", "payloadType", "signatures"}
_SIGNATURE_KEYS = {"sig", "keyid"}


@runtime_checkable
class SigningKey(Protocol):
    """The private half of an ECDSA key on P-256, wherever it is kept: `cryptography`'s own keys are such keys."""

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""

    def sign(self, data: bytes, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """The signature of `data` in DER (RFC 3279, Ecdsa-Sig-Value)."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a bundle holds before anything is verified: payload bytes, DER signature, and the unauthenticated hint."""

    payload: bytes
    signature: bytes
    hint: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about: `digest` as `sha256:<hex>`; the name is for people."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class VerifiedStatement:
    """A statement whose signature was checked. `key_name` is the name that the caller gave the key that signed it."""

    statement: dict[str, Any]
    predicate_type: str
    predicate: dict[str, Any]
    subjects: tuple[Subject, ...]
    key_name: str

    def is_about(self, digest: str) -> bool:
        """Whether one of the subjects has this digest."""
        return any(subject.digest == digest for subject in self.subjects)


def make_statement(name: str, digest: str, predicate_type: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """An in-toto v1 statement about one subject.

    Args:
        name: the subject's name; some readers require one, so it is never left out.
        digest: the subject's digest, `sha256:<hex>`.
        predicate_type: a URI.
        predicate: what is said; no floats (see `canonical_json`).
    """
    if not DIGEST_PATTERN.match(digest):
        raise InputError(f"a statement's subject must be sha256:<64 hex digits>, not {digest!r}")
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }


def sign_statement(key: SigningKey, statement: Mapping[str, Any], *, hint: str | None = None) -> bytes:
    """The bundle (canonical JSON) that holds `statement`, signed by `key` (ECDSA P-256 with SHA-256).

    Two signatures of one statement differ: ECDSA is randomised. `hint` tells readers which key it is, in their own way;
    by default in cosign's.

    Raises:
        InputError: the key is not on P-256.
    """
    _require_p256(key.public_key())
    payload = canonical_json(dict(statement))
    signature = key.sign(pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
    return canonical_json(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint or key_hint(key.public_key())}},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode()}],
            },
        }
    )


def open_bundle(data: bytes, *, certificates: bool = False) -> Envelope:
    """The envelope in a bundle's bytes; nothing is verified yet.

    Args:
        certificates: let a certificate stand in the place of the key's hint.

    Raises:
        InputError: not a Sigstore bundle v0.3 with one DSSE signature by a key, or larger or deeper than the limits.
    """
    document = _object(parse_json(data, "bundle", size_limit=SIZE_LIMIT), "the bundle", _BUNDLE_KEYS)
    if document.get("mediaType") != BUNDLE_TYPE:
        _malformed(f"its media type is {document.get('mediaType')!r}, expected {BUNDLE_TYPE!r}")
    known = _MATERIAL_KEYS | ({"certificate"} if certificates else set())
    material = _object(document.get("verificationMaterial"), "verificationMaterial", known)
    certified = "certificate" in material
    public_key = {} if certified else _object(material.get("publicKey"), "publicKey", {"hint"})
    envelope = _object(document.get("dsseEnvelope"), "dsseEnvelope", _ENVELOPE_KEYS)
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        _malformed(f"its payload type is {envelope.get('payloadType')!r}, expected {PAYLOAD_TYPE!r}")
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        count = len(signatures) if isinstance(signatures, list) else "no list of"
        _malformed(f"it has {count} signatures, expected exactly one")
    signature = _object(signatures[0], "the signature", _SIGNATURE_KEYS)
    return Envelope(
        payload=_base64(envelope.get("payload"), "payload"),
        signature=_base64(signature.get("sig"), "sig"),
        hint=_string(public_key.get("hint", ""), "hint"),
    )


def verify_bundle(data: bytes, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> VerifiedStatement:
    """The statement in a bundle, once its signature by one of `keys` is verified.

    The hint in a bundle is not signed, so it decides nothing: each key is tried. The statement is read only after the
    signature holds.

    Args:
        data: the bundle's bytes.
        keys: name → P-256 public key; the names appear in messages.

    Raises:
        InputError: the bundle or the signed statement is malformed.
        DoesNotHoldError: no key of `keys` made the signature.
    """
    envelope = open_bundle(data)
    message = pre_authentication_encoding(envelope.payload)
    for name, key in keys.items():
        _require_p256(key)
        try:
            key.verify(envelope.signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return read_statement(envelope.payload, name)
    names = ", ".join(sorted(keys)) or "none"
    raise DoesNotHoldError(f"the signature is not by a known key (tried: {names}), or the statement was changed")


def pre_authentication_encoding(payload: bytes) -> bytes:
    """The bytes that DSSE signs for an in-toto payload (PAE, DSSE protocol.md)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_hint(key: ec.EllipticCurvePublicKey) -> str:
    """How cosign hints at a key: base64 of the SHA-256 of its DER SubjectPublicKeyInfo. It is not authenticated."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def public_pem(key: ec.EllipticCurvePublicKey) -> str:
    """The PEM text (SubjectPublicKeyInfo) of a public key."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def read_public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """The P-256 public key in a PEM text.

    Raises:
        InputError: not a PEM public key, or one of another kind.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"not a PEM public key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError("the public key is not an elliptic-curve key; expected ECDSA on P-256")
    return _require_p256(key)


def _require_p256(key: ec.EllipticCurvePublicKey) -> ec.EllipticCurvePublicKey:
    if not isinstance(key.curve, ec.SECP256R1):
        raise InputError(f"the key is on curve {key.curve.name}; expected P-256 (secp256r1)")
    return key


def read_statement(payload: bytes, key_name: str) -> VerifiedStatement:
    """The in-toto statement (v1, or v0.1 as others write it) in bytes whose signature the caller has verified.

    Fields that the spec does not know are left alone, as it asks.

    Args:
        payload: the signed bytes.
        key_name: who signed, for messages.

    Raises:
        InputError: it is not such a statement.
    """
    statement = parse_json(payload, "statement", size_limit=SIZE_LIMIT)
    if not isinstance(statement, dict) or statement.get("_type") not in _READ_TYPES:
        found = statement.get("_type") if isinstance(statement, dict) else type(statement).__name__
        raise InputError(f"the signed payload is not an in-toto v1 statement: _type is {found!r}")
    subjects, predicate = statement.get("subject"), statement.get("predicate", {})
    predicate_type = statement.get("predicateType")
    if not isinstance(predicate_type, str) or not predicate_type or not isinstance(predicate, dict):
        raise InputError("the signed statement has no predicateType, or a predicate that is not an object")
    if not isinstance(subjects, list) or not subjects:
        raise InputError("the signed statement has no subject")
    return VerifiedStatement(
        statement, predicate_type, predicate, tuple(_read_subject(each) for each in subjects), key_name
    )


def _read_subject(subject: object) -> Subject:
    digests = subject.get("digest") if isinstance(subject, dict) else None
    digest = f"sha256:{digests.get('sha256')}" if isinstance(digests, dict) else ""
    if not isinstance(subject, dict) or not DIGEST_PATTERN.match(digest):
        raise InputError(f"a subject of the signed statement has no sha256 digest: {str(subject)[:200]}")
    return Subject(_string(subject.get("name", ""), "subject name"), digest)


def _object(value: object, where: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _malformed(f"{where} is missing or not an object")
    if unknown := sorted(value.keys() - keys):
        shown = ", ".join(repr(name[:40]) for name in unknown[:5])  # a stranger chose the names
        _malformed(f"{where} has {len(unknown)} unknown field{'s'[: len(unknown) > 1]}: {shown}")
    return value


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        _malformed(f"{where} is not a string")
    return value


def _base64(value: object, where: str) -> bytes:
    text = _string(value, where)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        _malformed(f"{where} is not base64: {error}")
    if base64.b64encode(data).decode() != text:  # trailing bits that decoders drop
        _malformed(f"{where} is not canonical base64")
    return data


def _malformed(why: str) -> NoReturn:
    raise InputError(f"not a Sigstore bundle that this version reads: {why}")
