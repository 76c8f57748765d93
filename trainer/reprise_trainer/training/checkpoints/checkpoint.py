"""Checkpoints: one immutable state in a folder, `state.safetensors` and beside it `state.json`.

The document holds the step, the state digest, a row of chunk hashes a tensor, and the aliases: second names that a
model has for one tensor (tied weights), which is stored once. The tensors' file has no metadata block, whose order is
random in the format's common writer. A checkpoint appears whole or not at all: it is written aside, forced to the disk,
then renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from reprise_trainer.durable import storage_error, sync_folder, write_durably
from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError, StorageError
from reprise_trainer.training.checkpoints.document import describe, read_document
from reprise_trainer.training.checkpoints.names import DOCUMENT, TENSORS, checkpoint_folders, checkpoint_name
from reprise_trainer.training.checkpoints.state_digest import (
    canonical_array,
    first_difference,
    rows_digest,
    tensor_rows,
)

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state read back and checked: finished steps, state digest (`sha256:<hex>`), tensors by name; and second names
    of some of them → the name that the tensor is stored under."""

    step: int
    digest: str
    tensors: Tensors
    aliases: Mapping[str, str]


def write_checkpoint(
    folder: Path,
    step: int,
    tensors: Tensors,
    *,
    aliases: Mapping[str, str] = MappingProxyType({}),
    before_name: Callable[[Path, str], None] = lambda folder, name: None,
) -> str:
    """Write the checkpoint after `step` steps into `folder/step-<8 digits>`; hash its tensors meanwhile.

    Args:
        folder: made where it is missing.
        step: finished steps.
        tensors: the state; nothing may change it meanwhile.
        aliases: second name → name in `tensors`, for the document alone.
        before_name: called with the folder aside and the name that it will take, when all is on the disk.

    Returns:
        The state digest.

    Raises:
        StorageError: it can't be written, or exists already; nothing half written is left under its name.
    """
    final = folder / checkpoint_name(step)
    aside = folder / f".{final.name}.partial"
    stored = {name: canonical_array(tensor) for name, tensor in tensors.items()}
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        with ThreadPoolExecutor(1) as pool:
            hashing = pool.submit(tensor_rows, stored)
            _write_tensors(aside / TENSORS, stored)
            document = describe(step, hashing.result(), aliases)
        write_durably(aside / DOCUMENT, document.encode())
        before_name(aside, final.name)
        aside.rename(final)
        sync_folder(folder)
    except OSError as error:
        raise storage_error(error, final) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # gone already when all went well
    return document.state


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, its tensors compared with its digest.

    Raises:
        InputError: a file is missing or malformed.
        DoesNotHoldError: the tensors are not those of the document; names the first that differs, and where.
    """
    try:
        document = read_document((folder / DOCUMENT).read_bytes())
        tensors = load((folder / TENSORS).read_bytes())
    except (OSError, ValueError, KeyError, SafetensorError, InputError) as error:
        raise InputError(f"{folder}: not a checkpoint: {error}") from error
    if rows_digest(document.rows) != document.state:
        raise DoesNotHoldError(f"{folder / DOCUMENT}: the tensor list is not that of state {document.state}")
    if difference := first_difference(document.rows, tensor_rows(tensors)):
        raise DoesNotHoldError(f"{folder}: not state {document.state}: {difference}")
    if int(tensors.get("step", document.step)) != document.step:
        said = f"step {document.step}, the state is that after step {int(tensors['step'])}"
        raise DoesNotHoldError(f"{folder / DOCUMENT}: {said}")
    return Checkpoint(document.step, document.state, tensors, document.aliases)


def latest_good(
    folder: Path, *, wanted: Callable[[Checkpoint], bool] = lambda found: True
) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest checkpoint in `folder` whose tensors are those of its digest, and that is wanted; None where there is
    none.

    Returns:
        The checkpoint, and one message for each newer one that was passed over: torn, changed or unreadable.
    """
    passed_over: list[str] = []
    for path in checkpoint_folders(folder):
        try:
            found = read_checkpoint(path)
            if checkpoint_name(found.step) != path.name:
                raise DoesNotHoldError(f"{path}: holds the state after step {found.step}")
        except RepriseError as error:
            passed_over.append(f"passed over a damaged checkpoint: {error.message}")
        else:
            if wanted(found):
                return found, tuple(passed_over)
    return None, tuple(passed_over)


def _write_tensors(path: Path, tensors: Tensors) -> None:
    """Write the safetensors file and force it to the disk."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise StorageError(
            f"cannot write {path.parent}: {error}", hint="Free some space, or choose another folder."
        ) from error
    with path.open("rb") as file:
        os.fsync(file.fileno())
