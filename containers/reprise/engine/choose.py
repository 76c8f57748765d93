"""Picking an engine by its name, and running with it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reprise.engine.interface import Engine, EngineName, ImageRef, OnLine, RunFolders
from reprise.events import OnEvent, ignore
from reprise_trainer.errors import InputError, UsageError
from reprise_trainer.redaction import redact

ENGINE_NAMES: tuple[EngineName, ...] = ("namespaces", "docker", "podman")


def print_error_line(line: str) -> None:
    """The default for standard error: pass it on, without secrets."""
    print(redact(line), file=sys.stderr, flush=True)


def choose_engine(name: str, gpus: str = "", *, network: bool = False) -> Engine:
    """The engine of that name.

    Args:
        gpus: the GPUs that a run sees, as `docker run --gpus` takes them; empty for none.
        network: whether a run reaches the network.

    Raises:
        InputError: there is none, and the message lists those that exist.
        UsageError: it can't give a run GPUs.
    """
    if gpus and name != "docker":
        raise UsageError(f"the engine `{name}` gives a run no GPU", hint="Use --engine docker with --gpus.")
    match name:
        case "namespaces":
            from reprise.engine.namespaces import NamespacesEngine

            return NamespacesEngine(network=network)
        case "docker":
            from reprise.engine.docker import DockerEngine  # its SDK takes 0.2 s to import

            return DockerEngine(gpus, network=network)
        case "podman":
            from reprise.engine.podman import PodmanEngine

            return PodmanEngine(network=network)
        case _:
            raise InputError(f"unknown engine {name!r}; there are: {', '.join(ENGINE_NAMES)}")


def run(
    engine: str,
    image: ImageRef,
    folders: RunFolders,
    *,
    on_line: OnLine,
    on_error_line: OnLine = print_error_line,
    on_event: OnEvent = ignore,
    gpus: str = "",
    network: bool = False,
) -> int:
    """Run `image` with the engine of that name; see `Engine.run` and `choose_engine`."""
    with _ending_in_order():
        return choose_engine(engine, gpus, network=network).run(
            image, folders, on_line=on_line, on_error_line=on_error_line, on_event=on_event
        )


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as Ctrl-C does, cleaning up; once the run itself goes, it gets them first
    (`signals`).

    Python calls handlers in the main thread alone; elsewhere the caller has to see to it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
