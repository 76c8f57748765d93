"""Secrets for a run's own code: read from the user's files, and given to the run in a folder that is gone after it.

What stands on a command line is never shown, even where it is wrong: it may be the secret itself.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError, NotFoundError, UsageError
from reprise_trainer.redaction import hide
from reprise_trainer.secret_files import NAME, SIZE_LIMIT

_HINT = "Write --secret NAME=FILE: a name of letters, digits, `_`, `-` and `.`, and the path of the file that holds it."


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret: what its file is called for the run, and what is in it, which no `repr` shows."""

    name: str
    content: bytes = field(repr=False)


def read_secrets(texts: Sequence[str]) -> tuple[Secret, ...]:
    """The secrets that `NAME=FILE` name. From here on this process writes none of them in clear.

    Raises:
        UsageError: not of that form, or a name twice.
        NotFoundError: a file is not there, or can't be read.
        InputError: it is no regular file, or too large.
    """
    secrets = tuple(map(_read_secret, texts))
    names = [each.name for each in secrets]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UsageError(f"two secrets are called {twice}", hint="Give each a name of its own.")
    hide_secrets(secrets)
    return secrets


def hide_secrets(secrets: Sequence[Secret]) -> None:
    """From here on this process writes none of them in clear, and refuses a configuration that holds one."""
    hide({each.name: each.content for each in secrets})


def _read_secret(text: str) -> Secret:
    name, equals, file = text.partition("=")
    if not equals or not NAME.fullmatch(name) or not file:
        raise UsageError("--secret: expected NAME=FILE", hint=_HINT)
    irregular = InputError(f"the file of the secret {name} is not a regular file")
    try:
        with open(file, "rb", opener=_open_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise irregular
            content = opened.read(SIZE_LIMIT + 1)
    except IsADirectoryError:
        raise irregular from None
    except (OSError, ValueError) as error:  # ValueError: a null byte
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise NotFoundError(f"cannot read the file of the secret {name}: {why}", hint=_HINT) from None
    if len(content) > SIZE_LIMIT:
        raise InputError(f"the file of the secret {name} has more than {SIZE_LIMIT:,} bytes")
    return Secret(name, content)


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for whoever writes into a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


@contextmanager
def secret_folder(secrets: Sequence[Secret], *, parent: Path | None = None) -> Iterator[Path | None]:
    """A folder (0700) with one file (0400) for each secret, for as long as the block runs; None where there is none.

    Args:
        secrets: what goes in.
        parent: where the folder is made; the system's folder for temporary files by default.

    Raises:
        StorageError: it can't be written.
    """
    if not secrets:
        yield None
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="reprise-secrets-", dir=parent))
    except OSError as error:
        raise storage_error(error, parent or Path(tempfile.gettempdir())) from error
    try:
        for each in secrets:
            _write(folder / each.name, each.content)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise storage_error(error, path) from error
