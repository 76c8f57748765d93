"""Statements signed keyless by a private Sigstore, and who may have signed them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from private_sigstore import PrivateSigstore
from sigstore.models import ClientTrustConfig

from reprise.trust.keyless_signer import KeylessSigner
from reprise.trust.proofs import SigstoreProofs
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, VerifiedStatement, make_statement
from reprise_trainer.identity.policy import SignerIdentity

BUILDER = "https://ci.example.org/lab/image.yml@refs/heads/main"
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
Rule = SignerIdentity


def signer(sigstore: PrivateSigstore, subject: str = BUILDER, **claims: Any) -> KeylessSigner:
    config = ClientTrustConfig.from_json(json.dumps(sigstore.trust_config()))
    return KeylessSigner(config, lambda: sigstore.provider.token(subject, **claims))


def signed(sigstore: PrivateSigstore, subject: str = BUILDER, **claims: Any) -> bytes:
    return signer(sigstore, subject, **claims).sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))


def root_of(sigstore: PrivateSigstore) -> bytes:
    return json.dumps(sigstore.trusted_root()).encode()


def verify_keyless(bundle: bytes, root: bytes, rules: Sequence[SignerIdentity], digest: str) -> VerifiedStatement:
    """The statement in a keyless bundle, as the host's proofs find it, about `digest`."""
    found = SigstoreProofs(root).certified(bundle, rules).statement
    assert found.is_about(digest)
    return found
