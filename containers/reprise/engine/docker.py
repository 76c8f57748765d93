"""The engine `docker`: the daemon runs the image, from an archive that is made as it is sent.

Docker before 23 can't unpack zstd layers, and a registry is one thing more that can fail, so the image goes in by
`docker load`. What Docker calls the image's ID is never looked at: it changed with Docker 29. The digest that the
trainer measures inside decides.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.types import DeviceRequest, Mount
from requests.exceptions import RequestException

from reprise.engine.interface import GRACE_SECONDS, ImageRef, Layer, OnLine, Process, RunFolders
from reprise.engine.layer_stream import open_layer
from reprise.engine.signals import passing_signals
from reprise.events import OnEvent, ignore
from reprise.store import Store
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError, SystemFailureError

REPOSITORY = "reprise"
TMPFS = {"/tmp": "rw,nosuid,nodev,noexec,mode=1777", "/var/tmp": "rw,nosuid,nodev,noexec,mode=1777"}
SHARED_MEMORY_BYTES = 1 << 30
"""Size limit of /dev/shm: Docker's own 64 MiB are too few for data that processes share."""

_DEVICES = re.compile(r"device=([\w-]+(?:,[\w-]+)*)\Z", re.ASCII)
_MTIME = 0
_BLOCK = 512


class DockerEngine:
    """See `interface.Engine`. The daemon is the one that the docker command would use (DOCKER_HOST).

    `gpus` are the GPUs that a run sees, in the words of `docker run --gpus`; none by default. With `network` a run is
    on the daemon's default network, else on none. Another daemon that speaks Docker's API has a `name` for messages and
    an `address`.
    """

    def __init__(self, gpus: str = "", *, network: bool = False, name: str = "docker", address: str = "") -> None:
        self._devices = device_requests(gpus)
        self._network = network
        self._name, self._address = name, address

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
        with _client(self._name, self._address) as client:
            tag = load_image(client, image, on_event)
            container = _create(client, tag, image.process(), folders, self._devices, network=self._network)
            try:
                output = container.attach(stdout=True, stderr=True, stream=True, demux=True)
                container.start()
                with passing_signals(lambda: container.kill("SIGTERM")):
                    _pass_lines(output, on_line, on_error_line)
                    return int(container.wait()["StatusCode"])
            except (KeyboardInterrupt, SystemExit):
                _interrupt(container)
                raise
            finally:
                with suppress(DockerException, RequestException):
                    container.remove(force=True)


def load_image(client: Any, image: ImageRef, on_event: OnEvent = ignore) -> str:
    """Put `image` into the daemon, unless it is there; the tag that it has there."""
    tag = f"{REPOSITORY}:{image.digest.removeprefix('sha256:')}"
    with suppress(ImageNotFound):
        client.images.get(tag)
        return tag
    on_event({"event": "phase", "name": "load the image into the engine"})
    for _ in client.api.load_image(image_archive(image, tag)):
        pass  # progress, and errors, which the SDK raises
    return tag


def image_archive(image: ImageRef, tag: str) -> Iterator[bytes]:
    """The archive that `docker load` takes (Docker image spec v1.2), in pieces: nothing is kept on disk or in memory.

    A tar header names its file's size before the bytes come, so each layer is decompressed twice.
    """
    layers = image.layers()
    config = image.config_bytes()
    config_name = f"{image.digest.removeprefix('sha256:')}.json"
    names = [f"{layer.diff_id.removeprefix('sha256:')}/layer.tar" for layer in layers]
    manifest = canonical_json([{"Config": config_name, "RepoTags": [tag], "Layers": names}])
    yield from _member("manifest.json", len(manifest), [manifest])
    yield from _member(config_name, len(config), [config])
    for name, layer in dict(zip(names, layers, strict=True)).items():
        yield from _member(name, _uncompressed_size(image.store, layer), _layer_pieces(image.store, layer))
    yield bytes(2 * _BLOCK)


def _uncompressed_size(store: Store, layer: Layer) -> int:
    with open_layer(store, layer) as stream:
        stream.finish()
        return stream.length


