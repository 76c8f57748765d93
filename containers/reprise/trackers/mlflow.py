"""Events → a run of an MLflow server (or of its files), by MLflow's own client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from reprise.events import Event, OnEvent
from reprise.trackers.values import final_values, step_values
from reprise_trainer.errors import SystemFailureError, UnavailableError

INTERVAL = 2.0
"""Seconds between two requests at least; what comes between is sent with the next, so a slow server slows nothing."""

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""What the client waits for a server, unless the user set something else: its own defaults are minutes."""

_TAGS = {"image": "reprise.image", "snapshot": "reprise.snapshot", "ledger": "reprise.ledger", "state": "reprise.state"}


@contextmanager
def mlflow_tracker(address: str, name: str, *, experiment: str = "reprise") -> Iterator[OnEvent]:
    """A receiver that logs metrics to a new run called `name`, and the run's digests as its tags.

    A server that goes away while the run goes on loses metrics and never the run.

    Raises:
        SystemFailureError: MLflow's client is not installed.
        UnavailableError: the tracking server can't be reached at the start.
    """
    try:
        from mlflow.entities import Metric, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ModuleNotFoundError as error:
        raise SystemFailureError(
            f"MLflow can't be told: {error}", hint="Install it with: pip install 'reprise[mlflow]'"
        ) from error
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    try:
        client = MlflowClient(tracking_uri=address)
        found = client.get_experiment_by_name(experiment)
        identifier = found.experiment_id if found else client.create_experiment(experiment)
        run = client.create_run(identifier, run_name=name).info.run_id
    except (MlflowException, OSError) as error:
        said = str(error).strip().splitlines()[0]
        raise UnavailableError(
            f"MLflow at {address!r}: {said}", hint="Is the tracking server running? Name it as http://HOST:PORT."
        ) from error
    waiting: list[Metric] = []
    sent, last, ended = time.monotonic(), 0, "FAILED"

    def send(tags: list[RunTag] | None = None) -> None:
        nonlocal sent
        with suppress(MlflowException, OSError):
            client.log_batch(run, metrics=waiting, tags=tags or [])
        waiting.clear()
        sent = time.monotonic()

    def on_event(event: Event) -> None:
        nonlocal last, ended
        values = final_values(event)
        if step := step_values(event):
            last, values = step
        waiting.extend(Metric(key, value, int(time.time() * 1000), last) for key, value in values.items())
        if event.get("event") == "finished":
            ended = "FINISHED"
            send([RunTag(tag, str(event[key])) for key, tag in _TAGS.items() if key in event])
        elif waiting and time.monotonic() - sent > INTERVAL:
            send()

    try:
        yield on_event
    finally:
        if waiting:
            send()
        with suppress(MlflowException, OSError):
            client.set_terminated(run, ended)
