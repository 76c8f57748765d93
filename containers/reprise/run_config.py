"""The configuration that a run gets: the file's text, with what the command line sets in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tomlkit

from reprise_trainer.config.overrides import Override, apply_overrides
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.errors import NotFoundError


def load_config(path: Path, overrides: Sequence[Override] = ()) -> tuple[bytes, RunConfig]:
    """A configuration's effective bytes, and what they say.

    Overrides change the file's text and leave its comments and order, since a run records the text that was effective.

    Raises:
        NotFoundError: there is no such file.
        InputError: it does not fit; each problem is named with its key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot read the configuration {path}: {error.strerror}") from error
    parsed = read_config(data, where=str(path), overrides=overrides)
    if overrides:
        document = tomlkit.parse(data.decode())
        apply_overrides(document, overrides)
        data = tomlkit.dumps(document).encode()
    return data, parsed
