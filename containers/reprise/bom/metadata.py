"""What artifacts say of themselves: a wheel's METADATA, a Debian control file and copyright, a conda index.json."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.image.conda_archive import read_index
from reprise.image.conda_metadata import decode_index
from reprise.image.deb import read_deb
from reprise.image.entries import Entry
from reprise.image.format import STATUS_FOLDER
from reprise_trainer.errors import InputError

_DOC = "usr/share/doc/"


@dataclass(frozen=True, slots=True)
class DebianMetadata:
    """`fields` of the control file by name, the `copyright` file's text, or the package whose text it shares."""

    fields: Mapping[str, str]
    copyright: str
    copyright_of: str = ""


def wheel_metadata(path: Path, artifact: str) -> str:
    """The METADATA of the wheel at `path`.

    Raises:
        InputError: it is not a wheel; `artifact` is its name in the message.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (each for each in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each))
            return archive.read(name).decode("utf-8", "replace")
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InputError(f"{artifact} is not a wheel whose METADATA can be read: {error}") from error


def debian_metadata(path: Path, artifact: str) -> DebianMetadata:
    """The control fields and the copyright of the Debian package at `path`.

    Raises:
        InputError: it is not a Debian package.
    """
    entries = {entry.path: entry for entry in read_deb(path, artifact)}
    (control,) = (
        entry for name, entry in entries.items() if name.startswith(f"{STATUS_FOLDER}/") and not name.endswith("sums")
    )
    fields = _control_fields(_text(control))
    folder = entries.get(f"{_DOC}{fields['Package']}")
    if folder is not None and folder.type == "symlink":  # packages of one source may share a folder (policy 12.5)
        return DebianMetadata(fields, "", folder.target.rpartition("/")[2])
    file = entries.get(f"{_DOC}{fields['Package']}/copyright")
    return DebianMetadata(fields, _text(file) if file is not None and file.type == "file" else "")


def conda_metadata(path: Path, artifact: str) -> dict[str, Any]:
    """The `info/index.json` of the conda package at `path` (`.conda` or `.tar.bz2`).

    Raises:
        InputError: it is neither.
    """
    return decode_index(read_index(path, artifact), artifact)


def _control_fields(text: str) -> dict[str, str]:
    """Fields of a control file (Debian policy 5.1), continuation lines joined by a space."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def _text(entry: Entry) -> str:
    return entry.read().decode("utf-8", "replace")
