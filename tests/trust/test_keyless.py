"""Keyless bundles, verified offline; and each thing that must not hold."""

from __future__ import annotations

import base64
import json
import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyless_signing import BUILDER, DIGEST, OTHER, Rule, root_of, signed, signer, verify_keyless
from private_sigstore import PrivateSigstore, private_sigstore
from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import Signer, SigningContext

from reprise.trust.keyless_signer import read_trust_config
from reprise.trust.proofs import SigstoreProofs
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import (
    DoesNotHoldError,
    InputError,
    NotFoundError,
    RepriseError,
    SystemFailureError,
    UnavailableError,
)
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement, sign_statement
from reprise_trainer.identity.proofs import has_certificate


@pytest.fixture(scope="module")
def bundle(sigstore: PrivateSigstore) -> bytes:
    return signed(sigstore)


@pytest.fixture(scope="module")
def root(sigstore: PrivateSigstore) -> bytes:
    return root_of(sigstore)


@pytest.fixture
def rule(sigstore: PrivateSigstore) -> Rule:
    return Rule(sigstore.provider.url, BUILDER)


@pytest.mark.parametrize(("rekor", "timestamps"), [(1, False), (1, True), (2, True)], ids=["v1", "v1+time", "v2+time"])
def test_what_was_signed_verifies_after_the_whole_instance_is_gone(rekor: int, timestamps: bool) -> None:
    with private_sigstore(rekor=rekor, timestamps=timestamps) as instance:
        data = signed(instance)
    statement = verify_keyless(data, root_of(instance), [Rule(instance.provider.url, BUILDER)], DIGEST)
    assert statement.predicate_type == IMAGE_SIGNATURE
    assert statement.key_name == f"{BUILDER} ({instance.provider.url})"
    assert f"POST /api/v{rekor}/log/entries" in instance.requests


def test_a_client_trust_config_serves_as_root(bundle: bytes, sigstore: PrivateSigstore, rule: Rule) -> None:
    verify_keyless(bundle, json.dumps(sigstore.trust_config()).encode(), [rule], DIGEST)


def test_an_email_is_a_subject(sigstore: PrivateSigstore, root: bytes) -> None:
    data = signed(sigstore, "somebody", email="somebody@example.org", email_verified=True)
    verify_keyless(data, root, [Rule(sigstore.provider.url, "somebody@example.org")], DIGEST)
    with pytest.raises(DoesNotHoldError):
        verify_keyless(data, root, [Rule(sigstore.provider.url, "somebody")], DIGEST)


@pytest.mark.parametrize(
    ("subject", "pattern", "holds"),
    [
        (BUILDER, "", True),
        (BUILDER + "x", "", False),
        (BUILDER[:-1], "", False),
        ("", r"https://ci\.example\.org/lab/.*@refs/heads/main", True),
        ("", r"https://ci\.example\.org/lab/", False),  # only a part
        ("", r".*heads/mai", False),
        ("", "", False),
    ],
)
def test_the_whole_subject_must_match(
    bundle: bytes, root: bytes, sigstore: PrivateSigstore, subject: str, pattern: str, holds: bool
) -> None:
    rules = [Rule(sigstore.provider.url, subject, pattern)]
    if holds:
        verify_keyless(bundle, root, rules, DIGEST)
        return
    with pytest.raises(DoesNotHoldError, match=r"signed by .*accepted"):
        verify_keyless(bundle, root, rules, DIGEST)


def test_the_issuer_must_be_the_same_and_one_rule_is_enough(bundle: bytes, root: bytes, rule: Rule) -> None:
    stranger = Rule("https://issuer.example.org", BUILDER)
    verify_keyless(bundle, root, [stranger, rule], DIGEST)
    with pytest.raises(DoesNotHoldError, match="accepted"):
        verify_keyless(bundle, root, [stranger], DIGEST)
    with pytest.raises(DoesNotHoldError, match="accepted: nobody"):
        verify_keyless(bundle, root, [], DIGEST)


def test_a_changed_statement_does_not_hold(bundle: bytes, root: bytes, rule: Rule) -> None:
    document = json.loads(bundle)
    payload = base64.b64decode(document["dsseEnvelope"]["payload"])
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"a" * 64, b"b" * 64)).decode()
    with pytest.raises(DoesNotHoldError, match="does not hold"):
        verify_keyless(json.dumps(document).encode(), root, [rule], OTHER)