def _layer_pieces(store: Store, layer: Layer) -> Iterator[bytes]:
    with open_layer(store, layer) as stream:
        while piece := stream.read():
            yield piece


def _member(name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, _MTIME
    yield info.tobuf(tarfile.GNU_FORMAT)  # sizes above 8 GiB too
    yield from pieces
    yield bytes(-size % _BLOCK)


@contextmanager
def _client(name: str, address: str) -> Iterator[Any]:
    """The daemon's client; its failures become ours."""
    try:
        client = docker.DockerClient(address, timeout=600) if address else docker.from_env(timeout=600)
        try:
            client.ping()
            yield client
        finally:
            client.close()
    except (DockerException, RequestException) as error:
        explanation = error.explanation if isinstance(error, APIError) and error.explanation else error
        raise SystemFailureError(
            f"the engine `{name}` failed: {explanation}",
            hint=f"Check `{name} info` (is the daemon running, may this user use it?), or use --engine namespaces.",
        ) from error


def device_requests(gpus: str) -> list[DeviceRequest]:
    """What the daemon is asked for: nothing for "", else what `docker run --gpus` asks for.

    Args:
        gpus: "all", a number of GPUs, or `device=` and indices or UUIDs with commas between.

    Raises:
        InputError: it is none of these.
    """
    if not gpus:
        return []
    kinds = [["gpu"]]
    if gpus == "all":
        return [DeviceRequest(count=-1, capabilities=kinds)]
    if gpus.isdecimal() and int(gpus) > 0:
        return [DeviceRequest(count=int(gpus), capabilities=kinds)]
    if match := _DEVICES.match(gpus):
        return [DeviceRequest(device_ids=match[1].split(","), capabilities=kinds)]
    raise InputError(f"{gpus!r} does not name GPUs; expected all, a number, or device=0,1 (indices or UUIDs)")


def _create(
    client: Any, tag: str, process: Process, folders: RunFolders, devices: list[DeviceRequest], *, network: bool
) -> Any:
    """A container that is the image and the run's folders, and nothing else that Docker lets us leave out."""
    mounts = [
        Mount("/run/reprise", str(folders.launch.resolve()), type="bind", read_only=True),
        Mount("/data", str(folders.data.resolve()), type="bind", read_only=True),
        Mount("/output", str(folders.output.resolve()), type="bind"),
    ]
    if folders.secrets:
        mounts.append(Mount("/run/secrets", str(folders.secrets.resolve()), type="bind", read_only=True))
    return client.containers.create(
        tag,
        user=f"{process.user[0]}:{process.user[1]}",
        mounts=mounts,
        read_only=True,
        tmpfs=TMPFS,
        shm_size=SHARED_MEMORY_BYTES,
        network_mode="default" if network else "none",
        hostname="reprise",
        cap_drop=["ALL"],
        # The container's root is not the owner of a user's private folders; without this it could not read them.
        cap_add=["DAC_OVERRIDE"] if os.geteuid() != 0 else [],
        security_opt=["no-new-privileges"],
        device_requests=devices,
    )


def _interrupt(container: Any) -> None:
    """Let the run end by itself, for a while; removing the container kills it."""
    with suppress(DockerException, RequestException):
        container.kill("SIGINT")
        container.wait(timeout=GRACE_SECONDS)


def _pass_lines(output: Iterable[tuple[bytes | None, bytes | None]], on_line: OnLine, on_error_line: OnLine) -> None:
    sinks = ((io.BytesIO(), on_line), (io.BytesIO(), on_error_line))
    for pieces in output:
        for piece, (rest, sink) in zip(pieces, sinks, strict=True):
            if piece:
                *lines, last = (rest.getvalue() + piece).split(b"\n")
                for line in lines:
                    sink(line.decode("utf-8", "replace"))
                rest.seek(0)
                rest.truncate()
                rest.write(last)
    for rest, sink in sinks:
        if rest.getvalue():
            sink(rest.getvalue().decode("utf-8", "replace"))
