"""Who counts under a policy, for any mix of signers, statements and proofs: the judge against four lines of sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reprise.trust.keys import make_key
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.identity.bundle import (
    IMAGE_SIGNATURE,
    make_statement,
    public_pem,
    read_statement,
    sign_statement,
)
from reprise_trainer.identity.judge import all_hold, counted, evaluate
from reprise_trainer.identity.policy import Policy, PolicyKey, SignerIdentity
from reprise_trainer.identity.proofs import Certified, Witnessed

IMAGE, OTHER, ROOT = ("sha256:" + digit * 64 for digit in "123")
KINDS = (IMAGE_SIGNATURE, "https://cyclonedx.org/bom")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEYS = {name: make_key() for name in "abc"}
PERSONS = "xyz"
POLICY_KEYS = {name: PolicyKey(name, public_pem(key.public_key())) for name, key in KEYS.items()}
IDENTITIES = {"x": SignerIdentity("i", "x"), "yz": SignerIdentity("i", "", "[yz]"), "z": SignerIdentity("i", "z")}


@dataclass(frozen=True)
class Signed:
    """One bundle: by whom, what, about which image, and what others prove about it."""

    by: str
    kind: str
    image: str
    logged: bool
    timed: bool

    @property
    def witnessed(self) -> Witnessed:
        return Witnessed(self.logged, NOW if self.timed else None)


@cache
def bundle_of(signed: Signed) -> bytes:
    statement = make_statement("image", signed.image, signed.kind, {"logged": signed.logged, "timed": signed.timed})
    if signed.by in KEYS:
        return sign_statement(KEYS[signed.by], statement)
    return json.dumps({"verificationMaterial": {"certificate": {"by": signed.by}}, "said": statement}).encode()


class KnownProofs:
    """Proofs of bundles that the test made, in the place of a trusted root."""

    def __init__(self, signed: Sequence[Signed]) -> None:
        self.known = {bundle_of(each): each for each in signed}

    def require_root(self, pinned: str) -> None:
        assert pinned == ROOT

    def certified(self, bundle: bytes, identities: Sequence[SignerIdentity]) -> Certified:
        signed = self.known[bundle]
        named = [each for each in identities if signed.by in (each.subject, *each.subject_pattern.strip("[]"))]
        if not named:
            raise DoesNotHoldError("nobody whom the policy names")
        statement = read_statement(json.dumps(json.loads(bundle)["said"]).encode(), signed.by)
        return Certified(statement, named[0], signed.witnessed)

    def witnessed(self, bundle: bytes, key: ec.EllipticCurvePublicKey) -> Witnessed:
        return self.known[bundle].witnessed


SIGNED = st.builds(
    Signed,
    by=st.sampled_from([*KEYS, *PERSONS]),
    kind=st.sampled_from(KINDS),
    image=st.sampled_from([IMAGE, IMAGE, OTHER]),
    logged=st.booleans(),
    timed=st.booleans(),
)


BY_Y, BY_Z = (Signed(by, IMAGE_SIGNATURE, IMAGE, logged=True, timed=True) for by in "yz")


def counts_as(by: str, keys: Sequence[str], tables: Sequence[str]) -> str | None:
    """The signer that somebody is under a policy; everybody under one table is one."""
    return by if by in keys else next((table for table in tables if by in table), None)


@settings(max_examples=120, deadline=None)
@given(
    signed=st.lists(SIGNED, max_size=10),
    keys=st.lists(st.sampled_from([*KEYS]), unique=True),
    tables=st.lists(st.sampled_from([*IDENTITIES]), unique=True),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    signers=st.integers(1, 4),
    log=st.booleans(),
    time=st.booleans(),
)
@example(signed=[BY_Y, BY_Z], keys=[], tables=["yz"], kinds=[IMAGE_SIGNATURE], signers=2, log=False, time=False)
@example(signed=[BY_Y, BY_Z], keys=[], tables=["z", "yz"], kinds=[IMAGE_SIGNATURE], signers=2, log=True, time=True)
def test_exactly_those_count_who_signed_what_is_asked_with_what_is_asked(
    signed: list[Signed], keys: list[str], tables: list[str], kinds: list[str], signers: int, log: bool, time: bool
) -> None:
    policy = Policy(
        tuple(POLICY_KEYS[name] for name in keys),
        predicates=tuple(kinds),
        signers=signers,
        identities=tuple(IDENTITIES[name] for name in tables),
        trusted_root=ROOT,
        log=log,
        time=time,
    )
    good = [each for each in signed if each.image == IMAGE and each.logged >= log and each.timed >= time]
    who = {kind: {counts_as(each.by, keys, tables) for each in good if each.kind == kind} - {None} for kind in kinds}
    expected = all(len(found) >= signers for found in who.values())
    bundles, proofs = [bundle_of(each) for each in signed], KnownProofs(signed)
    assert all_hold(evaluate(policy, IMAGE, bundles, at=NOW, proofs=proofs)) == expected
    mine = [bundle_of(each) for each in good if each.kind in kinds and counts_as(each.by, keys, tables)]
    assert [each.bundle for each in counted(policy, IMAGE, bundles, at=NOW, proofs=proofs)] == mine
    blind = evaluate(policy, IMAGE, bundles, at=NOW)  # as inside an image: nothing that needs a root holds there
    assert not all_hold(blind) and any(each.outcome == "not checked" and each.required for each in blind)
    needless = replace(policy, trusted_root="", log=False, time=False, identities=())
    assert all_hold(evaluate(needless, IMAGE, bundles, at=NOW)) == all(
        len({each.by for each in signed if (each.kind, each.image) == (kind, IMAGE) and each.by in keys}) >= signers
        for kind in kinds
    )
