"""The `reprise` command: the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from types import TracebackType

from reprise.cli.verbs import asked_for, make_app
from reprise_trainer.errors import RepriseError, StorageError
from reprise_trainer.redaction import redact


def main() -> None:
    """Run the command line; every expected failure is one message on stderr and a documented exit code."""
    sys.excepthook = _report_defect
    try:
        make_app(asked_for(sys.argv[1:]))()
    except RepriseError as error:
        _fail(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO):
            raise
        place = error.filename or "a file"
        _fail(StorageError(f"cannot use {place}: {error.strerror}", hint="Nothing was left half-written."))
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        sys.exit(130)  # 128 + SIGINT, as shells say it
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: no second error at exit
        sys.exit(141)  # 128 + SIGPIPE


def _fail(error: RepriseError) -> None:
    if "--json" in sys.argv:
        document = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        print(redact(json.dumps({"error": document}, ensure_ascii=False)))
    print(redact(f"error: {error}"), file=sys.stderr)
    sys.exit(error.exit_code)


def _report_defect(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    """A defect of ours: its traceback is what a report of it needs, without the secrets in its values."""
    print(redact("".join(traceback.format_exception(kind, error, place))), end="", file=sys.stderr)
