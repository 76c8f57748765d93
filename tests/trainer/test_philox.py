"""Our random numbers are Philox4x32-10, and their conversions round exactly."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest

from reprise_trainer.data.philox import Key, normal, philox, stream_key, uniform, words


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers of Random123 (its kat_vectors file, philox4x32, 10 rounds)
        ([0, 0, 0, 0], Key(0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, Key(0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            Key(0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers(counter: list[int], key: Key, expected: list[int]) -> None:
    assert philox(np.array([counter], np.uint32), key)[0].tolist() == expected


def test_a_word_is_the_same_however_it_is_asked_for() -> None:
    key = stream_key(3, "test")
    together = words(key, 1000)
    for start in (0, 1, 2, 3, 4, 17, 995):
        assert np.array_equal(words(key, 5, start=start), together[start : start + 5])
    far = words(key, 6, start=4 * 2**32 - 3)  # across the carry into the counter's second word
    assert np.array_equal(far[3:], words(key, 3, start=4 * 2**32))


def test_streams_of_different_purposes_differ() -> None:
    purposes = [(0, "a"), (0, "b"), (1, "a"), (0, "a", 0), (0, "a", 1), (0, "a", "1")]
    assert len({words(stream_key(*purpose), 4).tobytes() for purpose in purposes}) == len(purposes)


def test_uniform_numbers_are_exactly_rounded() -> None:
    key, bound = stream_key(0, "uniform"), math.sqrt(6 / 49)
    for word, value in zip(words(key, 500).tolist(), uniform(key, 500, bound=bound), strict=True):
        exact = Fraction(2 * word + 1 - 2**32, 2**32) * Fraction(bound)
        assert value == np.float32(float(exact))


def test_uniform_numbers_fill_their_range_evenly() -> None:
    values = uniform(stream_key(1, "uniform"), 100_000, bound=2.0).astype(np.float64)
    assert -2 < values.min() < -1.999 and 1.999 < values.max() < 2
    counts, _ = np.histogram(values, 100, (-2, 2))
    assert ((counts - 1000) ** 2 / 1000).sum() < 160


def test_normal_numbers_have_the_moments_of_their_distribution() -> None:
    values = normal(stream_key(1, "normal"), 100_000, deviation=3.0).astype(np.float64) / 3
    assert abs(values.mean()) < 0.015
    assert abs(values.std() - 1) < 0.01
    assert abs((values**4).mean() - 2.9) < 0.08  # Irwin and Hall's for twelve; the normal distribution's is 3


def test_the_numbers_are_those_of_format_1() -> None:
    # Part of every run record, as the order is: initial values and dropout come from these.
    key = stream_key(1, "initial", "dense1.weight")
    assert hashlib.sha256(uniform(key, 1000, bound=0.25).tobytes()).hexdigest() == GOLDEN_UNIFORM
    assert hashlib.sha256(normal(key, 1000, deviation=0.25).tobytes()).hexdigest() == GOLDEN_NORMAL


GOLDEN_UNIFORM = "e630247cd79a4bf34ab65e94ea4072bd249a5e0b954a992323f9ef5b90939aaf"
GOLDEN_NORMAL = "558fbc39067d41a642035611f828a5839a6617946ab3de9879fe2333e95fe4c4"
