"""The delegation: the launcher's key says which run key may sign the record of which run, until when.

A run record is signed by a key that was made for that run. On its own that proves nothing, since anybody can make a
key; the delegation, signed by a key of the policy, ties the run's key to one image, one configuration and one snapshot.
So a verifier goes record → delegation → policy. The trainer reads its own delegation at the start, the host a run's
delegation at any later time; both judge the expiry at a time that they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import DELEGATION, RUN_RECORD, VerifiedStatement, read_public_key, verify_bundle

FORMAT = 1
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Delegation:
    """What the launcher's key says. `public_key` is the run key's PEM text; `image` (a manifest digest), `config`
    (of run.toml's bytes) and `snapshot` are `sha256:<hex>`; `expires` is in UTC, whole seconds. `policy` is the digest
    of the policy that the launcher found to hold for the image before the start; empty where it does not say."""

    run: str
    public_key: str
    image: str
    config: str
    snapshot: str
    nonce: str
    expires: datetime
    policy: str = ""

    def predicate(self) -> dict[str, Any]:
        """The statement's predicate; the image is the statement's subject and not in it."""
        return {
            "format": FORMAT,
            "run": self.run,
            "public_key": self.public_key,
            "config": self.config,
            "snapshot": self.snapshot,
            "nonce": self.nonce,
            "expires": format_time(self.expires),
            **({"policy": self.policy} if self.policy else {}),
        }


def verify_delegation(data: bytes, keys: Mapping[str, ec.EllipticCurvePublicKey], *, at: datetime) -> Delegation:
    """The delegation in a bundle, once one of `keys` is known to have signed it and it was not expired at `at`.

    Args:
        data: the bundle's bytes.
        keys: the policy's keys, name → P-256 public key.
        at: the time, with a time zone, at which the expiry is judged.

    Raises:
        InputError: not a delegation, or malformed.
        DoesNotHoldError: signed by no known key, or expired.
    """
    delegation = read_delegation(verify_bundle(data, keys))
    require_unexpired(delegation, at)
    return delegation


def read_delegation(statement: VerifiedStatement) -> Delegation:
    """The delegation in a verified statement; its expiry is not judged here.

    Raises:
        InputError: the statement is not a delegation of this format.
    """
    if statement.predicate_type != DELEGATION:
        raise InputError(f"the statement is of type {statement.predicate_type!r}, expected {DELEGATION!r}")
    said = statement.predicate
    if said.get("format") != FORMAT:
        raise InputError(f"the delegation has format {said.get('format')!r}, this version reads format {FORMAT}")
    if len(statement.subjects) != 1:
        raise InputError(f"the delegation has {len(statement.subjects)} subjects, expected one image")
    for field in ("run", "public_key", "config", "snapshot", "nonce"):
        if not isinstance(said.get(field), str):
            raise InputError(f"the delegation's {field} is missing or not a string")
    for field in ("config", "snapshot"):
        if not DIGEST_PATTERN.match(said[field]):
            raise InputError(f"the delegation's {field} is {said[field]!r}, not sha256:<64 hex digits>")
    policy = said.get("policy", "")
    if not isinstance(policy, str) or (policy and not DIGEST_PATTERN.match(policy)):
        raise InputError(f"the delegation's policy is {policy!r}, not sha256:<64 hex digits>")
    read_public_key(said["public_key"])
    return Delegation(
        run=said["run"],
        public_key=said["public_key"],
        image=statement.subjects[0].digest,
        config=said["config"],
        snapshot=said["snapshot"],
        nonce=said["nonce"],
        expires=read_time(said.get("expires"), "the delegation's expires"),
        policy=policy,
    )


def require_unexpired(delegation: Delegation, at: datetime) -> None:
    """Raises DoesNotHoldError when the delegation was expired at the time `at` (with a time zone)."""
    if at > delegation.expires:
        raise DoesNotHoldError(
            f"the delegation of run {delegation.run!r} expired at {format_time(delegation.expires)}; "
            f"it is judged at {format_time(at)}"
        )


def verify_run_record(data: bytes, delegation: Delegation) -> VerifiedStatement:
    """The run record in a bundle, once it is known to be signed by the delegated run key and about the same run.

    Args:
        data: the record's bundle.
        delegation: verified already; a key that only the record names proves nothing.

    Raises:
        InputError: not a run record, or malformed.
        DoesNotHoldError: another key signed it, or it is about another image, configuration, snapshot or run.
    """
    run_key = f"of run {delegation.run}"
    record = verify_bundle(data, {run_key: read_public_key(delegation.public_key)})
    if record.predicate_type != RUN_RECORD:
        raise InputError(f"the statement is of type {record.predicate_type!r}, expected a run record ({RUN_RECORD!r})")
    for field in ("run", "config", "snapshot"):
        said, allowed = record.predicate.get(field), getattr(delegation, field)
        if said != allowed:
            raise DoesNotHoldError(f"the run record's {field} is {said}, the delegation's is {allowed}")
    if [subject.digest for subject in record.subjects] != [delegation.image]:
        said = ", ".join(subject.digest for subject in record.subjects)
        raise DoesNotHoldError(f"the run record is about image {said}, the delegation about {delegation.image}")
    return record


def format_time(time: datetime) -> str:
    """RFC 3339 text of a time, in UTC and whole seconds."""
    return time.astimezone(UTC).strftime(_TIME)


def read_time(text: object, where: str) -> datetime:
    """The time in `format_time`'s text.

    Raises:
        InputError: another form; `where` names the field.
    """
    try:
        return datetime.strptime(str(text), _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise InputError(f"{where} is {text!r}, expected a UTC time such as 2026-01-31T12:00:00Z") from error
