"""One framework's contenders, taking turns: FRAMEWORK MODEL SNAPSHOT DIGEST BLOCKS STEPS CLOCK. Prints JSON.

The peers' loops are what one writes by hand: a batch drawn from the same arrays, the same model, the framework's AdamW.
"""

from __future__ import annotations

import itertools
import json
import statistics
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
    framework, name, folder, digest, blocks, count, clock_name = sys.argv[1:]
    clock = CLOCKS[clock_name]
    source = open_snapshot(Path(folder), expected=digest)
    model, batch_size = MODELS[name]
    with tempfile.TemporaryDirectory() as output:
        one, apparatus = ours(framework, model, source, batch_size, 1, Path(output) / "one")
        four, _ = ours(framework, model, source, batch_size, 4, Path(output) / "four")
        turns = {"ours": one, "apparatus": apparatus, "ours-4-shards": four}
        if framework == "torch":
            from train_step_torch import plain_loop, under_lightning

            turns |= {"torch-loop": plain_loop(name, arrays(source), batch_size)}
            times = under_lightning(turns, name, arrays(source), batch_size, int(blocks), int(count), clock)
        else:
            from train_step_jax import plain_loop

            turns |= {"jax-loop": plain_loop(name, arrays(source), batch_size)}
            times = taking_turns(turns, int(blocks), int(count), clock)
    found = {each: statistics.median(seconds[2:]) for each, seconds in times.items()}
    print(json.dumps(found))


def arrays(source: OpenSnapshot) -> dict[str, Any]:
    """The split's fields as whole arrays in memory, as a hand-written loop has them."""
    records = source.snapshot.split("train").records
    columns = open_columns(source, "train")
    return {name: np.array(column.take(np.arange(records))) for name, column in columns.items()}


def taking_turns(turns: dict[str, Turn], blocks: int, count: int, clock: Clock) -> dict[str, list[float]]:
    """Contender → seconds a step of each of its turns."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(blocks + 2):  # the first two warm up
        for name, turn in turns.items():
            start = clock()
            turn(count)
            times[name].append((clock() - start) / count)
    return times


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
