"""What a conda package says about itself in `info/`: its record, its paths, and how they are linked.

`info/paths.json` (version 1), or `info/files` and `info/has_prefix` of packages older than that. `no_link` forbids hard
and soft links into a package cache; an image holds copies alone, so it asks for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reprise.image.conda_archive import Member
from reprise.image.entries import checked_path
from reprise_trainer.errors import InputError

_OLD_PLACEHOLDER = "/opt/anaconda1anaconda2" + "anaconda3"
"""The prefix that a line of `has_prefix` with a path alone stands for (in two parts, as every conda tool writes it)."""

_PATH_TYPES = ("hardlink", "softlink", "directory")


@dataclass(frozen=True, slots=True)
class PackagePath:
    """One path as the package has it. `placeholder` is empty where no prefix is replaced, else `binary` says how."""

    path: str
    type: str
    placeholder: str = ""
    binary: bool = False
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class CondaMetadata:
    """`index` is info/index.json; `entry_points` are pairs of program and object reference ("module:function")."""

    index: Mapping[str, Any]
    paths: tuple[PackagePath, ...]
    entry_points: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return str(self.index["name"])

    @property
    def is_noarch_python(self) -> bool:
        return self.index.get("noarch") == "python"


def read_metadata(members: Mapping[str, Member], artifact: str) -> CondaMetadata:
    """The metadata of a package with these members.

    Raises:
        InputError: a file of it is missing or malformed.
    """
    try:
        index = decode_index(members["info/index.json"].read(), artifact)
        if "info/paths.json" in members:
            paths = tuple(_paths(_document(members, "info/paths.json"), artifact))
        else:
            paths = tuple(_old_paths(members, artifact))
        link = _document(members, "info/link.json") if "info/link.json" in members else {}
        points = (link.get("noarch") or {}).get("entry_points") or ()
        return CondaMetadata(index, paths, tuple(_entry_point(each, artifact) for each in points))
    except KeyError as error:
        raise InputError(f"{artifact} is not a conda package: {error.args[0]} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{artifact} is not a conda package: its metadata is malformed: {error}") from error


def decode_index(data: bytes, artifact: str) -> dict[str, Any]:
    """info/index.json, which must name the package.

    Raises:
        InputError: it does not.
    """
    try:
        index = json.loads(data)
        named = all(isinstance(index[key], str) and index[key] for key in ("name", "version", "build"))
    except (KeyError, TypeError, ValueError):
        named = False
    if not named:
        raise InputError(f"{artifact} is not a conda package: info/index.json does not say name, version and build")
    for key in ("name", "version", "build"):
        if "/" in index[key]:
            raise InputError(f"{artifact} is not a conda package: info/index.json has the {key} {index[key]!r}")
    return dict(index)


def _document(members: Mapping[str, Member], path: str) -> dict[str, Any]:
    document = json.loads(members[path].read())
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no JSON object")
    return document


def _paths(document: Mapping[str, Any], artifact: str) -> Iterator[PackagePath]:
    if document["paths_version"] != 1:
        raise InputError(f"{artifact}: info/paths.json has version {document['paths_version']!r}; this one reads 1")
    for each in document["paths"]:
        path, kind = checked_path(each["_path"], artifact), each["path_type"]
        if kind not in _PATH_TYPES:
            raise InputError(f"{artifact}: {path} is a {kind!r}; there is {', '.join(_PATH_TYPES)}")
        placeholder, mode = each.get("prefix_placeholder") or "", each.get("file_mode") or "text"
        yield PackagePath(path, kind, placeholder, _is_binary(mode, path, artifact), str(each.get("sha256") or ""))


def _old_paths(members: Mapping[str, Member], artifact: str) -> Iterator[PackagePath]:
    prefixed = {}
    for line in _lines(members, "info/has_prefix"):
        placeholder, mode, path = _has_prefix(line)
        prefixed[path] = (placeholder, _is_binary(mode, path, artifact))
    if "info/files" not in members:
        raise InputError(f"{artifact} is not a conda package: it has neither info/paths.json nor info/files")
    for path in _lines(members, "info/files"):
        member = members.get(checked_path(path, artifact))
        kind = {"symlink": "softlink", "directory": "directory"}.get(member.type if member else "", "hardlink")
        yield PackagePath(path, kind, *prefixed.get(path, ("", False)))


def _lines(members: Mapping[str, Member], path: str) -> list[str]:
    text = members[path].read().decode() if path in members else ""
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def _has_prefix(line: str) -> tuple[str, str, str]:
    """A line of has_prefix: a path alone, or placeholder, mode and path, each perhaps in quotation marks."""
    parts = line.strip().split(maxsplit=2)
    if len(parts) == 3 and parts[1].strip("\"'") in ("text", "binary"):
        placeholder, mode, path = (part.strip().strip("\"'") for part in parts)
        return placeholder, mode, path
    return _OLD_PLACEHOLDER, "text", line.strip().strip("\"'")


def _is_binary(mode: str, path: str, artifact: str) -> bool:
    if mode not in ("text", "binary"):
        raise InputError(f"{artifact}: {path} has the file mode {mode!r}, expected text or binary")
    return mode == "binary"


def _entry_point(text: str, artifact: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{artifact}: entry point {text!r} is not `name = module:function`")
    return name.strip(), value.strip()
