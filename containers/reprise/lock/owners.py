"""Which artifact owns which path of the image, and where two of them disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from reprise.image.base import base_entries
from reprise.image.conda import CondaPackage
from reprise.image.deb import read_deb
from reprise.image.entries import Entry
from reprise.image.format import PythonLayout
from reprise.image.wheel import read_wheel
from reprise.lock.model import Artifact
from reprise.store import Store


def find_shared_paths(
    artifacts: Sequence[Artifact],
    store: Store,
    layout: PythonLayout,
    conda: Mapping[str, CondaPackage] = MappingProxyType({}),
) -> list[tuple[str, tuple[str, ...]]]:
    """The paths that two artifacts own with different content, or that one owns as a file and another as a folder.

    Args:
        artifacts: wheels, conda and Debian packages, all in the store.
        layout: where the image's Python looks for packages.
        conda: the conda packages among them, as they were read, by purl; losers of allowed clobbers have lost already.

    Returns:
        `(path relative to the root, purls of its owners)`, sorted by path; the builder's base layer counts as an owner.

    Raises:
        InputError: an artifact is malformed.
    """
    owned: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    _collect(owned, "the base layer", base_entries())
    for artifact in artifacts:
        file = store.path(artifact.digest)
        match artifact.kind:
            case "wheel":
                _collect(owned, artifact.purl, read_wheel(file, artifact.purl, layout).entries)
            case "conda":
                _collect(owned, artifact.purl, conda[artifact.purl].entries)
            case "deb":
                _collect(owned, artifact.purl, read_deb(file, artifact.purl))
    parents = {parent: owner for path, ((owner, _), *_) in owned.items() for parent in _parents(path)}
    found = []
    for path, owners in owned.items():
        if not _agree([entry for _, entry in owners]):
            found.append((path, tuple(dict.fromkeys(owner for owner, _ in owners))))
        elif path in parents and owners[0][1].type != "directory":
            found.append((path, tuple(dict.fromkeys((owners[0][0], parents[path])))))
    return sorted(found)


def _collect(owned: dict[str, list[tuple[str, Entry]]], owner: str, entries: Iterable[Entry]) -> None:
    for entry in entries:
        owned[entry.path].append((owner, entry))


def _agree(entries: Sequence[Entry]) -> bool:
    first, *others = entries
    return all(_same(first, other) for other in others)


def _same(one: Entry, other: Entry) -> bool:
    if (one.type, one.mode, one.size, one.target) != (other.type, other.mode, other.size, other.target):
        return False
    return one.type != "file" or one.read() == other.read()


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
