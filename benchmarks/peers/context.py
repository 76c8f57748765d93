"""What docker and podman build from: the same Debian files, wheels and trainer as ours, and a Dockerfile."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import tarfile
from pathlib import Path

import reprise_trainer
from reprise.image.base import base_entries
from reprise.image.deb import read_deb
from reprise.image.entries import merge
from reprise.lock.model import Lock
from reprise.store import Store

PACKAGES = "/usr/local/lib/python3.11/dist-packages"


def write_wheels(folder: Path, lock: Lock, store: Store) -> list[str]:
    """Copies of the lock's wheels, and their paths in an image that has `folder` as /wheels."""
    folder.mkdir(parents=True)
    names = []
    for artifact in lock.artifacts:
        if artifact.kind == "wheel" and artifact.category == "main":
            shutil.copyfile(store.path(artifact.digest), folder / artifact.file_name)
            names.append(f"/wheels/{artifact.file_name}")
    return names


def write_context(context: Path, lock: Lock, store: Store) -> None:
    """What docker builds from: the unpacked base, pip, the wheels, the trainer, a Dockerfile."""
    wheels = write_wheels(context / "wheels", lock, store)
    debs = [artifact for artifact in lock.artifacts if artifact.kind == "deb"]
    write_base(context / "base.tar", [(deb.purl, store.path(deb.digest)) for deb in debs])
    pip = importlib.util.find_spec("pip")
    assert pip is not None and pip.origin is not None
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(pip.origin).parent, context / "pip", ignore=ignore)
    shutil.copytree(Path(reprise_trainer.__file__).parent, context / "reprise_trainer", ignore=ignore)
    install = ["/usr/bin/python3.11", "/pip", "install", "--no-index", "--no-deps", "--no-cache-dir", "-q"]
    install += ["--break-system-packages", "--root-user-action=ignore", "--disable-pip-version-check"]
    lines = [
        "FROM scratch",
        "ADD base.tar /",
        "COPY pip /pip",
        "COPY wheels /wheels",
        f"RUN {json.dumps([*install, *wheels])}",
        f"COPY reprise_trainer {PACKAGES}/reprise_trainer",
        'ENTRYPOINT ["/usr/bin/python3.11", "-I", "-m", "reprise_trainer"]',
    ]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")


def write_base(path: Path, debs: list[tuple[str, Path]]) -> None:
    """The Debian files that our base and package layers hold, as one tar."""
    parts = [("base", base_entries()), *((purl, read_deb(deb, purl)) for purl, deb in debs)]
    with tarfile.open(path, "w") as tar:
        for entry in merge(parts):
            info = tarfile.TarInfo(entry.path)
            kinds = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}
            info.type, info.mode, info.size, info.linkname = kinds[entry.type], entry.mode, entry.size, entry.target
            tar.addfile(info, io.BytesIO(entry.read()))
