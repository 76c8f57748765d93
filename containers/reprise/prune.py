"""Unpacked images that nothing needs any more: what they are, what they take, and away with them.

Each build of a changed trainer and each pull of a moved tag leaves its image's unpacked copy behind. All of it can be
made again from the store's blobs, which are not touched. Kept is what a tag of the store leads to, what was pulled by
its digest, what a run record is about, and what runs right now.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.engine.interface import ImageRef
from reprise.engine.remove import remove_tree
from reprise.engine.unpack import only_unpacker, unpacked_folder
from reprise.kept_runs import RUN_TYPE
from reprise.store import Store
from reprise.store.references import pulled_from
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import RepriseError

_NAME = re.compile(r"(image-)?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A folder of unpacked files that nothing refers to: an `image` (of links) or a `layer`, by digest or diff_id."""

    kind: str
    digest: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be; `bytes` is what the disk gets back. What is `in_use` by a run was left."""

    removed: tuple[Unneeded, ...]
    in_use: tuple[Unneeded, ...]
    bytes: int
    dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "dry_run": self.dry_run,
            "removed": [{"kind": each.kind, "digest": each.digest} for each in self.removed],
            "in_use": [{"kind": each.kind, "digest": each.digest} for each in self.in_use],
            "bytes": self.bytes,
        }


def prune(store: Store, *, dry_run: bool = False) -> Pruned:
    """Remove the unpacked images and layers that nothing needs.

    Args:
        dry_run: only say what would be removed.

    Raises:
        InputError, NotFoundError: what an image that is needed consists of can't be read; nothing was removed.
        StorageError: a folder can't be removed.
    """
    folder = unpacked_folder(store)
    if not folder.is_dir():
        return Pruned((), (), 0, dry_run)
    with only_unpacker(folder):
        kept = _kept_names(store)
        unneeded = [each for each in _unpacked(folder) if each.folder.name not in kept]
        places: dict[Unneeded, Path] = {}
        for each in unneeded:
            with _unused(each.folder) as unused:
                if unused:
                    places[each] = each.folder if dry_run else _set_aside(each.folder)
        size = _bytes_of(places.values())
        if not dry_run:
            for place in places.values():
                _remove(place)
    in_use = tuple(each for each in unneeded if each not in places)
    return Pruned(tuple(places), in_use, size, dry_run)


def needed_images(store: Store) -> set[str]:
    """Digests of the images that a tag, a pull by digest or a run record refers to."""
    needed: set[str] = set(store.tagged())
    for digest in store.listed():
        if any("@" in reference for reference in pulled_from(store, digest)):
            needed.add(digest)
        try:
            manifest = store.manifest(digest)
        except RepriseError:
            continue  # a damaged artifact refers to nothing; a damaged image that is needed is found later
        subject = manifest.get("subject")
        if manifest.get("artifactType") == RUN_TYPE and isinstance(subject, dict):
            needed.add(str(subject.get("digest")))
    return needed


def _kept_names(store: Store) -> set[str]:
    """Names of the folders that are needed."""
    kept: set[str] = set()
    waiting = list(needed_images(store))
    while waiting:
        digest = waiting.pop()
        if not store.has(digest):
            continue  # a record about an image that is elsewhere
        manifest = store.manifest(digest)
        waiting += [str(each.get("digest")) for each in manifest.get("manifests") or ()]
        if "layers" not in manifest or manifest.get("artifactType"):
            continue
        kept.add(f"image-{digest.removeprefix('sha256:')}")
        kept |= {layer.diff_id.removeprefix("sha256:") for layer in ImageRef(store, digest).layers()}
    return kept


def _unpacked(folder: Path) -> Iterator[Unneeded]:
    for place in sorted(folder.iterdir()):
        if _NAME.fullmatch(place.name) and place.is_dir():
            kind = "image" if place.name.startswith("image-") else "layer"
            yield Unneeded(kind, f"sha256:{place.name.removeprefix('image-')}", place)


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Whether no run has it as its root: runs hold a shared lock on what they run on. None gets it during the block."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _bytes_of(folders: Iterable[Path]) -> int:
    """Bytes of the files that have no other link than those in `folders`."""
    seen: dict[tuple[int, int], list[int]] = {}
    waiting = [str(folder) for folder in folders]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
                found = seen.setdefault((status.st_dev, status.st_ino), [status.st_nlink, status.st_size])
                found[0] -= 1
    return sum(size for left, size in seen.values() if left == 0)


def _set_aside(folder: Path) -> Path:
    """Where a folder is from now on; what an interruption leaves of it, the next unpacking clears away."""
    try:
        return folder.rename(folder.with_name(f".part-{folder.name}"))
    except OSError as error:
        raise storage_error(error, folder) from error


def _remove(folder: Path) -> None:
    try:
        remove_tree(folder)
    except OSError as error:
        raise storage_error(error, folder) from error
