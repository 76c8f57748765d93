"""Our checkpoint with its digest, forced to the disk; and the pause of a background one against a copy in memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from state import make_state, measure, seconds

import reprise_trainer
from reprise_trainer.training.checkpoints.checkpoint import write_checkpoint
from reprise_trainer.training.checkpoints.writer import CheckpointWriter


def pauses(folder: Path, rounds: int, state: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds that training waits for a background checkpoint, and that a copy of the state takes: into memory that
    is there, the quickest that a copy can be."""
    writer = CheckpointWriter(folder / "background")
    copies = {name: np.empty_like(tensor) for name, tensor in state.items()}

    def copy() -> None:
        for name, tensor in state.items():
            np.copyto(copies[name], tensor)

    found: dict[str, list[float]] = {"pause": [], "copy": []}
    copy()
    for step in range(rounds + 1):
        found["copy"].append(seconds(copy))
        found["pause"].append(seconds(lambda step=step: writer.submit(step, state)))
        writer.collect(wait=True)
    writer.close()
    return {name: times[1:] for name, times in found.items()}


def main() -> None:
    state = make_state()
    found = pauses(Path(sys.argv[1]), int(sys.argv[2]), state)
    measure(reprise_trainer.__version__, lambda place: write_checkpoint(place, 1, state), **found)


if __name__ == "__main__":
    main()
