"""The trainer's end of a feed: it asks the launcher for shards, by name, over a Unix socket in the launch folder.

Both sides speak lines of JSON. The launcher begins with `{"room": BYTES}`. The trainer says `{"need": NAME}`, and gets
`{"here": NAME}` once the file is there, or `{"failed": NAME, "message": …, "exit_code": …}`; with `{"done": NAME}` it
gives a shard back. Between these the launcher sends `{}`, so that silence means that it is gone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reprise_trainer.errors import (
    DoesNotHoldError,
    InputError,
    NotFoundError,
    RepriseError,
    StorageError,
    UnavailableError,
)

LINE_LIMIT = 1 << 16
"""Bytes of a line; the longest is a message."""

BEAT_SECONDS = 10.0
"""How often the launcher shows that it is there."""

SILENCE_SECONDS = 600.0
"""After which it counts as gone: a launcher that was suspended for some minutes may go on."""

_KINDS = {
    kind.exit_code: kind for kind in (DoesNotHoldError, InputError, NotFoundError, StorageError, UnavailableError)
}
_HINT = "Start the run again on the same folder: it goes on (--resume)."


class Feed:
    """A connection to the launcher; `room` is how many bytes of shards it has room for. Threads may share it.

    Raises:
        UnavailableError: nobody answers at `path`.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Future[None]] = {}
        self._gone = ""
        try:
            self._socket = _connect(path)
            self._lines = self._socket.makefile("rb")
            self.room = int(self._read()["room"])
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            reason = "it ended" if isinstance(error, EOFError) else str(error)
            raise UnavailableError(f"the launcher does not answer at {path}: {reason}", hint=_HINT) from error
        threading.Thread(target=self._listen, name="feed", daemon=True).start()

    def bring(self, name: str) -> None:
        """Wait until the shard's file is there.

        Raises:
            UnavailableError: the launcher is gone, or the place that it asks does not answer.
            RepriseError: it could not bring the shard for another reason; the class is that of its own error.
        """
        with self._lock:
            if self._gone:
                raise _lost(self._gone)
            answer = self._waiting.setdefault(name, Future())
        self._say({"need": name})
        answer.result()

    def done(self, name: str) -> None:
        """Give a shard back: its file may be removed."""
        self._say({"done": name})

    def close(self) -> None:
        """End the connection; the launcher takes back all that was not given back."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _say(self, document: Mapping[str, Any]) -> None:
        with self._lock, suppress(OSError):  # that the launcher is gone is noticed where its answers are read
            self._socket.sendall(encode_line(document))

    def _read(self) -> dict[str, Any]:
        return decode_line(self._lines.readline(LINE_LIMIT))

    def _listen(self) -> None:
        reason = "it ended"
        try:
            while True:
                self._take(self._read())
        except TimeoutError:
            reason = f"it has said nothing for {SILENCE_SECONDS:.0f} seconds"
        except OSError as error:
            reason = error.strerror or str(error)
        except EOFError:
            pass
        except ValueError as error:
            reason = f"it does not speak our language: {error}"
        with self._lock:
            self._gone = reason
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.set_exception(_lost(reason))

    def _take(self, document: Mapping[str, Any]) -> None:
        name = document.get("here", document.get("failed"))
        with self._lock:
            answer = self._waiting.pop(name, None) if isinstance(name, str) else None
        if answer is None:
            return
        if "here" in document:
            answer.set_result(None)
        else:
            kind = _KINDS.get(document.get("exit_code", 0), RepriseError)
            answer.set_exception(kind(str(document.get("message", "")), hint=_HINT))


def encode_line(document: Mapping[str, Any]) -> bytes:
    """A line of the conversation."""
    return json.dumps(document).encode() + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """What a line says.

    Raises:
        EOFError: there is none: the other side has ended.
        ValueError: it is no line of ours.
    """
    if not line.endswith(b"\n"):
        if len(line) < LINE_LIMIT:
            raise EOFError
        raise ValueError("a line is too long")
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError(f"{line[:60]!r} is no JSON object")
    return document


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """What bind(2) and connect(2) take for the socket at `path`, however long that is (unix(7): 107 bytes)."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _connect(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(SILENCE_SECONDS)
        with socket_address(path) as address:
            found.connect(address)
    except OSError:
        found.close()
        raise
    return found


def _lost(reason: str) -> UnavailableError:
    return UnavailableError(f"the launcher brings no more shards: {reason}", hint=_HINT)
