"""A run's events reach TensorBoard, MLflow and Prometheus; what goes wrong there never stops the run."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from prometheus_client.parser import text_string_to_metric_families
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reprise.events import Event, ignore
from reprise.trackers.choose import Trackers, tracked
from reprise_trainer.errors import StorageError, UnavailableError

EVENTS: list[Event] = [
    {"event": "phase", "name": "train"},
    {"event": "step", "step": 1, "steps": 2, "loss": 2.5},
    {"event": "step", "step": 2, "steps": 2, "loss": 1.25},
    {"event": "validated", "step": 2, "loss": (1.5).hex()},
    {"event": "health", "step": 2, "memory_bytes": 1024, "cpu_share": 0.5},
    {"event": "evaluated", "split": "test", "metrics": {"accuracy": "0.7500", "correct": 3, "loss": (0.5).hex()}},
    {"event": "finished", "image": "sha256:1", "snapshot": "sha256:2", "ledger": "sha256:3", "state": "sha256:4"},
]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    with tracked(Trackers(tensorboard=tmp_path), "small", ignore) as on_event:
        for event in EVENTS:
            on_event(event)
    log = EventAccumulator(str(tmp_path / "small"))
    log.Reload()
    assert [(each.step, each.value) for each in log.Scalars("train/loss")] == [(1, 2.5), (2, 1.25)]
    assert [(each.step, each.value) for each in log.Scalars("test/accuracy")] == [(2, 0.75)]
    assert [each.value for each in log.Scalars("test/loss")] == [0.5]
    assert [(each.step, each.value) for each in log.Scalars("validation/loss")] == [(2, 1.5)]


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="file"),
        tracked(Trackers(tensorboard=tmp_path / "file"), "small", ignore),
    ):
        pass


@pytest.fixture
def mlflow_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """MLflow's own file store."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


def test_mlflow_has_the_metrics_and_the_digests(mlflow_address: str) -> None:
    with tracked(Trackers(mlflow=mlflow_address), "small", ignore) as on_event:
        for event in EVENTS:
            on_event(event)
    client = MlflowClient(tracking_uri=mlflow_address)
    experiment = client.get_experiment_by_name("reprise")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "small"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((each.step, each.value) for each in history) == [(1, 2.5), (2, 1.25)]
    assert run.data.metrics["test/accuracy"] == 0.75
    assert run.data.tags["reprise.state"] == "sha256:4"


def test_a_run_that_does_not_finish_is_failed_for_mlflow(mlflow_address: str) -> None:
    with (
        pytest.raises(RuntimeError, match="gone"),
        tracked(Trackers(mlflow=mlflow_address), "small", ignore) as on_event,
    ):
        on_event(EVENTS[1])
        raise RuntimeError("gone")
    client = MlflowClient(tracking_uri=mlflow_address)
    experiment = client.get_experiment_by_name("reprise")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED" and run.data.metrics["train/loss"] == 2.5


@pytest.mark.parametrize("address", ["", "runs", "sha256:1", "file:/tmp/no-server"])
def test_what_is_no_server_s_address_is_one_message(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnavailableError, match="MLflow at") as refused, tracked(Trackers(mlflow=address), "x", ignore):
        pass
    assert "http://HOST:PORT" in refused.value.hint and "\n" not in refused.value.message


def test_an_mlflow_server_that_is_not_there_is_said_at_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: connections are refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="MLflow at"), tracked(Trackers(mlflow=address), "small", ignore):
            pass


def test_prometheus_reads_the_last_values_while_the_run_goes_on() -> None:
    said: list[Event] = []
    with tracked(Trackers(metrics_port=0), "small", said.append) as on_event:
        for event in EVENTS:
            on_event(event)
        address = str(said[0]["name"]).removeprefix("metrics at ")
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=10) as page:
            families = {each.name: each.samples for each in text_string_to_metric_families(page.read().decode())}
    assert [sample.value for sample in families["reprise_run_steps_finished"]] == [2]
    assert [sample.value for sample in families["reprise_run_steps_planned"]] == [2]
    assert {sample.labels["name"]: sample.value for sample in families["reprise_run_value"]} == {
        "train/loss": 1.25,
        "validation/loss": 1.5,
        "health/memory_bytes": 1024,
        "health/cpu_share": 0.5,
        "test/accuracy": 0.75,
        "test/correct": 3,
        "test/loss": 0.5,
    }
    assert families["reprise_run_last_event_timestamp_seconds"][0].value > 1.7e9
    assert said[1:] == EVENTS
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=2)


def test_a_taken_port_is_one_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UnavailableError, match=f"port {port}"),
            tracked(Trackers(metrics_port=port), "small", ignore),
        ):
            pass
