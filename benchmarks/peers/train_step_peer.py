"""One contender of `train_step.py`: FRAMEWORK MODEL SNAPSHOT DIGEST CONTENDER CLOCK.

Takes a number of steps a line from its input, and prints the seconds that they took. A process for each: what one
leaves in memory is no help to another. The peers' loops are what one writes by hand: a batch drawn from the same
arrays, the same model, the framework's AdamW.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reprise_trainer.backends.interface import AdamW, Recipe
from reprise_trainer.backends.models import Cnn, Gpt
from reprise_trainer.data.batches import Batches, open_columns
from reprise_trainer.data.snapshot import OpenSnapshot, open_snapshot
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.journal import Journal
from reprise_trainer.training.ledger import Header
from reprise_trainer.training.loop import first_state, steps
from reprise_trainer.training.plan import Plan, make_backend
from reprise_trainer.training.resume import begin
from reprise_trainer.training.schedule import Schedule

RATE, BETAS, EPSILON, DECAY = 1e-3, (0.9, 0.99), 1e-8, 0.1
MODELS = {"gpt": (Gpt(65, 64, 4, 4, 128, 0.0, True), 12), "cnn": (Cnn((28, 28), 10, (32, 64), 128, 0.0), 64)}
ENDLESS = 10**9

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
Turn = Callable[[int], None]
"""Takes a number of steps."""


def main() -> None:
    framework, name, folder, digest, contender, clock_name = sys.argv[1:]
    source = open_snapshot(Path(folder), expected=digest)
    model, batch_size = MODELS[name]
    with tempfile.TemporaryDirectory() as output:
        match framework, contender:
            case _, "ours" | "ours-4-shards" | "apparatus":
                shards = 4 if contender == "ours-4-shards" else 1
                turn, apparatus = ours(framework, model, source, batch_size, shards, Path(output) / "run")
                turn(1)
                turn = apparatus if contender == "apparatus" else turn
            case "torch", "lightning":
                from train_step_torch import under_lightning

                return under_lightning(name, arrays(source), batch_size, CLOCKS[clock_name])
            case "torch", "torch-loop":
                from train_step_torch import plain_loop

                turn = plain_loop(name, arrays(source), batch_size)
            case "jax", "jax-loop":
                from train_step_jax import plain_loop

                turn = plain_loop(name, arrays(source), batch_size)
        take_turns(turn, CLOCKS[clock_name])


def arrays(source: OpenSnapshot) -> dict[str, Any]:
    """The split's fields as whole arrays in memory, as a hand-written loop has them."""
    records = source.snapshot.split("train").records
    columns = open_columns(source, "train")
    return {name: np.array(column.take(np.arange(records))) for name, column in columns.items()}


def take_turns(turn: Turn, clock: Clock) -> None:
    """Answer each line of the input."""
    for line in sys.stdin:
        start = clock()
        turn(int(line))
        print(clock() - start, flush=True)


def ours(
    framework: str, model: Any, source: OpenSnapshot, batch_size: int, shards: int, output: Path
) -> tuple[Turn, Turn]:
    """The trainer's own loop with its journal; and what of a step batch, sums and ledger are, alone."""
    output.mkdir()
    recipe = Recipe(AdamW(*BETAS, EPSILON, DECAY))
    plan = Plan(1, ENDLESS, batch_size, shards, ENDLESS, Schedule(RATE, "constant", ENDLESS), model, recipe)
    backend = make_backend(framework, plan)
    backend.prepare(PROFILES["x86-64-v3"].backends[framework], 1)
    batches = Batches(source, "train", seed=1, batch_size=batch_size)
    journal = Journal(plan, begin(output, Header("a", "b", "c", 1)), output, lambda event: None)
    running: Iterator[Any] = steps(plan, backend, batches, first_state(plan, backend), 0)
    last: list[Any] = []

    def turn(count: int) -> None:
        for step in itertools.islice(running, count):
            journal.add(step.reading)
        backend.loss(step.reading.sums)  # waits for what was dispatched
        last[:] = [step.reading]

    def apparatus(count: int) -> None:
        for number in range(count):
            batches.batch(number)
            journal.add(last[0])

    return turn, apparatus


if __name__ == "__main__":
    main()
