"""The record lists every stream of random numbers, what it is keyed by, and why it is there."""

from __future__ import annotations

import pytest
from tests.trainer.conftest import CONFIG

from reprise_trainer.backends.interface import Backend
from reprise_trainer.config.read import read_config
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.training.plan import make_backend, make_plan
from reprise_trainer.training.records.streams import Stream, find_streams


def backend_of(text: str, snapshot: OpenSnapshot) -> Backend:
    return make_backend("torch", make_plan(read_config(text.encode(), where="x"), snapshot))


def test_each_stream_has_its_key_and_the_rationale_that_was_given(snapshot: OpenSnapshot) -> None:
    text = CONFIG + '\n[random_streams]\norder = "so that neighbours differ"\n'
    found = find_streams(read_config(text.encode(), where="x"), backend_of(text, snapshot))
    assert found["order"] == Stream("seed, epoch", "so that neighbours differ")
    assert found["dropout"].keyed_by.startswith("seed, step, shard") and found["dropout"].rationale == ""
    assert set(found) == {"dropout", "initial", "order"}


def test_a_model_without_dropout_has_no_such_stream(snapshot: OpenSnapshot) -> None:
    text = CONFIG.replace("dropout = 0.1", "dropout = 0.0")
    assert "dropout" not in find_streams(read_config(text.encode(), where="x"), backend_of(text, snapshot))


def test_a_rationale_for_nothing_is_refused(snapshot: OpenSnapshot) -> None:
    text = CONFIG + '\n[random_streams]\ndropuot = "?"\n'
    with pytest.raises(InputError, match="did you mean 'dropout'"):
        find_streams(read_config(text.encode(), where="x"), backend_of(text, snapshot))
