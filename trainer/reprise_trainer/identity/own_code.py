"""The user's own code: an archive in the launch folder, named by the configuration, unpacked where only this run is.

The configuration names the archive's sha256, and the delegation, the ledger and the record name the configuration: so
an archive of other bytes can't be slipped in, and what ran is known for ever. Its modules come last on the import path:
they hide nothing of the image's. Compiled code belongs in a wheel of the image; nothing here may be mapped as code.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.errors import RefusedError
from reprise_trainer.identity.launch import CODE_FILE, read_launch_file


@dataclass(frozen=True, slots=True)
class OwnCode:
    """Unpacked code: its folder, and the sha256 (bare hex) of each file by its path in there."""

    folder: Path
    files: Mapping[str, str]

    @property
    def modules(self) -> frozenset[str]:
        """The files' absolute paths without the leading slash, as layers' lists have them."""
        return frozenset(str(self.folder / name).lstrip("/") for name in self.files)


def enter_code(launch_folder: Path, sha256: str, *, parent: Path | None = None) -> OwnCode:
    """Unpack the code of a run, and let Python import from it.

    Args:
        launch_folder: holds the archive.
        sha256: of the archive, bare hex, as the configuration says.
        parent: where the private folder is made; the image's folder for temporary files by default.

    Raises:
        RefusedError: there is no archive, it has another sha256, or it holds what is no plain file.
    """
    data = read_launch_file(launch_folder, CODE_FILE, "the configuration names code of its own")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise RefusedError(f"{CODE_FILE}: the code's sha256 is {found}, the configuration says {sha256 or 'nothing'}")
    folder = Path(tempfile.mkdtemp(prefix="reprise-code-", dir=parent)).resolve()
    files = unpack_code(data, folder)
    roots = sorted({name.partition("/")[0] for name in files})
    sys.dont_write_bytecode = True  # the folder keeps what the archive held; isolated mode ignores the variable for it
    sys.path.extend(str(folder / root) for root in roots)
    return OwnCode(folder, files)


def unpack_code(data: bytes, folder: Path) -> dict[str, str]:
    """Unpack an archive of code into `folder`; the sha256 (bare hex) of each file by its path in there.

    Raises:
        RefusedError: it is no archive, or holds what is no plain file or leads elsewhere.
    """
    files: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise RefusedError(f"{CODE_FILE}: {member.name!r} is not a plain file")
                files[member.name] = _write(folder, member.name, stream.read())
    except tarfile.TarError as error:
        raise RefusedError(f"{CODE_FILE}: not an archive of code: {error}") from error
    return files


def changed_files(code: OwnCode) -> tuple[str, ...]:
    """What is in the folder now that was not in the archive so, one sentence each; empty when nothing changed."""
    problems = []
    found = {str(path.relative_to(code.folder)): path for path in code.folder.rglob("*") if not path.is_dir()}
    for name in sorted({*found, *code.files}):
        if name not in code.files:
            problems.append(f"{found[name]}: appeared beside the run's own code")
        elif name not in found or hashlib.sha256(found[name].read_bytes()).hexdigest() != code.files[name]:
            problems.append(f"{code.folder / name}: the run's own code was changed while it ran")
    return tuple(problems)


def _write(folder: Path, name: str, data: bytes) -> str:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise RefusedError(f"{CODE_FILE}: {name!r} leads out of the code's folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
