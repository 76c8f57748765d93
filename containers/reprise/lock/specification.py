"""A conda specification (`environment.yml`), as people and conda's tools write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reprise.lock.extra import not_installed
from reprise.lock.model import PLATFORM
from reprise_trainer.errors import InputError

_KNOWN = ("name", "channels", "dependencies", "platforms", "prefix", "category")
"""Keys that conda and conda-lock read; `name`, `platforms` and `prefix` are the environment file's to say."""


@dataclass(frozen=True, slots=True)
class Specification:
    """What is asked for: channels strongest first, match specs, and requirements of the pip part."""

    channels: tuple[str, ...]
    specs: tuple[str, ...]
    requirements: tuple[str, ...] = ()


def read_specification(data: bytes, place: str) -> Specification:
    """The specification in `data`; lines that conda-lock's selectors (`# [osx]`) rule out are left out.

    Args:
        data: YAML.
        place: the file's name, for messages.

    Raises:
        InputError: it is no specification, or says something that no lock could keep.
        SystemFailureError: conda-lock is not installed.
    """
    document = _document(data, place)
    for key in document:
        if key not in _KNOWN:
            raise InputError(f"{place}: {key} is not supported", hint=f"known are {', '.join(_KNOWN)}")
    if document.get("category", "main") != "main":
        raise InputError(f"{place}: category is {document['category']!r}; an image holds the category main alone")
    channels = _texts(document.get("channels") or [], f"{place}: channels")
    specs: list[str] = []
    requirements: list[str] = []
    for each in _list(document.get("dependencies") or [], f"{place}: dependencies"):
        match each:
            case str():
                specs.append(each)
            case {"pip": list(lines), **others} if not others:
                requirements += _texts(lines, f"{place}: pip")
            case {"pip": None, **others} if not others:
                continue  # a selector left nothing of it
            case _:
                raise InputError(f"{place}: dependencies has {each!r}, expected a match spec or a list under pip")
    for line in requirements:
        if line.startswith(("-", ".", "/")) or line.startswith("git+"):
            raise InputError(
                f"{place}: pip has {line!r}, which no lock can name by hash", hint="Name a released package."
            )
    return Specification(tuple(each for each in channels if each != "nodefaults"), tuple(specs), tuple(requirements))


def _document(data: bytes, place: str) -> Mapping[str, Any]:
    try:
        import yaml
        from conda_lock.src_parser.selectors import filter_platform_selectors
    except ImportError as error:
        raise not_installed("conda-lock") from error
    try:
        lines: Iterator[str] = filter_platform_selectors(data.decode(), platform=PLATFORM)
        document = yaml.safe_load("\n".join(lines))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{place} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InputError(f"{place} holds no conda specification: expected channels and dependencies")
    return document


def _list(value: object, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{place} is {value!r}, expected a list")
    return value


def _texts(value: object, place: str) -> list[str]:
    texts = _list(value, place)
    for each in texts:
        if not isinstance(each, str):
            raise InputError(f"{place} has {each!r}, expected a text")
    return texts
