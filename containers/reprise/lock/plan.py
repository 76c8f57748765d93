"""Which artifacts share a layer.

An artifact of 8 MiB or more has a layer of its own, named after its package. The small ones are spread over a few
groups by a hash of their name: a new package, version or size then moves one group and never reshuffles the others,
which any order by size would do. Where an environment has very many large conda packages, these are spread likewise.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from reprise.lock.model import Artifact, PlannedLayer

LARGE = 8 * 2**20
"""Bytes of an artifact's file from which on it gets its own layer."""

GROUPS = 4
"""Layers over which the small wheels are spread, and as many for the small Debian packages."""

CONDA_GROUPS = 8
"""Layers over which the small conda packages are spread: an environment of them alone has hundreds."""

MOST_LARGE_CONDA = 24
"""Layers for large conda packages; with the others' groups they leave a third of MAX_LAYERS to large wheels."""

MAX_LAYERS = 60
"""Layers of a whole image at most, with the base, the trainer's and the inventory: overlayfs mounts and registries
hold more, docker's limit is 127, but each costs a request and a mount option."""


def plan_layers(artifacts: Iterable[Artifact], sizes: Mapping[str, int]) -> tuple[PlannedLayer, ...]:
    """The layers of the image's artifacts, lowest first: Debian's groups, conda's, wheels', then large ones by name.

    conda's large ones lie below all wheels.

    Args:
        artifacts: all of the lock; those of category "build" are in no layer.
        sizes: bytes of each artifact's file, by purl.
    """
    members: dict[tuple[int, str], list[str]] = defaultdict(list)
    main = [artifact for artifact in artifacts if artifact.category == "main"]
    crowded = sum(each.kind == "conda" and sizes[each.purl] >= LARGE for each in main) > MOST_LARGE_CONDA
    for artifact in main:
        members[_place(artifact, sizes[artifact.purl], crowded)].append(artifact.purl)
    return tuple(PlannedLayer(name, tuple(sorted(purls))) for (_, name), purls in sorted(members.items()))


def _place(artifact: Artifact, size: int, crowded: bool) -> tuple[int, str]:
    """Where in the order an artifact's layer is, and its name. `crowded`: there are too many large conda packages."""
    match artifact.kind, size >= LARGE:
        case "deb", False:
            return 0, f"deb-{_group(artifact, GROUPS)}"
        case "conda", False:
            return 1, f"conda-{_group(artifact, CONDA_GROUPS)}"
        case "conda", True:
            return 2, f"conda-large-{_group(artifact, MOST_LARGE_CONDA)}" if crowded else f"conda-{artifact.name}"
        case _, False:
            return 3, f"{artifact.kind}-{_group(artifact, GROUPS)}"
        case "deb", True:
            return 4, f"deb-{artifact.name}"
        case _:
            return 5, artifact.name


def _group(artifact: Artifact, groups: int) -> int:
    return int(hashlib.sha256(artifact.name.encode()).hexdigest(), 16) % groups
