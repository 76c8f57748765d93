"""Progress events drawn on stderr: bars on a terminal, a line a milestone elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from reprise.events import ENDINGS, Event, OnEvent, ignore
from reprise_trainer.redaction import redact, redact_document
from reprise_trainer.reporting.events import text


@contextmanager
def progress(form: str = "auto", *, quiet: bool = False) -> Iterator[OnEvent]:
    """A receiver for progress events.

    On a terminal each long step has a bar; in a log (no terminal) each finished layer, artifact or tenth of a run
    has one line, so that a log stays readable.

    Args:
        form: `auto` as above, `plain` for lines in any case, `json` for one JSON object an event.
        quiet: show nothing.
    """
    if quiet:
        yield ignore
    elif form == "json":
        yield _json_line
    elif form == "auto" and sys.stderr.isatty():
        with _bars() as on_event:
            yield on_event
    else:
        yield _Lines().on_event


@contextmanager
def _bars() -> Iterator[OnEvent]:
    """One bar a kind of work (all artifacts, all layers, all steps), however many things run at once."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figure]}")),
        *(TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}
        parts: dict[str, dict[str, tuple[int, int]]] = {}

        pace = _Pace()

        def on_event(event: Event) -> None:
            if event["event"] in ENDINGS:
                return
            what, now, total, figure = _describe(event)
            figure += pace.figure(event)
            if not total:
                bars.console.out(redact(what), highlight=False)  # as it is: a path or a key may look like markup
                return
            kind = str(event["event"])
            done = parts.setdefault(kind, {})
            done[what] = (now, total)
            if kind not in tasks:
                tasks[kind] = bars.add_task(_WORK[kind], total=None, figure="")
            if kind != "step":
                figure = f"{sum(now for now, _ in done.values()) / 1e6:,.0f} MB"
            bars.update(
                tasks[kind],
                completed=sum(now for now, _ in done.values()),
                total=sum(total for _, total in done.values()),
                figure=figure,
            )

        yield on_event


class _Pace:
    """Records a second of the step events so far."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def figure(self, event: Event) -> str:
        """The pace at a step event, as an addition to its figure; empty for other events, and for the first."""
        records = event.get("records")
        if event["event"] != "step" or not isinstance(records, int):
            return ""
        now = time.monotonic()
        if self._first is None or records <= self._first[1]:  # another run begins: a replay, after the run itself
            self._first = (now, records)
            return ""
        started, before = self._first
        return f", {(records - before) / max(now - started, 1e-9):,.0f} samples/s"


def _json_line(event: Event) -> None:
    print(json.dumps(redact_document(event), ensure_ascii=False), file=sys.stderr, flush=True)


_WORK = {
    "fetch": "fetch artifacts",
    "layer": "build layers",
    "unpack": "unpack layers",
    "push": "push",
    "pull": "pull",
    "step": "train",
}


class _Lines:
    """Milestones as plain lines."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._tenths: dict[str, int] = {}
        self._pace = _Pace()

    def on_event(self, event: Event) -> None:
        if event["event"] in ENDINGS:
            return
        what, now, total, figure = _describe(event)
        figure += self._pace.figure(event)
        tenth = 10 * now // total if total else 10
        if event["event"] != "step" and tenth < 10:
            return
        if self._tenths.get(what) == tenth and total:
            return
        self._tenths[what] = tenth
        line = f"[{time.monotonic() - self._started:6.1f} s] {what} {figure}".rstrip()
        print(redact(line), file=sys.stderr, flush=True)


def _describe(event: Event) -> tuple[str, int, int, str]:
    """What an event is about, how far it is, of how much, and its figure in words."""
    match event:
        case {"event": "fetch", "purl": str(purl), "bytes": int(now), "total": int(total)}:
            return f"fetch {short_purl(purl)}", now, total or now + 1, f"{now / 1e6:,.1f} MB"
        case {"event": "layer", "state": "reused", "name": str(name)}:
            return f"layer {name}", 0, 0, "reused"
        case {
            "event": "layer" | "unpack" | "push" | "pull" as kind,
            "name": str(name),
            "bytes": int(now),
            "total": int(total),
        }:
            return f"{kind} {name}", now, total, f"{now / 1e6:,.1f} MB"
        case {"event": "step", "step": int(step), "steps": int(steps), "loss": loss}:
            return "train", step, steps, f"step {step}/{steps}, loss {float(loss):.4f}"
        case {"event": "phase", "name": str(name)}:
            return name, 0, 0, ""
        case {"event": "checkpoint" | "validated" | "health" | "evaluated" | "finished"}:
            return text(event), 0, 0, ""
        case {"event": str(kind)}:
            return str(event.get("message", kind)), 0, 0, ""
        case _:
            return str(event), 0, 0, ""


def short_purl(purl: str) -> str:
    """`pkg:deb/debian/libc6@2.36?arch=amd64` as `libc6@2.36`."""
    return purl.partition("?")[0].rpartition("/")[2]
