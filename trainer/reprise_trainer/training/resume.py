"""Where a run begins: at its first step, or after the newest whole checkpoint that an earlier attempt left.

The output folder decides: a ledger in it means that the run has begun. A checkpoint of the run's own rhythm has a line
in the ledger; one that a stopping signal asked for has none and lies in a folder of its own, so that a run that was
stopped ends with the same ledger and the same checkpoints as one that never was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reprise_trainer.backends.interface import State, Tensors
from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import NotFoundError, RefusedError
from reprise_trainer.training.checkpoints.checkpoint import Checkpoint, latest_good, write_checkpoint
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, checkpoint_folders
from reprise_trainer.training.ledger import FILE_NAME, Header, read_ledger
from reprise_trainer.training.ledger_writer import LedgerWriter

INTERRUPTED = "interrupted"
"""Folder of the checkpoint that a stopping signal asked for; it goes when the next regular one is there."""

DAMAGED = ".damaged"
"""Added to the folder's name of a checkpoint that was passed over, so that its number is free again."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a run begins.

    `step` steps are finished; `checkpoint` is the state after them (None: the first state), `checkpoints` the regular
    ones so far as (finished steps, state digest), `lines` those of the ledger so far, and `ledger` is open for the
    next one. `messages` is for people. `initial` is the first state, where it is not the one that the seed gives;
    `sign` gets each regular checkpoint's folder and name before it stands; `leaving` is the group's.
    """

    step: int
    checkpoint: Checkpoint | None
    ledger: LedgerWriter
    checkpoints: tuple[tuple[int, str], ...]
    messages: tuple[str, ...]
    lines: tuple[Mapping[str, Any], ...] = ()
    initial: State | None = None
    sign: Callable[[Path, str], None] | None = None
    leaving: Callable[[], None] = lambda: None


def begin(output: Path, header: Header) -> Beginning:
    """Open the run's ledger in `output`, where an earlier attempt left it, or anew.

    Raises:
        RefusedError: the folder holds another run; names what differs.
        InputError, DoesNotHoldError: the ledger is none, or its chain is broken, or it does not reach the checkpoint,
            or an earlier attempt had another there.
        NotFoundError: there are checkpoints and no ledger.
        StorageError: the folder can't be written.
    """
    path = output / FILE_NAME
    before = _ledger_bytes(path, header)
    if before is None:
        if checkpoint_folders(output / CHECKPOINTS):
            raise NotFoundError(f"{path} is missing, and {output / CHECKPOINTS} is not empty: whose are they?")
        return Beginning(0, None, LedgerWriter(path, header), (), ())
    _require_same_run(path, before, header)
    found, regular, passed_over = _newest(output)
    step = found.step if found else 0
    ledger = LedgerWriter.resume(path, header, step, state=found.digest if found else None, has_line=regular)
    for folder in (CHECKPOINTS, INTERRUPTED):
        _set_damaged_aside(output / folder, step)
    said = f"goes on after step {step}" if found else "no whole checkpoint: starts again at the first step"
    done = read_ledger(path.read_bytes(), where=str(path))
    return Beginning(step, found, ledger, tuple(done.checkpoints.items()), (*passed_over, said), done.lines)


def write_interrupted(
    output: Path, step: int, tensors: Tensors, *, aliases: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write the checkpoint that a stopping signal asked for; an older one goes once the new one stands.

    Other arguments: see `write_checkpoint`.

    Raises:
        StorageError: it can't be written.
    """
    folder = output / INTERRUPTED
    old = checkpoint_folders(folder)
    write_checkpoint(folder, step, tensors, aliases=aliases)
    for path in old:
        shutil.rmtree(path, ignore_errors=True)


def forget_interrupted(output: Path) -> None:
    """Remove such a checkpoint: a later, regular one stands."""
    shutil.rmtree(output / INTERRUPTED, ignore_errors=True)


def _ledger_bytes(path: Path, header: Header) -> bytes | None:
    """The ledger's bytes; None where there is none, or no more of it than the header's first bytes."""
    try:
        data = path.read_bytes()
        if b"\n" not in data and canonical_json(header.line()).startswith(data):
            path.unlink()  # a loss of power during the very first write
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, path) from error
    return data


def _require_same_run(path: Path, data: bytes, header: Header) -> None:
    theirs = read_ledger(data[: data.find(b"\n") + 1] or data, where=str(path)).header
    for field in fields(Header):
        found, ours = getattr(theirs, field.name), getattr(header, field.name)
        if found != ours:
            raise RefusedError(
                f"{path}: this is another run: its {field.name} is {found}, this one's is {ours}",
                hint="Go on with the run's own configuration and image, or name another output folder.",
            )


def _newest(output: Path) -> tuple[Checkpoint | None, bool, tuple[str, ...]]:
    """The whole checkpoint with most steps, whether it is a regular one, and what was passed over."""
    regular, passed_over = latest_good(output / CHECKPOINTS)
    interrupted, also = latest_good(output / INTERRUPTED)
    if interrupted is not None and (regular is None or interrupted.step > regular.step):
        return interrupted, False, (*passed_over, *also)
    return regular, True, (*passed_over, *also)


def _set_damaged_aside(folder: Path, step: int) -> None:
    try:
        for path in checkpoint_folders(folder):
            if int(path.name.rpartition("-")[2]) > step:
                aside = path.with_name(path.name + DAMAGED)
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
    except OSError as error:
        raise storage_error(error, folder) from error
