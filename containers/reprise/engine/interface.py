"""What every engine is given, and how a caller picks one."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from reprise.store import Store
from reprise_trainer.errors import InputError

OnLine = Callable[[str], None]

GRACE_SECONDS = 10.0
"""How long a run may take to end after an interruption, before it is killed."""

EngineName = Literal["namespaces", "docker"]
ENGINE_NAMES: tuple[EngineName, ...] = ("namespaces", "docker")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image in a store, named by its manifest digest."""

    store: Store
    digest: str

    def layers(self) -> tuple[Layer, ...]:
        """The image's layers, lowest first."""
        manifest, config = self.store.manifest(self.digest), self._config_document()
        diff_ids = config.get("rootfs", {}).get("diff_ids", [])
        if len(diff_ids) != len(manifest["layers"]):
            raise InputError(f"image {self.digest} has {len(manifest['layers'])} layers but {len(diff_ids)} diff_ids")
        return tuple(
            Layer(each["mediaType"], each["digest"], int(each["size"]), diff_id)
            for each, diff_id in zip(manifest["layers"], diff_ids, strict=True)
        )

    def config_bytes(self) -> bytes:
        """The image config as it is in the store."""
        return self.store.read(self.store.manifest(self.digest)["config"]["digest"])

    def process(self) -> Process:
        """What the image runs (OCI image spec v1.1, config.md)."""
        config = self._config_document().get("config", {})
        user, _, group = str(config.get("User") or "0:0").partition(":")
        return Process(
            arguments=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
            environment=tuple(config.get("Env") or ()),
            user=(int(user), int(group or user)),
            folder=config.get("WorkingDir") or "/",
        )

    def _config_document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.config_bytes())
        return document


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its descriptor (`size` in bytes, compressed) and the digest of its uncompressed tar."""

    media_type: str
    digest: str
    size: int
    diff_id: str


@dataclass(frozen=True, slots=True)
class Process:
    """What an image runs: the whole command line, `NAME=value` variables, (uid, gid), working folder."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    user: tuple[int, int]
    folder: str


@dataclass(frozen=True, slots=True)
class RunFolders:
    """The folders of one run: `launch` and `data` are seen read-only, `output` can be written."""

    launch: Path
    data: Path
    output: Path


class Engine(Protocol):
    """Runs an image to its end."""

    def run(self, image: ImageRef, folders: RunFolders, *, on_line: OnLine, on_error_line: OnLine) -> int:
        """Start the image's own command on a read-only root without network, and wait for it.

        Args:
            image: what to run.
            folders: mounted at /run/reprise, /data and /output.
            on_line: called with each line of standard output, as it comes, without its end.
            on_error_line: the same for standard error.

        Returns:
            the exit code; 128 + the signal's number where a signal ended it.

        Raises:
            SystemFailureError: the system does not let the engine work; the message says what to do.
        """


@contextmanager
def ending_in_order() -> Iterator[None]:
    """While a run is going, SIGTERM and SIGHUP end this process as Ctrl-C does: the run is ended too, and cleaned up.

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


def print_error_line(line: str) -> None:
    """The default for standard error: pass it on."""
    print(line, file=sys.stderr, flush=True)


def choose_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    match name:
        case "namespaces":
            from reprise.engine.namespaces import NamespacesEngine

            return NamespacesEngine()
        case "docker":
            from reprise.engine.docker import DockerEngine  # its SDK takes 0.2 s to import

            return DockerEngine()
        case _:
            raise InputError(f"unknown engine {name!r}; there are: {', '.join(ENGINE_NAMES)}")


def run(
    engine: str,
    image: ImageRef,
    folders: RunFolders,
    *,
    on_line: OnLine,
    on_error_line: OnLine = print_error_line,
) -> int:
    """Run `image` with the engine of that name; see `Engine.run`."""
    with ending_in_order():
        return choose_engine(engine).run(image, folders, on_line=on_line, on_error_line=on_error_line)
