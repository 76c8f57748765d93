from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust.delegation import delegate, verify_record
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy, with_launcher
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import DELEGATION, RUN_RECORD, make_statement, public_pem, sign_statement
from reprise_trainer.identity.delegation import verify_delegation

IMAGE, CONFIG, SNAPSHOT, OTHER = (f"sha256:{digit * 64}" for digit in "1234")
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
FINISHED = "2026-01-31T12:30:00Z"
LAUNCHER, RUN = make_key(), make_key()
POLICY = own_policy(LAUNCHER.public_key())


def grant(key: ec.EllipticCurvePrivateKey = LAUNCHER, **changes: Any) -> bytes:
    said: dict[str, Any] = {"image": IMAGE, "config": CONFIG, "snapshot": SNAPSHOT, "run": "r1", "now": NOW}
    return delegate(key, RUN.public_key(), **{**said, **changes})


def record(key: ec.EllipticCurvePrivateKey = RUN, image: str = IMAGE, **changes: Any) -> bytes:
    said = {"run": "r1", "config": CONFIG, "snapshot": SNAPSHOT, "finished": FINISHED}
    return sign_statement(key, make_statement("image", image, RUN_RECORD, {**said, **changes}))


def test_a_record_is_traced_back_to_the_policy() -> None:
    verified = verify_record(record(), grant(), POLICY)
    assert verified.key_name == "own"
    assert verified.delegation.public_key == public_pem(RUN.public_key())
    assert verified.judged_at == datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


def test_a_record_signed_by_a_strangers_key_is_refused() -> None:
    with pytest.raises(DoesNotHoldError, match="the run record: the signature is not by a known key"):
        verify_record(record(make_key()), grant(), POLICY)


def test_a_key_that_only_the_record_names_proves_nothing() -> None:
    stranger = make_key()
    with pytest.raises(DoesNotHoldError):
        verify_record(record(stranger, public_key=public_pem(stranger.public_key())), grant(), POLICY)


def test_a_delegation_by_a_stranger_is_refused() -> None:
    with pytest.raises(DoesNotHoldError, match="the delegation: the signature is not by a known key"):
        verify_record(record(), grant(make_key()), POLICY)


def test_the_launchers_key_cannot_stand_in_for_the_runs_key() -> None:
    with pytest.raises(DoesNotHoldError, match="the run record"):
        verify_record(record(LAUNCHER), grant(), POLICY)


@pytest.mark.parametrize("field", ["image", "config", "snapshot"])
def test_a_delegation_for_something_else_is_refused_with_both_digests(field: str) -> None:
    with pytest.raises(DoesNotHoldError, match=f"{field}.*sha256:.*{OTHER}"):
        verify_record(record(), grant(**{field: OTHER}), POLICY)


def test_a_delegation_for_another_run_is_refused() -> None:
    with pytest.raises(DoesNotHoldError, match="run is r1, the delegation's is r2"):
        verify_record(record(), grant(run="r2"), POLICY)


def test_a_record_that_leaves_a_field_out_is_refused() -> None:
    with pytest.raises(DoesNotHoldError, match="snapshot is None"):
        verify_record(record(snapshot=None), grant(), POLICY)


def test_a_record_about_two_images_is_refused() -> None:
    statement = make_statement(
        "x", IMAGE, RUN_RECORD, {"run": "r1", "config": CONFIG, "snapshot": SNAPSHOT, "finished": FINISHED}
    )
    statement["subject"].append({"name": "y", "digest": {"sha256": OTHER.removeprefix("sha256:")}})
    with pytest.raises(DoesNotHoldError, match="about image"):
        verify_record(sign_statement(RUN, statement), grant(), POLICY)


def test_an_expired_delegation_is_refused_with_both_times() -> None:
    with pytest.raises(DoesNotHoldError, match="expired at 2026-01-31T12:10:00Z; it is judged at 2026-01-31T12:30:00Z"):
        verify_record(record(), grant(lifetime=timedelta(minutes=10)), POLICY)


def test_expiry_is_judged_at_the_time_given() -> None:
    short = grant(lifetime=timedelta(minutes=10))
    assert verify_record(record(), short, POLICY, at=NOW + timedelta(minutes=10))
    with pytest.raises(DoesNotHoldError, match="expired"):
        verify_record(record(), short, POLICY, at=NOW + timedelta(minutes=10, seconds=1))


def test_a_ten_year_audit_judges_at_the_time_of_the_run() -> None:
    assert verify_record(record(), grant(), POLICY, at=None)
    with pytest.raises(DoesNotHoldError, match="expired"):
        verify_record(record(), grant(), POLICY, at=NOW + timedelta(days=3650))


@pytest.mark.parametrize("finished", [None, "yesterday", "2026-01-31T12:30:00", "2026-01-31T12:30:00+00:00", 5])
def test_a_record_without_a_clear_end_needs_a_time(finished: object) -> None:
    with pytest.raises(InputError, match="finished"):
        verify_record(record(finished=finished), grant(), POLICY)
    assert verify_record(record(finished=finished), grant(), POLICY, at=NOW)


def test_the_two_bundles_cannot_be_swapped() -> None:
    with pytest.raises(DoesNotHoldError):
        verify_record(grant(), record(), POLICY)


def test_a_record_in_place_of_the_delegation_is_refused_even_when_the_policy_key_signed_it() -> None:
    with pytest.raises(InputError, match=DELEGATION):
        verify_record(record(), record(LAUNCHER), POLICY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("config", "sha256:1"),
        ("snapshot", 1),
        ("public_key", "x"),
        ("expires", "never"),
        ("nonce", None),
        ("policy", "sha256:1"),
    ],
)
def test_a_malformed_delegation_is_refused_with_its_field(field: str, value: object) -> None:
    predicate = {
        "format": 1,
        "run": "r1",
        "public_key": public_pem(RUN.public_key()),
        "config": CONFIG,
        "snapshot": SNAPSHOT,
        "nonce": "00",
        "expires": "2026-02-07T12:00:00Z",
    }
    bundle = sign_statement(LAUNCHER, make_statement("x", IMAGE, DELEGATION, {**predicate, field: value}))
    with pytest.raises(InputError, match=field.replace("_", "[_ ]")):
        verify_delegation(bundle, POLICY.public_keys(), at=NOW)


def test_two_delegations_never_share_a_nonce() -> None:
    keys = POLICY.public_keys()
    assert verify_delegation(grant(), keys, at=NOW).nonce != verify_delegation(grant(), keys, at=NOW).nonce


def test_a_launcher_of_the_policy_may_delegate_until_it_is_revoked() -> None:
    policy = with_launcher(own_policy(make_key().public_key()), "host", LAUNCHER.public_key())
    assert verify_record(record(), grant(), policy).key_name == "host"
    revoked = replace(policy, revoked_keys=(policy.launchers[0].fingerprint,))
    with pytest.raises(DoesNotHoldError, match="not by a known key"):
        verify_record(record(), grant(), revoked)
    ended = replace(policy, launchers=(replace(policy.launchers[0], not_after=NOW),))
    with pytest.raises(DoesNotHoldError, match="key 'host' ended"):
        verify_record(record(), grant(), ended)


def test_a_delegation_names_the_policy_that_held() -> None:
    keys = POLICY.public_keys()
    assert verify_delegation(grant(policy=OTHER), keys, at=NOW).policy == OTHER
    assert verify_delegation(grant(), keys, at=NOW).policy == ""
