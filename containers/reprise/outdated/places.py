"""Ask each place of a lock once, and gather what they say."""

from __future__ import annotations

from datetime import datetime

from reprise.lock.model import Artifact, Environment, Kind, Lock
from reprise.lock.target import target_of
from reprise.outdated.age import AgeReport, oldest_first
from reprise.outdated.conda import conda_ages
from reprise.outdated.debian import debian_ages
from reprise.outdated.pypi import pypi_ages
from reprise.store import Store


def ages_of(lock: Lock, environment: Environment, store: Store | None, now: datetime, trust: str = "") -> AgeReport:
    """How old each artifact of `lock` is, and what newer versions there are.

    Args:
        lock: the lock.
        environment: where it looks for packages beside the machine's own clients.
        store: tells when a Debian package was made, where it holds it; None where there is no store.
        now: the time that ages count to, with a time zone.
        trust: option of sources.list(5) that says which keys sign the suite; by default Debian's own.

    A place that does not answer is named in the report; what it would have said is left out.
    """
    target = target_of(lock.python, lock.platform, environment.debian.suite)
    suite, mirror = environment.debian.suite, environment.sources.debian_mirror
    answers = [
        pypi_ages(_of_kind(lock, "wheel"), environment.sources.find_links, target),
        debian_ages(_of_kind(lock, "deb"), suite, mirror, trust, store),
        conda_ages(_of_kind(lock, "conda")),
    ]
    ages = [age for found, _ in answers for age in found]
    silent = [place for _, places in answers for place in places]
    return AgeReport(lock.environment, tuple(oldest_first(ages)), tuple(dict.fromkeys(silent)), now)


def _of_kind(lock: Lock, kind: Kind) -> list[Artifact]:
    return [each for each in lock.artifacts if each.kind == kind]