@pytest.mark.parametrize("anchor", ["ctlogs", "tlogs", "timestampAuthorities", "certificateAuthorities"])
def test_each_anchor_of_the_root_is_needed(anchor: str) -> None:
    with private_sigstore(rekor=2, timestamps=True) as instance, private_sigstore() as stranger:
        data, trusted = signed(instance), instance.trusted_root()
        rules = [Rule(instance.provider.url, BUILDER)]
        verify_keyless(data, json.dumps(trusted).encode(), rules, DIGEST)
        trusted[anchor] = stranger.trusted_root()[anchor]
        with pytest.raises(DoesNotHoldError):
            verify_keyless(data, json.dumps(trusted).encode(), rules, DIGEST)


@pytest.mark.parametrize("missing", ["inclusionPromise", "inclusionProof", "all"])
def test_a_bundle_without_its_log_entry_does_not_hold(bundle: bytes, root: bytes, rule: Rule, missing: str) -> None:
    document = json.loads(bundle)
    entries = document["verificationMaterial"]["tlogEntries"]
    if missing == "all":
        entries.clear()
    else:
        del entries[0][missing]
    with pytest.raises(RepriseError):
        verify_keyless(json.dumps(document).encode(), root, [rule], DIGEST)


def test_the_log_entry_of_another_signature_does_not_hold(
    bundle: bytes, root: bytes, sigstore: PrivateSigstore
) -> None:
    document, other = json.loads(bundle), json.loads(signed(sigstore))
    document["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    with pytest.raises(DoesNotHoldError):
        verify_keyless(json.dumps(document).encode(), root, [Rule(sigstore.provider.url, BUILDER)], DIGEST)


@pytest.mark.parametrize("late", [-60, 700])
def test_a_signature_from_outside_its_certificates_time_does_not_hold(late: int) -> None:
    with private_sigstore(certificate_lifetime=timedelta(minutes=10)) as instance:
        instance.rekor1.late = late
        statement = make_statement("image", DIGEST, IMAGE_SIGNATURE, {})
        with pytest.raises(UnavailableError, match="signing with Sigstore failed"):
            signer(instance).sign(statement)  # what would not verify is not given out
        context = SigningContext.from_trust_config(ClientTrustConfig.from_json(json.dumps(instance.trust_config())))
        token = IdentityToken(instance.provider.token(BUILDER))
        data = Signer(token, context).sign_dsse(Statement(canonical_json(statement))).to_json().encode()
    with pytest.raises(DoesNotHoldError, match="does not hold"):
        verify_keyless(data, root_of(instance), [Rule(instance.provider.url, BUILDER)], DIGEST)


def test_the_root_is_pinned(root: bytes) -> None:
    SigstoreProofs(root).require_root(sha256_digest(root))
    with pytest.raises(DoesNotHoldError, match="pinned is"):
        SigstoreProofs(root + b"\n").require_root(sha256_digest(root))
    with pytest.raises(NotFoundError, match="is not here"):
        SigstoreProofs(b"").require_root(sha256_digest(root))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'{"mediaType": "x"}', b"[" * 10_000])
def test_what_is_no_bundle_or_no_root_is_refused(bundle: bytes, root: bytes, rule: Rule, data: bytes) -> None:
    assert not has_certificate(data)
    with pytest.raises(InputError):
        verify_keyless(data, root, [rule], DIGEST)
    with pytest.raises(InputError):
        verify_keyless(bundle, data, [rule], DIGEST)


def test_a_bundle_by_a_key_is_not_keyless(root: bytes, rule: Rule, key: Any) -> None:
    data = sign_statement(key, make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))
    assert not has_certificate(data)
    with pytest.raises(InputError, match="not a keyless Sigstore bundle"):
        verify_keyless(data, root, [rule], DIGEST)


@settings(max_examples=40)
@given(data=st.data())
def test_any_byte_changed_gives_a_clear_error_or_the_same_statement(
    bundle: bytes, root: bytes, sigstore: PrivateSigstore, data: st.DataObject
) -> None:
    at, byte = data.draw(st.integers(0, len(bundle) - 1)), data.draw(st.integers(0, 255))
    rules = [Rule(sigstore.provider.url, BUILDER)]
    try:
        found = verify_keyless(bundle[:at] + bytes([byte]) + bundle[at + 1 :], root, rules, DIGEST)
    except RepriseError:
        return
    assert found == verify_keyless(bundle, root, rules, DIGEST)


def test_without_sigstore_python_what_to_install_is_said(
    bundle: bytes, root: bytes, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore", None)
    with pytest.raises(SystemFailureError, match=r"reprise\[keyless\]"):
        verify_keyless(bundle, root, [rule], DIGEST)
    with pytest.raises(SystemFailureError, match=r"reprise\[keyless\]"):
        read_trust_config(None)
