"""Measure a root: compare every path with the layers' lists, and recompute the image digest from what is there."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, RefusedError
from reprise_trainer.identity.file_list import LISTS_FOLDER, FileType, ListedFile, decode_list, list_path
from reprise_trainer.identity.hashing import start_hashing
from reprise_trainer.identity.inventory import INVENTORY_PATH, Inventory, LayerRecord, decode_inventory, image_bytes

NAMED = 20
"""How many differences a refusal names; the count tells of the rest."""

ADDED = "added: no layer lists it"
CHANGED_BYTES = "bytes changed"
"""How `Difference.what` says, or begins to say, these two."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that is not as listed. `path` is relative to the root; `what` says how it differs."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"/{self.path}: {self.what}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a root was found to be.

    `digest` is the image digest recomputed from the inventory; it stands for the files only if `differences` is
    empty. `files` counts the regular files that were hashed, `bytes` their sizes, `seconds` the time that it took.
    """

    digest: str
    files: int
    bytes: int
    seconds: float
    differences: tuple[Difference, ...]
    listed: Mapping[str, ListedFile]
    inventory: Inventory

    def line(self) -> str:
        """One line for people: `image sha256:… measured: 12,345 files, 1.2 GB in 0.9 s`."""
        return f"image {self.digest} measured: {self.files:,} files, {_size(self.bytes)} in {self.seconds:.1f} s"


def measure(
    root: Path = Path("/"),
    *,
    mounted: Collection[str] = (),
    owner: tuple[int, int] = (0, 0),
    workers: int | None = None,
) -> Measurement:
    """Compare everything under `root` with the lists that the image carries, and recompute the image digest.

    Args:
        root: the image's root folder.
        mounted: paths relative to the root where an allowed mount covers the image: neither they nor what lies
            beneath them is compared. Whether a mount is allowed is `mounts.check_mounts`'s to say.
        owner: uid and gid that every path must have.
        workers: hashing processes; by default one for each CPU that this process may use.

    Returns:
        the measurement, with every difference: it does not refuse by itself.

    Raises:
        RefusedError: the root holds no inventory that can be read, so that there is nothing to compare with.
    """
    start = time.perf_counter()
    inventory = _read_inventory(root)
    listed, differences = _read_lists(root, inventory)
    beneath = tuple(f"{point}/" for point in mounted)
    expected = {path: file for path, file in listed.items() if path not in mounted and not path.startswith(beneath)}
    files = [file for file in expected.values() if file.sha256]
    pending = start_hashing(root, [(file.path, file.size) for file in files], workers=workers)
    try:
        missing = _walk(root, expected, frozenset(mounted), owner, differences)  # while the workers hash
    finally:
        digests = pending.collect()
    for path in missing:
        differences.setdefault(path, "missing")
    for file, digest in zip(files, digests, strict=True):
        if file.path not in differences and (digest is None or digest.hex() != file.sha256):
            differences[file.path] = _changed_bytes(file, digest)
    return Measurement(
        digest=image_bytes(inventory).digest,
        files=len(files),
        bytes=sum(file.size for file in files),
        seconds=time.perf_counter() - start,
        differences=tuple(Difference(path, differences[path]) for path in sorted(differences, key=_order)),
        listed=listed,
        inventory=inventory,
    )


def _order(path: str) -> tuple[bool, str]:
    """Lists first: without its list, each file of a layer looks added."""
    return not path.startswith(LISTS_FOLDER), path


def _read_inventory(root: Path) -> Inventory:
    path = root / INVENTORY_PATH
    try:
        return decode_inventory(path.read_bytes())
    except OSError as error:
        raise RefusedError(f"this root has no readable inventory at /{INVENTORY_PATH}: {error.strerror}") from error
    except InputError as error:
        raise RefusedError(f"/{INVENTORY_PATH}: {error}") from error


def _read_lists(root: Path, inventory: Inventory) -> tuple[dict[str, ListedFile], dict[str, str]]:
    """The union of the layers' lists, and what is wrong with the lists themselves, by path."""
    union: dict[str, ListedFile] = {}
    differences: dict[str, str] = {}
    for layer in inventory.layers:
        files = _read_list(root, layer, differences)
        if not union.keys().isdisjoint(file.path for file in files):
            for file in files:
                lower = union.get(file.path, file)
                if lower != file:
                    differences[file.path] = f"listed in two ways; the upper is that of layer {layer.name}"
        union.update((file.path, file) for file in files)
    for own in _own_paths(inventory):
        union.setdefault(own.path, own)
    return union, differences


