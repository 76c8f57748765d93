"""What a log shows of a run, where there is no terminal."""

from __future__ import annotations

import pytest

from reprise.cli.progress import progress

METRICS = {"accuracy": "0.5000", "correct": 5, "total": 10, "loss": (0.5).hex()}


def test_a_log_has_the_figures_of_a_run_and_not_the_names_of_events(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("plain") as on_event:
        on_event({"event": "validated", "step": 4, "loss": (1.5).hex()})
        on_event({"event": "evaluated", "split": "test", "metrics": METRICS})
        on_event({"event": "finished", "ledger": "sha256:1", "state": "sha256:2"})
    said = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "validation after step 4: loss 1.5000",
        "accuracy 0.5000 (5 of 10)",
        "finished: ledger sha256:1, state sha256:2",
    ]
