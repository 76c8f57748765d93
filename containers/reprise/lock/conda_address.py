"""The address of a conda package in its channel, and the package URL that names it wherever it lies."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_CONDA_URL = re.compile(
    r"(?:\w+://[^/]*/|/|\w+:/+)?(?:t/[^/]+/)?(?P<channel>.+)/(?P<subdir>[a-z0-9-]+)/"
    r"(?P<name>[^/]+)-(?P<version>[^/-]+)-(?P<build>[^/-]+)\.(?P<type>conda|tar\.bz2)"
)
"""A file of a channel: https://host/channel/subdir/name-version-build.conda (a token may stand before the channel)."""


def conda_purl(url: str) -> str:
    """The package URL of the conda package at `url`, which ends with channel, subdir, and name-version-build.

    Written as the purl specification's type definition for conda has it: `build`, `channel`, `subdir` and `type` are
    qualifiers. The host is not part of it, so a mirror's file is the same artifact.

    Raises:
        ValueError: the address has another form.
    """
    match = _CONDA_URL.fullmatch(unquote(url.partition("#")[0]))
    if match is None:
        raise ValueError(f"{url!r} is not the address of a conda package")
    part = {key: quote(value, safe="/" if key == "channel" else "") for key, value in match.groupdict().items()}
    return (
        f"pkg:conda/{part['name']}@{part['version']}"
        f"?build={part['build']}&channel={part['channel']}&subdir={part['subdir']}&type={part['type']}"
    )
