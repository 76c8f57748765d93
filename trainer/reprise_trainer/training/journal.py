"""A run's ledger and checkpoints, kept in step with each other, whatever is late.

A step is read one step late: when the next was dispatched already, so that a device never waits for its reader. A
checkpoint is written in the background, and its line in the ledger needs its digest: until it has landed, the lines of
later steps wait in memory. So the ledger's bytes never depend on how fast the disk is, and a line never stands before
the checkpoint that it names. A run that is killed meanwhile loses nothing that counts: it goes on from a checkpoint
anyway, and what waited comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from reprise_trainer.backends.interface import Tensors
from reprise_trainer.backends.state_tensors import tensor_aliases
from reprise_trainer.errors import RepriseError, StorageError
from reprise_trainer.training.checkpoints.document import read_document
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, DOCUMENT
from reprise_trainer.training.checkpoints.retention import BestLosses, remove_old
from reprise_trainer.training.checkpoints.writer import CheckpointWriter
from reprise_trainer.training.plan import Plan
from reprise_trainer.training.reading import Reading, StepFacts
from reprise_trainer.training.resume import Beginning, forget_interrupted

Emit = Callable[[dict[str, Any]], None]


class Journal:
    """Takes each dispatched step and each checkpoint of a run. Use it in a `with` block, which waits for the writer,
    and closes the ledger when the block fails.

    Args:
        plan: of the run.
        beginning: where the run begins; its ledger gets one line a step and one a checkpoint.
        output: checkpoints go to its folder `checkpoints`.
        emit: called with an event a step and one a checkpoint.
        aliases: second names of parameters, see `Backend.aliases`.

    Raises:
        InputError: from each method: a step's loss is not a finite number any more.
        DoesNotHoldError: a step or checkpoint that an earlier attempt has done already has other bits here.
        StorageError: ledger or checkpoint can't be written; for a checkpoint, at the step after it failed.
    """

    def __init__(
        self,
        plan: Plan,
        beginning: Beginning,
        output: Path,
        emit: Emit,
        *,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._plan, self._beginning, self._output, self._emit = plan, beginning, output, emit
        self._ledger = beginning.ledger
        self._losses = BestLosses(plan.retention.metric, beginning.lines)
        folder, losses = output / CHECKPOINTS, self._losses.of
        self._writer = CheckpointWriter(
            folder,
            aliases=tensor_aliases(aliases),
            before_name=self._before_name,
            after=lambda: remove_old(folder, plan.retention, losses),
        )
        self._late: Reading | None = None
        self._waiting: list[StepFacts] = []
        self.checkpoints = list(beginning.checkpoints)
        """(finished steps, state digest) of each checkpoint whose line is in the ledger."""

    def __enter__(self) -> Journal:
        return self

    @property
    def head(self) -> str:
        """The ledger's head so far; right after `checkpoint`, all lines but that checkpoint's are in it."""
        return self._ledger.head

    def add(self, reading: Reading) -> None:
        """Take a step that was dispatched, and read the one before it."""
        self._collect(wait=False)
        self._read()
        self._late = reading

    def checkpoint(self, done: int, export: Callable[[], Tensors]) -> None:
        """Start to write the state after `done` steps; waits for the checkpoint before, if it is still in flight.

        Args:
            done: finished steps.
            export: gives the state's tensors; they are copied before this returns.
        """
        self._read()
        self._collect(wait=True)
        self._losses.end(done)
        self._writer.submit(done, export())

    def drain(self) -> None:
        """Wait until every step is read, every checkpoint has landed, and every line is on the disk."""
        self._read()
        self._collect(wait=True)
        self._ledger.sync()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self._beginning.leaving()
        self._writer.close()
        if error is not None:
            with suppress(RepriseError):  # the run's own error is the one to tell
                if not isinstance(error, StorageError):
                    self._collect(wait=True)
                self._ledger.close()

    def _before_name(self, folder: Path, name: str) -> None:
        """In the background: what has to hold, and to be on the disk, before a checkpoint stands."""
        document = read_document((folder / DOCUMENT).read_bytes())
        self._ledger.require_same_checkpoint(document.step, document.state)
        if self._beginning.sign is not None:
            self._beginning.sign(folder, name)
        self._ledger.sync()

    def _read(self) -> None:
        """Read the late step, and write its line, or let it wait behind the checkpoint in flight."""
        reading, self._late = self._late, None
        if reading is None:
            return
        facts = reading.read()
        self._losses.add(facts.loss, facts.validation)
        if self._writer.in_flight:
            self._waiting.append(facts)
        else:
            self._write_line(facts)
        done, steps = facts.number + 1, self._plan.steps
        records = done * self._plan.batch_size
        self._emit({"event": "step", "step": done, "steps": steps, "loss": facts.loss, "records": records})
        if facts.validation is not None:
            self._emit({"event": "validated", "step": done, "loss": facts.validation.hex()})

    def _collect(self, *, wait: bool) -> None:
        """Where the checkpoint in flight has landed: write its line, then those that waited for it."""
        landed = self._writer.collect(wait=wait)
        if landed is None:
            return
        done, digest = landed
        self._ledger.add_checkpoint(done, digest)
        self.checkpoints.append(landed)
        forget_interrupted(self._output)
        self._emit({"event": "checkpoint", "step": done, "state": digest})
        waiting, self._waiting = self._waiting, []
        for facts in waiting:
            self._write_line(facts)

    def _write_line(self, facts: StepFacts) -> None:
        self._ledger.add_step(
            facts.number,
            loss=facts.loss,
            batch=facts.batch,
            gradient=facts.gradient,
            validation=facts.validation,
        )
