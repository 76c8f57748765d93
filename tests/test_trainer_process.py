"""What a launcher makes of a trainer that does not finish."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reprise import trainer_process
from reprise.events import ignore
from reprise_trainer.errors import RepriseError, StoppedError, SystemFailureError

FOLDERS: Any = SimpleNamespace(output=Path("runs/a"))


def ended(monkeypatch: pytest.MonkeyPatch, code: int, *events: dict[str, object]) -> RepriseError:
    def run(*arguments: object, on_line: Any, **more: object) -> int:
        for event in events:
            on_line(json.dumps(event))
        return code

    monkeypatch.setattr(trainer_process, "run", run)
    with pytest.raises(RepriseError) as raised:
        trainer_process.run_trainer("namespaces", SimpleNamespace(), FOLDERS, gpus="", network=False, on_event=ignore)  # type: ignore[arg-type]
    return raised.value


def test_the_engine_is_told_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, object] = {}

    def run(*arguments: object, **more: object) -> int:
        told.update(more)
        return 0

    monkeypatch.setattr(trainer_process, "run", run)
    trainer_process.run_trainer("docker", SimpleNamespace(), FOLDERS, gpus="2", network=True, on_event=ignore)  # type: ignore[arg-type]
    assert (told["gpus"], told["network"]) == ("2", True)


def test_the_trainers_hint_is_told_beside_the_place_of_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"event": "failed", "message": "no jax", "hint": "Name an environment that holds it.", "exit_code": 71}
    error = ended(monkeypatch, 71, event)
    assert type(error) is SystemFailureError and error.message == "no jax"
    assert error.hint == "Name an environment that holds it.\nIts files are in runs/a."


def test_a_trainer_that_says_nothing_is_told_by_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ended(monkeypatch, 137)
    assert (error.message, error.hint) == ("the trainer ended with exit code 137", "Its files are in runs/a.")


def test_a_run_that_was_stopped_has_one_way_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ended(monkeypatch, 75, {"event": "stopped", "message": "after step 3", "hint": "Start it again."})
    assert type(error) is StoppedError and "--resume runs/a" in error.hint and "again" not in error.hint
