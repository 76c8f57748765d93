"""Events → a TensorBoard log folder, by tensorboardX (no PyTorch needed)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reprise.events import Event, OnEvent
from reprise.trackers.values import final_values, step_values
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import SystemFailureError


@contextmanager
def tensorboard_tracker(folder: Path) -> Iterator[OnEvent]:
    """A receiver that writes scalars below `folder`.

    Raises:
        SystemFailureError: tensorboardX is not installed.
        StorageError: the folder can't be written.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError as error:
        raise SystemFailureError(
            f"TensorBoard's log can't be written: {error}", hint="Install it with: pip install 'reprise[tensorboard]'"
        ) from error
    try:
        writer = SummaryWriter(str(folder))
    except OSError as error:
        raise storage_error(error, folder) from error
    last = 0

    def on_event(event: Event) -> None:
        nonlocal last
        if found := step_values(event):
            last, values = found
            for name, value in values.items():
                writer.add_scalar(name, value, last)
        for name, value in final_values(event).items():
            writer.add_scalar(name, value, last)

    try:
        yield on_event
    finally:
        writer.close()
