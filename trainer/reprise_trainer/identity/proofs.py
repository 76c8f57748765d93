"""What needs more than a key to check: certificates, entries in a transparency log, times.

The host checks it (`reprise.trust.proofs`, by sigstore-python and a trusted root); inside the image nothing does, and
the judge then says "not checked". This module is what both sides agree on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import SIZE_LIMIT, VerifiedStatement
from reprise_trainer.identity.policy import SignerIdentity
from reprise_trainer.identity.strict_json import parse_json


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What others prove about a signature: that a log has it, and the earliest time (UTC) at which it was there."""

    logged: bool = False
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Certified:
    """A statement that a certificate signed, who that is among the identities asked for, and what others prove."""

    statement: VerifiedStatement
    identity: SignerIdentity
    witnessed: Witnessed


class Proofs(Protocol):
    """Checks by a trusted root. Whatever does not hold raises a RepriseError that says why."""

    def require_root(self, pinned: str) -> None:
        """Raises unless the trusted root is there, and is the one with the digest `pinned` (`sha256:<hex>`)."""

    def certified(self, bundle: bytes, identities: Sequence[SignerIdentity]) -> Certified:
        """The statement in a bundle with a certificate of one of `identities` (the first that fits), all of it
        verified: signature, certificate at the proven time, log entry."""

    def witnessed(self, bundle: bytes, key: ec.EllipticCurvePublicKey) -> Witnessed:
        """What a bundle, whose signature by `key` is verified already, proves beside it. What it holds and is wrong
        raises; what it does not hold is simply not there."""


def has_certificate(data: bytes) -> bool:
    """Whether a bundle holds a certificate, so that `Proofs` is who can judge it."""
    try:
        document = parse_json(data, "bundle", size_limit=SIZE_LIMIT)
    except InputError:
        return False
    material = document.get("verificationMaterial") if isinstance(document, dict) else None
    return isinstance(material, dict) and "certificate" in material
