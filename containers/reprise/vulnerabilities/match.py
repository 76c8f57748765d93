"""Which advisories an artifact falls under."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from reprise.lock.model import Artifact
from reprise.vulnerabilities.advisory import Advisory, Affected, Event
from reprise.vulnerabilities.severity import Severity, severity_of
from reprise.vulnerabilities.versions import KEYS, Key

DEBIAN_RELEASES = {"bookworm": "12"}
"""Suite → release number, as OSV's Debian ecosystems are named ("Debian:12")."""

_BINARY_NMU = re.compile(r"\+b\d+\Z")
"""Suffix of a package that was built once more from the same source (Debian developer's reference 5.10.2.1)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact as advisories name it: ecosystem, name and version there (Debian's name the source package)."""

    artifact: Artifact
    ecosystem: str
    name: str
    version: str

    @property
    def key(self) -> Key:
        return KEYS[self.ecosystem.partition(":")[0]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A vulnerability of a locked artifact: `id` is its best known name, `aliases` are its others, sorted.

    `fixed` are the versions that advisories call fixed. `ignored` is the reason that a person gave; empty where it
    counts. `score` is a CVSS base score.
    """

    id: str
    aliases: tuple[str, ...]
    artifact: Artifact
    summary: str
    severity: Severity
    score: float | None = None
    fixed: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    ignored: str = ""


def subject_of(artifact: Artifact) -> Subject | None:
    """What advisories call `artifact`; None for what they don't know (data)."""
    match artifact.kind:
        case "wheel":
            return Subject(artifact, "PyPI", _normalized(artifact.name), artifact.version)
        case "deb":
            suite = artifact.qualifier("distro")
            source = artifact.location.split("/")[-2] if artifact.location.count("/") > 1 else artifact.name
            ecosystem = f"Debian:{DEBIAN_RELEASES.get(suite, suite)}"
            return Subject(artifact, ecosystem, source, _BINARY_NMU.sub("", artifact.version))
        case "conda":
            return Subject(artifact, "conda", artifact.name, artifact.version)
        case "data":
            return None


def match(subject: Subject, advisories: Iterable[Advisory]) -> list[Finding]:
    """The findings for one artifact, aliases merged into one each, sorted by id. Withdrawn advisories count nothing."""
    hits = []
    for advisory in advisories:
        about = [each for each in advisory.affected if (subject.ecosystem, subject.name) in keys_of(each)]
        if not advisory.withdrawn and any(is_affected(each, subject.version, subject.key) for each in about):
            hits.append((advisory, about))
    return sorted((_finding(subject, group) for group in _merged(hits)), key=lambda finding: finding.id)


def keys_of(affected: Affected) -> set[tuple[str, str]]:
    """(ecosystem, name) of the packages that an advisory's entry is about, spelt as in `Subject`."""
    name = _normalized(affected.name) if affected.ecosystem == "PyPI" else affected.name
    conda = re.fullmatch(r"pkg:conda/([^@?#]+).*", affected.purl)
    return {(affected.ecosystem, name)} | ({("conda", unquote(conda[1]))} if conda else set())


def is_affected(affected: Affected, version: str, key: Key) -> bool:
    """Whether `version` is in the entry's list or in one of its ranges (OSV schema, "Evaluation").

    A version that has no place in the ecosystem's order counts as affected: nobody can say that it is not.
    """
    if version in affected.versions:
        return True
    try:
        place = key(version)
    except ValueError:
        return bool(affected.ranges or affected.versions)
    return any(_same(place, each, key) for each in affected.versions) or any(
        _in_range(events, place, key) for events in affected.ranges
    )


def _same(place: Any, version: str, key: Key) -> bool:
    try:
        return bool(key(version) == place)
    except ValueError:
        return False


def _in_range(events: Sequence[Event], place: Any, key: Key) -> bool:
    vulnerable = False
    bounds = []
    for event in events:
        try:
            bounds.append((key(event.version), event.kind))
        except ValueError:  # without a place in the order: an introduction lies before everything, a fix nowhere
            vulnerable |= event.kind == "introduced"
    if ("introduced", "0") in {(event.kind, event.version) for event in events}:  # OSV's word for "always"
        vulnerable = True
    for bound, kind in sorted(bounds, key=lambda each: (each[0], each[1] == "introduced")):
        if kind == "introduced" and place >= bound:
            vulnerable = True
        elif (kind == "fixed" and place >= bound) or (kind == "last_affected" and place > bound):
            vulnerable = False
    return vulnerable


_Hit = tuple[Advisory, list[Affected]]


def _merged(hits: Iterable[_Hit]) -> list[list[_Hit]]:
    """Advisories that name each other, or share another name, are one vulnerability."""
    groups: list[tuple[set[str], list[_Hit]]] = []
    for hit in hits:
        known = {hit[0].id, *hit[0].aliases}
        together = [hit]
        apart = []
        for other in groups:
            if other[0] & known:
                known |= other[0]
                together = [*other[1], *together]
            else:
                apart.append(other)
        groups = [*apart, (known, together)]
    return [group for _, group in groups]


def _finding(subject: Subject, group: Sequence[_Hit]) -> Finding:
    known = sorted({name for advisory, _ in group for name in (advisory.id, *advisory.aliases)})
    best = next((name for name in known if name.startswith("CVE-")), min(advisory.id for advisory, _ in group))
    said = [pair for advisory, about in group for pair in advisory.severity + _about_severity(about)]
    severity, score = severity_of(said)
    fixed = {
        event.version
        for _, about in group
        for each in about
        for events in each.ranges
        for event in events
        if event.kind == "fixed"
    }
    return Finding(
        id=best,
        aliases=tuple(name for name in known if name != best),
        artifact=subject.artifact,
        summary=next((advisory.summary for advisory, _ in group if advisory.summary), ""),
        severity=severity,
        score=score,
        fixed=tuple(sorted(fixed)),
        references=tuple(sorted({url for advisory, _ in group for url in advisory.references})),
    )


def _about_severity(about: Iterable[Affected]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for each in about for pair in each.severity)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
