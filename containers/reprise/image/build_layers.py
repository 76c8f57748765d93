"""The host's side of a build: starts the builder under the image's Python, and hands on what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from reprise.image.bootstrap import BUILDER_ENVIRONMENT, ImagePython
from reprise.image.events import received_error
from reprise.image.formats import DEFAULT_FORMAT
from reprise.image.job import BuildJob, BuiltLayer, LayerJob, check_job, decode_scripts, encode_job
from reprise_trainer.errors import StorageError, SystemFailureError

_LOG = "builder.log"


def build_layers(
    python: ImagePython,
    jobs: Sequence[LayerJob],
    *,
    output: Path,
    workers: int,
    compression: str = "zstd",
    format: int = DEFAULT_FORMAT,
    on_event: Callable[[dict[str, Any]], None] = lambda _: None,
    on_built: Callable[[BuiltLayer], None] = lambda _: None,
) -> list[BuiltLayer]:
    """Build layers. Their bytes depend on the artifacts and on `python` alone.

    Args:
        python: the image's Python.
        jobs: the layers; names are unique.
        output: a folder of this build alone; blobs and lists are complete when this returns, and not synced to disk.
        workers: processes of each kind at work at once; at least 1.
        compression: a key of `format.MEDIA_TYPES`.
        format: number of the image format.
        on_event: told of progress (`reprise.events`, kind `layer`).
        on_built: given each layer as soon as its files are complete; may move them away.

    Returns:
        The layers, in the order of `jobs`.

    Raises:
        InputError: an artifact is malformed, two of a layer own a path with different content, or the image's Python
            has another libzstd than the format.
        NotFoundError: an artifact's file does not exist.
        StorageError: `output` cannot be written.
        SystemFailureError: the image's Python does not run here, or a worker was killed.
    """
    job = BuildJob(tuple(jobs), output.resolve(), workers, python.layout, compression, format)
    check_job(job)
    if not jobs:
        return []
    try:
        built = _run(python, job, on_event, on_built)
    except BaseException:
        _clean(job, [*output.iterdir()])
        raise
    (output / _LOG).unlink(missing_ok=True)
    return [built[layer.name] for layer in jobs]


def _run(
    python: ImagePython,
    job: BuildJob,
    on_event: Callable[[dict[str, Any]], None],
    on_built: Callable[[BuiltLayer], None],
) -> dict[str, BuiltLayer]:
    built: dict[str, BuiltLayer] = {}
    failure: Exception | None = None
    with _started(python, job) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            _send(process, job)
            for line in process.stdout:
                event = _event(line)
                match event["event"]:
                    case "built":
                        built[event["name"]] = _built(event, job.output)
                        on_built(built[event["name"]])
                    case "error":
                        failure = failure or received_error(event)
                    case _:
                        on_event(event)
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too: the builder leads a session of its own
            raise
    if failure is not None:
        raise failure
    if status != 0 or len(built) != len(job.layers):
        said = (job.output / _LOG).read_text(errors="replace").strip()[-2000:]
        raise SystemFailureError(f"the builder ended with status {status}: {said or 'it said nothing'}")
    return built


def _started(python: ImagePython, job: BuildJob) -> subprocess.Popen[bytes]:
    command = python.command("reprise.image.builder")
    try:
        with (job.output / _LOG).open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(BUILDER_ENVIRONMENT),
                start_new_session=True,
            )
    except OSError as error:
        if error.filename in (command[0], None):
            raise SystemFailureError(f"the image's Python does not start: {error.strerror} ({command[0]})") from error
        raise StorageError(f"cannot write {job.output}: {error.strerror or error}") from error


def _send(process: subprocess.Popen[bytes], job: BuildJob) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(encode_job(job))
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has ended already; its log says why


def _event(line: bytes) -> dict[str, Any]:
    """One line of the builder's standard output; what starts it (an emulator, a wrapper) may have written there too."""
    try:
        event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            return event
    except ValueError:
        pass
    raise SystemFailureError(f"the builder broke down: {line.decode(errors='replace').strip()[:500]}")


def _built(event: dict[str, Any], output: Path) -> BuiltLayer:
    scripts = output / event["scripts_path"]
    found = decode_scripts(json.loads(scripts.read_bytes()))
    scripts.unlink()
    return BuiltLayer(
        name=event["name"],
        media_type=event["media_type"],
        digest=event["digest"],
        size=event["size"],
        diff_id=event["diff_id"],
        list_digest=event["list_digest"],
        list_path=output / event["list_path"],
        blob_path=output / event["blob_path"],
        scripts=found,
    )


def _clean(job: BuildJob, found: Iterable[Path]) -> None:
    """Remove what a failed build has written, and nothing else."""
    suffixes = (".tar.", ".list.json", ".scripts.json", ".bytecode-")
    prefixes = tuple(f"{layer.name}{suffix}" for layer in job.layers for suffix in suffixes)
    for path in found:
        if path.name == _LOG or path.name.startswith(prefixes):
            path.unlink(missing_ok=True)
