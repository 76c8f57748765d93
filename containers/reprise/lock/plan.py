"""Which artifacts share a layer.

An artifact of 8 MiB or more has a layer of its own, named after its package. The small ones are spread over a few
groups by a hash of their name: a new package, version or size then moves one group and never reshuffles the others,
which any order by size would do.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from reprise.lock.model import Artifact, PlannedLayer

LARGE = 8 * 2**20
"""Bytes of an artifact's file from which on it gets its own layer."""

GROUPS = 4
"""Layers over which the small artifacts of one kind are spread."""

MAX_LAYERS = 60
"""Layers of a whole image at most, with the base, the trainer's and the inventory: overlayfs mounts and registries
hold more, docker's limit is 127, but each costs a request and a mount option."""


def plan_layers(artifacts: Iterable[Artifact], sizes: Mapping[str, int]) -> tuple[PlannedLayer, ...]:
    """The layers of the image's artifacts, lowest first: Debian's groups, wheels' groups, then large ones by name.

    Args:
        artifacts: all of the lock; those of category "build" are in no layer.
        sizes: bytes of each artifact's file, by purl.
    """
    members: dict[tuple[int, str], list[str]] = defaultdict(list)
    for artifact in artifacts:
        if artifact.category == "main":
            members[_place(artifact, sizes[artifact.purl])].append(artifact.purl)
    return tuple(PlannedLayer(name, tuple(sorted(purls))) for (_, name), purls in sorted(members.items()))


def _place(artifact: Artifact, size: int) -> tuple[int, str]:
    kind_order = 0 if artifact.kind == "deb" else 1
    if size >= LARGE:
        prefix = "deb-" if artifact.kind == "deb" else ""
        return 2 + kind_order, prefix + artifact.name
    group = int(hashlib.sha256(artifact.name.encode()).hexdigest(), 16) % GROUPS
    return kind_order, f"{artifact.kind}-{group}"
