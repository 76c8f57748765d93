"""Where the Python of a lock's image looks for packages."""

from __future__ import annotations

from reprise.image.format import PythonLayout
from reprise.lock.model import Lock


def image_layout(lock: Lock) -> PythonLayout:
    """The layout of the image: Debian's, or that of its conda environment where conda brings a Python."""
    if lock.conda is None:
        return PythonLayout(lock.python)
    return PythonLayout(lock.python, lock.conda.prefix.strip("/"), lock.conda.site_packages)
