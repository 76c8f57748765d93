"""The fixed tree: one order of additions, whoever holds which shard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise_trainer.training.tree import tree_sum


def definition(parts: list[Any]) -> Any:
    """The tree as it is defined: neighbours first, then those sums pairwise."""
    while len(parts) > 1:
        parts = [(parts[index], parts[index + 1]) for index in range(0, len(parts), 2)]
    return parts[0]


@pytest.mark.parametrize("shards", [1, 2, 4, 8, 16, 64])
def test_the_streaming_sum_is_the_tree_of_the_definition(shards: int) -> None:
    assert tree_sum(range(shards), lambda a, b: (a, b)) == definition(list(range(shards)))


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_workers_that_hold_neighbouring_shards_compute_nodes_of_the_same_tree(workers: int) -> None:
    each = 8 // workers
    nodes = [tree_sum(range(w * each, (w + 1) * each), lambda a, b: (a, b)) for w in range(workers)]
    assert tree_sum(nodes, lambda a, b: (a, b)) == definition(list(range(8)))


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=8, max_size=8))
def test_sums_of_floats_have_the_same_bits(values: list[float]) -> None:
    parts = [np.float32(value) for value in values]
    a, b, c, d, e, f, g, h = parts
    expected = ((a + b) + (c + d)) + ((e + f) + (g + h))
    assert tree_sum(parts, lambda x, y: x + y).tobytes() == expected.tobytes()


def test_few_sums_are_alive_at_a_time() -> None:
    alive = peak = 0

    def parts():  # type: ignore[no-untyped-def]
        nonlocal alive, peak
        for _ in range(64):
            alive += 1
            peak = max(peak, alive)
            yield 1

    def add(a: int, b: int) -> int:
        nonlocal alive
        alive -= 1
        return a + b

    assert tree_sum(parts(), add) == 64
    assert peak == 7  # log2(64) + 1


def test_nothing_has_no_sum() -> None:
    with pytest.raises(ValueError):
        tree_sum([], lambda a, b: a)
