"""What workers other than the first do instead of writing: they keep the ledger's chain in mind, so that it can be
compared, and begin where worker 0 does. Ledger, checkpoints and record are worker 0's alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from reprise_trainer.backends.interface import Tensors
from reprise_trainer.errors import RefusedError, RepriseError
from reprise_trainer.training.checkpoints.checkpoint import Checkpoint, read_checkpoint
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, checkpoint_name
from reprise_trainer.training.checkpoints.state_digest import state_digest
from reprise_trainer.training.ledger import checkpoint_line, next_chain, step_line
from reprise_trainer.training.reading import Reading
from reprise_trainer.training.resume import INTERRUPTED, Beginning
from reprise_trainer.training.workers.exchange import Exchange, gather


@dataclass(frozen=True, slots=True)
class Place:
    """Where worker 0 begins: after `step` finished steps, with the ledger at `head` and the state of that digest (both
    `sha256:<hex>`; the state's empty at step 0)."""

    step: int
    head: str
    state: str

    def encode(self) -> bytes:
        """Always 72 bytes, as `gather` wants them."""
        return self.step.to_bytes(8, "big") + _raw(self.head) + _raw(self.state)

    @staticmethod
    def decode(data: bytes) -> Place:
        state = data[40:].hex()
        return Place(
            int.from_bytes(data[:8], "big"),
            f"sha256:{data[8:40].hex()}",
            f"sha256:{state}" if state.strip("0") else "",
        )


def announce(exchange: Exchange, beginning: Beginning) -> None:
    """As worker 0, say where the run begins."""
    state = beginning.checkpoint.digest if beginning.checkpoint else ""
    gather(exchange, Place(beginning.step, beginning.ledger.head, state).encode())


def follow(exchange: Exchange, output: Path) -> tuple[Checkpoint | None, Follower]:
    """As another worker, begin where worker 0 does.

    Args:
        exchange: between the workers.
        output: the run's folder, which all workers must see.

    Raises:
        RefusedError: the checkpoint that worker 0 goes on from is not there.
    """
    place = Place.decode(gather(exchange, bytes(72))[0])
    if not place.step:
        return None, Follower(place.head)
    for folder in (CHECKPOINTS, INTERRUPTED):
        path = output / folder / checkpoint_name(place.step)
        if path.is_dir():
            try:
                found = read_checkpoint(path)
            except RepriseError as error:
                raise RefusedError(f"worker {exchange.rank} can't go on: {error.message}") from error
            if found.digest == place.state:
                return found, Follower(place.head)
    raise RefusedError(
        f"worker {exchange.rank} does not see state {place.state} after step {place.step} in {output}",
        hint="All workers need the run's output folder, on a file system that their hosts share.",
    )


class Follower:
    """Takes what `journal.Journal` takes, and keeps the chain alone; `head` is the ledger's head without the newest
    checkpoint's line, as the journal has it while that checkpoint is being written."""

    def __init__(self, head: str) -> None:
        self._chain = head.removeprefix("sha256:")
        self._late: Reading | None = None
        self._pending: dict[str, Any] | None = None

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        return None

    @property
    def head(self) -> str:
        """See the class."""
        return f"sha256:{self._chain}"

    def add(self, reading: Reading) -> None:
        """Take a step, and read the one before it."""
        self._read()
        self._late = reading

    def checkpoint(self, done: int, export: Callable[[], Tensors]) -> None:
        """Take the state after `done` steps."""
        self._read()
        self._end_checkpoint()
        self._pending = checkpoint_line(done, state_digest(export()))

    def drain(self) -> None:
        """Read what is late."""
        self._read()
        self._end_checkpoint()

    def _read(self) -> None:
        reading, self._late = self._late, None
        if reading is not None:
            facts = reading.read()
            self._end_checkpoint()
            line = step_line(
                facts.number,
                loss=facts.loss,
                batch=facts.batch,
                gradient=facts.gradient,
                validation=facts.validation,
            )
            self._chain = next_chain(self._chain, line)

    def _end_checkpoint(self) -> None:
        if self._pending is not None:
            self._chain, self._pending = next_chain(self._chain, self._pending), None


def head_bytes(head: str) -> bytes:
    """A ledger's head as 32 bytes, to be compared."""
    return _raw(head)


def _raw(digest: str) -> bytes:
    raw = bytes.fromhex(digest.removeprefix("sha256:")) or bytes(hashlib.sha256().digest_size)
    assert len(raw) == hashlib.sha256().digest_size
    return raw
