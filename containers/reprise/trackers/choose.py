"""Which trackers a run has, opened together and closed together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reprise.events import Event, OnEvent


@dataclass(frozen=True, slots=True)
class Trackers:
    """Where a run's events go: a TensorBoard log folder, an MLflow tracking address, a port of this machine's loopback
    for Prometheus (0: any free one). None asks for nothing."""

    tensorboard: Path | None = None
    mlflow: str | None = None
    metrics_port: int | None = None


@contextmanager
def tracked(chosen: Trackers, name: str, on_event: OnEvent) -> Iterator[OnEvent]:
    """A receiver that hands each event to `on_event` and to every tracker that was chosen.

    Args:
        chosen: see `Trackers`.
        name: of the run, for people.
        on_event: who is told first.

    Raises:
        SystemFailureError: a tracker's library is not installed; the message names the extra.
        UnavailableError: a tracker can't be reached.
        StorageError: TensorBoard's folder can't be written.
    """
    with ExitStack() as open_trackers:
        receivers = [on_event]
        if chosen.tensorboard is not None:
            from reprise.trackers.tensorboard import tensorboard_tracker

            receivers.append(open_trackers.enter_context(tensorboard_tracker(chosen.tensorboard / name)))
        if chosen.mlflow is not None:
            from reprise.trackers.mlflow import mlflow_tracker

            receivers.append(open_trackers.enter_context(mlflow_tracker(chosen.mlflow, name)))
        if chosen.metrics_port is not None:
            from reprise.trackers.prometheus import prometheus_tracker

            receivers.append(open_trackers.enter_context(prometheus_tracker(chosen.metrics_port, name, on_event)))

        def to_all(event: Event) -> None:
            for receive in receivers:
                receive(event)

        yield to_all
