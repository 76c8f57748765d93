"""May this image be used? Answered from the store alone, offline, with each rule of a policy and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reprise.store import Store
from reprise.store.platforms import is_index, parts_of
from reprise.store.references import accepted_under, chosen_under, for_platform, pulled_from, record_accepted
from reprise.trust.sign import stored_bundles
from reprise.trust.simple_signing import simple_signatures
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.judge import RuleResult, all_hold, counted, evaluate
from reprise_trainer.identity.policy import Policy, allows
from reprise_trainer.identity.proofs import Proofs
from reprise_trainer.identity.statements import WITNESS_HINT

SHOWN = 3
_SIGN = "`reprise sign IMAGE` signs it with your key; --policy names another policy."
_WITNESS = "`reprise witness IMAGE` adds log entry and time to what is signed already."


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The rules for one image, in the order in which they were judged; `tags` are the references that it was judged
    under, for the store to remember."""

    image: str
    rules: tuple[RuleResult, ...]
    tags: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the image may be used."""
        return all_hold(self.rules)

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "image": self.image,
            "holds": self.holds,
            "rules": [
                {"rule": each.rule, "outcome": each.outcome, "required": each.required, "why": each.why}
                for each in self.rules
            ],
        }

    def require(self) -> None:
        """Raises DoesNotHoldError, with each rule that does not hold, unless the image may be used."""
        if not self.holds:
            reasons = "; ".join(str(each) for each in self.rules if each.required and each.outcome != "holds")
            raise DoesNotHoldError(
                f"the policy does not hold for image {self.image}: {reasons}",
                hint=_WITNESS if WITNESS_HINT in reasons else _SIGN,
            )


def verify_image(
    store: Store,
    digest: str,
    policy: Policy,
    *,
    name: str = "",
    at: datetime | None = None,
    accept_older: bool = False,
    references: Sequence[str] | None = None,
    memory: Store | None = None,
    platform: str = "",
    index: str = "",
) -> VerifyReport:
    """Judge an image in the store by a policy, offline. Nothing is written: `accept_image` also remembers.

    Args:
        store: holds the image and its signatures, and knows where it was pulled from.
        digest: the image's manifest digest.
        name: what the user called it. A name may have been moved to an older image, a digest can't.
        at: the time, with a time zone, at which keys and policy must not have ended; by default now.
        accept_older: let a tag go back to an image that was accepted under it before the last one.
        references: where it was pulled from (`host/path:tag` or `host/path@digest`); by default what is remembered.
        memory: the store that remembers references and tags, where that is not `store` itself.
        platform: for which the image was chosen from an index; a tag has a past of its own for each. By default the
            one that a pull chose it for, if one did.
        index: the digest of the index that it was chosen from, if there was one: a name that leads to a revoked index
            leads to nothing that may be used.

    Raises:
        NotFoundError: the store does not hold the image; or not all that an index names, where the policy revokes some.
        InputError: the store's memory of references, or the index, is damaged.
    """
    manifest = _manifest_rule(store, digest)
    if manifest.outcome == "fails":
        return VerifyReport(digest, (manifest,))
    memory = memory or store
    references = pulled_from(memory, digest) if references is None else references
    tags = _judged_tags(references, name, known=bool(accepted_under(memory, for_platform(name, platform))))
    tags = tuple(past for tag in tags for past in _pasts(memory, tag, digest, platform))
    rules = [manifest]
    if policy.repositories:
        rules.append(_repository_rule(references, policy.repositories))
    rules += [_tag_rule(tag, accepted_under(memory, tag), digest, accept_older) for tag in tags]
    bundles = [bundle for _, bundle in stored_bundles(store, digest)]
    rules += evaluate(policy, digest, bundles, at=at or datetime.now(UTC), proofs=_proofs(policy))
    if policy.revoked_images and is_index(store, digest):
        rules.append(_revoked_parts_rule(store, digest, policy))
    if policy.revoked_images and index not in ("", digest):
        rules.append(_revoked_index_rule(index, policy))
    rules += _older_signatures(store, digest, policy)
    later = "the trainer measures every file when the image starts"
    rules.append(RuleResult("layer contents", "not checked", later, required=False))
    return VerifyReport(digest, tuple(rules), tags)


def accept_image(
    store: Store, digest: str, policy: Policy, *, name: str = "", at: datetime | None = None, accept_older: bool = False
) -> VerifyReport:
    """As `verify_image`; an image that holds is remembered as the last one accepted under its tags.

    Raises:
        DoesNotHoldError: the policy does not hold; nothing is remembered.
        StorageError: the memory cannot be written.
    """
    report = verify_image(store, digest, policy, name=name, at=at, accept_older=accept_older)
    report.require()
    remember(store, report)
    return report


def remember(store: Store, report: VerifyReport) -> None:
    """Keep an image that holds as the last one accepted under its tags.

    Raises:
        StorageError: the memory cannot be written.
    """
    for tag in report.tags:
        if accepted_under(store, tag)[-1:] != [report.image]:
            record_accepted(store, tag, report.image)


def policy_bundles(store: Store, digest: str, policy: Policy, *, at: datetime | None = None) -> list[bytes]:
    """The bundles beside an image that count under a policy: by its keys or identities, about this image, of the
    predicate types that it requires, with the log entries and times that it asks for.

    Args:
        at: as for `verify_image`.

    Raises:
        DoesNotHoldError: there is none.
    """
    offered = [bundle for _, bundle in stored_bundles(store, digest)]
    proofs, at = _proofs(policy), at or datetime.now(UTC)
    found = [each.bundle for each in counted(policy, digest, offered, at=at, proofs=proofs)]
    if not found:
        raise DoesNotHoldError(f"no signer of the policy signed what it requires about image {digest}")
    return found


def _proofs(policy: Policy) -> Proofs | None:
    """Checks by the policy's trusted root, where it asks for what needs one: X.509 takes its time to load."""
    if not policy.needs_root:
        return None
    from reprise.trust.proofs import SigstoreProofs

    return SigstoreProofs(policy.root)


