"""Is this image signed as the policy asks? Answered from the store alone, with each rule and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reprise.store import Store
from reprise.trust.sign import stored_bundles
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.policy import Policy, RuleResult, all_hold, evaluate


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The rules for one image, in the order in which they were judged."""

    image: str
    rules: tuple[RuleResult, ...]

    @property
    def holds(self) -> bool:
        """Whether the image may be used."""
        return all_hold(self.rules)

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "image": self.image,
            "holds": self.holds,
            "rules": [{"rule": each.rule, "outcome": each.outcome, "why": each.why} for each in self.rules],
        }

    def require(self) -> None:
        """Raises DoesNotHoldError, with each rule that fails, unless the image may be used."""
        if not self.holds:
            reasons = "; ".join(f"{each.rule}: {each.why}" for each in self.rules if each.outcome == "fails")
            raise DoesNotHoldError(
                f"the policy does not hold for image {self.image}: {reasons}",
                hint="`reprise sign IMAGE` signs it with your key; --policy names another policy.",
            )


def verify_image(store: Store, digest: str, policy: Policy) -> VerifyReport:
    """Judge an image in the store by a policy, offline.

    Args:
        store: holds the image and its signatures.
        digest: the image's manifest digest.

    Raises:
        NotFoundError: the store does not hold the image.
    """
    manifest = _manifest_rule(store, digest)
    if manifest.outcome == "fails":
        return VerifyReport(digest, (manifest,))
    bundles = [bundle for _, bundle in stored_bundles(store, digest)]
    return VerifyReport(
        digest,
        (
            manifest,
            *evaluate(policy, digest, bundles),
            RuleResult("layer contents", "not checked", "the trainer measures every file when the image starts"),
        ),
    )


def _manifest_rule(store: Store, digest: str) -> RuleResult:
    rule = "manifest has the digest asked for"
    try:
        store.read(digest)
    except InputError as error:
        return RuleResult(rule, "fails", error.message)
    return RuleResult(rule, "holds", digest)
