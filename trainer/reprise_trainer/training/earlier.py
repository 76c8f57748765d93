"""Ledger lines that an earlier attempt wrote beyond the point where the run goes on: they must come again.

They lie beside the ledger, a line each as it was, from before the ledger is cut until every one has come again. So a
run that gives other bits ends with that error at each start, however often a scheduler starts it: with the old lines
gone, the second start would compare with nothing and end well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import DoesNotHoldError

FILE_NAME = "ledger.earlier.jsonl"

Key = tuple[str, int]
"""Which line: `step` or `checkpoint`, and its number."""


class Earlier:
    """The lines that have not come again yet, in the file beside the ledger at `ledger`.

    Raises:
        StorageError: from each method that writes, when the file can't be.
    """

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(FILE_NAME)
        self._lines: dict[Key, Mapping[str, Any]] = {}

    def set_aside(self, beyond: bytes, reached: Collection[Key]) -> None:
        """Add what follows the point where the run goes on, to be called before it is cut from the ledger.

        Args:
            beyond: the bytes that will be cut; what a crash has torn in them is no evidence.
            reached: the lines that stay in the ledger: they have come again.
        """
        try:
            before = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise storage_error(error, self._path) from error
        merged = _lines(beyond) | _lines(before)  # of two attempts, the older one's line is the one to give again
        self._lines = {key: line for key, line in merged.items() if key not in reached}
        if self._lines:
            write_durably(self._path, b"".join(canonical_json(dict(line)) + b"\n" for line in self._lines.values()))
        else:
            self.forget()

    def require_same(self, line: Mapping[str, Any]) -> None:
        """Compare a line, with its chain, that is about to be written.

        Raises:
            DoesNotHoldError: an earlier attempt wrote another.
        """
        earlier = self._lines.get(_key(line))
        if earlier is not None and earlier["chain"] != line["chain"]:
            kind, number = _key(line)
            what = f"step {number} gives" if kind == "step" else f"the checkpoint after step {number} has"
            raise DoesNotHoldError(
                f"{what} other bits here than before the run was interrupted ({self._path} has the earlier lines)",
                hint="Is this another CPU than before, or one that the profile does not hold on? See docs/recovery.md.",
            )

    def came_again(self, line: Mapping[str, Any]) -> bool:
        """Note that a line was written; whether it was the last to come again, so that all may be forgotten."""
        return self._lines.pop(_key(line), None) is not None and not self._lines

    def forget(self) -> None:
        """Remove the file."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self._path) from error


def keys(lines: Collection[Mapping[str, Any]]) -> set[Key]:
    """The keys of a ledger's lines."""
    return {_key(line) for line in lines}


def _key(line: Mapping[str, Any]) -> Key:
    kind = "step" if "step" in line else "checkpoint"
    return kind, int(line[kind])


def _lines(data: bytes) -> dict[Key, Mapping[str, Any]]:
    """The whole lines of `data` by their keys, up to the first that is none."""
    found: dict[Key, Mapping[str, Any]] = {}
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        try:
            entry = json.loads(line)
            found[_key(entry)] = {**entry, "chain": str(entry["chain"])}
        except (ValueError, KeyError, TypeError):
            break
    return found
