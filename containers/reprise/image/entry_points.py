"""The program of an entry point: what starts a Python function by a name (packaging.python.org, "Entry points")."""

from __future__ import annotations

import re

from reprise.image.conda_prefix import python_shebang
from reprise.image.entries import Entry, checked_path, file
from reprise.image.format import PROGRAM_MODE, PythonLayout
from reprise_trainer.errors import InputError

_OBJECT = re.compile(r"\s*(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*(\[.*\])?\s*\Z")
"""packaging.python.org, "Entry points specification": an object reference, with the obsolete extras."""

_PROGRAM = """{shebang}
import sys
from {module} import {name}

if __name__ == "__main__":
    sys.exit({attribute}())
"""


def entry_point(name: str, reference: str, artifact: str, layout: PythonLayout) -> Entry:
    """The program `name` that calls the object `reference` ("module:function").

    Raises:
        InputError: one of the two is malformed; `artifact` is named.
    """
    match = _OBJECT.match(reference)
    if match is None or "/" in name:
        raise InputError(f"{artifact}: entry point {name!r} is not `name = module:function`: {reference!r}")
    attribute = match["attribute"]
    program = _PROGRAM.format(
        shebang=python_shebang(layout.interpreter),
        module=match["module"],
        name=attribute.partition(".")[0],
        attribute=attribute,
    )
    return file(checked_path(f"{layout.scripts}/{name}", artifact), program.encode(), PROGRAM_MODE)
