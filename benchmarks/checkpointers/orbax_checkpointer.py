"""Orbax's standard checkpointer, until it says that the checkpoint is finished; it makes no digest."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import orbax.checkpoint
from state import make_state, measure


def main() -> None:
    state = make_state()
    checkpointer = orbax.checkpoint.StandardCheckpointer()

    def write(place: Path) -> None:
        checkpointer.save(place.resolve(), state)
        checkpointer.wait_until_finished()

    measure(version("orbax-checkpoint"), write)
    checkpointer.close()


if __name__ == "__main__":
    main()
