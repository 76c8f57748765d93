"""Does a policy hold for an image? Each rule with its outcome and why; the host and the trainer ask the same code.

What is required and not checked does not hold. Statements by strangers neither help nor harm. What only a trusted root
can prove is checked where `Proofs` are given: on the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from reprise_trainer.errors import RepriseError, SystemFailureError
from reprise_trainer.identity.policy import Policy
from reprise_trainer.identity.proofs import Proofs
from reprise_trainer.identity.statements import Counted, Statements, read_statements
from reprise_trainer.printable import printable

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
        return printable(f"{self.rule}: {self.why}")  # a reason may quote what a stranger wrote


def evaluate(
    policy: Policy,
    image_digest: str,
    bundles: Iterable[bytes],
    *,
    at: datetime | None = None,
    proofs: Proofs | None = None,
) -> list[RuleResult]:
    """Each rule of the policy that an image and its bundles alone decide, then what was not checked.

    Which repository the image came from is no rule here: a bundle binds none, so only who pulled the image can judge.

    Args:
        policy: whose signatures are asked for.
        image_digest: the manifest digest, `sha256:<hex>`, that the statements must be about.
        bundles: the bytes of every bundle that is offered; those that don't verify count as absent.
        at: the time, with a time zone, at which keys and the policy must not have ended; without one, none that has
            an end counts. A time that others prove for a signature comes before it.
        proofs: checks certificates, log entries and times; None: nothing here does.
    """
    root = _root_rule(policy, proofs)
    trusted = proofs if root and root.outcome == "holds" else None
    statements = read_statements(policy, image_digest, bundles, at, trusted)
    results = _validity(policy, image_digest, at)
    results += [root] if root else []
    results += [_predicate_result(name, policy, statements) for name in policy.predicates]
    return [*results, *_witness_rules(policy, statements, checked=trusted is not None)]


def counted(
    policy: Policy,
    image_digest: str,
    bundles: Iterable[bytes],
    *,
    at: datetime | None = None,
    proofs: Proofs | None = None,
) -> list[Counted]:
    """The required statements about the image that count, with their bundles; arguments as for `evaluate`."""
    root = _root_rule(policy, proofs)
    trusted = proofs if root and root.outcome == "holds" else None
    found = read_statements(policy, image_digest, bundles, at, trusted).counted
    return [each for each in found if each.statement.predicate_type in policy.predicates]


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


def _root_rule(policy: Policy, proofs: Proofs | None) -> RuleResult | None:
    rule = "trusted root"
    if not policy.needs_root:
        return None
    if not policy.trusted_root:
        return RuleResult(rule, "not checked", "the policy pins none: [require] trusted_root is its sha256")
    if proofs is None:
        return RuleResult(rule, "not checked", f"nothing here reads {policy.trusted_root}")
    try:
        proofs.require_root(policy.trusted_root)
    except SystemFailureError as error:
        return RuleResult(rule, "not checked", " ".join((error.message, error.hint or "")).strip())
    except RepriseError as error:
        return RuleResult(rule, "fails", error.message)
    return RuleResult(rule, "holds", f"{policy.trusted_root}, as pinned")


def _predicate_result(name: str, policy: Policy, statements: Statements) -> RuleResult:
    """Independent signers are counted by key and by identity: one key under two names is one signer."""
    rule = f"signed statement {name}"
    found = [each for each in statements.counted if each.statement.predicate_type == name]
    signers = {each.signer for each in found}
    said = "signed by " + ", ".join(sorted({f"{each.by}{_when(each)}" for each in found}))
    count = f"{len(signers)} of at least {policy.signers} signers"
    if len(signers) >= policy.signers:
        return RuleResult(rule, "holds", said if policy.signers == 1 else f"{said}: {count}")
    reasons = [*([f"{said}: {count}"] if signers else []), *statements.unchecked, *statements.rejected]
    if others := sorted({each.statement.predicate_type for each in statements.counted} - {name}):
        reasons.insert(0, "there are only statements of type " + ", ".join(others))
    if len(reasons) > _LISTED_REASONS:
        reasons[_LISTED_REASONS:] = [f"and {len(reasons) - _LISTED_REASONS} more"]
    outcome: Outcome = "not checked" if statements.unchecked else "fails"
    return RuleResult(rule, outcome, "; ".join(reasons) or "the image has no signatures")


def _when(each: Counted) -> str:
    return f", proven to be there at {each.witnessed.time:%Y-%m-%dT%H:%M:%SZ}" if each.witnessed.time else ""


def _witness_rules(policy: Policy, statements: Statements, *, checked: bool) -> list[RuleResult]:
    """Log and time of the statements that count; without them none counts where the policy asks for them."""
    number, logged = len(statements.counted), sum(each.witnessed.logged for each in statements.counted)
    results = []
    for rule, asked, what in (
        ("transparency log", policy.log, "an entry in a log"),
        ("proven time", policy.time, "a time that others prove"),
    ):
        if asked and checked:
            why = f"{number} statement{'' if number == 1 else 's'} with {what}"
            results.append(RuleResult(rule, "holds" if number else "fails", why))
        elif asked:
            results.append(RuleResult(rule, "not checked", f"nothing here checks {what}"))
    if logged and not policy.log:
        why = f"{logged} of {number} statements with an entry in a log; the policy asks for none"
        results.insert(0, RuleResult("transparency log", "holds", why, required=False))
    elif not policy.log:
        why = "the policy asks for no log entry"
        results.insert(0, RuleResult("transparency log", "not checked", why, required=False))
    return results
