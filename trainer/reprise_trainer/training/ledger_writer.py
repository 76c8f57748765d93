"""Writes a run's ledger: from its header on, or on from a checkpoint of a run that was stopped."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import append_line, storage_error, write_durably
from reprise_trainer.errors import DoesNotHoldError, NotFoundError
from reprise_trainer.training.earlier import Earlier, keys
from reprise_trainer.training.ledger import Header, checkpoint_line, next_chain, read_ledger, step_line


class LedgerWriter:
    """Appends to a ledger file: a new one, or one that a stopped run left (`resume`).

    Each line reaches the operating system at once, so that a killed process loses none. `sync` forces them to the disk:
    before a checkpoint takes its name and after its line, so that a lost machine never has a checkpoint whose steps are
    not in the ledger. A line that an earlier attempt has written must come again: it is compared before it is written.

    Raises:
        StorageError: from each method, when the file can't be written.
        DoesNotHoldError: from each method that adds a line: an earlier attempt wrote another in its place.
    """

    def __init__(self, path: Path, header: Header) -> None:
        line = canonical_json(header.line())
        self._open(path, "xb", Earlier(path), chain=hashlib.sha256(line).hexdigest(), lines=0)
        self._write(line)
        self._earlier.forget()  # lines of a ledger that somebody has removed

    @classmethod
    def resume(
        cls, path: Path, header: Header, at_step: int, *, state: str | None = None, has_line: bool = True
    ) -> LedgerWriter:
        """Go on with the ledger of a stopped run, as if it had never gone further than its checkpoint after `at_step`.

        What follows the checkpoint's line is set aside (see `earlier`), a torn last line dropped; the chain before it
        is verified. The file is replaced whole: a crash leaves the old ledger or the new one.

        Args:
            path: the ledger.
            header: of the run that goes on; the ledger's must be equal.
            at_step: finished steps; 0 goes back to the header.
            state: the checkpoint's state digest, which the line must hold. A run that was killed between the two has
                the checkpoint and not its line; with `state` given the line is then written.
            has_line: False for a checkpoint that an undisturbed run would not have: the ledger gets no line for it.

        Raises:
            NotFoundError: there is no ledger.
            InputError, DoesNotHoldError: it is not a ledger, of another run, its chain is broken, it does not reach
                the checkpoint, or an earlier attempt had another there.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"{path}: no ledger; the run cannot go on without it") from error
        kept, missing = _until(data, header, at_step, state, has_line, where=str(path))
        ledger, earlier = read_ledger(kept, where=str(path)), Earlier(path)
        earlier.set_aside(data[len(kept) :], keys(ledger.lines))
        write_durably(path, kept)
        writer = cls.__new__(cls)
        writer._open(path, "ab", earlier, chain=ledger.head.removeprefix("sha256:"), lines=len(ledger.lines))
        if missing and state is not None:
            writer.add_checkpoint(at_step, state)
            writer.sync()
        return writer

    def _open(self, path: Path, mode: Literal["xb", "ab"], earlier: Earlier, *, chain: str, lines: int) -> None:
        self._path, self._earlier, self._chain, self.lines = path, earlier, chain, lines
        try:
            self._file = path.open(mode, buffering=0)
        except OSError as error:
            raise storage_error(error, path) from error

    @property
    def head(self) -> str:
        """Digest that names every line so far, `sha256:<hex>`."""
        return f"sha256:{self._chain}"

    def add_step(self, step: int, *, loss: float, batch: str, gradient: str, validation: float | None = None) -> None:
        """Append a step's line; see `step_line`."""
        self._append(step_line(step, loss=loss, batch=batch, gradient=gradient, validation=validation))

    def add_checkpoint(self, step: int, state: str) -> None:
        """Append a checkpoint's line: the number of finished steps and the state digest."""
        self._append(checkpoint_line(step, state))

    def require_same_checkpoint(self, step: int, state: str) -> None:
        """Compare a checkpoint, before it stands, with that of an earlier attempt: its line is the next to be added.

        Raises:
            DoesNotHoldError: it had another state.
        """
        self._chained(checkpoint_line(step, state))

    def sync(self) -> None:
        """Force the lines so far to the disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(error, self._path) from error

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()

    def _append(self, line: dict[str, Any]) -> None:
        chained = self._chained(line)
        self._write(canonical_json(chained))
        self._chain = chained["chain"]
        self.lines += 1
        if self._earlier.came_again(chained):
            self.sync()
            self._earlier.forget()

    def _chained(self, line: dict[str, Any]) -> dict[str, Any]:
        chained = {**line, "chain": next_chain(self._chain, line)}
        self._earlier.require_same(chained)
        return chained

    def _write(self, line: bytes) -> None:
        try:
            append_line(self._file, line)
        except OSError as error:
            raise storage_error(error, self._path) from error


def _until(
    data: bytes, header: Header, at_step: int, state: str | None, has_line: bool, *, where: str
) -> tuple[bytes, bool]:
    """The lines up to the checkpoint after `at_step`, and whether that checkpoint's own line is missing."""
    lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)  # a torn last line is left out
    found = _line_with(lines, {"checkpoint": at_step} if has_line else {"step": at_step - 1}) if at_step > 0 else 0
    missing = found is None
    if found is None and state is not None:
        found = _line_with(lines, {"step": at_step - 1})
    if found is None:
        raise DoesNotHoldError(f"{where}: the ledger does not reach the checkpoint after step {at_step}")
    kept = b"".join(lines[: found + 1])
    ledger = read_ledger(kept, where=where)
    if ledger.header != header:
        raise DoesNotHoldError(f"{where}: the ledger is of another run: {ledger.header}, this one is {header}")
    said = ledger.checkpoints.get(at_step)
    if None not in (said, state) and said != state:
        raise DoesNotHoldError(f"{where}: the state after step {at_step} is {said}, the checkpoint's is {state}")
    return kept, missing


def _line_with(lines: list[bytes], wanted: dict[str, int]) -> int | None:
    """The index of the first line that holds `wanted`. What comes after it may be anything: it will be cut."""
    for index, line in enumerate(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        if isinstance(entry, dict) and wanted.items() <= entry.items():
            return index
    return None
