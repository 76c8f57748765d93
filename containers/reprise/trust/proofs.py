"""What certificates, transparency logs and time stampers prove about a bundle; offline, by one pinned trusted root.

sigstore-python (extra `keyless`) is loaded when the first bundle needs it: it takes half a second. A key's bundle is no
form that its verifier reads (sigstore/sigstore-python#1244), so the log entry and the times in one are checked here,
with its parts.

Sources: Sigstore client specification (verification), rekor's types `dsse` 0.0.1 and `hashedrekord` 0.0.2, RFC 3161.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust.keyless import CertificateJudge, load_trusted_root, one_line, read_keyless_bundle, verified_payload
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, RepriseError
from reprise_trainer.identity.bundle import (
    Envelope,
    key_hint,
    open_bundle,
    pre_authentication_encoding,
    read_statement,
)
from reprise_trainer.identity.policy import SignerIdentity
from reprise_trainer.identity.proofs import Certified, Witnessed

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot

TIMES = 32
"""At most so many time stamps are read in one bundle; sigstore's own clients have the same limit."""


class SigstoreProofs:
    """`Proofs` by the trusted root in `root` (its file's bytes; empty where there is none)."""

    def __init__(self, root: bytes) -> None:
        self._root = root

    @classmethod
    def of(cls, root: TrustedRoot) -> SigstoreProofs:
        """Those by a trusted root that was read already; no digest pins it."""
        found = cls(b"")
        found._trusted = root
        return found

    def require_root(self, pinned: str) -> None:
        """Raises unless the trusted root is the pinned one; the file is not parsed yet.

        Raises:
            NotFoundError: there is none.
            DoesNotHoldError: it is another.
        """
        if not self._root:
            raise NotFoundError(f"{pinned} is not here; `trusted_root.json` beside the policy or --trusted-root has it")
        if (found := sha256_digest(self._root)) != pinned:
            raise DoesNotHoldError(f"the file is {found}, pinned is {pinned}")

    @cached_property
    def _trusted(self) -> TrustedRoot:
        return load_trusted_root(self._root)

    def certified(self, bundle: bytes, identities: Sequence[SignerIdentity]) -> Certified:
        """The statement that a certificate signed, once all of it holds.

        Raises:
            InputError: bundle or trusted root is malformed.
            DoesNotHoldError: signature, certificate, log entry, time or identity does not hold.
            SystemFailureError: sigstore-python is not installed.
        """
        parsed, judge = read_keyless_bundle(bundle), CertificateJudge(identities)
        payload = verified_payload(parsed, self._trusted, judge)
        if judge.matched is None:  # the verifier never asked
            raise DoesNotHoldError("the certificate's identity was not judged")
        entry = parsed.log_entry._inner
        times = self._stamped(read_material(bundle)[1], parsed.signature)
        if entry.inclusion_promise and entry.integrated_time:
            times.append(datetime.fromtimestamp(entry.integrated_time, UTC))
        return Certified(read_statement(payload, judge.name), judge.matched, Witnessed(True, min(times, default=None)))

    def require_certified(self, bundle: bytes) -> None:
        """Raises, as `certified` does, unless all of a bundle with a certificate holds, whoever signed it."""
        verified_payload(read_keyless_bundle(bundle), self._trusted, CertificateJudge(None))

    def require_stamps(self, stamps: list[Any], signature: bytes) -> None:
        """Raises DoesNotHoldError unless time stampers of the root made each of these stamps for a signature."""
        self._stamped(stamps, signature)

    def witnessed(self, bundle: bytes, key: ec.EllipticCurvePublicKey) -> Witnessed:
        """What logs and time stampers prove about a bundle that a key signed.

        Raises:
            InputError: bundle or trusted root is malformed.
            DoesNotHoldError: a log entry or a time stamp in it is wrong, or by nobody whom the root knows.
            SystemFailureError: sigstore-python is not installed.
        """
        envelope = open_bundle(bundle)
        entries, stamps = read_material(bundle)
        promised = [self._logged(entry, envelope, key) for entry in entries]
        times = [each for each in promised if each] + self._stamped(stamps, envelope.signature)
        return Witnessed(bool(entries), min(times, default=None))

    def _logged(self, said: Any, envelope: Envelope, key: ec.EllipticCurvePublicKey) -> datetime | None:
        """The time that a log promises for its entry about this signature; None where the log tells no time."""
        root = self._trusted
        from sigstore._internal.trust import KeyringPurpose
        from sigstore.models import TransparencyLogEntry
        from sigstore_models.rekor.v1 import TransparencyLogEntry as Model

        try:
            inner = Model.from_dict(said)
            TransparencyLogEntry(inner)._verify(root.rekor_keyring(KeyringPurpose.VERIFY))
            same = _entry_is_about(json.loads(inner.canonicalized_body), envelope, key)
        except RepriseError:
            raise
        except Exception as error:  # of pydantic, of base64, of sigstore: whatever it is, the entry does not hold
            raise DoesNotHoldError(f"the log entry does not hold: {one_line(error)}") from error
        if not same:
            raise DoesNotHoldError("the log entry is about another signature")
        if inner.inclusion_promise and inner.integrated_time:
            return datetime.fromtimestamp(inner.integrated_time, UTC)
        return None

    def _stamped(self, stamps: list[Any], signature: bytes) -> list[datetime]:
        """The times of all stamps; each has to be by a time stamper of the root."""
        if len(stamps) > TIMES:
            raise DoesNotHoldError(f"the bundle has {len(stamps)} time stamps, at most {TIMES} are read")
        return [self._stamp_time(each, signature) for each in stamps]

    def _stamp_time(self, said: Any, signature: bytes) -> datetime:
        from rfc3161_client import VerifierBuilder, decode_timestamp_response

        try:
            response = decode_timestamp_response(base64.b64decode(said["signedTimestamp"], validate=True))
            time = response.tst_info.gen_time  # read only now: it is lazy
        except Exception as error:  # of base64 and of ASN.1
            raise DoesNotHoldError(f"a time stamp cannot be read: {one_line(error)}") from error
        for authority in self._trusted.get_timestamp_authorities():
            signer, *chain = authority.certificates(allow_expired=True)
            ends = authority.validity_period_end
            if not chain or time < authority.validity_period_start or (ends and time >= ends):
                continue
            builder = VerifierBuilder().tsa_certificate(signer).add_root_certificate(chain[-1])
            for certificate in chain[:-1]:
                builder = builder.add_intermediate_certificate(certificate)
            try:
                builder.build().verify_message(response, signature)
            except Exception:  # another authority's, perhaps
                continue
            return time
        raise DoesNotHoldError("a time stamp is by nobody whom the trusted root knows, or about another signature")


