"""The builder: a job on standard input → layers in the output folder. Runs under the image's own Python.

Two kinds of forked workers: some write layers, the largest first, each streaming its artifacts through threads; others
compile bytecode in the meantime. A layer's bytecode comes last in it, so that nothing waits for a compiler until the
very end: measured, two cores are idle for 0.3 of 12 seconds. (A lower priority for the compilers gains nothing there,
and starves them on a machine that does other work.)
"""

from __future__ import annotations

import gc
import os
import resource
import select
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import zstandard

from reprise.image import bytecode, workers
from reprise.image.entries import Entry, file
from reprise.image.events import send, send_error
from reprise.image.format import MEDIA_TYPES, running_python
from reprise.image.formats import FORMATS, require_libzstd
from reprise.image.job import BuildJob, decode_job, encoded_scripts
from reprise.image.layer import Late, write_layer
from reprise.image.plan import LayerPlan, plan_layers
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError, RepriseError

_CHUNK = 400_000
"""Bytes of source that are compiled as one task: about 50 ms."""

_BETWEEN_EVENTS = 0.1
_WATCH = 0.5
"""Seconds."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Sources of one layer that are compiled one after the other, and the file that their bytecode goes to."""

    layer: int
    sources: tuple[Entry, ...]
    path: Path


def main() -> int:
    """Read a job, do it, say what happened. Returns the exit status."""
    try:
        return 0 if _build(decode_job(sys.stdin.buffer.readline())) else 1
    except (RepriseError, OSError) as error:
        send_error(error)
        return 1


def _build(job: BuildJob) -> bool:
    """Plan and start the wheels first: that takes no time, and packages can be unpacked while they are at work."""
    require_libzstd(FORMATS[job.format], zstandard.ZSTD_VERSION)
    if job.layout.version != running_python().version:
        raise InputError(f"the lock is for Python {job.layout.version}, its Python is {running_python().version}")
    _allow_many_files()
    gc.disable()  # a builder is short-lived, and collecting would copy what forks share
    groups = [[each for each in job.layers if (each.kind == "wheel") == wheels] for wheels in (True, False)]
    started: list[int] = []
    try:
        for layers in groups:
            with ThreadPoolExecutor(job.workers) as executor:
                plans = plan_layers(layers, job.layout, executor, job.output)
            gc.freeze()
            started += _start(job, plans)
    except BaseException:
        workers.kill(started)
        raise
    return workers.wait(started)


def _allow_many_files() -> None:
    """Each large conda package keeps a file open; the usual limit of 1,024 is a default, which anybody may raise."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _start(job: BuildJob, plans: Sequence[LayerPlan]) -> list[int]:
    """Fork the workers for some layers; returns their process ids."""
    by_size = sorted(range(len(plans)), key=lambda layer: (-plans[layer].size, plans[layer].job.name))
    chunks = [chunk for layer in by_size for chunk in _chunks(job, layer, plans[layer])]
    finished = [os.pipe() for _ in plans]  # a byte for each chunk of the layer that is done
    layer_queue = workers.task_queue(by_size)
    chunk_queue = workers.task_queue(range(len(chunks)))
    parent = os.getpid()

    def write_layers() -> None:
        for layer in workers.taken(layer_queue):
            own = [chunk for chunk in chunks if chunk.layer == layer]
            _write_layer(job, plans[layer], own, _Watch(finished[layer][0], parent))

    def compile_chunks() -> None:
        for number in workers.taken(chunk_queue):
            _compile(chunks[number])
            os.write(finished[chunks[number].layer][1], b".")
            if os.getppid() != parent:
                return

    started = [workers.start(write_layers) for _ in range(min(job.workers, len(plans)))]
    return started + [workers.start(compile_chunks) for _ in range(min(job.workers, len(chunks)))]


def _chunks(job: BuildJob, layer: int, plan: LayerPlan) -> Iterator[_Chunk]:
    sources: list[Entry] = []
    number = size = 0
    for entry in (*plan.sources, None):
        if sources and (entry is None or size + entry.size > _CHUNK):
            yield _Chunk(layer, tuple(sources), job.output / f"{plan.job.name}.bytecode-{number}")
            number, size, sources = number + 1, 0, []
        if entry is not None:
            sources.append(entry)
            size += entry.size


def _compile(chunk: _Chunk) -> None:
    aside = chunk.path.with_name(f"{chunk.path.name}.part")
    with aside.open("wb") as out:
        bytecode.write_all(chunk.sources, out)
    aside.rename(chunk.path)


def _write_layer(job: BuildJob, plan: LayerPlan, chunks: Sequence[_Chunk], watch: _Watch) -> None:
    name, total = plan.job.name, plan.size
    blob = job.output / f"{name}.tar.{job.compression}"
    progress = _Progress(name, total)
    late: list[Late] = [lambda listed: [each.record(listed) for each in plan.recorded]]
    late.append(lambda _: _bytecode_entries(chunks, watch))
    with blob.open("wb") as out:
        written = write_layer(
            name,
            plan.entries,
            out,
            image_format=FORMATS[job.format],
            threads=job.workers,
            late=late,
            on_bytes=progress.at,
        )
    file_list = job.output / f"{name}.list.json"
    file_list.write_bytes(written.file_list)
    scripts = job.output / f"{name}.scripts.json"
    scripts.write_bytes(canonical_json(encoded_scripts(plan.scripts)))
    progress.say("built", total)
    send(
        {
            "event": "built",
            "name": name,
            "media_type": MEDIA_TYPES[job.compression],
            "digest": written.digest,
            "size": written.size,
            "diff_id": written.diff_id,
            "list_digest": written.list_digest,
            "list_path": file_list.name,
            "blob_path": blob.name,
            "scripts_path": scripts.name,
        }
    )


def _bytecode_entries(chunks: Iterable[_Chunk], watch: _Watch) -> Iterator[Entry]:
    """The layer's bytecode, in the order of its sources, as the compilers finish it."""
    for chunk in chunks:
        watch.wait_for(chunk.path)
        with chunk.path.open("rb") as written:
            for source, compiled in bytecode.read_all(chunk.sources, written):
                yield file(bytecode.bytecode_path(source.path), compiled)
        chunk.path.unlink()


class _Watch:
    """Waits for files that another worker finishes: it renames the file into place, then writes a byte to the pipe."""

    def __init__(self, pipe: int, parent: int) -> None:
        self._pipe, self._parent = pipe, parent

    def wait_for(self, path: Path) -> None:
        while not path.exists():
            if select.select([self._pipe], [], [], _WATCH)[0]:
                os.read(self._pipe, 1)
            elif os.getppid() != self._parent:
                raise BrokenPipeError("the builder has ended")


class _Progress:
    """Sends a layer's progress, not too often."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._next = 0.0
        self.say("started", 0)

    def at(self, done: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _BETWEEN_EVENTS
            self.say("started", min(done, self._total))

    def say(self, state: str, done: int) -> None:
        send({"event": "layer", "name": self._name, "state": state, "bytes": done, "total": self._total})