def _read_list(root: Path, layer: LayerRecord, differences: dict[str, str]) -> list[ListedFile]:
    path = list_path(layer.name)
    try:
        data = (root / path).read_bytes()
        digest = sha256_digest(data)
        if digest != layer.list_digest:
            differences[path] = f"list changed: its digest is {digest}, the inventory says {layer.list_digest}"
            return []
        name, files = decode_list(data)
    except OSError as error:
        differences[path] = f"list of layer {layer.name} can't be read: {error.strerror}"
        return []
    except InputError as error:
        differences[path] = str(error)
        return []
    for file in files:
        if (file.type == "file") != bool(_SHA256.match(file.sha256)):
            differences[file.path] = f"layer {layer.name} lists it without a sha256"
    if name != layer.name:
        differences[path] = f"list names layer {name!r}, the inventory {layer.name!r}"
    return files


def _own_paths(inventory: Inventory) -> list[ListedFile]:
    """The paths that no list names: the lists, the inventory and their folders.

    The lists' bytes are compared with the inventory, and the inventory's go into the digest: no hash here.
    """
    parts = LISTS_FOLDER.split("/")
    folders = [ListedFile("/".join(parts[: depth + 1]), "directory", 0o755) for depth in range(len(parts))]
    files = [INVENTORY_PATH, *(list_path(layer.name) for layer in inventory.layers)]
    return [*folders, *(ListedFile(path, "file", 0o644) for path in files)]


def _walk(
    root: Path,
    expected: Mapping[str, ListedFile],
    mounted: frozenset[str],
    owner: tuple[int, int],
    differences: dict[str, str],
) -> Collection[str]:
    """Visit every path under `root` but the mounted ones; note what differs; return the listed paths that are missing.

    Python calls per path are what this costs, so an unchanged path goes through without any of ours.
    """
    unseen = dict(expected)
    folders = [""]
    while folders:
        prefix = folders.pop()
        try:
            entries = os.scandir(root / prefix)
        except OSError as error:
            differences[prefix or "."] = f"folder can't be read: {error.strerror}"
            continue
        with entries:
            for entry in entries:
                path = prefix + entry.name
                if path in mounted:
                    continue
                file = unseen.pop(path, None)
                if file is None:
                    differences[path] = ADDED
                    continue  # one line for a whole added folder
                found = entry.stat(follow_symlinks=False)
                mode = found.st_mode
                if (
                    mode != _PLAIN_FILE | file.mode
                    or found.st_size != file.size
                    or file.type != "file"
                    or (found.st_uid, found.st_gid) != owner
                ):
                    what = _compare(file, found, owner, entry.path)
                    if what:
                        differences.setdefault(path, what)
                    if stat.S_ISDIR(mode):
                        folders.append(path + "/")
    return unseen.keys()


_PLAIN_FILE = stat.S_IFREG
_FORMATS: dict[int, FileType] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def _compare(file: ListedFile, found: os.stat_result, owner: tuple[int, int], path: str) -> str:
    """How a path's status differs from its list entry; empty if it does not."""
    kind = _FORMATS.get(stat.S_IFMT(found.st_mode), "special file")
    if kind != file.type:
        return f"type changed: expected {file.type}, found {kind}"
    if (found.st_uid, found.st_gid) != owner:
        return f"owner changed: expected {owner[0]}:{owner[1]}, found {found.st_uid}:{found.st_gid}"
    if kind == "symlink":
        target = str(Path(path).readlink())
        return "" if target == file.target else f"target changed: expected {file.target}, found {target}"
    if stat.S_IMODE(found.st_mode) != file.mode:
        return f"mode changed: expected {file.mode:04o}, found {stat.S_IMODE(found.st_mode):04o}"
    if kind == "file" and file.sha256 and found.st_size != file.size:
        return f"{CHANGED_BYTES}: expected {file.size:,} bytes, found {found.st_size:,}"
    return ""


def _changed_bytes(file: ListedFile, digest: bytes | None) -> str:
    if digest is None:
        return "can't be read"
    return f"{CHANGED_BYTES}: expected sha256 {file.sha256}, found {digest.hex()}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
