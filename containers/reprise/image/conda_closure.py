"""Which conda packages a Python needs to start: those it depends on, and those that these depend on.

Packages for any platform (`noarch`) are left out: they hold data and Python code that the builder doesn't use, and a
new time zone must not build every layer again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reprise.image.conda_archive import read_index
from reprise.image.conda_metadata import decode_index


def python_closure(packages: Mapping[str, tuple[str, Path]]) -> list[str]:
    """Names of the packages that start the package `python`, itself among them, sorted.

    Args:
        packages: package URL and file of each conda package of the lock, by name.

    Raises:
        InputError: a package is malformed.
    """
    needed, waiting = set(), ["python"]
    while waiting:
        name = waiting.pop()
        if name in needed or name not in packages:  # one that is not there is a virtual package
            continue
        purl, path = packages[name]
        index = decode_index(read_index(path, purl), purl)
        if not index.get("noarch"):
            needed.add(name)
            waiting += [str(each).split(maxsplit=1)[0] for each in index.get("depends", ())]
    return sorted(needed)
