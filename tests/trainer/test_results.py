"""A stage whose inputs are the same is not done again: within one run, from a result that still has its digest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.trainer.conftest import CONFIG, command, environment

from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.training.records.results import forget_results, keep_result, kept_result, stage_key

OWN = """
from pathlib import Path


def counted(batches, *, file):
    with Path(file).open("a") as calls:
        calls.write("called\\n")
    return {"records": sum(len(fields["label"]) for fields, _ in batches)}
"""

Attempts = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def attempts(snapshot: OpenSnapshot, tmp_path: Path) -> Attempts:
    """An attempt of one run, each on the same folder; its events, the last of which is what came out."""
    (tmp_path / "own_evaluate.py").write_text(OWN)
    stage = f'\n[stages.evaluate]\nfunction = "own_evaluate:counted"\noptions = {{ file = "{tmp_path / "calls"}" }}\n'
    argv = command(CONFIG.replace("epochs = 3", "steps = 2") + stage, snapshot, tmp_path / "run")

    def call() -> list[dict[str, Any]]:
        changes = {"PYTHONPATH": f"{environment()['PYTHONPATH']}:{tmp_path}"}
        done = subprocess.run(argv, env=environment(changes), check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return call


def test_an_evaluation_is_done_once_for_one_state(attempts: Attempts, tmp_path: Path) -> None:
    calls, results = tmp_path / "calls", tmp_path / "run/results/evaluate.json"
    first, second = attempts(), attempts()
    assert calls.read_text().count("called") == 1
    assert first[-1]["reused"] == [] and second[-1]["reused"] == ["evaluate"]
    assert [event["message"] for event in second if event.get("event") == "reused"] == ["evaluate: unchanged, reused"]
    for key in ("metrics", "state", "ledger"):
        assert first[-1][key] == second[-1][key]
    assert second[-1]["metrics"]["own/records"] == 70

    kept = results.read_bytes()
    results.write_bytes(kept.replace(b'"own/records":70', b'"own/records":71'))
    third = attempts()
    assert any("evaluate: done again: " in str(event.get("message")) for event in third)
    assert third[-1]["metrics"] == first[-1]["metrics"] and third[-1]["reused"] == []
    assert results.read_bytes() == kept

    forget_results(tmp_path / "run")
    assert attempts()[-1]["reused"] == [] and calls.read_text().count("called") == 3

    document = json.loads(kept)
    keep_result(tmp_path / "run", "evaluate", "sha256:" + "0" * 64, {**document["result"], "metrics": {}})
    assert attempts()[-1]["metrics"] == first[-1]["metrics"]  # of something else: passed over


PARTS: dict[str, Any] = {
    "image": "sha256:1",
    "code": "2",
    "inputs": {"state": "sha256:3", "snapshot": "sha256:4"},
    "settings": {"evaluate": {"batch_size": 5}, "lr": 0.5},
}


@pytest.mark.parametrize(
    "changed",
    [
        {"image": "sha256:9"},
        {"code": "9"},
        {"inputs": {"state": "sha256:9", "snapshot": "sha256:4"}},
        {"inputs": {"state": "sha256:3", "snapshot": "sha256:9"}},
        {"settings": {"evaluate": {"batch_size": 9}, "lr": 0.5}},
        {"settings": {"evaluate": {"batch_size": 5}, "lr": 0.25}},
    ],
)
def test_whatever_a_result_follows_from_is_in_its_key(changed: dict[str, Any]) -> None:
    assert stage_key("evaluate", **PARTS) == stage_key("evaluate", **dict(reversed(PARTS.items())))
    assert (
        stage_key("evaluate", **{**PARTS, **changed}) != stage_key("evaluate", **PARTS) != stage_key("report", **PARTS)
    )


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"null", b'{"sha256":"0"}', b"\xff"])
def test_what_is_no_result_is_never_taken_for_one(tmp_path: Path, damage: bytes) -> None:
    assert kept_result(tmp_path, "evaluate", "sha256:1") is None
    keep_result(tmp_path, "evaluate", "sha256:1", {"metrics": {"loss": "0x1p0"}})
    assert kept_result(tmp_path, "evaluate", "sha256:1") == {"metrics": {"loss": "0x1p0"}}
    assert kept_result(tmp_path, "evaluate", "sha256:2") is None
    whole = (tmp_path / "results/evaluate.json").read_bytes()
    for data in (damage, whole[: len(whole) // 2], whole.replace(b"p0", b"p1")):
        (tmp_path / "results/evaluate.json").write_bytes(data)
        with pytest.raises(DoesNotHoldError):
            kept_result(tmp_path, "evaluate", "sha256:1")
    (tmp_path / "results/report.json").write_bytes(whole)  # of another stage
    assert kept_result(tmp_path, "report", "sha256:1") is None
