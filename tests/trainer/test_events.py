"""Events: lines for launchers or for people, few enough to read, and a launcher that is gone is one message."""

from __future__ import annotations

import contextlib
import io
import json
import os

import pytest

from reprise_trainer.__main__ import _failed
from reprise_trainer.errors import InputError, StorageError
from reprise_trainer.reporting.events import Events

REFUSED = {"event": "refused", "message": "no", "hint": "", "exit_code": 78}


def lines(form: str, *events: dict[str, object]) -> list[str]:
    stream = io.StringIO()
    writer = Events(form, stream)
    for event in events:
        writer.emit(event)
    return stream.getvalue().splitlines()


def step(number: int) -> dict[str, object]:
    return {"event": "step", "step": number, "steps": 50, "loss": 0.5}


def test_launchers_get_every_event_as_json() -> None:
    events = [{"event": "measured", "message": "image"}, step(50), REFUSED]
    assert [json.loads(line) for line in lines("json", *events)] == events


@pytest.mark.parametrize("form", ["json", "text"])
def test_of_many_steps_the_first_and_the_last_are_shown(form: str) -> None:
    shown = lines(form, *(step(number) for number in range(1, 51)))
    assert len(shown) == 2
    assert "50" in shown[-1]


def test_people_read_refusals_on_standard_error_alone() -> None:
    assert lines("text", REFUSED) == []
    assert lines("text", step(1)) == ["step 1/50  loss 0.5000"]


def test_people_read_numbers_and_not_the_name_of_an_event() -> None:
    assert lines("text", {"event": "validated", "step": 8, "loss": (0.25).hex()}) == [
        "validation after step 8: loss 0.2500"
    ]
    metrics = {"accuracy": "0.8915", "correct": 8915, "total": 10000, "loss": (0.3).hex()}
    evaluated = {"event": "evaluated", "split": "test", "metrics": metrics}
    assert lines("text", evaluated) == ["accuracy 0.8915 (8,915 of 10,000)"]


def test_a_launcher_that_is_gone_is_a_storage_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    with pytest.raises(StorageError, match="standard output"):
        Events("json", stream).emit(REFUSED)
    with contextlib.suppress(BrokenPipeError):  # what it still holds can't be written
        stream.close()


def test_an_error_is_told_once_to_a_launcher_or_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    assert _failed(Events("json", stream), InputError("no", hint="try")) == 65
    assert json.loads(stream.getvalue())["hint"] == "try" and not capsys.readouterr().err
    assert _failed(Events("text", stream), InputError("no", hint="try")) == 65
    assert capsys.readouterr().err == "error: no\ntry\n"


def test_an_error_that_no_launcher_takes_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        assert _failed(Events("json", stream), InputError("no")) == 65
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    assert capsys.readouterr().err == "error: no\n"
