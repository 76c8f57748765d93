"""The order of records: a true permutation for every N, with no pattern, the same for ever."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise_trainer.data.order import BLOCK, permute, records_at


def whole(seed: int, epoch: int, records: int) -> np.ndarray:
    return permute(seed, epoch, records, np.arange(records, dtype=np.int64))


def test_every_small_size_gets_a_permutation() -> None:
    for records in range(1, 601):
        assert np.array_equal(np.sort(whole(3, 0, records)), np.arange(records))


@pytest.mark.parametrize("records", [2**16 - 1, 2**16, 2**16 + 1, 4**8 + 1, 4**9 + 1, 60_000])
def test_sizes_around_powers_get_a_permutation(records: int) -> None:
    assert np.array_equal(np.sort(whole(0, 0, records)), np.arange(records))


@pytest.mark.parametrize("records", [4**12 + 1, 2**31 - 1, 2**32 + 1, 4**20 + 1, 2**40 - 1])
def test_large_sizes_stay_in_range_without_repeats(records: int) -> None:
    places = np.unique(np.concatenate([np.arange(40_000), np.linspace(0, records - 1, 40_000).astype(np.int64)]))
    values = permute(1, 2, records, places)
    assert values.min() >= 0 and values.max() < records
    assert len(np.unique(values)) == len(places)


@given(
    seed=st.integers(0, 2**63 - 1),
    records=st.integers(1, 3000),
    start=st.integers(0, 10**12),
    count=st.integers(0, 500),
)
@settings(max_examples=60, deadline=None)
def test_a_position_means_the_same_however_it_is_asked_for(seed: int, records: int, start: int, count: int) -> None:
    together = records_at(seed, records, start, count)
    assert len(together) == count
    alone = [int(records_at(seed, records, start + offset, 1)[0]) for offset in range(0, count, 97)]
    assert together[::97].tolist() == alone


def test_a_stream_crosses_blocks_and_epochs() -> None:
    records = BLOCK + 5
    stream = records_at(9, records, 0, 2 * records)
    assert np.array_equal(stream[:records], whole(9, 0, records))
    assert np.array_equal(stream[records:], whole(9, 1, records))


@pytest.mark.parametrize("records", [2**16, 60_000, 2**17 + 1])
@pytest.mark.parametrize("modulus", [2, 3, 7, 256])
def test_batches_hold_every_residue_alike(records: int, modulus: int) -> None:
    batches = whole(5, 0, records)[: records // 256 * 256].reshape(-1, 256) % modulus
    counts = np.stack([(batches == residue).sum(axis=1) for residue in range(modulus)], axis=1)
    chi_square = ((counts - 256 / modulus) ** 2 / (256 / modulus)).sum(axis=1)
    # The mean of chi square is its degrees of freedom. An affine round function gives 256 here, for modulus 2.
    assert abs(chi_square.mean() - (modulus - 1)) < 6 * np.sqrt(2 * (modulus - 1) / len(batches))
    assert chi_square.max() < 40 + 3 * modulus


@pytest.mark.parametrize("other", [(5, 1), (6, 0), (4, 1), (2**62, 0)])
def test_neighbouring_seeds_and_epochs_have_nothing_in_common(other: tuple[int, int]) -> None:
    a, b = whole(5, 0, 60_000).astype(float), whole(*other, 60_000).astype(float)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02
    assert (a == b).sum() < 12


def test_neighbours_in_order_are_not_correlated() -> None:
    values = whole(5, 0, 65_536).astype(float)
    for distance in (1, 2, 256):
        assert abs(np.corrcoef(values[:-distance], values[distance:])[0, 1]) < 0.02


def test_the_order_is_that_of_format_1() -> None:
    # These constants are part of every run record: a change of them makes old runs impossible to replay.
    assert records_at(1, 60_000, 0, 8).tolist() == GOLDEN_FIRST
    assert hashlib.sha256(records_at(1, 60_000, 59_990, 100).astype("<i8").tobytes()).hexdigest() == GOLDEN_CROSSING
    assert records_at(42, 2**40 + 1, 10**15, 4).tolist() == GOLDEN_LARGE


GOLDEN_FIRST = [47787, 31097, 36941, 33742, 46524, 23433, 44815, 14057]
GOLDEN_CROSSING = "a9eff662f62f3c35dbc546f18170a95ef01b050e129f632218f7d887f0bcc738"
GOLDEN_LARGE = [176779165358, 443606188884, 196218693461, 66443046138]
