"""The order of records: a true permutation for every N, with no pattern, the same for ever."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise_trainer.canonical import canonical_json
from reprise_trainer.data.order import BLOCK, ROUNDS, Order, half_bits, permute, records_at


def whole(seed: int, epoch: int, records: int) -> np.ndarray:
    return permute(seed, epoch, records, np.arange(records, dtype=np.int64))


def inverse(seed: int, epoch: int, records: int, values: np.ndarray) -> np.ndarray:
    """Where each record stands: the network run backwards, and the walk too. Written from the paper, not from ours."""
    key = hashlib.sha256(canonical_json(["order", seed, epoch])).digest()
    keys = [int.from_bytes(hashlib.sha256(key + bytes([n])).digest()[:8], "little") for n in range(ROUNDS)]
    half = np.uint64(half_bits(records))
    mask = (np.uint64(1) << half) - np.uint64(1)

    def back(words: np.ndarray) -> np.ndarray:
        left, right = words >> half, words & mask
        for each in reversed(keys):
            left, right = right ^ (splitmix(left ^ np.uint64(each)) & mask), left
        return (left << half) | right

    found = back(values.astype(np.uint64))
    while (outside := found >= records).any():
        found[outside] = back(found[outside])
    return found.astype(np.int64)


def splitmix(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def test_every_small_size_gets_a_permutation() -> None:
    for records in range(1, 1025):
        assert np.array_equal(np.sort(whole(3, 0, records)), np.arange(records)), records


@pytest.mark.long
def test_every_size_up_to_5000_gets_a_permutation() -> None:
    for records in range(1, 5001):
        for epoch in (0, 1):
            assert np.array_equal(np.sort(whole(3, epoch, records)), np.arange(records)), records


@pytest.mark.parametrize("records", [2**16 - 1, 2**16, 2**16 + 1, 4**8 + 1, 4**9 + 1, 60_000])
def test_sizes_around_powers_get_a_permutation(records: int) -> None:
    assert np.array_equal(np.sort(whole(0, 0, records)), np.arange(records))


SIZES = sorted({size for k in range(1, 41) for size in (2**k - 1, 2**k, 2**k + 1)} | {4**k + 1 for k in range(1, 21)})


@pytest.mark.parametrize("records", SIZES)
def test_every_place_can_be_found_again_from_its_record(records: int) -> None:
    # A map of a finite set into itself that has an inverse on every sampled place is injective there.
    places = np.unique(
        np.concatenate([np.arange(min(records, 300)), np.linspace(0, records - 1, 300).astype(np.int64)])
    )
    values = permute(7, 3, records, places)
    assert values.min() >= 0 and values.max() < records
    assert np.array_equal(inverse(7, 3, records, values), places)


@pytest.mark.parametrize("records", [4**12 + 1, 2**31 - 1, 2**32 + 1, 4**20 + 1, 2**40 - 1])
def test_large_sizes_stay_in_range_without_repeats(records: int) -> None:
    places = np.unique(np.concatenate([np.arange(40_000), np.linspace(0, records - 1, 40_000).astype(np.int64)]))
    values = permute(1, 2, records, places)
    assert values.min() >= 0 and values.max() < records
    assert len(np.unique(values)) == len(places)


@given(st.integers(1, 400), st.sampled_from([1, 2, 8, 64]), st.integers(1, 9), st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_two_levels_are_a_permutation_for_every_size(records: int, chunk: int, window: int, seed: int) -> None:
    stream = Order(seed, records, chunk, window).records_at(0, 2 * records)
    for epoch in (stream[:records], stream[records:]):
        assert np.array_equal(np.sort(epoch), np.arange(records))


def test_a_window_reads_its_own_chunks_and_no_others() -> None:
    records, chunk, window = 100_000, 64, 16
    stream = Order(4, records, chunk, window).records_at(0, records)
    last = set(stream[records // (chunk * window) * chunk * window :] // chunk)
    for start in range(0, records, chunk * window):
        found = set(stream[start : start + chunk * window] // chunk)
        assert len(found - last) <= window  # the last chunk is cut short: what it lacks comes from the last window


def test_two_levels_differ_between_epochs_and_windows() -> None:
    first = Order(4, 2**16, 64, 16).records_at(0, 2**17)
    assert (first[: 2**16] == first[2**16 :]).sum() < 12
    inside = [first[start : start + 1024] % 64 for start in (0, 1024)]
    assert (inside[0] == inside[1]).mean() < 0.05


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


@pytest.mark.parametrize("levels", [(0, 0), (64, 128)], ids=["whole", "windows"])
@pytest.mark.parametrize("records", [2**16, 60_000, 2**17 + 1])
@pytest.mark.parametrize("modulus", [2, 3, 7, 256])
def test_batches_hold_every_residue_alike(records: int, modulus: int, levels: tuple[int, int]) -> None:
    stream = Order(5, records, *levels).records_at(0, records)
    batches = stream[: records // 256 * 256].reshape(-1, 256) % modulus
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


@pytest.mark.parametrize("levels", [(0, 0), (64, 128)], ids=["whole", "windows"])
def test_neighbours_in_order_are_not_correlated(levels: tuple[int, int]) -> None:
    values = Order(5, 2**18, *levels).records_at(0, 2**18).astype(float)
    for distance in (1, 2, 256):
        assert abs(np.corrcoef(values[:-distance], values[distance:])[0, 1]) < 0.02


def test_the_order_is_that_of_format_1() -> None:
    # These constants are part of every run record: a change of them makes old runs impossible to replay.
    assert records_at(1, 60_000, 0, 8).tolist() == GOLDEN_FIRST
    assert hashlib.sha256(records_at(1, 60_000, 59_990, 100).astype("<i8").tobytes()).hexdigest() == GOLDEN_CROSSING
    assert records_at(42, 2**40 + 1, 10**15, 4).tolist() == GOLDEN_LARGE
    assert Order(42, 10**9 + 1, 4096, 128).records_at(10**12, 4).tolist() == GOLDEN_WINDOWS


GOLDEN_FIRST = [47787, 31097, 36941, 33742, 46524, 23433, 44815, 14057]
GOLDEN_CROSSING = "a9eff662f62f3c35dbc546f18170a95ef01b050e129f632218f7d887f0bcc738"
GOLDEN_WINDOWS = [635455790, 226291450, 320331811, 89833070]
GOLDEN_LARGE = [176779165358, 443606188884, 196218693461, 66443046138]
