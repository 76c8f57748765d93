"""Delegations to run keys, and the way back from a run record: record → delegation → policy."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import (
    DELEGATION,
    SigningKey,
    VerifiedStatement,
    make_statement,
    public_pem,
    read_public_key,
    sign_statement,
    verify_bundle,
)
from reprise_trainer.identity.delegation import (
    Delegation,
    format_time,
    read_delegation,
    read_time,
    require_unexpired,
    verify_run_record,
)
from reprise_trainer.identity.policy import Policy
from reprise_trainer.identity.proofs import Proofs, Witnessed

_WITNESS = "`reprise witness RUN` adds log entry and time to a record."
LIFETIME = timedelta(days=7)
"""How long a run key may sign by default: longer than the runs that one machine does in one go."""


@dataclass(frozen=True, slots=True)
class VerifiedRecord:
    """A run record with the delegation that it stands on; `key_name` is the policy's key that signed the latter, and
    `witnessed` what others prove about the record."""

    record: VerifiedStatement
    delegation: Delegation
    key_name: str
    judged_at: datetime
    witnessed: Witnessed


def delegate(
    key: SigningKey,
    run_key: ec.EllipticCurvePublicKey,
    *,
    image: str,
    config: str,
    snapshot: str,
    run: str,
    now: datetime,
    lifetime: timedelta = LIFETIME,
    image_name: str = "image",
    policy: str = "",
) -> bytes:
    """The bundle in which `key` lets `run_key` sign the record of one run.

    Args:
        key: the launcher's signing key.
        run_key: the public half of the key that was made for this run.
        image, config, snapshot: digests (`sha256:<hex>`) of the image manifest, of run.toml, of snapshot.json.
        run: the run's id.
        now: the time, with a time zone.
        lifetime: how long the run key may sign.
        image_name: the subject's name, for people.
        policy: digest of the policy file that the run gets, if `key` also says that it holds for the image.
    """
    expires = (now + lifetime).replace(microsecond=0)
    delegation = Delegation(run, public_pem(run_key), image, config, snapshot, secrets.token_hex(16), expires, policy)
    return sign_statement(key, make_statement(image_name, image, DELEGATION, delegation.predicate()))


def verify_record(
    record: bytes, delegation: bytes, policy: Policy, at: datetime | None = None, *, proofs: Proofs | None = None
) -> VerifiedRecord:
    """A run record, once the whole chain holds: the policy's key → the delegation → the run's key → the record.

    Args:
        record: the run record's bundle.
        delegation: the delegation's bundle. A key that only the record names proves nothing.
        policy: whose delegations count.
        at: the time (with a time zone) at which the delegation's expiry is judged; None: when the run finished, by the
            record's own word. A stranger who got the run key later could write any time there, so give a time from
            elsewhere where that matters, or let the policy ask for one that others prove (`time`).
        proofs: checks by the policy's trusted root what the policy asks for (`log`, `time`); None right after a run,
            when nobody can have witnessed its record yet.

    Raises:
        InputError: a bundle or a document in it is malformed.
        DoesNotHoldError: a link of the chain does not hold; the message says which.
    """
    with _about("the delegation"):
        signed = verify_bundle(delegation, policy.delegating_keys())
        granted = read_delegation(signed)
    with _about("the run record"):
        verified = verify_run_record(record, granted)
        witnessed = _witnessed(record, read_public_key(granted.public_key), policy, proofs)
    proven = witnessed.time if policy.time else None
    judged_at = at or proven or read_time(verified.predicate.get("finished"), "the run record's finished")
    if why := policy.why_untrusted(signed.key_name, judged_at):
        raise DoesNotHoldError(f"the delegation: {why}; it is judged at {format_time(judged_at)}")
    require_unexpired(granted, judged_at)
    return VerifiedRecord(verified, granted, signed.key_name, judged_at, witnessed)


def _witnessed(record: bytes, key: ec.EllipticCurvePublicKey, policy: Policy, proofs: Proofs | None) -> Witnessed:
    """What others prove about a record, with what the policy asks for."""
    if proofs is None or not (policy.log or policy.time):
        return Witnessed()
    proofs.require_root(policy.trusted_root)
    found = proofs.witnessed(record, key)
    if policy.log and not found.logged:
        raise DoesNotHoldError("it has no entry in a log, which the policy asks for", hint=_WITNESS)
    if policy.time and found.time is None:
        raise DoesNotHoldError("it has no time that others prove, which the policy asks for", hint=_WITNESS)
    return found


@contextmanager
def _about(document: str) -> Iterator[None]:
    """Say in the message which document an error is about."""
    try:
        yield
    except (DoesNotHoldError, InputError) as error:
        raise type(error)(f"{document}: {error.message}", hint=error.hint) from error
