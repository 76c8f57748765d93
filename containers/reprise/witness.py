"""`reprise witness`: log entries and time stamps for what is signed: an image's statements, or a run's record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from reprise.audit.evidence import load_evidence
from reprise.kept_runs import RUN_TYPE, find_kept_run
from reprise.store import Store
from reprise.trust.sign import attach_bundle, stored_bundles
from reprise.trust.witness import Witnesses, Witnessing
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.durable import write_durably
from reprise_trainer.errors import DoesNotHoldError, RepriseError
from reprise_trainer.identity.bundle import RUN_RECORD, Envelope, open_bundle, read_public_key, verify_bundle
from reprise_trainer.identity.delegation import read_delegation
from reprise_trainer.identity.policy import Policy
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE

Keys = Mapping[str, ec.EllipticCurvePublicKey]


@dataclass(frozen=True, slots=True)
class WitnessReport:
    """What became of each signed statement about `subject` (a digest, or a run's place): its Witnessing, and where the
    completed bundle now is (a referrer's digest or a file). `passed_over` counts bundles by nobody whom we know."""

    subject: str
    statements: tuple[tuple[str, Witnessing], ...]
    passed_over: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that the services offer."""
        return all(each.complete for _, each in self.statements)

    @property
    def failed(self) -> bool:
        """Whether a service that was asked gave nothing that holds."""
        return any("failed" in (each.log, each.time) for _, each in self.statements)

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        statements = [{"place": place, **each.as_json()} for place, each in self.statements]
        return {
            "subject": self.subject,
            "complete": self.complete,
            "statements": statements,
            "passed_over": self.passed_over,
        }


def witness_image(store: Store, digest: str, policy: Policy, witnesses: Witnesses) -> WitnessReport:
    """Have everything witnessed that keys of the policy, or certificates, signed about an image; of an index, its
    platforms' images too. A completed bundle is kept as one more referrer beside the old one, for pushes to take along.

    Raises:
        DoesNotHoldError: nobody whom the policy knows signed anything.
        NotFoundError: the store does not hold the image.
    """
    keys, done, passed_over = policy.public_keys(), [], 0
    for subject in (digest, *_children(store, digest)):
        offered = [bundle for _, bundle in stored_bundles(store, subject)]
        for same in _by_signature(offered):
            found = _first(same, witnesses, keys)
            if found is None:
                passed_over += 1
                continue
            place = subject
            if found.bundle not in same:
                place = attach_bundle(store, subject, found.bundle, found.predicate_type)
            done.append((place, found))
    if not done:
        raise DoesNotHoldError(
            f"no key of the policy signed anything about image {digest}", hint="Sign it with: reprise sign IMAGE"
        )
    return WitnessReport(digest, tuple(done), passed_over)


def witness_run(reference: str | Path, store: Store, policy: Policy, witnesses: Witnesses) -> WitnessReport:
    """Have a run's record witnessed: in its folder the file gets what is added; in the store, where it holds the run, a
    referrer of the run does.

    The record's key is the one that its delegation names, by a key of the policy.

    Args:
        reference: as for `load_evidence`.

    Raises:
        NotFoundError, InputError: as for `load_evidence`.
        DoesNotHoldError: the delegation or the record is by nobody whom the policy knows.
    """
    evidence = load_evidence(reference, store)
    delegation = read_delegation(verify_bundle(evidence.delegation, policy.delegating_keys()))
    keys: Keys = {f"of run {delegation.run}": read_public_key(delegation.public_key)}
    found = _first(evidence.copies, witnesses, keys) or witnesses.witness(evidence.record, keys)
    if found.bundle not in (evidence.record, *evidence.copies):
        if evidence.file is not None:
            write_durably(evidence.file, found.bundle)
        kept = str(reference) if evidence.file is None else find_kept_run(evidence.record, store)
        if kept is not None:
            attach_bundle(store, kept, found.bundle, RUN_RECORD)
    return WitnessReport(evidence.where, ((evidence.where, found),))


def is_run(subject: str, store: Store) -> bool:
    """Whether what a user named is a run: a file or folder with a record, or a run's digest in the store."""
    path = Path(subject)
    if path.is_file() or (path / RECORD_FILE).is_file():
        return True
    if not DIGEST_PATTERN.match(subject):
        return False
    return bool(store.manifest(store.resolve(subject)).get("artifactType") == RUN_TYPE)


def _children(store: Store, digest: str) -> list[str]:
    """The images of an index that the store holds; none of an image."""
    entries = store.manifest(digest).get("manifests", [])
    return [each["digest"] for each in entries if store.has(each["digest"])]


def _by_signature(bundles: Iterable[bytes]) -> list[list[bytes]]:
    """The bundles of each signature, the fullest first: what was added before is not asked for again."""
    found: dict[Envelope, list[bytes]] = {}
    for bundle in bundles:
        with suppress(RepriseError):
            found.setdefault(open_bundle(bundle, certificates=True), []).append(bundle)
    return [sorted(each, key=len, reverse=True) for each in found.values()]


def _first(bundles: Iterable[bytes], witnesses: Witnesses, keys: Keys) -> Witnessing | None:
    """What became of the first bundle that holds: anybody can lay a copy with a wrong log entry beside it."""
    for bundle in bundles:
        with suppress(RepriseError):
            return witnesses.witness(bundle, keys)
    return None
