"""The second half of a private Sigstore: transparency logs (Rekor 1 and 2) and a time stamper.

Sources: RFC 6962 section 2.1 (Merkle trees), C2SP signed-note and tlog-checkpoint, rekor's and rekor-tiles' API,
RFC 3161 (time stamps), RFC 5816 (SigningCertificateV2).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import Any

import rfc8785
from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sigstore_authority import authority, der, spki, usage

from reprise_trainer.identity.bundle import pre_authentication_encoding


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def root_of(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\1" + root_of(leaves[:half]) + root_of(leaves[half:]))


def path_to(index: int, leaves: list[bytes]) -> list[bytes]:
    """The audit path of a leaf, from the bottom up."""
    if len(leaves) == 1:
        return []
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < half:
        return [*path_to(index, leaves[:half]), root_of(leaves[half:])]
    return [*path_to(index - half, leaves[half:]), root_of(leaves[:half])]


def public_of(verifier: bytes) -> Any:
    """The key by which a signature is checked: in a certificate or by itself, as PEM or DER."""
    for load in (x509.load_pem_x509_certificate, x509.load_der_x509_certificate):
        try:
            return load(verifier).public_key()
        except ValueError:
            continue
    form = serialization.load_pem_public_key if verifier.startswith(b"---") else serialization.load_der_public_key
    return form(verifier)


class Log(ABC):
    """Leaves in memory; a few of strangers come before each of ours, so that no proof is trivial."""

    key_id: bytes

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.lock = threading.Lock()

    def append(self, body: bytes) -> tuple[int, list[bytes]]:
        """Index of the new leaf, and all leaves up to it."""
        with self.lock:
            self.leaves += [sha256(b"\0" + str(len(self.leaves) + n).encode()) for n in range(2)]
            self.leaves.append(sha256(b"\0" + body))
            return len(self.leaves) - 1, list(self.leaves)

    @abstractmethod
    def sign_note(self, note: bytes) -> bytes:
        """The log's signature over a checkpoint's note."""

    def checkpoint(self, origin: str, name: str, leaves: list[bytes]) -> str:
        note = f"{origin}\n{len(leaves)}\n{b64(root_of(leaves))}\n"
        return f"{note}\n— {name} {b64(self.key_id[:4] + self.sign_note(note.encode()))}\n"


class KnownEntryError(Exception):
    """The log has this entry already, under the id in its argument."""


class Rekor1(Log):
    """`POST /api/v1/log/entries`: entries of the kind `dsse`, with a signed promise that holds the time."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.key_id = sha256(spki(self.key.public_key()))
        self.late = 0  # seconds that its clock is ahead
        self.entries: dict[str, dict[str, Any]] = {}  # by id
        self.ids: dict[bytes, str] = {}  # of what was asked to be kept

    def sign_note(self, note: bytes) -> bytes:
        return self.key.sign(note, ec.ECDSA(hashes.SHA256()))

    def answer(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The entry's id and the entry; raises KnownEntryError where it is there already."""
        body = self._entry_body(request)
        if body in self.ids:
            raise KnownEntryError(self.ids[body])
        index, leaves = self.append(body)
        entry: dict[str, Any] = {
            "body": b64(body),
            "integratedTime": int(time.time()) + self.late,
            "logID": self.key_id.hex(),
            "logIndex": index,
        }
        promise = self.sign_note(rfc8785.dumps(entry))
        entry["verification"] = {
            "signedEntryTimestamp": b64(promise),
            "inclusionProof": {
                "checkpoint": self.checkpoint(f"{self.host} - 1", self.host, leaves),
                "hashes": [each.hex() for each in path_to(index, leaves)],
                "logIndex": index,
                "rootHash": root_of(leaves).hex(),
                "treeSize": len(leaves),
            },
        }
        name = f"{1:016x}{leaves[index].hex()}"
        self.ids[body], self.entries[name] = name, {name: entry}
        return name, self.entries[name]

    def _entry_body(self, request: dict[str, Any]) -> bytes:
        if request["kind"] != "dsse":
            raise ValueError(f"kind {request['kind']} is not kept here")
        proposed = request["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        payload = base64.b64decode(envelope["payload"])
        (verifier,) = proposed["verifiers"]
        public = public_of(base64.b64decode(verifier))
        for each in envelope["signatures"]:
            public.verify(
                base64.b64decode(each["sig"]), pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256())
            )
        digest = {"algorithm": "sha256", "value": sha256(proposed["envelope"].encode()).hex()}
        spec = {
            "envelopeHash": digest,
            "payloadHash": {"algorithm": "sha256", "value": sha256(payload).hex()},
            "signatures": [{"signature": each["sig"], "verifier": verifier} for each in envelope["signatures"]],
        }
        return rfc8785.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})


