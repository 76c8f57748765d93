"""Does a policy hold for an image? Each rule with its outcome and why; the host and the trainer ask the same code.

What is required and not checked does not hold. Statements by strangers neither help nor harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from reprise_trainer.errors import RepriseError
from reprise_trainer.identity.bundle import VerifiedStatement, read_public_key, verify_bundle
from reprise_trainer.identity.policy import Policy

Outcome = Literal["holds", "fails", "not checked"]

_LISTED_REASONS = 5


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule, whether it holds, and why. A rule that is not `required` is said for people, and decides nothing."""

    rule: str
    outcome: Outcome
    why: str
    required: bool = True

    def __str__(self) -> str:
        return f"{self.rule}: {self.why}"


@dataclass(frozen=True, slots=True)
class _Statements:
    """The statements about an image that count, and why others don't."""

    accepted: tuple[VerifiedStatement, ...]
    rejected: tuple[str, ...]


def evaluate(
    policy: Policy, image_digest: str, bundles: Iterable[bytes], *, at: datetime | None = None
) -> list[RuleResult]:
    """Each rule of the policy that an image and its bundles alone decide, then what was not checked.

    Which repository the image came from is no rule here: a bundle binds none, so only who pulled the image can judge.

    Args:
        policy: whose signatures are asked for.
        image_digest: the manifest digest, `sha256:<hex>`, that the statements must be about.
        bundles: the bytes of every bundle that is offered; those that don't verify count as absent.
        at: the time, with a time zone, at which keys and the policy must not have ended; without one, none that has
            an end counts.
    """
    statements = _read_statements(policy, image_digest, bundles, at)
    results = _validity(policy, image_digest, at)
    results += [_predicate_result(name, policy, statements) for name in policy.predicates]
    return [*results, *_certificate_rules(policy)]


def signers(policy: Policy, image_digest: str, bundles: Iterable[bytes], *, at: datetime | None = None) -> list[str]:
    """Names of the policy's keys that signed a required statement about the image; arguments as for `evaluate`."""
    accepted = _read_statements(policy, image_digest, bundles, at).accepted
    return sorted({each.key_name for each in accepted if each.predicate_type in policy.predicates})


def all_hold(results: Sequence[RuleResult]) -> bool:
    """Whether the image may be used: every rule that is required holds, and there is at least one."""
    required = [result.outcome for result in results if result.required]
    return bool(required) and all(outcome == "holds" for outcome in required)


def _validity(policy: Policy, image_digest: str, at: datetime | None) -> list[RuleResult]:
    results = []
    if policy.not_after:
        ends = f"{policy.not_after:%Y-%m-%dT%H:%M:%SZ}"
        if at is None:
            results.append(RuleResult("policy has not ended", "not checked", f"it ends at {ends}; no time is known"))
        else:
            outcome: Outcome = "holds" if at <= policy.not_after else "fails"
            results.append(
                RuleResult("policy has not ended", outcome, f"it ends at {ends}; judged at {at:%Y-%m-%dT%H:%M:%SZ}")
            )
    if policy.revoked_images:
        revoked = image_digest in policy.revoked_images
        why = f"{image_digest} is among the revoked images" if revoked else "not among the revoked images"
        results.append(RuleResult("image is not revoked", "fails" if revoked else "holds", why))
    return results


def _read_statements(policy: Policy, image: str, bundles: Iterable[bytes], at: datetime | None) -> _Statements:
    keys = {key.name: read_public_key(key.public_key) for key in policy.keys}
    untrusted = {name: policy.why_untrusted(name, at) for name in keys}
    accepted: list[VerifiedStatement] = []
    rejected: list[str] = []
    for data in bundles:
        try:
            statement = verify_bundle(data, keys)
        except RepriseError as error:
            rejected.append(error.message)
            continue
        if why := untrusted[statement.key_name]:
            rejected.append(why)
        elif not statement.is_about(image):
            others = ", ".join(subject.digest for subject in statement.subjects[:3])
            rejected.append(f"a statement by key {statement.key_name!r} is about another image: {others}")
        else:
            accepted.append(statement)
    return _Statements(tuple(accepted), tuple(dict.fromkeys(rejected)))


def _predicate_result(name: str, policy: Policy, statements: _Statements) -> RuleResult:
    """Independent signers are counted by their keys: one key under two names is one signer."""
    rule = f"signed statement {name}"
    signers = sorted({statement.key_name for statement in statements.accepted if statement.predicate_type == name})
    fingerprints = {key.fingerprint for key in policy.keys if key.name in signers}
    said = "signed by key " + ", ".join(repr(signer) for signer in signers)
    count = f"{len(fingerprints)} of at least {policy.signers} signers"
    if len(fingerprints) >= policy.signers:
        return RuleResult(rule, "holds", said if policy.signers == 1 else f"{said}: {count}")
    reasons = [*([f"{said}: {count}"] if signers else []), *statements.rejected]
    if others := sorted({each.predicate_type for each in statements.accepted} - {name}):
        reasons.insert(0, "there are only statements of type " + ", ".join(others))
    if len(reasons) > _LISTED_REASONS:
        reasons[_LISTED_REASONS:] = [f"and {len(reasons) - _LISTED_REASONS} more"]
    return RuleResult(rule, "fails", "; ".join(reasons) or "the image has no signatures")


def _certificate_rules(policy: Policy) -> list[RuleResult]:
    """What only a certificate could prove: none is read here, so that a policy that asks for it does not hold."""
    results = []
    if policy.identities:
        names = ", ".join(each.subject or each.subject_pattern for each in policy.identities)
        results.append(RuleResult("signer identities", "not checked", f"certificates are not checked here: {names}"))
    if policy.trusted_root:
        why = f"certificates are not checked here, so that nothing uses {policy.trusted_root}"
        results.append(RuleResult("trusted root", "not checked", why))
    if policy.log:
        results.append(RuleResult("transparency log", "not checked", "log entries are not checked here"))
    else:
        results.append(
            RuleResult("transparency log", "not checked", "the policy asks for no log entry", required=False)
        )
    return results
