"""What the trainer can't check itself holds by its launcher's word: by that alone, and against nothing that it sees."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.identity.conftest import OTHER, PAST, SNAPSHOT, Start

from reprise.trust.delegation import delegate
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.bundle import (
    public_pem,
)
from reprise_trainer.identity.launch import (
    BUNDLE_FILE,
    DELEGATION_FILE,
    MORE_BUNDLES,
    POLICY_FILE,
)
from reprise_trainer.identity.policy import Policy, PolicyKey, SignerIdentity, write_policy

HOST = ec.generate_private_key(ec.SECP256R1())


def keyless(start: Start, **changes: Any) -> Policy:
    """A policy by which a launcher had to judge who signed: nothing in the image reads certificates."""
    launchers = (PolicyKey("host", public_pem(HOST.public_key())),)
    asked: dict[str, Any] = {
        "keys": (),
        "identities": (SignerIdentity("https://issuer", "me"),),
        "trusted_root": OTHER,
        "launchers": launchers,
    }
    return Policy(**{**asked, **changes})


def vouch(start: Start, rules: Policy, **changes: Any) -> None:
    """Lay down a policy, a bundle with a certificate, and the launcher's delegation for that policy."""
    text = write_policy(rules).encode()
    (start.folder / POLICY_FILE).write_bytes(text)
    (start.folder / BUNDLE_FILE).write_text('{"verificationMaterial": {"certificate": {}}}')
    said = {"image": start.digest, "config": OTHER, "snapshot": SNAPSHOT, "run": "run-1", "now": datetime.now(UTC)}
    said |= {"policy": sha256_digest(text)}
    run_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    key = changes.pop("key", HOST)
    (start.folder / DELEGATION_FILE).write_bytes(delegate(key, run_key, **{**said, **changes}))


def test_who_signed_keyless_holds_by_the_launchers_word(start: Start) -> None:
    vouch(start, keyless(start))
    assert start.verify().key_name == "host"


@pytest.mark.parametrize("asked", [{"log": True}, {"time": True}, {"signers": 2}])
def test_log_time_and_certificates_beside_keys_hold_by_the_launchers_word(start: Start, asked: dict[str, Any]) -> None:
    release = PolicyKey("release", public_pem(start.key.public_key()))
    vouch(start, keyless(start, keys=(release,), **asked))
    if asked.get("signers"):  # one of them by a certificate
        (start.folder / MORE_BUNDLES.replace("*", "1")).write_bytes((start.folder / BUNDLE_FILE).read_bytes())
    start.sign(start.digest)
    assert start.verify().key_name == "host, release"
    (start.folder / DELEGATION_FILE).unlink()
    assert "the policy is not known to hold" in start.refusal()


def test_a_key_that_ended_may_be_proven_to_have_signed_before_and_a_revoked_one_not(start: Start) -> None:
    release = PolicyKey("release", public_pem(start.key.public_key()), PAST)
    vouch(start, keyless(start, keys=(release,), identities=()))
    start.sign(start.digest)
    assert start.verify().key_name == "host"
    (start.folder / DELEGATION_FILE).unlink()
    assert "whether its signature is older is not checked here" in start.refusal()
    vouch(start, keyless(start, keys=(release,), identities=(), revoked_keys=(release.fingerprint,)))
    start.sign(start.digest)
    assert "key 'release' is revoked" in start.refusal()
    vouch(start, keyless(start, keys=(release,), identities=(), trusted_root=""))
    start.sign(start.digest)
    assert "key 'release' ended" in start.refusal()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"policy": ""}, "does not say that it held"),
        ({"policy": OTHER}, "does not say that it held"),
        ({"image": OTHER}, "does not say that it held"),
        ({"now": PAST}, "expired"),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "not by a known key (tried: host)"),
    ],
)
def test_a_word_about_something_else_or_by_somebody_else_is_refused(
    start: Start, changes: dict[str, Any], why: str
) -> None:
    vouch(start, keyless(start), **changes)
    message = start.refusal()
    assert why in message and "signed statement" in message and "trusted root: nothing here reads" in message


def test_without_a_launchers_word_a_keyless_policy_is_refused(start: Start) -> None:
    vouch(start, keyless(start))
    (start.folder / DELEGATION_FILE).unlink()
    assert "certificate" in start.refusal()


@pytest.mark.parametrize("what", ["revoked image", "revoked launcher", "ended policy", "no bundle of an identity"])
def test_no_word_of_a_launcher_outweighs_what_the_trainer_sees(start: Start, what: str) -> None:
    ago = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    fingerprint = keyless(start).launchers[0].fingerprint
    changes: dict[str, Any] = {
        "revoked image": {"revoked_images": (start.digest,)},
        "revoked launcher": {"revoked_keys": (fingerprint,)},
        "ended policy": {"not_after": ago},
        "no bundle of an identity": {},
    }[what]
    vouch(start, keyless(start, **changes))
    if what == "no bundle of an identity":
        start.sign(start.digest)  # by a key that the policy does not name
    assert "the policy " in start.refusal()


def test_a_launcher_is_no_signer_of_images(start: Start) -> None:
    release = PolicyKey("release", public_pem(start.key.public_key()))
    (start.folder / POLICY_FILE).write_text(
        write_policy(keyless(start, keys=(release,), identities=(), trusted_root=""))
    )
    assert start.verify().key_name == "release"
    replace(start, key=HOST).sign(start.digest)
    assert "not by a known key (tried: release)" in start.refusal()
