"""Events → a page that Prometheus reads, on this machine's loopback alone, by prometheus-client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reprise.events import Event, OnEvent
from reprise.trackers.values import final_values, step_values
from reprise_trainer.errors import SystemFailureError, UnavailableError

LOOPBACK = "127.0.0.1"


@contextmanager
def prometheus_tracker(port: int, name: str, on_event: OnEvent) -> Iterator[OnEvent]:
    """A receiver whose last values are served at http://127.0.0.1:PORT/metrics while the run goes on.

    `reprise_run_last_event_timestamp_seconds` is the run's health: a run that hangs stops moving it.

    Args:
        port: which one; 0 takes a free one. An event tells where the page is.
        name: the run's name, the label `run` of each value.
        on_event: told of the page's address.

    Raises:
        SystemFailureError: prometheus-client is not installed.
        UnavailableError: the port is taken.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, start_http_server
    except ModuleNotFoundError as error:
        raise SystemFailureError(
            f"a page for Prometheus can't be served: {error}", hint="Install it with: pip install 'reprise[prometheus]'"
        ) from error
    registry = CollectorRegistry()
    steps = Gauge("reprise_run_steps_finished", "Finished steps.", ["run"], registry=registry)
    planned = Gauge("reprise_run_steps_planned", "Steps of the whole run.", ["run"], registry=registry)
    values = Gauge("reprise_run_value", "Last value of a metric.", ["run", "name"], registry=registry)
    health = Gauge("reprise_run_last_event_timestamp_seconds", "When it last said a word.", ["run"], registry=registry)
    try:
        server, thread = start_http_server(port, addr=LOOPBACK, registry=registry)
    except OSError as error:
        raise UnavailableError(
            f"port {port} of {LOOPBACK}: {error.strerror}", hint="Give another --metrics-port; 0 takes a free one."
        ) from error
    on_event({"event": "phase", "name": f"metrics at http://{LOOPBACK}:{server.server_port}/metrics"})

    def receive(event: Event) -> None:
        health.labels(name).set(time.time())
        if found := step_values(event):
            steps.labels(name).set(found[0])
        if event.get("event") == "step":
            planned.labels(name).set(event["steps"])
        for key, value in {**(found[1] if found else {}), **final_values(event)}.items():
            values.labels(name, key).set(value)

    try:
        yield receive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
