"""Advisories in the OSV format (OSV schema 1.x), as far as matching and reporting need them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise_trainer.errors import InputError, NotFoundError

_RANGES = ("ECOSYSTEM", "SEMVER")


@dataclass(frozen=True, slots=True)
class Event:
    """One point of a range: `kind` is "introduced", "fixed" or "last_affected"."""

    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class Affected:
    """One package of an advisory: by `ecosystem` and `name`, or by `purl`; its versions and ranges.

    `severity` is what this package's entry says of it ("urgency" of Debian's, say), as (type, text) pairs.
    """

    ecosystem: str
    name: str
    purl: str
    versions: tuple[str, ...]
    ranges: tuple[tuple[Event, ...], ...]
    severity: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory. `severity` holds (type, text) pairs: a CVSS vector, or a word under the type "word"."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    withdrawn: bool
    severity: tuple[tuple[str, str], ...]
    affected: tuple[Affected, ...]
    references: tuple[str, ...]


def read_database(folder: Path) -> Iterator[Advisory]:
    """Every advisory in the `*.json` files below `folder`, in the order of their paths.

    Raises:
        NotFoundError: there is no such folder, or it holds no advisory.
        InputError: a file is not an advisory in the OSV format.
    """
    paths = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    if not paths:
        raise NotFoundError(
            f"{folder} holds no advisories: expected a folder of OSV JSON files",
            hint="Unpack an export of an OSV database there.",
        )
    for path in paths:
        try:
            yield read_advisory(json.loads(path.read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} is not an advisory in the OSV format: {type(error).__name__} {error}") from error


def read_advisory(document: Mapping[str, Any]) -> Advisory:
    """The advisory in a parsed OSV document.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    return Advisory(
        id=_text(document["id"]),
        aliases=tuple(sorted(_text(each) for each in document.get("aliases") or ())),
        summary=_text(document.get("summary") or document.get("details") or "").strip().partition("\n")[0],
        withdrawn=bool(document.get("withdrawn")),
        severity=_severity(document),
        affected=tuple(_affected(each) for each in document.get("affected") or ()),
        references=tuple(_text(each["url"]) for each in document.get("references") or ()),
    )


def _affected(entry: Mapping[str, Any]) -> Affected:
    package = entry.get("package") or {}
    return Affected(
        ecosystem=_text(package.get("ecosystem", "")),
        name=_text(package.get("name", "")),
        purl=_text(package.get("purl", "")),
        versions=tuple(_text(each) for each in entry.get("versions") or ()),
        ranges=tuple(
            tuple(Event(kind, _text(version)) for event in each["events"] for kind, version in event.items())
            for each in entry.get("ranges") or ()
            if each["type"] in _RANGES
        ),
        severity=_severity(entry),
    )


def _severity(entry: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    scores = [(_text(each["type"]), _text(each["score"])) for each in entry.get("severity") or ()]
    for table, key in (("database_specific", "severity"), ("ecosystem_specific", "urgency")):
        word = (entry.get(table) or {}).get(key)
        if isinstance(word, str):
            scores.append(("word", word))
    return tuple(scores)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
