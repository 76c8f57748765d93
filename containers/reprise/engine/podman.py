"""The engine `podman`: Docker's API, spoken by a podman that is started for the run and ended after it.

Source: podman-system-service(1). Its storage and settings are those of the user's own podman.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reprise.engine.docker import DockerEngine
from reprise.engine.interface import GRACE_SECONDS, ImageRef, OnLine, RunFolders
from reprise.events import OnEvent, ignore
from reprise_trainer.errors import SystemFailureError

START_SECONDS = 30.0
"""How long podman may take until it listens; it sets up its storage first."""

_HINT = "Check `podman info`, or use --engine namespaces."


class PodmanEngine:
    """See `interface.Engine`. With `network` a run is on podman's default network, else on none."""

    def __init__(self, *, network: bool = False) -> None:
        self._network = network

    def run(
        self,
        image: ImageRef,
        folders: RunFolders,
        *,
        on_line: OnLine,
        on_error_line: OnLine,
        on_event: OnEvent = ignore,
    ) -> int:
        """See `interface.Engine.run`."""
        with _service() as address:
            engine = DockerEngine(network=self._network, name="podman", address=address)
            return engine.run(image, folders, on_line=on_line, on_error_line=on_error_line, on_event=on_event)


@contextmanager
def _service() -> Iterator[str]:
    """The address of a podman that serves for the length of the block."""
    podman = shutil.which("podman")
    if podman is None:
        raise SystemFailureError("the engine `podman` failed: there is no podman on PATH", hint=_HINT)
    with tempfile.TemporaryDirectory(prefix="reprise-podman-") as folder:  # only its owner may enter
        socket, log = Path(folder, "podman.sock"), Path(folder, "log")
        with log.open("wb") as said:
            process = subprocess.Popen(
                [podman, "system", "service", "--time", "0", f"unix://{socket}"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and we end the run in order
            )
        try:
            _wait_for(socket, process, log)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > end:
            said = log.read_text(errors="replace").strip()[-500:]
            raise SystemFailureError(f"the engine `podman` failed: its service does not start: {said}", hint=_HINT)
        time.sleep(0.05)