def _older_signatures(store: Store, digest: str, policy: Policy) -> list[RuleResult]:
    """What is said of signatures that other tools read; nothing where there are none."""
    found = [signature for _, signature in simple_signatures(store, digest)]
    if not found:
        return []
    keys = policy.public_keys()
    names = sorted({name for name, key in keys.items() if any(each.is_by(key) for each in found)})
    by = f"by {', '.join(map(repr, names))}" if names else "by no key of the policy"
    why = f"{len(found)}, {by}; they are for other tools, a policy counts bundles"
    return [RuleResult("signatures of the older kind", "not checked", why, required=False)]


def _manifest_rule(store: Store, digest: str) -> RuleResult:
    rule = "manifest has the digest asked for"
    try:
        store.manifest(digest)
    except InputError as error:
        return RuleResult(rule, "fails", error.message)
    return RuleResult(rule, "holds", digest)


def _revoked_parts_rule(store: Store, index: str, policy: Policy) -> RuleResult:
    """Whoever takes an index takes an image that it names: no signature of the index makes good what is revoked."""
    rule = "nothing that the index names is revoked"
    revoked = [each for each in parts_of(store, index) if each in policy.revoked_images]
    if not revoked:
        return RuleResult(rule, "holds", "none of it is among the revoked images")
    return RuleResult(rule, "fails", f"{', '.join(revoked[:SHOWN])} is among the revoked images")


def _revoked_index_rule(index: str, policy: Policy) -> RuleResult:
    rule = "the index that it was chosen from is not revoked"
    if index in policy.revoked_images:
        return RuleResult(rule, "fails", f"{index} is among the revoked images")
    return RuleResult(rule, "holds", index)


def _judged_tags(references: Sequence[str], name: str, *, known: bool) -> tuple[str, ...]:
    """The tagged references that `name` stands for: itself (also when only the memory of what was accepted knows it),
    those it was pulled from, or for a digest none."""
    tagged = [each for each in references if "@" not in each]
    if not name or DIGEST_PATTERN.match(name.rpartition("@")[2]):
        return ()
    return (name,) if known or name in tagged else tuple(tagged)


def _pasts(memory: Store, tag: str, digest: str, platform: str) -> list[str]:
    """What the pasts of a tag are kept under that an image is judged by: the tag itself, or one for each platform that
    the image was chosen for, now or by the pull that brought it; and both for one that was accepted under the tag."""
    if platform:
        return [for_platform(tag, platform)]
    chosen = chosen_under(memory, digest, tag)
    return [tag, *chosen] if not chosen or digest in accepted_under(memory, tag) else chosen


def _repository_rule(references: Sequence[str], patterns: tuple[str, ...]) -> RuleResult:
    rule = "pulled from an allowed repository"
    for reference in references:
        repository = _repository(reference)
        if pattern := next((each for each in patterns if allows(each, repository)), None):
            return RuleResult(rule, "holds", f"{reference} is covered by {pattern}")
    if not references:
        return RuleResult(rule, "fails", "no `reprise pull` brought this image here, so that its repository is unknown")
    found = ", ".join(references[:SHOWN])
    return RuleResult(rule, "fails", f"it came from {found}; allowed: {', '.join(patterns)}")


def _repository(reference: str) -> str:
    """`host[:port]/path` of a reference as pulls record it."""
    host, _, path = reference.partition("@")[0].partition("/")
    return f"{host}/{path.partition(':')[0]}"


def _tag_rule(tag: str, accepted: list[str], digest: str, accept_older: bool) -> RuleResult:
    rule = f"{tag} has not gone back"
    if not accepted:
        return RuleResult(rule, "holds", "accepted under this tag for the first time: nothing to compare with")
    if accepted[-1] == digest:
        return RuleResult(rule, "holds", "the image that was last accepted under this tag")
    if digest not in accepted:
        return RuleResult(rule, "holds", f"a new image under this tag; the last one accepted was {accepted[-1]}")
    older = f"an older image under this tag; the last one accepted was {accepted[-1]}"
    if accept_older:
        return RuleResult(rule, "holds", f"{older}; accepted, since you asked for that")
    return RuleResult(rule, "fails", f"{older}; --accept-older accepts it all the same")
