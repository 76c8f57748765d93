"""May what this name stands for be used, where it is an index: the index itself, and the images that it names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprise.store import Store
from reprise.store.platforms import choose_image, images_of
from reprise.trust.verify import VerifyReport, verify_image
from reprise_trainer.errors import InputError
from reprise_trainer.identity.policy import Policy


@dataclass(frozen=True, slots=True)
class WholeReport:
    """What was judged: an image or an index, and with it, by platform, the images of the index."""

    report: VerifyReport
    images: tuple[tuple[str, VerifyReport], ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all of it may be used."""
        return all(report.holds for report in self.reports())

    def reports(self) -> list[VerifyReport]:
        """Every report, that of the name first."""
        return [self.report, *(report for _, report in self.images)]

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        document = {**self.report.as_json(), "holds": self.holds}
        if self.images:
            document["images"] = [{"platform": platform, **report.as_json()} for platform, report in self.images]
        return document


def verify_whole(
    store: Store,
    digest: str,
    policy: Policy,
    *,
    name: str = "",
    at: datetime | None = None,
    accept_older: bool = False,
    platform: str = "",
) -> WholeReport:
    """Judge what a digest names: an image, or an index and every image in it. Each needs signatures of its own, since
    whoever pulls for a platform sees that image alone.

    Args:
        store, digest, policy, name, at, accept_older: as for `verify_image`.
        platform: judge the index's image for this platform alone (`os/architecture[/variant]`).

    Raises:
        NotFoundError: the store lacks a part, or the index has no image for the platform.
        InputError: as for `verify_image`; or a platform was named, and this is no index.
    """
    images = images_of(store, digest)
    if platform:
        if not images:
            raise InputError(f"{digest} is not an index of images, so that it has no platform to choose")
        chosen = choose_image(images, platform, digest)
        judged = verify_image(
            store,
            chosen.digest,
            policy,
            name=name,
            at=at,
            accept_older=accept_older,
            platform=chosen.platform,
            index=digest,
        )
        return WholeReport(judged)
    return WholeReport(
        verify_image(store, digest, policy, name=name, at=at, accept_older=accept_older),
        tuple((each.label, verify_image(store, each.digest, policy, at=at)) for each in images),
    )
