"""Checkpoints: one immutable state in a folder, `state.safetensors` and beside it `state.json`.

The document holds the step, the state digest and the tensor list; the tensors' file has no metadata block, whose order
is random in the format's common writer. A checkpoint appears whole or not at all: it is written aside, forced to the
disk, then renamed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.durable import storage_error, sync_folder, write_durably
from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError
from reprise_trainer.training.state_digest import first_differing_tensor, tensor_list

FORMAT = 1
TENSORS, DOCUMENT = "state.safetensors", "state.json"

_NAME = re.compile(r"step-(\d{8,})\Z")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state read back and checked: finished steps, state digest (`sha256:<hex>`), tensors by name."""

    step: int
    digest: str
    tensors: Mapping[str, NDArray[Any]]


def checkpoint_name(step: int) -> str:
    """The folder's name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def write_checkpoint(folder: Path, step: int, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write the checkpoint after `step` steps into `folder/step-<8 digits>`.

    Returns:
        The state digest.

    Raises:
        StorageError: it can't be written, or exists already; nothing half written is left under its name.
    """
    rows = tensor_list(tensors)
    digest = sha256_digest(canonical_json(rows))
    document = canonical_json({"format": FORMAT, "step": step, "state": digest, "list": rows})
    final = folder / checkpoint_name(step)
    aside = folder / f".{final.name}.partial"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write_durably(aside / TENSORS, save(dict(tensors)))
        write_durably(aside / DOCUMENT, document)
        aside.rename(final)
        sync_folder(folder)
    except OSError as error:
        raise storage_error(error, final) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # gone already when all went well
    return digest


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, its tensors compared with its digest.

    Raises:
        InputError: a file is missing or malformed.
        DoesNotHoldError: the tensors are not those of the document; names the first that differs.
    """
    try:
        data, encoded = (folder / DOCUMENT).read_bytes(), (folder / TENSORS).read_bytes()
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise InputError(f"{folder}: checkpoint format {document['format']!r}, this version reads {FORMAT}")
        step, digest, rows = int(document["step"]), str(document["state"]), document["list"]
        tensors = load(encoded)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: not a checkpoint: {error}") from error
    if sha256_digest(canonical_json(rows)) != digest:
        raise DoesNotHoldError(f"{folder / DOCUMENT}: the tensor list is not that of state {digest}")
    found = tensor_list(tensors)
    if found != rows:
        raise DoesNotHoldError(
            f"{folder}: tensor {first_differing_tensor(rows, found)!r} is not that of state {digest}"
        )
    if "step" in tensors and int(tensors["step"]) != step:
        raise DoesNotHoldError(f"{folder / DOCUMENT}: step {step}, the state is that after step {int(tensors['step'])}")
    return Checkpoint(step, digest, tensors)


def checkpoint_folders(folder: Path) -> list[Path]:
    """The checkpoints' folders in `folder`, newest (most steps) first; nothing in them was looked at yet."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.match(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def latest_good(folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest checkpoint in `folder` whose tensors are those of its digest; None where there is none.

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
            return found, tuple(passed_over)
    return None, tuple(passed_over)
