"""Who signs: one small interface, behind which lies a key of one's own or a certificate made for one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from reprise_trainer.errors import RepriseError
from reprise_trainer.identity.bundle import SigningKey, VerifiedStatement, key_hint, sign_statement, verify_bundle


class Signer(Protocol):
    """Signs statements, and knows its own signatures again."""

    @property
    def identity(self) -> str:
        """Who signs, for people: a key's fingerprint, or a certificate's subject."""

    def sign(self, statement: Mapping[str, Any]) -> bytes:
        """The bundle that holds an in-toto statement, signed."""

    def read(self, bundle: bytes) -> VerifiedStatement | None:
        """The statement in a bundle that this signer made; None where it made none."""


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Signs with a P-256 key; needs nothing but the key."""

    key: SigningKey

    @property
    def identity(self) -> str:
        """The public key's fingerprint, as bundles hint at it."""
        return key_hint(self.key.public_key())

    def sign(self, statement: Mapping[str, Any]) -> bytes:
        """The bundle that holds a statement, signed by the key.

        Raises:
            InputError: the key is not on P-256.
        """
        return sign_statement(self.key, statement)

    def read(self, bundle: bytes) -> VerifiedStatement | None:
        """The statement in a bundle that the key signed."""
        try:
            return verify_bundle(bundle, {"own": self.key.public_key()})
        except RepriseError:
            return None


Signs = Signer | SigningKey
"""What signing functions take: a signer, or simply a key."""


def as_signer(signs: Signs) -> Signer:
    """The signer that a key is."""
    return KeySigner(signs) if isinstance(signs, SigningKey) else signs
