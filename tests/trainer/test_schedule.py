"""Learning rates: golden bits, and the cosine against an arbitrary-precision library."""

from __future__ import annotations

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise_trainer.training.schedule import Schedule, half_cosine


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_the_cosine_is_the_nearest_double(done: int, length: int) -> None:
    done %= length + 1
    with mpmath.workdps(60):
        exact = (1 + mpmath.cos(mpmath.pi * done / length)) / 2
        assert abs(float(half_cosine(done, length)) - exact) <= mpmath.mpf(2) ** -53 * max(exact, mpmath.mpf(2) ** -40)


GOLDEN = {
    "constant": ["0x1.2d1386e7867fbp-12", "0x1.0624dd2f1a9fcp-10", "0x1.0624dd2f1a9fcp-10", "0x1.0624dd2f1a9fcp-10"],
    "linear": ["0x1.2d1386e7867fbp-12", "0x1.0624dd2f1a9fcp-10", "0x1.642838cbaa4a1p-11", "0x1.a56acc04cc44ep-14"],
    "cosine": ["0x1.2d1386e7867fbp-12", "0x1.0624dd2f1a9fcp-10", "0x1.8746c0ea0315ep-11", "0x1.a36ed7c87eab4p-14"],
}


@pytest.mark.parametrize("form", ["constant", "linear", "cosine"])
def test_rates_have_the_bits_that_they_always_had(form: str) -> None:
    schedule = Schedule(1e-3, form, 2000, warmup=100, final=0.1)  # type: ignore[arg-type]
    assert [schedule.at(step).hex() for step in (28, 100, 777, 1999)] == GOLDEN[form]


@pytest.mark.parametrize("form", ["linear", "cosine"])
def test_rates_rise_in_the_warmup_and_fall_after_it(form: str) -> None:
    schedule = Schedule(0.5, form, 300, warmup=20, final=0.25)  # type: ignore[arg-type]
    rates = [schedule.at(step) for step in range(301)]
    assert rates[:21] == sorted(rates[:21]) and rates[20] == 0.5
    assert rates[20:] == sorted(rates[20:], reverse=True) and rates[300] == 0.125


def test_a_line_to_zero_has_two_roundings_as_in_earlier_versions() -> None:
    assert [Schedule(0.01, "linear", 12).at(step) for step in range(12)] == [0.01 * ((12 - s) / 12) for s in range(12)]
