"""A GPU host: an image's reference, a policy and a configuration → the verified image, and a run in it.

Needs no project, lock or checkout: what decides is the image, its signatures and the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprise.build import LOCK_TYPE
from reprise.events import OnEvent, ignore
from reprise.feed.snapshot import ShardPlace
from reprise.lock.model import Sources
from reprise.registry.checked_pull import is_whole, pull_checked
from reprise.registry.origin import RegistryOrigin, image_of
from reprise.registry.pull import NOBODY, Arrival, PullReport
from reprise.registry.reference import Reference, looks_like_reference, parse_reference, source_name, stored_name
from reprise.registry.repository import open_repository
from reprise.run_folder import load_run
from reprise.store import Store
from reprise.store.platforms import image_for
from reprise.store.references import record_pull
from reprise.stored_image import read_image_lock, read_inventory
from reprise.train import Launcher, RunResult, run_loaded
from reprise.trust.verify import VerifyReport, remember, verify_image
from reprise_trainer.config.overrides import Override
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError
from reprise_trainer.identity.bundle import BUNDLE_TYPE
from reprise_trainer.identity.policy import Policy

RUN_NEEDS = (BUNDLE_TYPE, LOCK_TYPE)
"""Artifact types of the referrers that a host brings along: signatures, bills, the lock with its sources of data."""


@dataclass(frozen=True, slots=True)
class ObtainedImage:
    """An image in the store for which the policy holds. `reference` names it by digest; `pulled` is None where nothing
    was asked from a registry."""

    digest: str
    reference: str
    pulled: PullReport | None = None

    def as_json(self) -> dict[str, Any]:
        """The image for `--json`."""
        pulled = None if self.pulled is None else self.pulled.as_json()
        return {"reference": self.reference, "digest": self.digest, "pulled": pulled}


def obtain_image(
    name: str,
    store: Store,
    policy: Policy,
    *,
    certificates: Path | None = None,
    on_event: OnEvent = ignore,
    arrival: Arrival = NOBODY,
) -> ObtainedImage:
    """Have an image in the store that the policy accepts; no layer is asked for before it does.

    Args:
        name: a reference in a registry, or a tag or digest of the store. A reference without a digest is resolved
            once, and its digest is what counts from then on; one with the digest of an image that the store has whole,
            with signatures that the policy accepts, is not asked for at all. Of an index, the image for this machine.
        certificates: file of certificate authorities for the registry.
        on_event: told what the reference resolves to, and of the layers' progress.
        arrival: told what of the image is here, once the policy has let it in.

    Raises:
        DoesNotHoldError: the policy does not hold; nothing of the image was kept.
        NotFoundError: neither registry nor store has it.
        InputError, UnavailableError: as for `pull_checked`.
    """
    if not looks_like_reference(name):
        return _stored_image(name, store, policy)
    reference = parse_reference(name)
    if here := _usable(store, reference.digest, policy):
        return ObtainedImage(here, _resolved(reference, here))
    origin = RegistryOrigin(reference, open_repository(reference, certificates))
    root, platform, index = image_of(origin, "")
    judgements: list[VerifyReport] = []

    def check(judged: Store, digest: str) -> None:
        on_event({"event": "phase", "name": f"verify {_resolved(reference, digest)}"})
        source = source_name(reference, digest)
        found = verify_image(
            judged,
            digest,
            policy,
            name=source,
            references=[source],
            memory=store,
            platform=platform,
            index=index,
        )
        found.require()
        judgements.append(found)

    named = stored_name(reference)
    report = pull_checked(
        origin, store, check, root=root, kinds=RUN_NEEDS, tag=named, on_event=on_event, arrival=arrival
    )
    record_pull(store, source_name(reference, report.digest), [report.digest], platform=platform)
    remember(store, *judgements)
    return ObtainedImage(report.digest, _resolved(reference, report.digest), report)


def run_in_image(
    image: ObtainedImage,
    config: Path | None,
    launcher: Launcher,
    *,
    overrides: Sequence[Override] = (),
    output: Path | None = None,
    resume: Path | None = None,
    workers: int = 1,
    shards: ShardPlace | None = None,
    fresh: bool = False,
    on_event: OnEvent = ignore,
) -> RunResult:
    """Train as a configuration says, in an image that was obtained; its `run.environment` picks nothing here.

    The data come from the store, else from this machine's clients, else from the sources that the image's lock names.
    The other arguments are those of `reprise.train.train`.

    Raises:
        NotFoundError, InputError, UnavailableError: the configuration or its data are missing or wrong; or the run that
            is to go on is one of another image.
        DoesNotHoldError, RefusedError: as for `run_loaded`.
    """
    loaded, begun = load_run(config, overrides, resume, launcher.store)
    if begun and begun.image != image.digest:
        raise InputError(f"run {begun.run} is one of image {begun.image}, not of {image.digest}")
    return run_loaded(
        loaded,
        begun,
        image.digest,
        launcher,
        lambda: _sources(launcher.store, image.digest),
        base=config.parent if config else None,
        shards=shards,
        output=resume or output,
        workers=workers,
        fresh=fresh,
        on_event=on_event,
    )


def _stored_image(name: str, store: Store, policy: Policy) -> ObtainedImage:
    named = store.resolve(name)
    image = image_for(store, named)
    report = verify_image(store, image.digest, policy, name=name, platform=image.platform, index=named)
    report.require()
    if not is_whole(store, image.digest):
        raise NotFoundError(f"the store {store.root} lacks layers of {name}", hint="Pull it: reprise run REF …")
    remember(store, report)
    return ObtainedImage(image.digest, image.digest)


def _usable(store: Store, digest: str, policy: Policy) -> str:
    """The image that a digest names, or of an index this machine's, where the store has it whole and accepted."""
    if not digest or not store.has(digest):
        return ""
    try:
        image = image_for(store, digest).digest
    except NotFoundError:
        return ""  # a part of an index is missing here
    return image if is_whole(store, image) and verify_image(store, image, policy, index=digest).holds else ""


def _resolved(reference: Reference, digest: str) -> str:
    return str(replace(reference, digest=digest))


def _sources(store: Store, digest: str) -> Sources:
    """Those of the lock beside the image that the image names by its digest; none where there is no such lock."""
    try:
        return read_image_lock(store, digest, read_inventory(store, digest))[1].sources
    except (DoesNotHoldError, InputError, NotFoundError):
        return Sources()
