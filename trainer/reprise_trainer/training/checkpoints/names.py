"""How checkpoints' folders and files are called. Imports nothing numeric: the host finds checkpoints by it."""

from __future__ import annotations

import re
from pathlib import Path

TENSORS, DOCUMENT = "state.safetensors", "state.json"
CHECKPOINTS = "checkpoints"
"""Where a run keeps its checkpoints, in its output folder."""

_NAME = re.compile(r"step-(\d{8,})\Z")


def checkpoint_name(step: int) -> str:
    """The folder's name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def checkpoint_step(path: Path) -> int:
    """The number of finished steps in a checkpoint's folder's name."""
    return int(path.name.removeprefix("step-"))


def checkpoint_folders(folder: Path) -> list[Path]:
    """The checkpoints' folders in `folder`, newest (most steps) first; nothing in them was looked at yet."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.match(path.name)), key=checkpoint_step, reverse=True)
