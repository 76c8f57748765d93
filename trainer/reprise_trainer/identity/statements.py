"""Which of the bundles beside an image count under a policy, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.errors import RepriseError
from reprise_trainer.identity.bundle import VerifiedStatement, read_public_key, verify_bundle
from reprise_trainer.identity.policy import Policy
from reprise_trainer.identity.proofs import Proofs, Witnessed, has_certificate

WITNESS_HINT = "`reprise witness` adds one"


@dataclass(frozen=True, slots=True)
class Counted:
    """A statement about the image that counts. `signer` tells independent signers apart: a key's fingerprint, or the
    identity's place in the policy; `by` names who signed for people."""

    bundle: bytes
    statement: VerifiedStatement
    signer: str
    by: str
    witnessed: Witnessed


@dataclass(slots=True)
class Statements:
    """The statements that count, why others don't, and those that could if somebody checked them (for people)."""

    counted: list[Counted] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def read_statements(
    policy: Policy, image: str, bundles: Iterable[bytes], at: datetime | None, proofs: Proofs | None
) -> Statements:
    """Read every bundle; arguments as for `reprise_trainer.identity.judge.evaluate`."""
    reader = _Reader(policy, image, at, proofs)
    for bundle in bundles:
        try:
            reader.read(bundle)
        except RepriseError as error:
            reader.found.rejected.append(error.message)
    found = reader.found
    found.rejected[:] = dict.fromkeys(found.rejected)
    found.unchecked[:] = dict.fromkeys(found.unchecked)
    return found


class _Reader:
    """Reads bundles one by one, with the policy's keys read once."""

    def __init__(self, policy: Policy, image: str, at: datetime | None, proofs: Proofs | None) -> None:
        self.policy, self.image, self.at, self.proofs = policy, image, at, proofs
        self.keys = {key.name: read_public_key(key.public_key) for key in policy.keys}
        self.fingerprints = {key.name: key.fingerprint for key in policy.keys}
        self.found = Statements()

    def read(self, bundle: bytes) -> None:
        """Sort a bundle in; raises RepriseError with the reason where it does not count."""
        if not has_certificate(bundle):
            self._read_signed_by_key(bundle)
        elif not self.policy.identities:
            self.found.rejected.append("a certificate signed a statement, and the policy names no identities")
        elif self.proofs is None:
            self.found.unchecked.append("a certificate signed a statement, which nothing here checks by a trusted root")
        else:
            self._read_certified(bundle, self.proofs)

    def _read_certified(self, bundle: bytes, proofs: Proofs) -> None:
        certified = proofs.certified(bundle, self.policy.identities)
        place = self.policy.identities.index(certified.identity)
        by = certified.statement.key_name
        self._count(Counted(bundle, certified.statement, f"identity {place}", by, certified.witnessed))

    def _read_signed_by_key(self, bundle: bytes) -> None:
        statement = verify_bundle(bundle, self.keys)
        name = statement.key_name
        witnessed = self._witnessed(bundle, name, self.keys[name])
        if why := self.policy.why_untrusted(name, witnessed.time or self.at):
            could_be_older = self.proofs is None and self.policy.trusted_root and not self.policy.is_revoked(name)
            unproven = f"{why}; whether its signature is older is not checked here"
            self.found.unchecked.append(unproven) if could_be_older else self.found.rejected.append(why)
            return
        self._count(Counted(bundle, statement, f"key {self.fingerprints[name]}", f"key {name!r}", witnessed))

    def _witnessed(self, bundle: bytes, name: str, key: ec.EllipticCurvePublicKey) -> Witnessed:
        """What others prove, where that decides something: reading a trusted root takes half a second."""
        asked = self.policy.log or self.policy.time or self.policy.why_untrusted(name, self.at)
        return self.proofs.witnessed(bundle, key) if asked and self.proofs is not None else Witnessed()

    def _count(self, counted: Counted) -> None:
        what = f"{counted.by} signed {counted.statement.predicate_type}"
        if not counted.statement.is_about(self.image):
            others = ", ".join(subject.digest for subject in counted.statement.subjects[:3])
            self.found.rejected.append(f"a statement by {counted.by} is about another image: {others}")
        elif self.proofs is not None and self.policy.log and not counted.witnessed.logged:
            self.found.rejected.append(f"{what} without an entry in a log; {WITNESS_HINT}")
        elif self.proofs is not None and self.policy.time and counted.witnessed.time is None:
            self.found.rejected.append(f"{what} without a time that others prove; {WITNESS_HINT}")
        else:
            self.found.counted.append(counted)
