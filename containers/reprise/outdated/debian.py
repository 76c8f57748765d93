"""Ages of Debian packages, by the suite that they are locked from; apt reads it in a private root."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from reprise.lock.debian import newest_versions
from reprise.lock.model import Artifact
from reprise.outdated.age import Age
from reprise.store import Store
from reprise.vulnerabilities.versions import debian_key
from reprise_trainer.errors import RepriseError

_FIRST_MEMBER = slice(8 + 16, 8 + 28)
"""The time of the first member of an ar archive (ar(5)): after the magic, 16 bytes of name, then 12 digits."""


def debian_ages(
    artifacts: Sequence[Artifact], suite: str, mirror: str, trust: str, store: Store | None
) -> tuple[list[Age], list[str]]:
    """The ages of locked Debian packages, and what did not answer.

    A package's day is the one that its builder wrote into it (the last changelog entry's, where builds are
    reproducible), so it is known where the store holds the package.
    """
    if not artifacts:
        return [], []
    silent: list[str] = []
    try:
        newest = newest_versions(suite, [each.name for each in artifacts], mirror, trust)
    except RepriseError as error:
        newest, silent = {}, [f"Debian {suite}: {error.message}"]
    return [_age(each, newest.get(each.name, ""), store) for each in artifacts], silent


def _age(artifact: Artifact, newest: str, store: Store | None) -> Age:
    path = store.path(artifact.digest) if store is not None and store.has(artifact.digest) else None
    is_newer = newest and debian_key(newest) > debian_key(artifact.version)
    return Age(artifact, _made(path) if path else None, newest if is_newer else (artifact.version if newest else ""))


def _made(path: Path) -> datetime | None:
    with path.open("rb") as file:
        digits = file.read(_FIRST_MEMBER.stop)[_FIRST_MEMBER].strip()
    return datetime.fromtimestamp(int(digits), UTC) if digits.isdigit() and int(digits) else None
