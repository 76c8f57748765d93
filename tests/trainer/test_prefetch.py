"""Making batches ahead changes when they are made, and nothing else."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from tests.trainer.conftest import CONFIG, RunOnce

from reprise_trainer.data.batches import Batches
from reprise_trainer.data.prefetch import DEPTH, prefetched
from reprise_trainer.data.snapshot import OpenSnapshot


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_any_number_of_workers_gives_the_same_batches_in_order(snapshot: OpenSnapshot, workers: int) -> None:
    batches = Batches(snapshot, "train", seed=1, batch_size=32)
    made = list(prefetched(batches.batch, range(3, 40), workers))
    assert [batch.step for batch in made] == list(range(3, 40))
    for batch in made:
        alone = batches.batch(batch.step)
        assert alone.digest == batch.digest and np.array_equal(alone.fields["image"], batch.fields["image"])


def test_a_slow_batch_holds_up_the_later_ones_and_is_not_overtaken() -> None:
    def make(step: int) -> int:
        time.sleep(0.02 if step % 3 == 0 else 0)
        return step

    assert list(prefetched(make, range(20), 4)) == list(range(20))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_more_batches_wait_than_their_bound(workers: int) -> None:
    made, lock = [], threading.Lock()

    def make(step: int) -> int:
        with lock:
            made.append(step)
        return step

    for taken, _ in enumerate(prefetched(make, range(50), workers), start=1):
        time.sleep(0.001)
        assert len(made) <= taken + workers * DEPTH
    assert sorted(made) == list(range(50))


def test_a_failure_is_raised_at_its_own_step_and_ends_the_threads() -> None:
    def make(step: int) -> int:
        if step == 5:
            raise ValueError("step 5")
        return step

    taken = []
    with pytest.raises(ValueError, match="step 5"):
        taken.extend(iter_until(prefetched(make, range(20), 3), taken))
    assert taken == [0, 1, 2, 3, 4]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def iter_until(source, into):  # type: ignore[no-untyped-def]
    for value in source:
        into.append(value)
    return []


def test_leaving_early_ends_the_threads() -> None:
    source = prefetched(lambda step: step, iter(int, 1), 2)
    assert next(source) == 0
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_a_run_has_the_same_bits_with_no_worker_and_with_two(run_once: RunOnce) -> None:
    config = CONFIG.replace("epochs = 3", "steps = 12").replace(
        "[model]", "{}\n[data.augment]\nshift = 2\nflip = true\n[model]", 1
    )
    none, two = (run_once(config.replace("{}", f"workers = {workers}")) for workers in (0, 2))
    assert none.code == 0, none.error
    # The ledger's header names the configuration's bytes, which differ; the states must not.
    assert none.result["state"] == two.result["state"]
