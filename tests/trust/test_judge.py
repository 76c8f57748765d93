"""Each rule of a policy, alone: it holds, it fails, and what is required and not checked does not hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust.delegation import delegate, verify_record
from reprise.trust.keys import make_key
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.identity.bundle import (
    IMAGE_SIGNATURE,
    RUN_RECORD,
    key_hint,
    make_statement,
    public_pem,
    sign_statement,
)
from reprise_trainer.identity.judge import RuleResult, all_hold, evaluate
from reprise_trainer.identity.policy import Policy, PolicyKey, SignerIdentity

IMAGE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SBOM = "https://spdx.dev/Document"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
KEYS = {name: make_key() for name in ("a", "b", "c")}
STRANGER = make_key()


def signed(key: ec.EllipticCurvePrivateKey, kind: str = IMAGE_SIGNATURE, image: str = IMAGE) -> bytes:
    return sign_statement(key, make_statement("x", image, kind, {}))


def policy(**changes: Any) -> Policy:
    ends = changes.pop("ends", {})
    keys = tuple(PolicyKey(name, public_pem(key.public_key()), ends.get(name)) for name, key in KEYS.items())
    return Policy(keys, **changes)


def rule(results: list[RuleResult], start: str) -> RuleResult:
    (found,) = (each for each in results if each.rule.startswith(start))
    return found


@pytest.mark.parametrize(
    ("signers", "holds"), [("a", False), ("ab", True), ("abc", True), ("aa", False), ("a?", False), ("", False)]
)
def test_so_many_independent_keys_must_have_signed(signers: str, holds: bool) -> None:
    bundles = [signed(KEYS.get(name, STRANGER)) for name in signers]
    results = evaluate(policy(signers=2), IMAGE, bundles, at=NOW)
    assert all_hold(results) == holds
    counted = len(set(signers) & KEYS.keys())
    assert counted == 0 or f"{counted} of at least 2 signers" in rule(results, "signed statement").why


def test_a_reason_moves_no_cursor_whatever_it_quotes() -> None:
    said = str(RuleResult("signed \x1b[1A", "fails", "by\r  holds\n \ud800 \u202e 'x'; \u00fcber"))
    assert said == r"signed \x1b[1A: by\r  holds\n \ud800 \u202e 'x'; \u00fcber".replace(r"\u00fc", "\u00fc")


def test_one_key_under_two_names_is_one_signer() -> None:
    pem = public_pem(KEYS["a"].public_key())
    twice = Policy((PolicyKey("a", pem), PolicyKey("again", pem), policy().keys[1]), signers=2)
    assert not all_hold(evaluate(twice, IMAGE, [signed(KEYS["a"]), signed(KEYS["a"])], at=NOW))
    assert all_hold(evaluate(twice, IMAGE, [signed(KEYS["a"]), signed(KEYS["b"])], at=NOW))


def test_each_required_statement_needs_all_its_signers() -> None:
    asked = policy(signers=2, predicates=(IMAGE_SIGNATURE, SBOM))
    bundles = [signed(KEYS["a"]), signed(KEYS["b"]), signed(KEYS["a"], SBOM)]
    results = evaluate(asked, IMAGE, bundles, at=NOW)
    assert rule(results, f"signed statement {IMAGE_SIGNATURE}").outcome == "holds"
    assert rule(results, f"signed statement {SBOM}").outcome == "fails"
    assert all_hold(evaluate(asked, IMAGE, [*bundles, signed(KEYS["c"], SBOM)], at=NOW))


def test_a_revoked_key_counts_no_more() -> None:
    asked = policy(revoked_keys=(key_hint(KEYS["a"].public_key()),))
    results = evaluate(asked, IMAGE, [signed(KEYS["a"])], at=NOW)
    assert not all_hold(results) and "key 'a' is revoked" in rule(results, "signed statement").why
    assert all_hold(evaluate(asked, IMAGE, [signed(KEYS["a"]), signed(KEYS["b"])], at=NOW))
    assert "a" not in asked.public_keys()


def test_a_revoked_image_fails_whoever_signed_it() -> None:
    asked = policy(revoked_images=(IMAGE,))
    results = evaluate(asked, IMAGE, [signed(key) for key in KEYS.values()], at=NOW)
    assert not all_hold(results) and rule(results, "image is not revoked").outcome == "fails"
    assert all_hold(evaluate(asked, OTHER, [signed(KEYS["a"], image=OTHER)], at=NOW))


def test_a_key_counts_until_its_last_second() -> None:
    asked = policy(ends={"a": NOW})
    assert all_hold(evaluate(asked, IMAGE, [signed(KEYS["a"])], at=NOW))
    results = evaluate(asked, IMAGE, [signed(KEYS["a"])], at=NOW + timedelta(seconds=1))
    assert not all_hold(results) and "key 'a' ended at 2026-06-01T12:00:00Z" in rule(results, "signed statement").why
    assert all_hold(evaluate(asked, IMAGE, [signed(KEYS["b"])], at=NOW + timedelta(days=1)))


def test_a_policy_holds_until_its_last_second() -> None:
    asked = policy(not_after=NOW)
    assert all_hold(evaluate(asked, IMAGE, [signed(KEYS["a"])], at=NOW))
    results = evaluate(asked, IMAGE, [signed(KEYS["a"])], at=NOW + timedelta(seconds=1))
    assert not all_hold(results) and rule(results, "policy has not ended").outcome == "fails"


@pytest.mark.parametrize("asked", [policy(not_after=NOW), policy(ends={"a": NOW})])
def test_without_a_time_nothing_that_ends_counts(asked: Policy) -> None:
    assert not all_hold(evaluate(asked, IMAGE, [signed(KEYS["a"])]))


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (policy(trusted_root=OTHER), "trusted root"),
        (policy(log=True), "transparency log"),
        (policy(time=True), "proven time"),
        (policy(identities=(SignerIdentity("https://issuer", "me"),)), "trusted root"),
        (policy(identities=(SignerIdentity("https://issuer", "", "https://.*"),)), "trusted root"),
    ],
)
def test_what_is_required_and_not_checked_does_not_hold(asked: Policy, name: str) -> None:
    results = evaluate(asked, IMAGE, [signed(key) for key in KEYS.values()], at=NOW)
    assert (rule(results, name).outcome, rule(results, name).required) == ("not checked", True)
    assert rule(results, "signed statement").outcome == "holds" and not all_hold(results)


def test_what_is_not_required_decides_nothing() -> None:
    assert not all_hold([RuleResult("x", "holds", "", required=False)])
    assert all_hold([RuleResult("x", "holds", ""), RuleResult("y", "fails", "", required=False)])


@pytest.mark.parametrize("gone", ["revoked", "ended"])
def test_a_delegation_by_a_key_that_counts_no_more_carries_no_record(gone: str) -> None:
    run = make_key()
    said = {"run": "r", "config": OTHER, "snapshot": OTHER, "finished": "2026-06-01T12:30:00Z"}
    granted = delegate(KEYS["a"], run.public_key(), image=IMAGE, config=OTHER, snapshot=OTHER, run="r", now=NOW)
    record = sign_statement(run, make_statement("x", IMAGE, RUN_RECORD, said))
    assert verify_record(record, granted, policy()).key_name == "a"
    bad = policy(revoked_keys=(key_hint(KEYS["a"].public_key()),)) if gone == "revoked" else policy(ends={"a": NOW})
    why = "not by a known key" if gone == "revoked" else "key 'a' ended"
    with pytest.raises(DoesNotHoldError, match=why):
        verify_record(record, granted, bad)
