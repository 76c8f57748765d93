"""What every engine is given, and what it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from reprise.events import OnEvent, ignore
from reprise.store import Store
from reprise.store.platforms import images_of
from reprise_trainer.errors import InputError

OnLine = Callable[[str], None]

GRACE_SECONDS = 10.0
"""How long a run may take to end after an interruption, before it is killed."""

EngineName = Literal["namespaces", "docker", "podman"]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image in a store, named by its manifest digest."""

    store: Store
    digest: str

    def layers(self) -> tuple[Layer, ...]:
        """The image's layers, lowest first."""
        return layers_of(self._manifest(), self._config_document(), f"image {self.digest}")

    def config_bytes(self) -> bytes:
        """The image config as it is in the store."""
        return self.store.read(self._manifest()["config"]["digest"])

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

    def _manifest(self) -> dict[str, Any]:
        """The manifest, where it is an image's. Raises InputError, with an index's images, where it is another's."""
        images = images_of(self.store, self.digest)
        if images:
            named = ", ".join(f"{each.label} {each.digest}" for each in images[:4])
            raise InputError(f"{self.digest} is an index of images, not an image", hint=f"Name one of them: {named}")
        manifest = self.store.manifest(self.digest)
        if not {"config", "layers"} <= set(manifest):
            raise InputError(f"{self.digest} is not an image")
        return manifest

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


def layers_of(manifest: dict[str, Any], config: dict[str, Any], what: str) -> tuple[Layer, ...]:
    """An image's layers, lowest first, of its two documents; `what` names it where they don't fit (InputError)."""
    diff_ids = config.get("rootfs", {}).get("diff_ids", [])
    if len(diff_ids) != len(manifest["layers"]):
        raise InputError(f"{what} has {len(manifest['layers'])} layers but {len(diff_ids)} diff_ids")
    return tuple(
        Layer(each["mediaType"], each["digest"], int(each["size"]), diff_id)
        for each, diff_id in zip(manifest["layers"], diff_ids, strict=True)
    )


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

    def run(
        self,
        image: ImageRef,
        folders: RunFolders,
        *,
        on_line: OnLine,
        on_error_line: OnLine,
        on_event: OnEvent = ignore,
    ) -> int:
        """Start the image's own command on a read-only root without network, and wait for it.

        Args:
            image: what to run.
            folders: mounted at /run/reprise, /data and /output.
            on_line: called with each line of standard output, as it comes, without its end.
            on_error_line: the same for standard error.
            on_event: told how far the image is brought to where it runs.

        A signal to end (SIGTERM, SIGINT, SIGHUP) goes to the run as SIGTERM, and the run's exit code comes back.

        Returns:
            the exit code; 128 + the signal's number where a signal ended it.

        Raises:
            SystemFailureError: the system does not let the engine work; the message says what to do.
        """
