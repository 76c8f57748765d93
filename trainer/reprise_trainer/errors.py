"""Errors that a user sees, each with the exit code that the command ends with.

The codes are those of BSD's sysexits.h where one fits; docs/exit-codes.md lists them for users.
"""

from __future__ import annotations


class RepriseError(Exception):
    """An expected failure: what happened, where, what was expected; `hint` says what to do next.

    Args:
        message: one sentence, with the place (file, artifact, path) and both values where two differ.
        hint: what the reader can do about it; empty where the message says it already.
    """

    exit_code = 70  # EX_SOFTWARE: an expected kind of failure should have a class of its own below

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class DoesNotHoldError(RepriseError):
    """A check ran to its end and its answer is no: a signature, a policy, an audit, a stale lock."""

    exit_code = 1


class UsageError(RepriseError):
    """The command line contradicts itself, lacks something, or has what nobody knows (as shells and parsers say it)."""

    exit_code = 2


class InputError(RepriseError):
    """A file or argument has the wrong content (EX_DATAERR)."""

    exit_code = 65


class NotFoundError(RepriseError):
    """A named thing does not exist: a file, an environment, an image (EX_NOINPUT)."""

    exit_code = 66


class UnavailableError(RepriseError):
    """A service or network does not answer, or nobody has an artifact (EX_UNAVAILABLE)."""

    exit_code = 69


class SystemFailureError(RepriseError):
    """The operating system does not give what is needed: namespaces, an engine, a CPU feature (EX_OSERR)."""

    exit_code = 71


class StorageError(RepriseError):
    """Writing failed: disk full, no permission, file-system error (EX_IOERR)."""

    exit_code = 74


class StoppedError(RepriseError):
    """A signal asked the run to stop; it left a checkpoint and can go on (EX_TEMPFAIL: try again later)."""

    exit_code = 75


class RefusedError(RepriseError):
    """The trainer refuses to start, because what it runs on is not what it was told (EX_CONFIG)."""

    exit_code = 78
