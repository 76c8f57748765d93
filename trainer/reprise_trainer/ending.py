"""How a command ends: whatever happens is one message on standard error and a documented exit code.

docs/exit-codes.md lists the codes. The last flush belongs here: only then does what a command printed reach a reader
that has left, or a disk that is full. Standard library alone; both sides use it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import traceback
from collections.abc import Callable

from reprise_trainer.errors import RepriseError, StorageError
from reprise_trainer.redaction import redact, redact_document

INTERRUPTED = 130
"""128 + SIGINT, as shells say it."""

READER_LEFT = 141
"""128 + SIGPIPE, as shells say it: of `reprise … | head -1`, when head has read enough."""

_STORAGE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG),
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE),
}
"""What a disk, its rights or a path's shape can say; any other error of the operating system is a defect of ours."""


def ended(command: Callable[[], int], *, interrupted: str = "interrupted", as_json: bool = False) -> int:
    """Run `command`, say how it ended, and return the exit code.

    Args:
        command: returns its exit code; what it prints is flushed here.
        interrupted: what Ctrl-C says.
        as_json: an error is also a document on standard output.
    """
    try:
        code = command()
        if sys.stdout is not None:  # it is None where a shell has closed it (`>&-`)
            sys.stdout.flush()
        return code
    except RepriseError as error:
        return _failed(error, as_json)
    except BrokenPipeError:
        _leave_stdout()
        return READER_LEFT
    except OSError as error:
        if error.errno not in _STORAGE:
            return _defect()
        _leave_stdout()
        place = error.filename or "a file, or what standard output goes to"
        return _failed(StorageError(f"cannot use {place}: {error.strerror}"), as_json)
    except RuntimeError as error:
        if not str(error).startswith("Symlink loop from"):  # what pathlib's resolve says before Python 3.13
            return _defect()
        return _failed(StorageError(f"cannot use a path: {error}"), as_json)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except Exception:
        return _defect()


def _failed(error: RepriseError, as_json: bool) -> int:
    if as_json:
        document = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        with contextlib.suppress(OSError):  # standard error says it, too
            print(json.dumps(redact_document({"error": document}), ensure_ascii=False), flush=True)
    print(redact(f"error: {error}"), file=sys.stderr)
    return error.exit_code


def _defect() -> int:
    """A defect of ours: its traceback is what a report of it needs, without the secrets in its values."""
    print(redact(traceback.format_exc()), end="", file=sys.stderr)
    return RepriseError.exit_code


def _leave_stdout() -> None:
    """What is left unwritten goes nowhere: no second error at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
