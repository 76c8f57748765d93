"""What every engine is given, and what it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from reprise.events import OnEvent, ignore
from reprise.store import Store
from reprise.store.layout import MANIFEST_LIMIT
from reprise.store.platforms import images_of
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import InputError
from reprise_trainer.identity.strict_json import parse_json

OnLine = Callable[[str], None]

GRACE_SECONDS = 10.0
"""How long a run may take to end after an interruption, before it is killed."""

EngineName = Literal["namespaces", "docker", "podman"]

_USER = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image in a store, named by its manifest digest."""

    store: Store
    digest: str

    def layers(self) -> tuple[Layer, ...]:
        """The image's layers, lowest first."""
        return layers_of(self._manifest(), self.config_bytes(), self._what)

    def config_bytes(self) -> bytes:
        """The image config as it is in the store."""
        config = _object(self._manifest()["config"], f"the config's descriptor of {self._what}")
        return self.store.read(_digest(config.get("digest"), f"the config of {self._what}"))

    def process(self) -> Process:
        """What the image runs (OCI image spec v1.1, config.md). Raises InputError where its config doesn't say it."""
        config = _read_config(self.config_bytes(), self._what).get("config", {})
        user = _USER.fullmatch(str(config.get("User") or "0:0"))
        if not user:
            raise InputError(
                f"{self._what} runs as the user {str(config['User'])[:80]!r}; expected a number, or two as 0:0"
            )
        folder = config.get("WorkingDir") or "/"
        if not isinstance(folder, str):
            raise InputError(f"{self._what} has the working folder {str(folder)[:80]!r}; expected a path")
        return Process(
            arguments=(*_texts(config, "Entrypoint", self._what), *_texts(config, "Cmd", self._what)),
            environment=_texts(config, "Env", self._what),
            user=(int(user[1]), int(user[2] or user[1])),
            folder=folder,
        )

    @property
    def _what(self) -> str:
        return f"image {self.digest}"

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


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its descriptor (`size` in bytes, compressed) and the digest of its uncompressed tar."""

    media_type: str
    digest: str
    size: int
    diff_id: str


def layers_of(manifest: dict[str, Any], config: bytes, what: str) -> tuple[Layer, ...]:
    """An image's layers, lowest first.

    A diff_id names the folder that its layer is unpacked to: one that is no digest could name any folder of the host,
    which the run would then see.

    Args:
        manifest: the image's manifest.
        config: its config, as it is in the store.
        what: names the image, for messages.

    Raises:
        InputError: the two don't fit together, or are not of the form that OCI image spec v1.1 gives them.
    """
    layers = _list(manifest["layers"], f"`layers` of {what}")
    diff_ids = _list(_read_config(config, what).get("rootfs", {}).get("diff_ids", []), f"`diff_ids` of {what}")
    if len(diff_ids) != len(layers):
        raise InputError(f"{what} has {len(layers)} layers but {len(diff_ids)} diff_ids")
    return tuple(_layer(layer, diff_id, what) for layer, diff_id in zip(layers, diff_ids, strict=True))


def _layer(descriptor: object, diff_id: object, what: str) -> Layer:
    layer = _object(descriptor, f"a layer of {what}")
    kind, size = layer.get("mediaType"), layer.get("size")
    if not isinstance(kind, str) or type(size) is not int or size < 0:
        raise InputError(f"{what} has a layer without a media type or without its size: {str(layer)[:200]}")
    return Layer(
        kind, _digest(layer.get("digest"), f"a layer of {what}"), size, _digest(diff_id, f"a diff_id of {what}")
    )


def _read_config(data: bytes, what: str) -> dict[str, Any]:
    """A config, whose `config` and `rootfs` are objects where they are there."""
    document = _object(parse_json(data, f"config of {what}", size_limit=MANIFEST_LIMIT), f"the config of {what}")
    for name in ("config", "rootfs"):
        _object(document.get(name, {}), f"`{name}` in the config of {what}")
    return document


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} is {str(value)[:80]!r}; expected a JSON object")
    return value


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise InputError(f"{what} is {str(value)[:80]!r}; expected a list")
    return value


def _texts(config: dict[str, Any], name: str, what: str) -> tuple[str, ...]:
    value = _list(config.get(name) or [], f"`{name}` in the config of {what}")
    if not all(isinstance(each, str) and "\0" not in each for each in value):
        raise InputError(f"`{name}` in the config of {what} is {str(value)[:80]!r}; expected texts without a null byte")
    return tuple(map(str, value))


def _digest(value: object, what: str) -> str:
    if not isinstance(value, str) or not DIGEST_PATTERN.match(value):
        raise InputError(f"{what} is {str(value)[:100]!r}; expected sha256: and 64 hex digits")
    return value


@dataclass(frozen=True, slots=True)
class Process:
    """What an image runs: the whole command line, `NAME=value` variables, (uid, gid), working folder."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    user: tuple[int, int]
    folder: str


@dataclass(frozen=True, slots=True)
class RunFolders:
    """The folders of one run: `launch`, `data` and `secrets` (None: there are none) are seen read-only, `output` can be
    written."""

    launch: Path
    data: Path
    output: Path
    secrets: Path | None = None


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
        """Start the image's own command on a read-only root, without network unless asked, and wait for it.

        Args:
            image: what to run.
            folders: mounted at /run/reprise, /data, /output and /run/secrets.
            on_line: called with each line of standard output, as it comes, without its end.
            on_error_line: the same for standard error.
            on_event: told how far the image is brought to where it runs.

        A signal to end (SIGTERM, SIGINT, SIGHUP) goes to the run as SIGTERM, and the run's exit code comes back.

        Returns:
            the exit code; 128 + the signal's number where a signal ended it.

        Raises:
            SystemFailureError: the system does not let the engine work; the message says what to do.
        """
