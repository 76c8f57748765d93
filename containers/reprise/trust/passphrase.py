"""Where a passphrase comes from: a prompt, a file descriptor, a command. Never an argument or an environment variable,
which other processes and logs can see."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from reprise_trainer.errors import InputError, NotFoundError

Passphrase = Callable[[str], bytes]
"""Asked for the passphrase of what the argument names, gives its bytes."""

_LONGEST = 1024
"""Bytes. Nobody types more, and a descriptor of something else ends here."""

_HINT = "Give it with --passphrase-fd or --passphrase-command."
_NEW_HINT = "Give it with --new-passphrase-fd or --new-passphrase-command."


def from_prompt(what: str) -> bytes:
    """Asks at the terminal, without echo.

    Raises:
        InputError: there is no terminal, or nothing was typed.
    """
    _require_terminal(what, _HINT)
    return _not_empty(_typed(f"Passphrase of {what}: "), what)


def new_from_prompt(what: str) -> bytes:
    """Asks twice at the terminal for a new passphrase.

    Raises:
        InputError: there is no terminal, nothing was typed, or the two differ.
    """
    _require_terminal(what, _NEW_HINT)
    first = _not_empty(_typed(f"New passphrase of {what}: "), what)
    if _typed("The same again: ") != first:
        raise InputError("the two new passphrases differ; nothing was changed")
    return first


def from_descriptor(descriptor: int) -> Passphrase:
    """Reads one line of an open file descriptor, and not a byte more: a second passphrase may follow."""

    def read(what: str) -> bytes:
        line = b""
        try:
            while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
                line += byte
                if len(line) > _LONGEST:
                    raise InputError(f"file descriptor {descriptor} gives more than {_LONGEST} bytes in its first line")
        except (OSError, OverflowError) as error:  # a number that no descriptor can have
            why = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"cannot read the passphrase of {what} from file descriptor {descriptor}: {why}"
            ) from error
        return _not_empty(line, what)

    return read


def from_command(command: str) -> Passphrase:
    """Runs a command (split as a shell would, but without a shell) and takes the first line that it prints."""

    def run(what: str) -> bytes:
        try:
            words = shlex.split(command)
            if not words:
                raise ValueError("it is empty")
            done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
        except ValueError as error:
            raise InputError(f"the passphrase command {command!r} is not a command: {error}") from error
        except OSError as error:
            raise NotFoundError(f"cannot run the passphrase command {command!r}: {error.strerror}") from error
        if done.returncode != 0:
            raise InputError(f"the passphrase command {command!r} ended with exit code {done.returncode}")
        line = done.stdout.partition(b"\n")[0]
        if len(line) > _LONGEST:
            raise InputError(f"the passphrase command {command!r} gives more than {_LONGEST} bytes in its first line")
        return _not_empty(line, what)

    return run


def refuse(what: str) -> bytes:
    """Where nobody can be asked.

    Raises:
        InputError: always.
    """
    raise InputError(f"{what} is encrypted, and nothing gives its passphrase", hint=_HINT)


def _require_terminal(what: str, hint: str) -> None:
    """`getpass` would fall back to standard input, with echo."""
    try:
        with Path("/dev/tty").open("rb"):
            pass
    except OSError:
        raise InputError(f"the passphrase of {what} is needed, and there is no terminal to ask", hint=hint) from None


def _typed(prompt: str) -> bytes:
    try:
        return getpass.getpass(prompt).encode()
    except EOFError:  # Ctrl-D
        return b""


def _not_empty(passphrase: bytes, what: str) -> bytes:
    if not passphrase:
        raise InputError(f"the passphrase given for {what} is empty")
    return passphrase