class Rekor2(Log):
    """`POST /api/v2/log/entries`: entries of the kind `hashedrekord`, without a time of their own."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host
        self.key = ed25519.Ed25519PrivateKey.generate()
        raw = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.key_id = sha256(host.encode() + b"\n\x01" + raw)

    def sign_note(self, note: bytes) -> bytes:
        return self.key.sign(note)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = request["hashedRekordRequestV002"]
        by = asked["signature"]["verifier"]
        public_of(base64.b64decode(by.get("x509Certificate", by.get("publicKey"))["rawBytes"])).verify(
            base64.b64decode(asked["signature"]["content"]),
            base64.b64decode(asked["digest"]),
            ec.ECDSA(utils.Prehashed(hashes.SHA256())),
        )
        data = {"algorithm": "SHA2_256", "digest": asked["digest"]}
        spec = {"hashedRekordV002": {"data": data, "signature": asked["signature"]}}
        body = rfc8785.dumps({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec})
        index, leaves = self.append(body)
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.key_id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": b64(root_of(leaves)),
                "treeSize": str(len(leaves)),
                "hashes": [b64(each) for each in path_to(index, leaves)],
                "checkpoint": {"envelope": self.checkpoint(self.host, self.host, leaves)},
            },
            "canonicalizedBody": b64(body),
        }


class TimeStamper:
    """An RFC 3161 authority. `cryptography` writes no CMS around a TSTInfo; asn1crypto does."""

    def __init__(self) -> None:
        root_key, self.root = authority("time root")
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private time")])
        self.certificate = (
            x509.CertificateBuilder(self.root.subject, name, self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=10))
            .not_valid_after(now + timedelta(days=3600))
            .add_extension(usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
            .sign(root_key, hashes.SHA256())
        )

    def answer(self, query: bytes) -> bytes:
        asked = tsp.TimeStampReq.load(query)
        now = datetime.now(UTC).replace(microsecond=0)
        info = {
            "version": "v1",
            "policy": "1.3.6.1.4.1.57264.2",
            "message_imprint": asked["message_imprint"],
            "serial_number": x509.random_serial_number(),
            "gen_time": now,
            "accuracy": {"seconds": 1},
        }
        if asked["nonce"].native is not None:
            info["nonce"] = asked["nonce"]
        token = cms.SignedData(self._signed(tsp.TSTInfo(info).dump(), now, bool(asked["cert_req"].native)))
        answer = {
            "status": {"status": "granted"},
            "time_stamp_token": {"content_type": "signed_data", "content": token},
        }
        return bytes(tsp.TimeStampResp(answer).dump())

    def _signed(self, info: bytes, now: datetime, with_certificate: bool) -> dict[str, Any]:
        certificate = asn1_x509.Certificate.load(der(self.certificate))
        names_certificate = tsp.SigningCertificateV2({"certs": [{"cert_hash": sha256(der(self.certificate))}]})
        attributes = cms.CMSAttributes(
            [
                {"type": "content_type", "values": ["tst_info"]},
                {"type": "signing_time", "values": [cms.Time({"utc_time": now})]},
                {"type": "message_digest", "values": [sha256(info)]},
                {"type": "signing_certificate_v2", "values": [names_certificate]},
            ]
        )
        algorithm = algos.DigestAlgorithm({"algorithm": "sha256"})
        issuer = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
        signer = {
            "version": "v1",
            "sid": cms.SignerIdentifier({"issuer_and_serial_number": issuer}),
            "digest_algorithm": algorithm,
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            # signed with its own tag (SET OF), not with the [0] that it gets inside
            "signature": self.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
        }
        return {
            "version": "v3",
            "digest_algorithms": [algorithm],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info)},
            "signer_infos": [signer],
            **({"certificates": [certificate]} if with_certificate else {}),
        }
