"""Whose a path is: the artifact that brought it, from what an image says of its own packages.

Wheels leave a RECORD (packaging.python.org, "Recording installed projects"), Debian packages their md5sums in status.d,
conda packages a file in conda-meta. So no artifact has to be read again, and images by others are understood as well.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from packageurl import PackageURL

from reprise.image.format import STATUS_FOLDER, USR_MERGED
from reprise_trainer.errors import RepriseError

Owners = dict[str, str]
"""Path → package URL."""

_RECORD = re.compile(r"(?P<folder>.*/)?(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info/RECORD")
_STATUS = re.compile(rf"{re.escape(STATUS_FOLDER)}/(?P<name>[^/]+)")
_CONDA = re.compile(r"(?P<prefix>.*/)?conda-meta/[^/]+\.json")
_PYC = re.compile(r"(?P<folder>.*/)?__pycache__/(?P<stem>[^/]+)\.[^/.]+(\.opt-\d)?\.pyc")


def names_owners(path: str) -> bool:
    """Whether a file says which package brought which paths."""
    return any(pattern.fullmatch(path) for pattern in (_RECORD, _STATUS, _CONDA))


def read_owners(files: Mapping[str, bytes]) -> Owners:
    """Who owns what, from the files for which `names_owners` holds. One that can't be read is passed over."""
    readers: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Mapping[str, bytes]], Owners]], ...] = (
        (_RECORD, _wheel),
        (_STATUS, _debian),
        (_CONDA, _conda),
    )
    owners: Owners = {}
    for path in sorted(files):
        for pattern, read in readers:
            if match := pattern.fullmatch(path):
                try:
                    owners.update(read(match, files))
                except (ValueError, KeyError, TypeError, AttributeError, csv.Error, RepriseError):
                    continue
    return owners


def owner_of(path: str, owners: Mapping[str, str]) -> str:
    """The package URL of a path's owner: its own, or that of the source that a bytecode was made from; empty when
    nobody is known."""
    if path in owners:
        return owners[path]
    match = _PYC.fullmatch(path)
    return owners.get(f"{match['folder'] or ''}{match['stem']}.py", "") if match else ""


def with_folders(owners: Mapping[str, str]) -> Owners:
    """`owners`, and each folder below which one package alone has anything."""
    below: dict[str, set[str]] = {}
    for path, owner in owners.items():
        while path := path.rpartition("/")[0]:
            below.setdefault(path, set()).add(owner)
    return {**{folder: found.pop() for folder, found in below.items() if len(found) == 1}, **owners}


def only_owner(paths: Iterable[str], owners: Mapping[str, str]) -> str:
    """The one package that owns all that is owned among `paths`; empty when there are several."""
    found = {owner for path in paths if (owner := owner_of(path, owners))}
    return found.pop() if len(found) == 1 else ""


def _wheel(match: re.Match[str], files: Mapping[str, bytes]) -> Owners:
    purl = PackageURL("pypi", None, match["name"].replace("_", "-").lower(), match["version"]).to_string()
    rows = csv.reader(files[match[0]].decode().splitlines())
    folder = PurePosixPath(match["folder"] or "")
    return {_joined(folder, row[0]): purl for row in rows if row}


def _joined(folder: PurePosixPath, path: str) -> str:
    parts: list[str] = []
    for part in (folder / path).parts:
        if part == "..":
            parts.pop()
        elif part != "/":
            parts.append(part)
    return "/".join(parts)


def _debian(match: re.Match[str], files: Mapping[str, bytes]) -> Owners:
    name = match["name"].removesuffix(".md5sums")
    fields = dict(
        line.split(": ", 1)
        for line in files[f"{STATUS_FOLDER}/{name}"].decode().splitlines()
        if re.match(r"\S+: ", line)
    )
    purl = PackageURL("deb", "debian", name, fields["Version"], {"arch": fields["Architecture"]}).to_string()
    owned = {f"{STATUS_FOLDER}/{name}": purl, f"{STATUS_FOLDER}/{name}.md5sums": purl}
    for line in files.get(f"{STATUS_FOLDER}/{name}.md5sums", b"").decode().splitlines():
        path = line.split(maxsplit=1)[1]
        owned[f"usr/{path}" if path.partition("/")[0] in USR_MERGED else path] = purl
    return owned


def _conda(match: re.Match[str], files: Mapping[str, bytes]) -> Owners:
    document = json.loads(files[match[0]])
    purl = PackageURL("conda", None, document["name"], document["version"]).to_string()
    prefix = match["prefix"] or ""
    return {match[0]: purl, **{f"{prefix}{path}": purl for path in document["files"]}}
