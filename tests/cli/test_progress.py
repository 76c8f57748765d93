"""What a person sees of a run: on a terminal, and in a log where there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

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


def test_a_log_has_a_line_a_tenth_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as on_event:
        for number in range(1, 51):
            on_event(step(number))
    said = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line.partition(",")[0] for line in said] == [f"train step {number}/50" for number in (1, *range(5, 51, 5))]
    assert said[0] == "train step 1/50, loss 2.5000"
    assert all(re.fullmatch(r"train step \d+/50, loss 2\.5000, [\d,]+ samples/s", line) for line in said[1:])


def step(number: int) -> dict[str, object]:
    return {"event": "step", "step": number, "steps": 50, "loss": 2.5, "records": 32 * number}


def test_the_end_of_a_run_is_left_to_the_command_that_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("plain", "json"):
        with progress(form) as on_event:
            on_event({"event": "failed", "message": "no", "hint": "", "exit_code": 65})
        said = capsys.readouterr().err
        assert ("no" in said) == (form == "json")


TERMINAL = """
import time
from reprise.cli.progress import progress

with progress() as on_event:
    for event in {events}:
        on_event(event)
        time.sleep(0.02)
"""


def on_a_terminal(*names: str, events: Sequence[dict[str, object]] = (), **environment: str) -> list[str]:
    """The lines that a terminal gets of phases with these names, or of events, without what moves the cursor."""
    ours, theirs = os.openpty()
    script = TERMINAL.format(events=[*({"event": "phase", "name": name} for name in names), *events])
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment}
    done = subprocess.run([sys.executable, "-c", script], stderr=theirs, check=False, env=env)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert done.returncode == 0, said.decode()
    return [line.strip() for line in re.sub(r"\x1b\[\??[0-9;]*[A-Za-ln-z]", "", said.decode()).splitlines()]


@pytest.mark.parametrize(
    "name",
    [
        "`range` in [data] is wrong",
        "bring shards from /mnt/[/x]/layout to [bold]",
        "read :smile: and 0x1f, 'a' of https://example.org",
        "a path that is longer than the terminal is wide: /mnt/" + "folder/" * 20,
    ],
)
def test_a_terminal_shows_a_text_as_it_is(name: str) -> None:
    assert name in on_a_terminal(name)


def test_a_terminal_has_one_live_line_of_a_run() -> None:
    shown = on_a_terminal(events=[step(number) for number in range(1, 51)], COLUMNS="120")
    last = re.sub(r"\x1b\[[0-9;]*m", "", shown[-1])  # colours
    pattern = r"train \S+ step 50/50, loss 2\.5000, [\d,]+ samples/s \d:\d\d:\d\d left 0:00:00"
    assert re.fullmatch(pattern, last), last


def test_a_terminal_gets_no_secret() -> None:
    said = "".join(
        on_a_terminal("push to https://somebody:pa55word@host/v2/ as hunter2hunter2", DB_PASSWORD="hunter2" * 2)
    )
    assert "push to" in said and "pa55word" not in said and "hunter2" not in said