def read_material(bundle: bytes) -> tuple[list[Any], list[Any]]:
    """The log entries and the time stamps in a bundle that was parsed strictly before.

    Raises:
        InputError: they are no lists.
    """
    material = json.loads(bundle)["verificationMaterial"]
    stamps = material.get("timestampVerificationData") or {}
    found = (material.get("tlogEntries") or [], stamps.get("rfc3161Timestamps") or [] if type(stamps) is dict else None)
    if not all(isinstance(each, list) for each in found):
        raise InputError("not a Sigstore bundle that this version reads: log entries or time stamps are no list")
    return found[0], found[1] or []


def _entry_is_about(body: Any, envelope: Envelope, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether a log entry's body names this very signature, of this very payload, by this very key."""
    message = pre_authentication_encoding(envelope.payload)
    match body.get("kind"), body.get("apiVersion"):
        case "dsse", "0.0.1":
            spec = body["spec"]
            (found,) = spec["signatures"]
            payload = {"algorithm": "sha256", "value": hashlib.sha256(envelope.payload).hexdigest()}
            return (
                spec["payloadHash"] == payload
                and base64.b64decode(found["signature"]) == envelope.signature
                and _is_key(base64.b64decode(found["verifier"]), key)
            )
        case "hashedrekord", "0.0.2":
            spec = body["spec"]["hashedRekordV002"]
            return (
                spec["data"]["algorithm"] == "SHA2_256"
                and base64.b64decode(spec["data"]["digest"]) == hashlib.sha256(message).digest()
                and base64.b64decode(spec["signature"]["content"]) == envelope.signature
                and _is_key(base64.b64decode(spec["signature"]["verifier"]["publicKey"]["rawBytes"]), key)
            )
    raise DoesNotHoldError(f"a log entry of kind {body.get('kind')!r} {body.get('apiVersion')!r} proves nothing here")


def _is_key(data: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether bytes (PEM or DER) are this public key."""
    load = serialization.load_pem_public_key if data.startswith(b"-----") else serialization.load_der_public_key
    try:
        found = load(data)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(found, ec.EllipticCurvePublicKey) and key_hint(found) == key_hint(key)
